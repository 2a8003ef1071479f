"""The store: what is kept, for how long, and that its bounds hold."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands import Command
from gateway.plugins.proxy_cache.store import LARGEST_PART, PURGE, Entry, ResponseStore, size_of
from gateway.proxy.http1 import read_response_head

HEAD = read_response_head(b"HTTP/1.1 200 OK\r\n\r\n", b"GET")
PLUGIN, ANOTHER = UUID(int=1), UUID(int=2)
ROOMY = 1_000_000


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def entry(size: int = 2000, gone_at: float = 1100.0, plugin_id: UUID = PLUGIN) -> Entry:
    return Entry(
        head=HEAD,
        body=b"",
        plugin_id=plugin_id,
        made_at=1000.0,
        lifetime_s=100.0,
        gone_at=gone_at,
        is_for_all=False,
        may_be_stale=True,
        timestamp=0,
        size=size,
    )


def command(subject: UUID | None = None, **arguments: Any) -> Command:
    return Command(uuid4(), PURGE, subject, arguments, 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> ResponseStore:
    return ResponseStore(ROOMY, clock)


def sweep_all(store: ResponseStore) -> None:
    while store.free_some():
        pass


def test_what_is_kept_is_found_until_it_is_over(store: ResponseStore, clock: Clock):
    kept = entry()
    store.keep(b"k", kept)
    assert store.find(b"k", clock()) is kept
    clock.now = 1100.0
    assert store.find(b"k", clock()) is None
    assert (len(store), store.used_bytes) == (0, 0)


def test_another_takes_the_place(store: ResponseStore, clock: Clock):
    first, second = entry(), entry(size=3000)
    store.keep(b"k", first)
    store.keep(b"k", second)
    assert store.find(b"k", clock()) is second
    assert store.used_bytes == 3000


def test_the_least_recently_used_make_room(store: ResponseStore, clock: Clock):
    room_for = ROOMY // 10_000
    for number in range(room_for):
        store.keep(b"%d" % number, entry(size=10_000))
    assert store.find(b"0", clock()) is not None
    store.keep(b"new", entry(size=10_000))
    assert store.find(b"0", clock()) is not None
    assert store.find(b"1", clock()) is None
    assert store.evictions == 1


def test_what_is_too_large_is_not_kept_and_replaces_nothing_newer(store: ResponseStore):
    store.keep(b"k", entry(size=2000))
    store.keep(b"k", entry(size=ROOMY // LARGEST_PART + 1))
    assert len(store) == 0


def test_bounds_hold_in_a_flood(store: ResponseStore):
    for number in range(20_000):
        store.keep(b"%d" % number, entry())
    assert store.used_bytes <= ROOMY
    assert len(store) == ROOMY // 2000
    assert store.evictions == 20_000 - len(store)


def test_recordings_have_a_bound_of_their_own(store: ResponseStore):
    assert store.reserve(ROOMY // 4)
    assert not store.reserve(1)
    store.release(ROOMY // 4)
    assert store.reserve(1)


def test_what_is_over_is_freed_in_the_background(store: ResponseStore, clock: Clock):
    for number in range(1000):
        store.keep(b"%d" % number, entry(size=1000 - 1, gone_at=1001.0 + number % 50))
    clock.now = 1026.0
    sweep_all(store)
    assert 500 <= len(store) < 700
    clock.now = 1056.0
    sweep_all(store)
    assert (len(store), store.used_bytes) == (0, 0)


def test_what_is_kept_for_years_is_looked_at_now_and_then(store: ResponseStore, clock: Clock):
    store.keep(b"k", entry(gone_at=1e9))
    clock.now = 1e6
    sweep_all(store)
    assert store.find(b"k", clock()) is not None
    clock.now = 1e9
    sweep_all(store)
    assert len(store) == 0


async def test_the_sweep_goes_on(
    store: ResponseStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.plugins.proxy_cache.store._SWEEP_EVERY_S", 1e-9)
    sweeping = asyncio.create_task(store.sweep())
    for _ in range(2):
        store.keep(b"k", entry(gone_at=clock.now))
        clock.now += 1
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert len(store) == 0
    sweeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sweeping


# -- purges


@pytest.mark.parametrize(
    ("given_", "left"),
    [
        (command(key=None), set()),
        (command(), set()),
        (command(key="a"), {b"b", b"c"}),
        (command(PLUGIN, key="a"), {b"b", b"c"}),
        (command(ANOTHER, key="a"), {b"a", b"b", b"c"}),
        (command(key="unknown"), {b"a", b"b", b"c"}),
        (command(key=["a"]), {b"a", b"b", b"c"}),
        (command(key=7), {b"a", b"b", b"c"}),
        (command(PLUGIN, key=None), {b"a", b"b", b"c"}),
        (command(key="\ud800"), {b"a", b"b", b"c"}),
    ],
)
def test_purges(store: ResponseStore, given_: Command, left: set[bytes]):
    for key in (b"a", b"b", b"c"):
        store.keep(key, entry())
    store.on_purge(given_)
    assert {key for key in (b"a", b"b", b"c") if store.look_at(key) is not None} == left
    assert store.used_bytes == 2000 * len(left)


def test_what_was_purged_is_freed_a_few_at_a_time(store: ResponseStore):
    for number in range(450):
        store.keep(b"%d" % number, entry())
    store.purge_all()
    assert len(store) == 0
    slices = 0
    while store.free_some():
        slices += 1
    assert slices > 2


def test_to_look_is_no_use(store: ResponseStore, clock: Clock):
    for number in range(ROOMY // 10_000):
        store.keep(b"%d" % number, entry(size=10_000))
    assert store.look_at(b"0", PLUGIN) is not None
    assert store.look_at(b"0", ANOTHER) is None
    store.keep(b"new", entry(size=10_000))
    assert store.find(b"0", clock()) is None


def test_what_is_over_is_not_looked_at(store: ResponseStore, clock: Clock):
    store.keep(b"k", entry())
    clock.now = 1100.0
    assert store.look_at(b"k") is None


# -- whatever happens


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), st.integers(0, 9), st.integers(1, 20_000), st.integers(0, 5000)),
        st.tuples(st.just("find"), st.integers(0, 9)),
        st.tuples(st.just("purge"), st.integers(0, 9)),
        st.tuples(st.just("purge_all")),
        st.tuples(st.just("free")),
        st.tuples(st.just("pass"), st.integers(0, 5000)),
    ),
    max_size=60,
)


@given(STEPS)
def test_the_books_are_right(steps: list[tuple[Any, ...]]):
    clock = Clock()
    store = ResponseStore(50_000 * LARGEST_PART // 10, clock)
    for what, *how in steps:
        key = b"%d" % how[0] if how else b""
        match what:
            case "keep":
                store.keep(key, entry(size=how[1], gone_at=clock.now + how[2]))
            case "find":
                found = store.find(key, clock.now)
                assert found is None or found.gone_at > clock.now
            case "purge":
                store.purge(key)
                assert store.look_at(key) is None
            case "purge_all":
                store.purge_all()
            case "free":
                store.free_some()
            case "pass":
                clock.now += how[0]
        kept = [store._entries[key] for key in store._entries]
        assert store.used_bytes == sum(it.size for it in kept)
        assert sum(map(len, store._due.values())) == len(kept)
    clock.now += 1e6
    sweep_all(store)
    assert (len(store), store.used_bytes) == (0, 0)


def test_what_it_tells(store: ResponseStore):
    store.keep(b"k", entry(size=size_of(HEAD.text, b"body")))
    store.counts.hit = 3
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in store.metrics()
        for sample in family.samples
    }
    assert told["proxy_cache_requests_total", "hit"] == 3
    assert told["proxy_cache_requests_total", "bypass"] == 0
    assert told["proxy_cache_entries",] == 1
    assert told["proxy_cache_bytes",] > 1000
    assert told["proxy_cache_evictions_total",] == 0
