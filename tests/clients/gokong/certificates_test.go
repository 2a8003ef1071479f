package gokong

import (
	"fmt"
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

func certificates(client *kong.Client) kind[kong.Certificate] {
	c := client.Certificates
	return kind[kong.Certificate]{c.Create, c.Get, c.Update, c.Delete, c.List, c.ListAll}
}

func snis(client *kong.Client) kind[kong.SNI] {
	s := client.SNIs
	return kind[kong.SNI]{s.Create, s.Get, s.Update, s.Delete, s.List, s.ListAll}
}

func caCertificates(client *kong.Client) kind[kong.CACertificate] {
	c := client.CACertificates
	return kind[kong.CACertificate]{c.Create, c.Get, c.Update, c.Delete, c.List, c.ListAll}
}

func TestCertificates(t *testing.T) {
	sample := func(n int) *kong.Certificate { return newCertificate(fmt.Sprintf("%d.example", n)) }
	change := func(c *kong.Certificate) {
		other := newCertificate()
		c.Cert, c.Key, c.SNIs = other.Cert, other.Key, kong.StringSlice("*.a.example", "b.example")
	}
	key := func(c *kong.Certificate) *string { return c.SNIs[0] }
	walkLife(t, certificates(newClient(t)), sample, change, key)
}

func TestCertificateNames(t *testing.T) {
	client := newClient(t)
	created := requireCreated(t, certificates(client), newCertificate("b.example", "a.example"))
	require.Equal(t, kong.StringSlice("a.example", "b.example"), created.SNIs)

	// Terraform leaves the names out of its update; they stay.
	other := newCertificate()
	update := &kong.Certificate{ID: created.ID, Cert: other.Cert, Key: other.Key}
	updated, err := client.Certificates.Update(ctx, update)
	require.NoError(t, err)
	require.Equal(t, created.SNIs, updated.SNIs)

	// PUT without names removes them.
	replaced := requireCreated(t, certificates(client), update)
	require.Empty(t, replaced.SNIs)
	left, err := client.SNIs.ListAll(ctx)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestCertificateRefusals(t *testing.T) {
	client := newClient(t)
	create := func(c *kong.Certificate) error { _, err := client.Certificates.Create(ctx, c); return err }

	requireRefused(t, 400, "2 schema violations (cert: required field missing; key: required field missing)",
		create(&kong.Certificate{}))
	mismatched := newCertificate()
	mismatched.Key = newCertificate().Key
	requireRefused(t, 400, "schema violation (certificate does not match key)", create(mismatched))
	requireRefused(t, 400, "schema violation (snis: a.example is duplicated)",
		create(newCertificate("a.example", "a.example")))

	first := requireCreated(t, certificates(client), newCertificate("a.example"))
	requireRefused(t, 400, fmt.Sprintf(
		"schema violation (snis: a.example already associated with existing certificate '%s')", *first.ID),
		create(newCertificate("a.example")))
}

func TestSNIs(t *testing.T) {
	client := newClient(t)
	owner := requireCreated(t, certificates(client), newCertificate())
	other := requireCreated(t, certificates(client), newCertificate())
	sample := func(n int) *kong.SNI {
		return &kong.SNI{
			Name:        kong.String(fmt.Sprintf("%d.example", n)),
			Certificate: &kong.Certificate{ID: owner.ID},
		}
	}
	change := func(s *kong.SNI) { s.Certificate = &kong.Certificate{ID: other.ID} }
	key := func(s *kong.SNI) *string { return s.Name }
	walkLife(t, snis(client), sample, change, key)

	mine := requireCreated(t, snis(client), sample(0))
	listed, next, err := client.SNIs.ListForCertificate(ctx, owner.ID, nil)
	require.NoError(t, err)
	require.Nil(t, next)
	require.Equal(t, []*kong.SNI{mine}, listed)
	_, err = client.SNIs.Create(ctx, sample(0))
	requireRefused(t, 409, `UNIQUE violation detected on '{name="0.example"}'`, err)
	_, err = client.SNIs.Create(ctx, &kong.SNI{Name: kong.String("a.example")})
	requireRefused(t, 400, "schema violation (certificate: required field missing)", err)

	require.NoError(t, client.Certificates.Delete(ctx, owner.ID))
	_, err = client.SNIs.Get(ctx, mine.Name)
	requireMissing(t, err)
}

func TestCACertificates(t *testing.T) {
	client := newClient(t)
	change := func(c *kong.CACertificate) { c.Cert = newCACertificate(0).Cert }
	walkLife(t, caCertificates(client), newCACertificate, change, nil)

	first := requireCreated(t, caCertificates(client), newCACertificate(0))
	_, err := client.CACertificates.Create(ctx, &kong.CACertificate{Cert: first.Cert})
	require.Equal(t, 409, err.(*kong.APIError).Code())
	_, err = client.CACertificates.Create(ctx, &kong.CACertificate{Cert: newCertificate().Cert})
	requireRefused(t, 400, "schema violation (certificate does not appear to be a CA because it is "+
		`missing the "CA" basic constraint)`, err)
	_, err = client.CACertificates.Get(ctx, kong.String("no-id"))
	requireRefused(t, 400, `invalid primary key: '{id="no-id"}'`, err)
}
