package gokong

import (
	"fmt"
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

// target returns a new target; targets exist only below their upstream, so they have a walk of
// their own.
func target(n int) *kong.Target {
	return &kong.Target{Target: kong.String(fmt.Sprintf("10.0.0.%d:9000", n))}
}

func TestTargets(t *testing.T) {
	client := newClient(t)
	pool := requireCreated(t, upstreams(client), upstream(0))
	var wanted []*kong.Target
	for n := 0; n < 5; n++ {
		created, err := client.Targets.Create(ctx, pool.Name, target(n))
		require.NoError(t, err)
		require.Equal(t, 100, *created.Weight)
		require.Equal(t, &kong.Upstream{ID: pool.ID}, created.Upstream)
		wanted = append([]*kong.Target{created}, wanted...)
	}

	all, err := client.Targets.ListAll(ctx, pool.ID)
	require.NoError(t, err)
	require.Equal(t, wanted, all, "the newest comes first")
	for size := 1; size <= 6; size++ {
		var paged []*kong.Target
		for options := (&kong.ListOpt{Size: size}); options != nil; {
			page, next, err := client.Targets.List(ctx, pool.Name, options)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page), size)
			paged, options = append(paged, page...), next
		}
		require.Equal(t, wanted, paged)
	}

	require.NoError(t, client.Targets.Delete(ctx, pool.ID, wanted[0].ID))
	require.NoError(t, client.Targets.Delete(ctx, pool.Name, wanted[1].Target))
	requireMissing(t, client.Targets.Delete(ctx, pool.Name, wanted[1].Target))
	left, err := client.Targets.ListAll(ctx, pool.ID)
	require.NoError(t, err)
	require.Equal(t, wanted[2:], left)

	require.NoError(t, client.Upstreams.Delete(ctx, pool.ID))
	_, err = client.Targets.ListAll(ctx, pool.ID)
	requireMissing(t, err)
}

func TestTargetGetsADefaultPortAndKeepsItsID(t *testing.T) {
	client := newClient(t)
	pool := requireCreated(t, upstreams(client), upstream(0))
	mine := &kong.Target{
		ID: newID(), Target: kong.String("orders.internal"), Weight: kong.Int(0),
		Tags: kong.StringSlice("blue"), Upstream: pool,
	}
	created, err := client.Targets.Create(ctx, pool.ID, mine)
	require.NoError(t, err)
	require.Equal(t, &kong.Target{
		ID: mine.ID, Target: kong.String("orders.internal:8000"), Weight: kong.Int(0),
		Tags: mine.Tags, Upstream: &kong.Upstream{ID: pool.ID}, CreatedAt: created.CreatedAt,
	}, created)
}

func TestTargetRefusals(t *testing.T) {
	client := newClient(t)
	pool := requireCreated(t, upstreams(client), upstream(0))
	create := func(upstream *string, target *kong.Target) error {
		_, err := client.Targets.Create(ctx, upstream, target)
		return err
	}
	requireMissing(t, create(kong.String("nobody"), target(0)))
	requireRefused(t, 400, "schema violation (target: Invalid target; not a valid hostname or ip address)",
		create(pool.ID, &kong.Target{Target: kong.String("no host")}))
	requireRefused(t, 400, "schema violation (weight: value should be between 0 and 65535)",
		create(pool.ID, &kong.Target{Target: kong.String("h"), Weight: kong.Int(65536)}))

	require.NoError(t, create(pool.ID, target(0)))
	requireRefused(t, 409,
		fmt.Sprintf(`UNIQUE violation detected on '{target="10.0.0.0:9000",upstream={id="%s"}}'`, *pool.ID),
		create(pool.ID, target(0)))
}

func TestTargetsAreMarked(t *testing.T) {
	client := newClient(t)
	checked := upstream(0)
	checked.Healthchecks = &kong.Healthcheck{Passive: &kong.PassiveHealthcheck{
		Unhealthy: &kong.Unhealthy{HTTPFailures: kong.Int(3)},
	}}
	pool := requireCreated(t, upstreams(client), checked)
	made, err := client.Targets.Create(ctx, pool.ID, target(0))
	require.NoError(t, err)
	require.NoError(t, client.Targets.MarkUnhealthy(ctx, pool.ID, made))
	require.NoError(t, client.Targets.MarkHealthy(ctx, pool.Name, made))
	requireMissing(t, client.Targets.MarkHealthy(ctx, kong.String("nobody"), made))
	requireMissing(t, client.Targets.MarkUnhealthy(ctx, pool.ID, target(1)))

	other := requireCreated(t, upstreams(client), upstream(1))
	made, err = client.Targets.Create(ctx, other.ID, target(0))
	require.NoError(t, err)
	requireRefused(t, 400, "no healthchecker found for "+*other.Name,
		client.Targets.MarkHealthy(ctx, other.ID, made))
}
