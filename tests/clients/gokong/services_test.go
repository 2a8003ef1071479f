package gokong

import (
	"fmt"
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

func services(client *kong.Client) kind[kong.Service] {
	s := client.Services
	return kind[kong.Service]{s.Create, s.Get, s.Update, s.Delete, s.List, s.ListAll}
}

func service(n int) *kong.Service {
	return &kong.Service{
		Name: kong.String(fmt.Sprintf("orders-%d", n)),
		Host: kong.String("orders.internal"),
	}
}

func TestServices(t *testing.T) {
	change := func(s *kong.Service) { s.Path, s.Retries = kong.String("/v2"), kong.Int(2) }
	key := func(s *kong.Service) *string { return s.Name }
	walkLife(t, services(newClient(t)), service, change, key)
}

func TestServiceDefaults(t *testing.T) {
	created := requireCreated(t, services(newClient(t)), &kong.Service{Host: kong.String("h")})
	require.Equal(t, &kong.Service{
		ID:             created.ID,
		Host:           kong.String("h"),
		Protocol:       kong.String("http"),
		Port:           kong.Int(80),
		Retries:        kong.Int(5),
		ConnectTimeout: kong.Int(60000),
		WriteTimeout:   kong.Int(60000),
		ReadTimeout:    kong.Int(60000),
		CreatedAt:      created.CreatedAt,
		UpdatedAt:      created.UpdatedAt,
	}, created)
}

func TestServicePutReplacesTheWhole(t *testing.T) {
	client := newClient(t)
	full := service(0)
	full.ID, full.Path, full.Retries = newID(), kong.String("/v1"), kong.Int(1)
	requireCreated(t, services(client), full)

	short := service(0)
	short.ID, short.CreatedAt = full.ID, kong.Int(1718000000)
	replaced := requireCreated(t, services(client), short)
	require.Nil(t, replaced.Path)
	require.Equal(t, 5, *replaced.Retries)
	require.Equal(t, 1718000000, *replaced.CreatedAt)
}

func TestServiceRefusals(t *testing.T) {
	client := newClient(t)
	create := func(s *kong.Service) error { _, err := client.Services.Create(ctx, s); return err }

	requireRefused(t, 400, "schema violation (host: required field missing)", create(&kong.Service{}))
	requireRefused(t, 400,
		"2 schema violations (port: value should be between 0 and 65535; "+
			"retries: value should be between 0 and 32767)",
		create(&kong.Service{Host: kong.String("h"), Port: kong.Int(70000), Retries: kong.Int(-1)}))

	first := requireCreated(t, services(client), service(0))
	requireRefused(t, 409, `UNIQUE violation detected on '{name="orders-0"}'`, create(service(0)))
	taken := service(0)
	taken.ID = newID()
	requireRefused(t, 409, `UNIQUE violation detected on '{name="orders-0"}'`, create(taken))

	route := &kong.Route{Paths: kong.StringSlice("/orders"), Service: first}
	_, err := client.Routes.Create(ctx, route)
	require.NoError(t, err)
	requireRefused(t, 400, "an existing 'routes' entity references this 'services' entity",
		client.Services.Delete(ctx, first.ID))

	other := service(1)
	other.ID = newID()
	_, err = client.Services.Update(ctx, other)
	requireRefused(t, 404,
		fmt.Sprintf(`could not find the entity with primary key '{id="%s"}'`, *other.ID), err)
	require.NoError(t, client.Services.Delete(ctx, other.ID), "what is not there counts as deleted")
}

func TestServiceOfARoute(t *testing.T) {
	client := newClient(t)
	owner := requireCreated(t, services(client), service(0))
	route, err := client.Routes.CreateInService(ctx, owner.ID,
		&kong.Route{Name: kong.String("list"), Paths: kong.StringSlice("/orders")})
	require.NoError(t, err)
	found, err := client.Services.GetForRoute(ctx, route.Name)
	require.NoError(t, err)
	require.Equal(t, owner, found)
}

func TestServiceWithTLS(t *testing.T) {
	client := newClient(t)
	certificate := requireCreated(t, certificates(client), newCertificate("client.internal"))
	ca := requireCreated(t, caCertificates(client), newCACertificate(0))
	secure := service(0)
	secure.Protocol, secure.Port = kong.String("https"), kong.Int(443)
	secure.ClientCertificate = &kong.Certificate{ID: certificate.ID}
	secure.TLSVerify, secure.TLSVerifyDepth = kong.Bool(true), kong.Int(2)
	secure.CACertificates = []*string{ca.ID}
	created := requireCreated(t, services(client), secure)
	require.Equal(t, secure.ClientCertificate, created.ClientCertificate)
	require.Equal(t, secure.CACertificates, created.CACertificates)
	require.True(t, *created.TLSVerify)

	requireRefused(t, 400, "an existing 'services' entity references this 'certificates' entity",
		client.Certificates.Delete(ctx, certificate.ID))
	requireRefused(t, 400, fmt.Sprintf("ca certificate %s is still referenced by services (id = %s)",
		*ca.ID, *created.ID), client.CACertificates.Delete(ctx, ca.ID))
}
