"""Apply: from rows to the next snapshot, whole or by changes, with bad rows left out and named."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.entities import Row
from gateway.snapshot import Snapshot, SnapshotApplier
from gateway.snapshot.builder import SnapshotBuilder
from gateway.store.source import Batch

from .rows import change_load, full_load, route, service, target, upstream

Tables = dict[str, list[Row]]


class Applied:
    """An applier, and the snapshots it made current."""

    def __init__(self) -> None:
        self.used: list[Snapshot] = []
        self.applier = SnapshotApplier(self.used.append)

    @property
    def current(self) -> Snapshot:
        return self.applier.current

    async def full(self, tables: Tables, version: int = 1) -> None:
        await self.applier.apply(full_load(tables, version))

    async def change(
        self, tables: Tables, deleted: dict[str, list[UUID]] | None = None, version: int = 2
    ) -> None:
        await self.applier.apply(change_load(tables, deleted, version))

    def goes_to(self, path: str) -> str | None:
        """The target of a request to ``path``, None without a route, "" without a service."""
        candidates = self.current.router.candidates(False, b"GET", b"a.test", path.encode())
        if not candidates:
            return None
        chosen = self.current.service_of(candidates[0].payload)
        if chosen is None:
            return ""
        upstream = self.current.upstream_of(chosen)
        targets = [chosen.direct] if upstream is None else upstream.targets.values()
        names = [f"{target.host}:{target.port}" for target in targets if target.weight]
        return names[0] if names else "nowhere"

    def bad(self) -> dict[str, str]:
        return {bad.id: bad.reason for bad in self.applier.bad_entities()}


@pytest.fixture
def applied() -> Applied:
    return Applied()


ONE = service(name="one", host="one.test")
TWO = service(name="two", host="two.test")
TO_ONE = route(ONE, paths=["/one"])
POOL = upstream("pool")
OTHER_POOL = upstream("other-pool")
VIA_POOL = service(name="via-pool", host="pool")
TO_POOL = route(VIA_POOL, paths=["/pool"])
FIRST = target(POOL, "first.test:1")
BASE: Tables = {
    "services": [ONE, TWO, VIA_POOL],
    "routes": [TO_ONE, TO_POOL],
    "upstreams": [POOL, OTHER_POOL],
    "targets": [FIRST],
}


async def test_a_full_load_becomes_the_current_snapshot(applied: Applied):
    await applied.full(BASE, version=7)
    assert applied.used == [applied.current]
    assert applied.current.mark is not None
    assert applied.current.mark.version == 7
    assert applied.goes_to("/one/a") == "one.test:80"
    assert applied.goes_to("/pool") == "first.test:1"
    assert applied.goes_to("/elsewhere") is None


async def test_a_full_load_drops_what_it_does_not_hold(applied: Applied):
    await applied.full(BASE)
    await applied.full({"services": [TWO], "routes": []})
    assert applied.goes_to("/one") is None
    assert list(applied.current.services) == [TWO["id"]]
    assert len(applied.current.upstreams) == len(applied.current.target_owners) == 0


async def test_a_change_touches_nothing_else(applied: Applied):
    await applied.full(BASE)
    before = applied.current
    await applied.change({"services": [ONE | {"host": "moved.test"}]})
    assert applied.goes_to("/one") == "moved.test:80"
    assert applied.current.services[TWO["id"]] is before.services[TWO["id"]]
    assert applied.current.router is before.router
    assert applied.current.upstreams is before.upstreams
    assert before.services[ONE["id"]].host == "one.test"


async def test_routes_are_changed_moved_and_deleted(applied: Applied):
    await applied.full(BASE)
    await applied.change({"routes": [TO_ONE | {"paths": ["/uno"], "service_id": TWO["id"]}]})
    assert (applied.goes_to("/one"), applied.goes_to("/uno")) == (None, "two.test:80")
    await applied.change({}, {"routes": [TO_ONE["id"]]})
    assert applied.goes_to("/uno") is None


async def test_a_route_whose_service_is_gone_has_no_service(applied: Applied):
    await applied.full(BASE)
    await applied.change({}, {"services": [ONE["id"]]})
    assert applied.goes_to("/one") == ""


async def test_targets_are_added_changed_and_deleted(applied: Applied):
    await applied.full(BASE)
    second = target(POOL, "second.test:2")
    await applied.change({"targets": [second, FIRST | {"weight": 0}]})
    assert applied.goes_to("/pool") == "second.test:2"
    await applied.change({}, {"targets": [second["id"]]})
    assert applied.goes_to("/pool") == "nowhere"
    await applied.change({"targets": [FIRST]})
    assert applied.goes_to("/pool") == "first.test:1"


async def test_a_target_may_change_its_upstream(applied: Applied):
    await applied.full(BASE)
    await applied.change({"targets": [FIRST | {"upstream_id": OTHER_POOL["id"]}]})
    assert applied.goes_to("/pool") == "nowhere"
    await applied.change({"services": [VIA_POOL | {"host": "other-pool"}]})
    assert applied.goes_to("/pool") == "first.test:1"
    await applied.change({}, {"targets": [FIRST["id"]]})
    assert applied.goes_to("/pool") == "nowhere"


async def test_an_upstream_keeps_its_targets_over_its_own_changes(applied: Applied):
    await applied.full(BASE)
    await applied.change({"upstreams": [POOL | {"name": "renamed", "host_header": "h.test"}]})
    assert applied.goes_to("/pool") == "pool:80"  # the name is free again: a host like any other
    await applied.change({"services": [VIA_POOL | {"host": "renamed"}]})
    assert applied.goes_to("/pool") == "first.test:1"


async def test_two_upstreams_may_swap_their_names(applied: Applied):
    await applied.full(BASE)
    second = target(OTHER_POOL, "second.test:2")
    await applied.change({"targets": [second]})
    await applied.change(
        {"upstreams": [POOL | {"name": "other-pool"}, OTHER_POOL | {"name": "pool"}]}
    )
    assert applied.goes_to("/pool") == "second.test:2"
    await applied.change({"upstreams": [OTHER_POOL, POOL]})
    assert applied.goes_to("/pool") == "first.test:1"


async def test_an_upstream_that_comes_back_under_its_id_has_only_its_new_targets(applied: Applied):
    await applied.full(BASE)
    await applied.change({}, {"upstreams": [POOL["id"]], "targets": [FIRST["id"]]})
    assert applied.goes_to("/pool") == "pool:80"
    await applied.change({"upstreams": [POOL]})
    assert applied.goes_to("/pool") == "nowhere"


SPARING_POOL = {"services", "routes"}
BAD_ROWS: dict[str, tuple[str, Row, str]] = {
    "service": ("services", ONE | {"protocol": "gopher"}, "gopher"),
    "service port": ("services", ONE | {"port": 99_999}, "99999"),
    "route regex": ("routes", TO_ONE | {"paths": ["~("]}, "path '~\\('"),
    "route protocols": ("routes", TO_ONE | {"protocols": ["udp"]}, "udp"),
    "route of nothing": ("routes", TO_ONE | {"paths": None}, "none of hosts"),
    "route of another type": ("routes", TO_ONE | {"headers": [1]}, "headers"),
    "upstream": ("upstreams", POOL | {"host_header": "a b"}, "a b"),
    "target": ("targets", FIRST | {"target": "nonsense"}, "nonsense"),
    "target weight": ("targets", FIRST | {"weight": -1}, "-1"),
}


@pytest.mark.parametrize(("table", "row", "reason"), BAD_ROWS.values(), ids=BAD_ROWS)
@pytest.mark.parametrize("how", ["full", "change"])
async def test_a_bad_row_is_left_out_and_named_until_it_is_cured(
    applied: Applied, table: str, row: Row, reason: str, how: str
):
    good = next(known for known in BASE[table] if known["id"] == row["id"])
    spoilt = {**BASE, table: [row if known is good else known for known in BASE[table]]}
    if how == "full":
        await applied.full(spoilt)
    else:
        await applied.full(BASE)
        await applied.change({table: [row]})
    (bad,) = applied.applier.bad_entities()
    assert (bad.kind, bad.id) == (table, str(row["id"]))
    assert re.search(reason, bad.reason)
    spared = ("/pool", "first.test:1") if table in SPARING_POOL else ("/one", "one.test:80")
    assert applied.goes_to(spared[0]) == spared[1]

    await applied.change({table: [good]}, version=3)
    assert applied.bad() == {}
    assert applied.goes_to("/one") == "one.test:80"
    assert applied.goes_to("/pool") == "first.test:1"


async def test_a_bad_row_that_is_deleted_is_named_no_more(applied: Applied):
    await applied.full({**BASE, "services": [ONE | {"protocol": "gopher"}, TWO, VIA_POOL]})
    assert list(applied.bad()) == [str(ONE["id"])]
    assert applied.goes_to("/one") == ""
    await applied.change({}, {"services": [ONE["id"]], "routes": [TO_ONE["id"]]})
    assert applied.bad() == {}


async def test_a_load_that_fails_leaves_the_snapshot_before(applied: Applied):
    await applied.full(BASE)
    before = applied.current

    async def breaking() -> AsyncIterator[Batch]:
        yield Batch("services", [ONE | {"host": "moved.test"}], [])
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await applied.applier.apply(replace(change_load({}), batches=breaking()))
    assert applied.current is before
    assert applied.used == [before]
    assert applied.goes_to("/one") == "one.test:80"
    await applied.change({"services": [ONE | {"host": "later.test"}]})
    assert applied.goes_to("/one") == "later.test:80"


async def test_other_work_goes_on_during_a_large_load(applied: Applied):
    """The loop has its turn many times while five thousand routes are compiled."""
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    services = [service(name=f"s{n}") for n in range(3)]
    template = route(services[0], paths=["/x"])
    routes = [template | {"id": uuid4(), "paths": [f"/r/{n}"]} for n in range(5000)]
    working = asyncio.create_task(other_work())
    await applied.full({"services": services, "routes": routes})
    working.cancel()
    assert turns > 20
    assert applied.goes_to("/r/4999/x") == "127.0.0.1:80"


async def test_a_load_is_taken_in_small_pieces(applied: Applied, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    add = SnapshotBuilder.add

    def watched(builder: SnapshotBuilder, piece: Batch) -> None:
        sizes.append(len(piece.rows))
        add(builder, piece)

    monkeypatch.setattr(SnapshotBuilder, "add", watched)
    template = route(ONE, paths=["/x"])
    routes = [template | {"id": uuid4(), "paths": [f"/r/{n}"]} for n in range(95)]
    await applied.full({"services": [ONE], "routes": routes})
    assert sizes == [1, *[10] * 9, 5]


# -- by changes or whole, the result is the same

IDS = [UUID(int=n) for n in range(1, 4)]
SERVICES = [service() | {"id": id_} for id_ in IDS]
ROUTES = [route(SERVICES[0], paths=["/x"]) | {"id": id_} for id_ in IDS]
UPSTREAMS = [upstream("x") | {"id": id_} for id_ in IDS]
TARGETS = [target(UPSTREAMS[0], "x.test:1") | {"id": id_} for id_ in IDS]

index = st.integers(0, 2)
CHANGES: dict[str, st.SearchStrategy[Row]] = {
    "services": st.builds(
        lambda at, host, protocol: SERVICES[at] | {"host": host, "protocol": protocol},
        index,
        st.sampled_from(["u0", "u1", "plain.test"]),
        st.sampled_from(["http", "http", "gopher"]),
    ),
    "routes": st.builds(
        lambda at, path, of: ROUTES[at] | {"paths": [path], "service_id": IDS[of]},
        index,
        st.sampled_from(["/a", "/b", "~/[", "/a/b"]),
        index,
    ),
    "upstreams": st.builds(
        lambda at, name, host_header: UPSTREAMS[at] | {"name": name, "host_header": host_header},
        index,
        st.sampled_from(["u0", "u1", "u2"]),
        st.sampled_from([None, "h.test"]),
    ),
    "targets": st.builds(
        lambda at, of, address, weight: (
            TARGETS[at] | {"upstream_id": IDS[of], "target": address, "weight": weight}
        ),
        index,
        index,
        st.sampled_from(["a.test:1", "b.test:2", "nonsense"]),
        st.sampled_from([0, 1, 100]),
    ),
}
change = st.sampled_from(sorted(CHANGES)).flatmap(
    lambda table: st.tuples(
        st.just(table), st.one_of(CHANGES[table], index.map(lambda at: IDS[at]))
    )
)


class Database:
    """The rows as the database would hold them, with its unique names and cascades."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[UUID, Row]] = {table: {} for table in CHANGES}

    def take(self, table: str, row: Row) -> dict[str, set[UUID]]:
        """Store a row if the database would; return which ids of which tables changed."""
        rows = self.tables[table]
        others = [known for id_, known in rows.items() if id_ != row["id"]]
        if table == "upstreams" and any(known["name"] == row["name"] for known in others):
            return {}
        parents = {"routes": ("services", "service_id"), "targets": ("upstreams", "upstream_id")}
        if table in parents:
            parent, column = parents[table]
            if row[column] not in self.tables[parent]:
                return {}
        rows[row["id"]] = row
        return {table: {row["id"]}}

    def drop(self, table: str, id_: UUID) -> dict[str, set[UUID]]:
        if self.tables[table].pop(id_, None) is None:
            return {}
        changed = {table: {id_}}
        children = {"services": ("routes", "service_id"), "upstreams": ("targets", "upstream_id")}
        if table in children:
            child, column = children[table]
            rows = self.tables[child]
            changed[child] = {key for key, row in rows.items() if row[column] == id_}
            for key in changed[child]:
                del rows[key]
        return changed


def description(snapshot: Snapshot) -> dict[str, Any]:
    """Everything a request could notice of a snapshot."""
    routes = {}
    for path in ("/a", "/b", "/a/b"):
        found = snapshot.router.candidates(False, b"GET", b"h", path.encode())
        routes[path] = [(c.payload.id, c.matched, c.payload.service_id) for c in found]
    return {
        "routes": routes,
        "services": {key: (s.host, s.protocol) for key, s in snapshot.services.items()},
        "upstreams": {
            key: (u.name, u.host_header, dict(u.targets)) for key, u in snapshot.upstreams.items()
        },
        "ids": dict(snapshot.upstream_ids),
        "owners": dict(snapshot.target_owners),
        "bad": dict(snapshot.bad),
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(change, min_size=1, max_size=4), max_size=8))
def test_changes_lead_where_a_full_load_leads(change_sets: list[list[tuple[str, Row | UUID]]]):
    asyncio.run(follow(change_sets))


async def follow(change_sets: list[list[tuple[str, Row | UUID]]]) -> None:
    database, incremental = Database(), Applied()
    await incremental.full({})
    for version, change_set in enumerate(change_sets, start=2):
        touched: dict[str, set[UUID]] = {}
        for table, what in change_set:
            take = database.drop if isinstance(what, UUID) else database.take
            for changed_table, ids in take(table, what).items():  # type: ignore[arg-type]
                touched.setdefault(changed_table, set()).update(ids)
        rows = {
            t: [database.tables[t][i] for i in ids if i in database.tables[t]]
            for t, ids in touched.items()
        }
        gone = {t: [i for i in ids if i not in database.tables[t]] for t, ids in touched.items()}
        await incremental.change(rows, gone, version)
        whole = Applied()
        await whole.full({t: list(rows.values()) for t, rows in database.tables.items()}, version)
        assert description(incremental.current) == description(whole.current)
