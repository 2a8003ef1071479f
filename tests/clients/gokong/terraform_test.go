package gokong

import (
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

// Kong's Terraform providers are go-kong with these habits: POST to create, a read after each
// write, PATCH with the whole resource but without what is unset, a nested path for all that
// belongs to a consumer, and a resource that answers 404 is gone from the state.

func TestTerraformApplyTwice(t *testing.T) {
	client := newClient(t)
	owner, err := client.Services.Create(ctx, &kong.Service{
		Name: kong.String("orders"), Protocol: kong.String("http"), Host: kong.String("orders.internal"),
		Port: kong.Int(80), Path: kong.String("/v2"), Retries: kong.Int(5),
		ConnectTimeout: kong.Int(60000), WriteTimeout: kong.Int(60000), ReadTimeout: kong.Int(60000),
	})
	require.NoError(t, err)
	state := requireFound(t, services(client), owner.ID)
	require.Equal(t, owner, state)

	// A second apply sends the same without the server's own fields; nothing else changes.
	plan := state.DeepCopy()
	plan.CreatedAt, plan.UpdatedAt = nil, nil
	_, err = client.Services.Update(ctx, plan)
	require.NoError(t, err)
	again := requireFound(t, services(client), owner.ID)
	forgetTime(again, state)
	require.Equal(t, state, again)
}

func TestTerraformCannotUnsetButEmpties(t *testing.T) {
	client := newClient(t)
	way := route(0)
	way.Hosts = kong.StringSlice("a.example")
	created := requireCreated(t, routes(client), way)
	status, emptied := call(t, client, "PATCH", "/routes/"+*created.ID, map[string]interface{}{"hosts": []string{}})
	require.Equal(t, 200, status)
	require.Equal(t, []interface{}{}, emptied["hosts"], "empty is not unset")
}

func TestTerraformFindsATargetInTheList(t *testing.T) {
	client := newClient(t)
	pool := requireCreated(t, upstreams(client), upstream(0))
	created, err := client.Targets.Create(ctx, pool.ID, &kong.Target{
		Target: kong.String("orders.internal:9000"), Weight: kong.Int(10),
	})
	require.NoError(t, err)
	listed, err := client.Targets.ListAll(ctx, pool.ID)
	require.NoError(t, err)
	require.Equal(t, []*kong.Target{created}, listed)

	// Another weight is another resource: the new one is made once the old one is gone.
	require.NoError(t, client.Targets.Delete(ctx, pool.ID, created.ID))
	heavier, err := client.Targets.Create(ctx, pool.ID, &kong.Target{
		Target: created.Target, Weight: kong.Int(20),
	})
	require.NoError(t, err)
	require.NotEqual(t, created.ID, heavier.ID)
}

func TestTerraformSendsThePluginsWholeConfig(t *testing.T) {
	client := newClient(t)
	created := requireCreated(t, plugins(client), greeting("hello"))
	plan := &kong.Plugin{
		ID: created.ID, Name: created.Name, Enabled: kong.Bool(true), Config: created.Config,
	}
	updated, err := client.Plugins.Update(ctx, plan)
	require.NoError(t, err)
	require.Equal(t, created.Config, updated.Config, "what was computed may be sent back")
}

func TestTerraformKeepsAPasswordThatItCannotRead(t *testing.T) {
	client := newClient(t)
	bob, _ := bobAndAnn(t, client)
	created, err := client.BasicAuths.Create(ctx, bob, &kong.BasicAuth{
		Username: kong.String("bob"), Password: kong.String("open sesame"),
	})
	require.NoError(t, err)
	plan := &kong.BasicAuth{
		ID: created.ID, Username: kong.String("robert"), Password: kong.String("open sesame"),
	}
	updated, err := client.BasicAuths.Update(ctx, bob, plan)
	require.NoError(t, err)
	require.Equal(t, "robert", *updated.Username)
	require.NotEqual(t, "open sesame", *updated.Password)
	require.Equal(t, &kong.Consumer{ID: bob}, updated.Consumer)
}

func TestTerraformSeesWhatIsGone(t *testing.T) {
	client := newClient(t)
	bob, _ := bobAndAnn(t, client)
	key, err := client.KeyAuths.Create(ctx, bob, &kong.KeyAuth{})
	require.NoError(t, err)
	require.NoError(t, client.Consumers.Delete(ctx, bob))
	_, err = client.KeyAuths.Get(ctx, bob, key.ID)
	requireMissing(t, err)
	require.NoError(t, client.Consumers.Delete(ctx, bob))
}
