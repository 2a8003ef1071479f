package gokong

import (
	"context"
	"fmt"
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

// credentials returns the methods of a kind that is made below a consumer, all for this consumer.
func credentials[E any](
	consumer *string,
	create func(context.Context, *string, *E) (*E, error),
	get func(context.Context, *string, *string) (*E, error),
	update func(context.Context, *string, *E) (*E, error),
	remove func(context.Context, *string, *string) error,
	list func(context.Context, *kong.ListOpt) ([]*E, *kong.ListOpt, error),
	listAll func(context.Context) ([]*E, error),
) kind[E] {
	return kind[E]{
		func(ctx context.Context, e *E) (*E, error) { return create(ctx, consumer, e) },
		func(ctx context.Context, id *string) (*E, error) { return get(ctx, consumer, id) },
		func(ctx context.Context, e *E) (*E, error) { return update(ctx, consumer, e) },
		func(ctx context.Context, id *string) error { return remove(ctx, consumer, id) },
		list, listAll,
	}
}

type listBelow[E any] func(context.Context, *string, *kong.ListOpt) ([]*E, *kong.ListOpt, error)

// requireOfConsumer says that a consumer's own list has this one and nothing of others.
func requireOfConsumer[E any](t *testing.T, consumer *string, list listBelow[E], only *E) {
	t.Helper()
	listed, next, err := list(ctx, consumer, &kong.ListOpt{Size: 10})
	require.NoError(t, err)
	require.Nil(t, next)
	require.Equal(t, []*E{only}, listed)
	_, _, err = list(ctx, kong.String("nobody"), nil)
	requireMissing(t, err)
}

func bobAndAnn(t *testing.T, client *kong.Client) (bob, ann *string) {
	t.Helper()
	bob = requireCreated(t, consumers(client), &kong.Consumer{Username: kong.String("bob")}).ID
	ann = requireCreated(t, consumers(client), &kong.Consumer{Username: kong.String("ann")}).ID
	return bob, ann
}

func TestKeyAuths(t *testing.T) {
	client := newClient(t)
	bob, ann := bobAndAnn(t, client)
	s := client.KeyAuths
	keyAuths := credentials(bob, s.Create, s.Get, s.Update, s.Delete, s.List, s.ListAll)
	sample := func(n int) *kong.KeyAuth { return &kong.KeyAuth{Key: kong.String(fmt.Sprintf("key-%d", n))} }
	change := func(k *kong.KeyAuth) { k.Key = kong.String("another") }
	key := func(k *kong.KeyAuth) *string { return k.Key }
	walkLife(t, keyAuths, sample, change, key)

	generated, err := s.Create(ctx, bob, &kong.KeyAuth{})
	require.NoError(t, err)
	require.Regexp(t, "^[0-9A-Za-z]{32}$", *generated.Key)
	requireOfConsumer(t, bob, s.ListForConsumer, generated)

	timed, err := s.Create(ctx, ann, &kong.KeyAuth{TTL: kong.Int(100)})
	require.NoError(t, err)
	require.LessOrEqual(t, *timed.TTL, 100)
	require.Greater(t, *timed.TTL, 50)

	_, err = s.Get(ctx, ann, generated.ID)
	requireMissing(t, err)
	requireMissing(t, s.Delete(ctx, ann, generated.ID))
	_, err = s.Create(ctx, ann, &kong.KeyAuth{Key: generated.Key})
	requireRefused(t, 409, fmt.Sprintf(`UNIQUE violation detected on '{key="%s"}'`, *generated.Key), err)
	_, err = s.Create(ctx, kong.String("nobody"), sample(0))
	requireMissing(t, err)
}

func TestBasicAuths(t *testing.T) {
	client := newClient(t)
	bob, ann := bobAndAnn(t, client)
	s := client.BasicAuths
	basicAuths := credentials(bob, s.Create, s.Get, s.Update, s.Delete, s.List, s.ListAll)
	sample := func(n int) *kong.BasicAuth {
		return &kong.BasicAuth{
			Username: kong.String(fmt.Sprintf("bob-%d", n)), Password: kong.String("open sesame"),
		}
	}
	change := func(b *kong.BasicAuth) { b.Username = kong.String("robert") } // the hash goes back as it came
	key := func(b *kong.BasicAuth) *string { return b.Username }
	walkLife(t, basicAuths, sample, change, key)

	created := requireCreated(t, basicAuths, sample(0))
	require.NotContains(t, *created.Password, "sesame")
	requireOfConsumer(t, bob, s.ListForConsumer, created)
	changed, err := s.Update(ctx, bob, &kong.BasicAuth{ID: created.ID, Password: kong.String("other")})
	require.NoError(t, err)
	require.NotEqual(t, created.Password, changed.Password)

	_, err = s.Create(ctx, ann, sample(0))
	requireRefused(t, 409, `UNIQUE violation detected on '{username="bob-0"}'`, err)
	_, err = s.Create(ctx, ann, &kong.BasicAuth{})
	requireRefused(t, 400, "2 schema violations (password: required field missing; "+
		"username: required field missing)", err)
}

func TestHMACAuths(t *testing.T) {
	client := newClient(t)
	bob, ann := bobAndAnn(t, client)
	s := client.HMACAuths
	hmacAuths := credentials(bob, s.Create, s.Get, s.Update, s.Delete, s.List, s.ListAll)
	sample := func(n int) *kong.HMACAuth {
		return &kong.HMACAuth{Username: kong.String(fmt.Sprintf("bob-%d", n))}
	}
	change := func(h *kong.HMACAuth) { h.Secret = kong.String("shared") }
	key := func(h *kong.HMACAuth) *string { return h.Username }
	walkLife(t, hmacAuths, sample, change, key)

	created := requireCreated(t, hmacAuths, sample(0))
	require.Regexp(t, "^[0-9A-Za-z]{32}$", *created.Secret)
	requireOfConsumer(t, bob, s.ListForConsumer, created)
	_, err := s.Create(ctx, ann, sample(0))
	requireRefused(t, 409, `UNIQUE violation detected on '{username="bob-0"}'`, err)
}

func TestJWTs(t *testing.T) {
	client := newClient(t)
	bob, ann := bobAndAnn(t, client)
	s := client.JWTAuths
	jwts := credentials(bob, s.Create, s.Get, s.Update, s.Delete, s.List, s.ListAll)
	sample := func(n int) *kong.JWTAuth { return &kong.JWTAuth{Key: kong.String(fmt.Sprintf("iss-%d", n))} }
	public := newRSAPublicKey()
	change := func(j *kong.JWTAuth) { j.Algorithm, j.RSAPublicKey = kong.String("RS256"), &public }
	key := func(j *kong.JWTAuth) *string { return j.Key }
	walkLife(t, jwts, sample, change, key)

	generated, err := s.Create(ctx, bob, &kong.JWTAuth{})
	require.NoError(t, err)
	require.Equal(t, "HS256", *generated.Algorithm)
	require.Regexp(t, "^[0-9A-Za-z]{32}$", *generated.Key)
	require.Regexp(t, "^[0-9A-Za-z]{32}$", *generated.Secret)
	requireOfConsumer(t, bob, s.ListForConsumer, generated)

	_, err = s.Create(ctx, ann, &kong.JWTAuth{Algorithm: kong.String("RS256")})
	require.Equal(t, 400, err.(*kong.APIError).Code())
	_, err = s.Create(ctx, ann, &kong.JWTAuth{Key: generated.Key})
	requireRefused(t, 409, fmt.Sprintf(`UNIQUE violation detected on '{key="%s"}'`, *generated.Key), err)
}

func TestACLs(t *testing.T) {
	client := newClient(t)
	bob, ann := bobAndAnn(t, client)
	s := client.ACLs
	acls := credentials(bob, s.Create, s.Get, s.Update, s.Delete, s.List, s.ListAll)
	sample := func(n int) *kong.ACLGroup {
		return &kong.ACLGroup{Group: kong.String(fmt.Sprintf("readers-%d", n))}
	}
	change := func(a *kong.ACLGroup) { a.Group = kong.String("writers") }
	key := func(a *kong.ACLGroup) *string { return a.Group }
	walkLife(t, acls, sample, change, key)

	created := requireCreated(t, acls, sample(0))
	requireOfConsumer(t, bob, s.ListForConsumer, created)
	_, err := s.Create(ctx, bob, sample(0))
	requireRefused(t, 409, fmt.Sprintf(
		`UNIQUE violation detected on '{consumer={id="%s"},group="readers-0"}'`, *bob), err)
	_, err = s.Create(ctx, ann, sample(0))
	require.NoError(t, err, "groups are for many")
}
