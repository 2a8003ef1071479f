package gokong

import (
	"fmt"
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

func upstreams(client *kong.Client) kind[kong.Upstream] {
	u := client.Upstreams
	return kind[kong.Upstream]{u.Create, u.Get, u.Update, u.Delete, u.List, u.ListAll}
}

func upstream(n int) *kong.Upstream {
	return &kong.Upstream{Name: kong.String(fmt.Sprintf("orders-pool-%d", n))}
}

func TestUpstreams(t *testing.T) {
	change := func(u *kong.Upstream) {
		u.Slots, u.HostHeader = kong.Int(100), kong.String("orders.internal:8080")
		u.Healthchecks.Active.Healthy.Interval = kong.Int(5)
		u.Healthchecks.Passive.Unhealthy.HTTPStatuses = []int{503, 500}
	}
	key := func(u *kong.Upstream) *string { return u.Name }
	walkLife(t, upstreams(newClient(t)), upstream, change, key)
}

func TestUpstreamDefaults(t *testing.T) {
	created := requireCreated(t, upstreams(newClient(t)), upstream(0))
	require.Equal(t, "round-robin", *created.Algorithm)
	require.Equal(t, 10000, *created.Slots)
	require.Equal(t, "none", *created.HashOn)
	require.Equal(t, "/", *created.HashOnCookiePath)
	threshold := float64(0)
	require.Equal(t, &kong.Healthcheck{
		Active: &kong.ActiveHealthcheck{
			Type:                   kong.String("http"),
			Timeout:                kong.Int(1),
			Concurrency:            kong.Int(10),
			HTTPPath:               kong.String("/"),
			HTTPSVerifyCertificate: kong.Bool(true),
			Healthy: &kong.Healthy{
				Interval: kong.Int(0), Successes: kong.Int(0), HTTPStatuses: []int{200, 302},
			},
			Unhealthy: &kong.Unhealthy{
				Interval: kong.Int(0), HTTPFailures: kong.Int(0), TCPFailures: kong.Int(0),
				Timeouts: kong.Int(0), HTTPStatuses: []int{429, 404, 500, 501, 502, 503, 504, 505},
			},
		},
		Passive: &kong.PassiveHealthcheck{
			Type: kong.String("http"),
			Healthy: &kong.Healthy{Successes: kong.Int(0), HTTPStatuses: []int{
				200, 201, 202, 203, 204, 205, 206, 207, 208, 226,
				300, 301, 302, 303, 304, 305, 306, 307, 308,
			}},
			Unhealthy: &kong.Unhealthy{
				HTTPFailures: kong.Int(0), TCPFailures: kong.Int(0), Timeouts: kong.Int(0),
				HTTPStatuses: []int{429, 500, 503},
			},
		},
		Threshold: &threshold,
	}, created.Healthchecks)
}

func TestUpstreamHealthchecksAreMerged(t *testing.T) {
	client := newClient(t)
	created := requireCreated(t, upstreams(client), upstream(0))
	some := &kong.Healthcheck{Active: &kong.ActiveHealthcheck{HTTPPath: kong.String("/ping")}}
	updated, err := client.Upstreams.Update(ctx, &kong.Upstream{ID: created.ID, Healthchecks: some})
	require.NoError(t, err)
	created.Healthchecks.Active.HTTPPath = kong.String("/ping")
	require.Equal(t, created.Healthchecks, updated.Healthchecks)
}

func TestUpstreamAlgorithmFollowsHashOn(t *testing.T) {
	client := newClient(t)
	hashing := upstream(0)
	hashing.HashOn, hashing.HashOnHeader = kong.String("header"), kong.String("x-user")
	created := requireCreated(t, upstreams(client), hashing)
	require.Equal(t, "consistent-hashing", *created.Algorithm)
	least := &kong.Upstream{ID: created.ID, Algorithm: kong.String("least-connections")}
	updated, err := client.Upstreams.Update(ctx, least)
	require.NoError(t, err)
	require.Equal(t, "none", *updated.HashOn)
}

func TestUpstreamRefusals(t *testing.T) {
	client := newClient(t)
	create := func(u *kong.Upstream) error { _, err := client.Upstreams.Create(ctx, u); return err }

	requireRefused(t, 400, "schema violation (name: required field missing)", create(&kong.Upstream{}))
	requireRefused(t, 400, "schema violation (name: Invalid name ('1.2.3.4'); no ip addresses allowed)",
		create(&kong.Upstream{Name: kong.String("1.2.3.4")}))
	requireRefused(t, 400, "2 schema violations (failed conditional validation given value of "+
		"field 'hash_on'; hash_on_header: required field missing)",
		create(&kong.Upstream{Name: kong.String("pool"), HashOn: kong.String("header")}))

	requireCreated(t, upstreams(client), upstream(0))
	requireRefused(t, 409, `UNIQUE violation detected on '{name="orders-pool-0"}'`, create(upstream(0)))
}
