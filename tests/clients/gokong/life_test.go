package gokong

import (
	"context"
	"reflect"
	"sort"
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

// kind is what go-kong can do with one kind of entity.
type kind[E any] struct {
	create  func(context.Context, *E) (*E, error)
	get     func(context.Context, *string) (*E, error)
	update  func(context.Context, *E) (*E, error)
	remove  func(context.Context, *string) error
	list    func(context.Context, *kong.ListOpt) ([]*E, *kong.ListOpt, error)
	listAll func(context.Context) ([]*E, error)
}

// walkLife leads entities of a kind through everything that all kinds have in common.
//
// sample returns the n-th new entity, change alters one, key is the name that can stand for its id
// in a URL, or nil. None of the kind may be there before; none is there afterwards.
func walkLife[E any](t *testing.T, k kind[E], sample func(n int) *E, change func(*E), key func(*E) *string) {
	t.Helper()
	first := requireCreated(t, k, sample(0))
	if key != nil {
		require.Equal(t, first, requireFound(t, k, key(first)))
	}
	named := requirePut(t, k, sample(1))
	third := requireCreated(t, k, sample(2))
	requireUpdated(t, k, third, change)
	requireListed(t, k, first, named, third)
	requireFilteredByTags(t, k, sample)
	requireRemoved(t, k)
	requireMissingEverywhere(t, k, sample(0))
}

func requireCreated[E any](t *testing.T, k kind[E], entity *E) *E {
	t.Helper()
	created, err := k.create(ctx, entity)
	require.NoError(t, err)
	require.NotEmpty(t, id(created))
	require.False(t, reflect.ValueOf(created).Elem().FieldByName("CreatedAt").IsNil())
	require.Equal(t, created, requireFound(t, k, id(created)))
	return created
}

// requirePut creates an entity under an id of our own, and again, which replaces it.
func requirePut[E any](t *testing.T, k kind[E], entity *E) *E {
	t.Helper()
	*pointer[*string](entity, "ID") = newID()
	created := requireCreated(t, k, entity)
	require.Equal(t, id(entity), id(created))
	again := requireCreated(t, k, entity)
	require.Equal(t, id(created), id(again))
	return again
}

func requireFound[E any](t *testing.T, k kind[E], idOrKey *string) *E {
	t.Helper()
	found, err := k.get(ctx, idOrKey)
	require.NoError(t, err)
	return found
}

// requireUpdated sends back the whole entity as it was read, with a change, as Terraform does.
func requireUpdated[E any](t *testing.T, k kind[E], entity *E, change func(*E)) {
	t.Helper()
	wanted := requireFound(t, k, id(entity))
	change(wanted)
	updated, err := k.update(ctx, wanted)
	require.NoError(t, err)
	forgetTime(wanted, updated)
	require.Equal(t, wanted, updated)
	found := requireFound(t, k, id(entity))
	forgetTime(found)
	require.Equal(t, updated, found)
}

// requireListed says that these entities and no others are listed, on whatever pages.
func requireListed[E any](t *testing.T, k kind[E], entities ...*E) {
	t.Helper()
	wanted := ids(entities)
	sort.Strings(wanted)
	all, err := k.listAll(ctx)
	require.NoError(t, err)
	require.Equal(t, wanted, ids(all))
	for size := 1; size <= len(entities)+1; size++ {
		require.Equal(t, wanted, ids(walkPages(t, k, &kong.ListOpt{Size: size})))
	}
	_, _, err = k.list(ctx, &kong.ListOpt{Size: 1001})
	requireRefused(t, 400, "size must be an integer between 1 and 1000", err)
}

// walkPages follows the offsets from page to page; no page is larger than asked for.
func walkPages[E any](t *testing.T, k kind[E], options *kong.ListOpt) []*E {
	t.Helper()
	var all []*E
	for options != nil {
		size := options.Size
		page, next, err := k.list(ctx, options)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), size)
		all, options = append(all, page...), next
	}
	return all
}

func requireFilteredByTags[E any](t *testing.T, k kind[E], sample func(n int) *E) {
	t.Helper()
	tagged := func(n int, tags ...string) *E {
		entity := sample(n)
		*pointer[[]*string](entity, "Tags") = kong.StringSlice(tags...)
		created := requireCreated(t, k, entity)
		require.Equal(t, kong.StringSlice(tags...), *pointer[[]*string](created, "Tags"))
		return created
	}
	one, two, both := tagged(3, "blue"), tagged(4, "tëam 1"), tagged(5, "tëam 1", "blue")
	listed := func(matchAll bool, tags ...string) []string {
		filter := kong.ListOpt{Size: 1, Tags: kong.StringSlice(tags...), MatchAllTags: matchAll}
		return ids(walkPages(t, k, &filter))
	}
	require.ElementsMatch(t, ids([]*E{both}), listed(true, "blue", "tëam 1"))
	require.ElementsMatch(t, ids([]*E{one, two, both}), listed(false, "blue", "tëam 1"))
	require.ElementsMatch(t, ids([]*E{one, both}), listed(false, "blue"))
	require.Empty(t, listed(false, "green"))
}

// requireRemoved deletes all of the kind.
func requireRemoved[E any](t *testing.T, k kind[E]) {
	t.Helper()
	all, err := k.listAll(ctx)
	require.NoError(t, err)
	for _, entity := range all {
		require.NoError(t, k.remove(ctx, id(entity)))
		_, err := k.get(ctx, id(entity))
		requireMissing(t, err)
	}
	rest, err := k.listAll(ctx)
	require.NoError(t, err)
	require.Empty(t, rest)
}

func requireMissingEverywhere[E any](t *testing.T, k kind[E], entity *E) {
	t.Helper()
	*pointer[*string](entity, "ID") = newID()
	_, err := k.get(ctx, id(entity))
	requireMissing(t, err)
	_, err = k.update(ctx, entity)
	requireMissing(t, err)
}

// -- fields that all kinds have

func id[E any](entity *E) *string {
	return *pointer[*string](entity, "ID")
}

func ids[E any](entities []*E) []string {
	found := []string{}
	for _, entity := range entities {
		found = append(found, *id(entity))
	}
	return found
}

func forgetTime[E any](entities ...*E) {
	for _, entity := range entities {
		if updated := reflect.ValueOf(entity).Elem().FieldByName("UpdatedAt"); updated.IsValid() {
			updated.Set(reflect.Zero(updated.Type()))
		}
	}
}

func pointer[T, E any](entity *E, field string) *T {
	return reflect.ValueOf(entity).Elem().FieldByName(field).Addr().Interface().(*T)
}
