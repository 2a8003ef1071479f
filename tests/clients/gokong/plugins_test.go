package gokong

import (
	"fmt"
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

// None of Kong's own plugins need be on the node: a third party's plugin "greeting" is.

func plugins(client *kong.Client) kind[kong.Plugin] {
	p := client.Plugins
	return kind[kong.Plugin]{p.Create, p.Get, p.Update, p.Delete, p.List, p.ListAll}
}

func greeting(text string) *kong.Plugin {
	return &kong.Plugin{Name: kong.String("greeting"), Config: kong.Configuration{"text": text}}
}

func TestPlugins(t *testing.T) {
	client := newClient(t)
	owners := []*kong.Service{}
	for n := 0; n < 6; n++ {
		owners = append(owners, requireCreated(t, services(client), service(n)))
	}
	sample := func(n int) *kong.Plugin {
		plugin := greeting("hello")
		plugin.Service = owners[n]
		return plugin
	}
	change := func(p *kong.Plugin) { p.Enabled, p.Config["minute"] = kong.Bool(false), 5.0 }
	walkLife(t, plugins(client), sample, change, nil)
}

func TestPluginConfigIsComplete(t *testing.T) {
	client := newClient(t)
	created := requireCreated(t, plugins(client), greeting("hello"))
	complete := kong.Configuration{
		"text": "hello", "languages": []interface{}{"en"}, "minute": nil, "hidden": false, "headers": nil,
		"style": map[string]interface{}{"tone": "plain", "emphasis": nil},
	}
	require.Equal(t, complete, created.Config)
	require.Equal(t, kong.StringSlice("grpc", "grpcs", "http", "https"), created.Protocols)
	require.True(t, *created.Enabled)

	some := kong.Configuration{"style": map[string]interface{}{"emphasis": 3}, "languages": []string{"de"}}
	updated, err := client.Plugins.Update(ctx, &kong.Plugin{ID: created.ID, Config: some})
	require.NoError(t, err)
	complete["style"] = map[string]interface{}{"tone": "plain", "emphasis": 3.0}
	complete["languages"] = []interface{}{"de"}
	require.Equal(t, complete, updated.Config, "records are merged, arrays replaced")
}

func TestPluginScopes(t *testing.T) {
	client := newClient(t)
	owner := requireCreated(t, services(client), service(0))
	way := requireCreated(t, routes(client), route(0))
	bob := requireCreated(t, consumers(client), consumer(0))
	create := func(scope func(*kong.Plugin)) *kong.Plugin {
		plugin := greeting("hello")
		scope(plugin)
		return requireCreated(t, plugins(client), plugin)
	}
	create(func(*kong.Plugin) {})
	ofService := create(func(p *kong.Plugin) { p.Service = &kong.Service{ID: owner.ID} })
	ofRoute := create(func(p *kong.Plugin) { p.Route = &kong.Route{Name: way.Name} })
	ofConsumer := create(func(p *kong.Plugin) { p.Consumer = &kong.Consumer{Username: bob.Username} })
	require.Equal(t, &kong.Route{ID: way.ID}, ofRoute.Route)
	require.Equal(t, &kong.Consumer{ID: bob.ID}, ofConsumer.Consumer)

	listed, err := client.Plugins.ListAllForService(ctx, owner.Name)
	require.NoError(t, err)
	require.Equal(t, []*kong.Plugin{ofService}, listed)
	listed, err = client.Plugins.ListAllForRoute(ctx, way.Name)
	require.NoError(t, err)
	require.Equal(t, []*kong.Plugin{ofRoute}, listed)
	listed, err = client.Plugins.ListAllForConsumer(ctx, bob.Username)
	require.NoError(t, err)
	require.Equal(t, []*kong.Plugin{ofConsumer}, listed)

	again := greeting("good day")
	again.Service = &kong.Service{ID: owner.ID}
	_, err = client.Plugins.Create(ctx, again)
	requireRefused(t, 409, fmt.Sprintf("UNIQUE violation detected on "+
		`'{consumer=null,name="greeting",route=null,service={id="%s"}}'`, *owner.ID), err)

	require.NoError(t, client.Services.Delete(ctx, owner.ID), "its plugins go with it")
	_, err = client.Plugins.Get(ctx, ofService.ID)
	requireMissing(t, err)
	require.NoError(t, client.Plugins.Delete(ctx, ofService.ID), "as decK's deletes expect")
}

func TestPluginRefusals(t *testing.T) {
	client := newClient(t)
	create := func(p *kong.Plugin) error { _, err := client.Plugins.Create(ctx, p); return err }

	err := create(&kong.Plugin{Name: kong.String("flux-compensator")})
	require.Equal(t, 400, err.(*kong.APIError).Code())
	require.Contains(t, err.Error(), "schema violation (name: plugin 'flux-compensator' not enabled; ")
	require.Contains(t, err.Error(), "greeting", "the answer says which there are")

	requireRefused(t, 400, "schema violation (name: required field missing)", create(&kong.Plugin{}))
	requireRefused(t, 400, "schema violation (config.text: required field missing)",
		create(&kong.Plugin{Name: kong.String("greeting")}))
	wrong := greeting("hello")
	wrong.Config["minute"], wrong.Config["volume"] = 61, 11
	requireRefused(t, 400, "2 schema violations (config.minute: value should be between 0 and 60; "+
		"config.volume: unknown field)", create(wrong))
}

func TestPluginSchema(t *testing.T) {
	client := newClient(t)
	status, enabled := call(t, client, "GET", "/plugins/enabled", nil)
	require.Equal(t, 200, status)
	require.Contains(t, enabled["enabled_plugins"], "greeting")

	_, schema := call(t, client, "GET", "/schemas/plugins/greeting", nil)
	config := schemaField(t, schema, "config")
	require.Equal(t, "record", config["type"])
	require.Equal(t, true, config["required"])
	require.Equal(t, map[string]interface{}{"type": "string", "required": true, "description": "The greeting."},
		schemaField(t, config, "text"))
	require.Equal(t, []interface{}{"en"}, schemaField(t, config, "languages")["default"])
	require.Equal(t, "plain", schemaField(t, schemaField(t, config, "style"), "tone")["default"])

	_, deprecated := call(t, client, "GET", "/plugins/schema/greeting", nil)
	require.Equal(t, config["fields"], deprecated["fields"])

	status, missing := call(t, client, "GET", "/schemas/plugins/flux-compensator", nil)
	require.Equal(t, 404, status)
	require.Empty(t, missing)
}
