package gokong

import (
	"fmt"
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

func routes(client *kong.Client) kind[kong.Route] {
	r := client.Routes
	return kind[kong.Route]{r.Create, r.Get, r.Update, r.Delete, r.List, r.ListAll}
}

func route(n int) *kong.Route {
	return &kong.Route{
		Name:  kong.String(fmt.Sprintf("list-%d", n)),
		Paths: kong.StringSlice(fmt.Sprintf("/orders/%d", n), `~/orders/\d+$`),
	}
}

func TestRoutes(t *testing.T) {
	change := func(r *kong.Route) {
		r.Methods, r.StripPath = kong.StringSlice("PUT", "GET"), kong.Bool(false)
		r.Hosts = kong.StringSlice("*.example.com", "example.com:8080")
		r.Headers = map[string][]string{"x-tier": {"gold", "silver"}}
	}
	key := func(r *kong.Route) *string { return r.Name }
	walkLife(t, routes(newClient(t)), route, change, key)
}

func TestRouteDefaults(t *testing.T) {
	created := requireCreated(t, routes(newClient(t)), &kong.Route{Paths: kong.StringSlice("/")})
	require.Equal(t, &kong.Route{
		ID:                      created.ID,
		Paths:                   kong.StringSlice("/"),
		Protocols:               kong.StringSlice("http", "https"),
		PathHandling:            kong.String("v0"),
		RegexPriority:           kong.Int(0),
		StripPath:               kong.Bool(true),
		PreserveHost:            kong.Bool(false),
		RequestBuffering:        kong.Bool(true),
		ResponseBuffering:       kong.Bool(true),
		HTTPSRedirectStatusCode: kong.Int(426),
		CreatedAt:               created.CreatedAt,
		UpdatedAt:               created.UpdatedAt,
	}, created)
}

func TestRoutesOfAService(t *testing.T) {
	client := newClient(t)
	owner := requireCreated(t, services(client), service(0))
	other := requireCreated(t, services(client), service(1))
	var wanted []*kong.Route
	for n := 0; n < 3; n++ {
		created, err := client.Routes.CreateInService(ctx, owner.ID, route(n))
		require.NoError(t, err)
		require.Equal(t, &kong.Service{ID: owner.ID}, created.Service)
		wanted = append(wanted, created)
	}
	elsewhere := route(3)
	elsewhere.Service = &kong.Service{Name: other.Name}
	require.Equal(t, &kong.Service{ID: other.ID}, requireCreated(t, routes(client), elsewhere).Service)

	var listed []*kong.Route
	for options := (&kong.ListOpt{Size: 1}); options != nil; {
		page, next, err := client.Routes.ListForService(ctx, owner.Name, options)
		require.NoError(t, err)
		listed, options = append(listed, page...), next
	}
	require.ElementsMatch(t, ids(wanted), ids(listed))

	_, _, err := client.Routes.ListForService(ctx, kong.String("nobody"), nil)
	requireMissing(t, err)
}

func TestRouteMovesToAnotherService(t *testing.T) {
	client := newClient(t)
	owner := requireCreated(t, services(client), service(0))
	other := requireCreated(t, services(client), service(1))
	mine := route(0)
	mine.Service = owner // go-kong's users often send the whole entity; its id counts
	created := requireCreated(t, routes(client), mine)
	require.Equal(t, &kong.Service{ID: owner.ID}, created.Service)
	moved, err := client.Routes.Update(ctx, &kong.Route{ID: created.ID, Service: other})
	require.NoError(t, err)
	require.Equal(t, &kong.Service{ID: other.ID}, moved.Service)
	require.Equal(t, created.Paths, moved.Paths)
}

func TestRoutesOfOtherProtocols(t *testing.T) {
	client := newClient(t)
	stream := requireCreated(t, routes(client), &kong.Route{
		Protocols:    kong.StringSlice("tls", "tcp"),
		SNIs:         kong.StringSlice("a.example", "*.b.example"),
		Sources:      []*kong.CIDRPort{{IP: kong.String("10.0.0.0/8"), Port: kong.Int(1234)}},
		Destinations: []*kong.CIDRPort{{Port: kong.Int(9000)}},
	})
	require.Equal(t, "10.0.0.0/8", *stream.Sources[0].IP)
	require.Nil(t, stream.Destinations[0].IP)

	rpc := requireCreated(t, routes(client), &kong.Route{
		Protocols: kong.StringSlice("grpc", "grpcs"),
		Paths:     kong.StringSlice("/orders.Orders"),
	})
	require.False(t, *rpc.StripPath)
}

func TestRouteRefusals(t *testing.T) {
	client := newClient(t)
	create := func(r *kong.Route) error { _, err := client.Routes.Create(ctx, r); return err }

	requireRefused(t, 400, "schema violation (must set one of 'methods', 'hosts', 'headers', "+
		"'paths', 'snis' when 'protocols' is 'https')", create(&kong.Route{}))
	requireRefused(t, 400, "schema violation (paths.2: should start with: / (fixed path) or ~/ (regex path))",
		create(&kong.Route{Paths: kong.StringSlice("/fine", "bad")}))
	requireRefused(t, 400, "schema violation (protocols: these sets are mutually exclusive: "+
		"('http', 'https'), ('tcp', 'tls', 'udp'))",
		create(&kong.Route{Protocols: kong.StringSlice("http", "tcp"), Paths: kong.StringSlice("/")}))

	missing := route(0)
	missing.Service = &kong.Service{ID: newID()}
	requireRefused(t, 400, fmt.Sprintf(
		`the foreign key '{id="%s"}' does not reference an existing 'services' entity.`,
		*missing.Service.ID), create(missing))
	missing.Service = &kong.Service{Name: kong.String("nope")}
	requireRefused(t, 400, "foreign key unresolved (service.name: the foreign key cannot be resolved "+
		`with '{name="nope"}' for an existing 'services' entity)`, create(missing))

	requireCreated(t, routes(client), route(0))
	requireRefused(t, 409, `UNIQUE violation detected on '{name="list-0"}'`, create(route(0)))
}
