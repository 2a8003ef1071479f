package gokong

import (
	"testing"

	"github.com/blang/semver"
	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

func TestRoot(t *testing.T) {
	root, err := newClient(t).Root(ctx)
	require.NoError(t, err)
	version, err := semver.Parse(root["version"].(string))
	require.NoError(t, err)
	require.True(t, version.GTE(semver.MustParse("3.9.0")) && version.LT(semver.MustParse("4.0.0")))
	require.Equal(t, "community", root["edition"])

	plugins := root["plugins"].(map[string]interface{})
	require.Equal(t, map[string]interface{}{"version": "1.0.0", "priority": 900.0},
		plugins["available_on_server"].(map[string]interface{})["greeting"])
	require.Empty(t, plugins["enabled_in_cluster"])
	configuration := root["configuration"].(map[string]interface{})
	require.Equal(t, "postgres", configuration["database"])
}

func TestRootNamesThePluginsInUse(t *testing.T) {
	client := newClient(t)
	requireCreated(t, plugins(client), greeting("hello"))
	root, err := client.Root(ctx)
	require.NoError(t, err)
	require.Equal(t, []interface{}{"greeting"},
		root["plugins"].(map[string]interface{})["enabled_in_cluster"])
}

func TestStatus(t *testing.T) {
	status, err := newClient(t).Status(ctx)
	require.NoError(t, err)
	require.True(t, status.Database.Reachable)
	require.GreaterOrEqual(t, status.Server.ConnectionsActive, 0)
}

func TestSchemas(t *testing.T) {
	client := newClient(t)
	_, service := call(t, client, "GET", "/schemas/services", nil)
	require.Equal(t, 5.0, schemaField(t, service, "retries")["default"])
	require.Equal(t, []interface{}{0.0, 32767.0}, schemaField(t, service, "retries")["between"])
	require.Equal(t, true, schemaField(t, service, "host")["required"])
	require.Equal(t, "foreign", schemaField(t, service, "client_certificate")["type"])

	_, route := call(t, client, "GET", "/schemas/routes", nil)
	require.Equal(t, []interface{}{"http", "https"}, schemaField(t, route, "protocols")["default"])
	require.Equal(t, "set", schemaField(t, route, "protocols")["type"])
	require.Equal(t, "array", schemaField(t, route, "paths")["type"])

	_, upstream := call(t, client, "GET", "/schemas/upstreams", nil)
	checks := schemaField(t, upstream, "healthchecks")
	interval := schemaField(t, schemaField(t, schemaField(t, checks, "active"), "healthy"), "interval")
	require.Equal(t, "number", interval["type"])
	require.Equal(t, 0.0, interval["default"])

	for _, table := range []string{
		"targets", "consumers", "plugins", "certificates", "snis", "ca_certificates",
		"keyauth_credentials", "basicauth_credentials", "jwt_secrets", "hmacauth_credentials", "acls",
	} {
		status, schema := call(t, client, "GET", "/schemas/"+table, nil)
		require.Equal(t, 200, status, table)
		require.Equal(t, "string", schemaField(t, schema, "id")["type"], table)
	}
	status, _ := call(t, client, "GET", "/schemas/consumer_group_plugins", nil)
	require.Equal(t, 404, status)
}

func TestSchemaValidation(t *testing.T) {
	client := newClient(t)
	status, answer := call(t, client, "POST", "/schemas/services/validate", service(0))
	require.Equal(t, 200, status)
	require.Equal(t, "schema validation successful", answer["message"])
	request, err := client.NewRequest("POST", "/schemas/plugins/validate", nil,
		&kong.Plugin{Name: kong.String("greeting")})
	require.NoError(t, err)
	_, err = client.Do(ctx, request, nil)
	requireRefused(t, 400, "schema violation (config.text: required field missing)", err)
}

func TestWhatOpenSourceKongDoesNotHave(t *testing.T) {
	client := newClient(t)
	for _, path := range []string{
		"/workspaces", "/consumer_groups", "/licenses", "/rbac/users", "/partials", "/degraphql_routes",
		"/mtls-auths", "/kong", "/targets", "/admins",
	} {
		status, _ := call(t, client, "GET", path, nil)
		require.Equal(t, 404, status, path)
	}
	_, err := client.MTLSAuths.ListAll(ctx)
	requireMissing(t, err)
	_, err = client.Workspaces.ListAll(ctx)
	requireMissing(t, err)
}

func TestTags(t *testing.T) {
	client := newClient(t)
	tagged := service(0)
	tagged.Tags = kong.StringSlice("blue", "shop")
	created := requireCreated(t, services(client), tagged)
	_, all := call(t, client, "GET", "/tags", nil)
	require.Equal(t, []interface{}{
		map[string]interface{}{"entity_name": "services", "entity_id": *created.ID, "tag": "blue"},
		map[string]interface{}{"entity_name": "services", "entity_id": *created.ID, "tag": "shop"},
	}, all["data"])
	_, one := call(t, client, "GET", "/tags/shop", nil)
	require.Len(t, one["data"], 1)
	_, none := call(t, client, "GET", "/tags/green", nil)
	require.Empty(t, none["data"])
}

// schemaField returns what a schema says of a field; its fields are an array of one-key objects.
func schemaField(t *testing.T, schema map[string]interface{}, name string) map[string]interface{} {
	t.Helper()
	for _, field := range schema["fields"].([]interface{}) {
		if found, ok := field.(map[string]interface{})[name]; ok {
			return found.(map[string]interface{})
		}
	}
	require.Fail(t, "no such field", "%s in %v", name, schema)
	return nil
}
