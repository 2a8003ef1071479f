package gokong

import (
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/kong/go-kong/kong/custom"
	"github.com/stretchr/testify/require"
)

// Entities that go-kong has no types for are reached by templates of URLs; it brings some for
// credentials.
func TestCustomEntities(t *testing.T) {
	client := newClient(t)
	bob, _ := bobAndAnn(t, client)
	for kind, object := range map[custom.Type]custom.Object{
		"key-auth":   {"key": "bobs-key"},
		"basic-auth": {"username": "bob", "password": "open sesame"},
		"hmac-auth":  {"username": "bob"},
		"jwt":        {"key": "bob"},
		"acl":        {"group": "readers"},
	} {
		walkCustomEntity(t, client, kind, *bob, object)
	}
}

func TestCustomEntityOfOurOwn(t *testing.T) {
	client := newClient(t)
	owner := requireCreated(t, services(client), service(0))
	require.NoError(t, client.Register("service-route", &custom.EntityCRUDDefinition{
		Name: "service-route", CRUDPath: "/services/${service_id}/routes", PrimaryKey: "id",
	}))
	entity := custom.NewEntityObject("service-route")
	entity.AddRelation("service_id", *owner.ID)
	entity.SetObject(custom.Object{"name": "list", "paths": []string{"/orders"}})
	created, err := client.CustomEntities.Create(ctx, entity)
	require.NoError(t, err)
	require.Equal(t, map[string]interface{}{"id": *owner.ID}, created.Object()["service"])
	require.NoError(t, client.CustomEntities.Delete(ctx, created))
	requireMissing(t, client.CustomEntities.Delete(ctx, created))
}

func walkCustomEntity(t *testing.T, client *kong.Client, kind custom.Type, consumer string, object custom.Object) {
	t.Helper()
	named := func(object custom.Object) custom.Entity {
		entity := custom.NewEntityObject(kind)
		entity.AddRelation("consumer_id", consumer)
		entity.SetObject(object)
		return entity
	}
	created, err := client.CustomEntities.Create(ctx, named(object))
	require.NoError(t, err, kind)
	id := created.Object()["id"]
	found, err := client.CustomEntities.Get(ctx, named(custom.Object{"id": id}))
	require.NoError(t, err, kind)
	require.Equal(t, created.Object(), found.Object())

	change := custom.Object{"id": id, "tags": []interface{}{"blue"}}
	updated, err := client.CustomEntities.Update(ctx, named(change))
	require.NoError(t, err, kind)
	require.Equal(t, change["tags"], updated.Object()["tags"])

	all, err := client.CustomEntities.ListAll(ctx, named(nil))
	require.NoError(t, err, kind)
	require.Len(t, all, 1)
	require.Equal(t, id, all[0].Object()["id"])
	require.NoError(t, client.CustomEntities.Delete(ctx, named(custom.Object{"id": id})))

	object["id"] = *newID()
	put, err := client.CustomEntities.Create(ctx, named(object))
	require.NoError(t, err, kind)
	require.Equal(t, object["id"], put.Object()["id"])
}
