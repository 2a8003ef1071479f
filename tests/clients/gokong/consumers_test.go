package gokong

import (
	"fmt"
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

func consumers(client *kong.Client) kind[kong.Consumer] {
	c := client.Consumers
	return kind[kong.Consumer]{c.Create, c.Get, c.Update, c.Delete, c.List, c.ListAll}
}

func consumer(n int) *kong.Consumer {
	return &kong.Consumer{Username: kong.String(fmt.Sprintf("bob-%d", n))}
}

func TestConsumers(t *testing.T) {
	change := func(c *kong.Consumer) { c.CustomID = kong.String("crm 4711/é") }
	key := func(c *kong.Consumer) *string { return c.Username }
	walkLife(t, consumers(newClient(t)), consumer, change, key)
}

func TestConsumerByCustomID(t *testing.T) {
	client := newClient(t)
	requireCreated(t, consumers(client), consumer(0))
	nameless := &kong.Consumer{CustomID: kong.String("crm 4711/é&x=y")}
	created := requireCreated(t, consumers(client), nameless)
	require.Nil(t, created.Username)
	found, err := client.Consumers.GetByCustomID(ctx, nameless.CustomID)
	require.NoError(t, err)
	require.Equal(t, created, found)
	_, err = client.Consumers.GetByCustomID(ctx, kong.String("nobody"))
	requireMissing(t, err)
}

func TestConsumerRefusals(t *testing.T) {
	client := newClient(t)
	create := func(c *kong.Consumer) error { _, err := client.Consumers.Create(ctx, c); return err }

	requireRefused(t, 400, "schema violation (at least one of these fields must be non-empty: "+
		"'custom_id', 'username')", create(&kong.Consumer{}))

	first := consumer(0)
	first.CustomID = kong.String("crm-1")
	requireCreated(t, consumers(client), first)
	requireRefused(t, 409, `UNIQUE violation detected on '{username="bob-0"}'`, create(consumer(0)))
	sameCustomID := &kong.Consumer{CustomID: first.CustomID}
	requireRefused(t, 409, `UNIQUE violation detected on '{custom_id="crm-1"}'`, create(sameCustomID))
}

func TestConsumerTakesItsCredentialsAlong(t *testing.T) {
	client := newClient(t)
	bob := requireCreated(t, consumers(client), consumer(0))
	_, err := client.KeyAuths.Create(ctx, bob.Username, &kong.KeyAuth{})
	require.NoError(t, err)
	_, err = client.ACLs.Create(ctx, bob.ID, &kong.ACLGroup{Group: kong.String("readers")})
	require.NoError(t, err)

	require.NoError(t, client.Consumers.Delete(ctx, bob.Username))
	keys, err := client.KeyAuths.ListAll(ctx)
	require.NoError(t, err)
	require.Empty(t, keys)
	groups, err := client.ACLs.ListAll(ctx)
	require.NoError(t, err)
	require.Empty(t, groups)
}
