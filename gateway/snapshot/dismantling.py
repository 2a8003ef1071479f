"""Takes a snapshot apart that was replaced as a whole.

Left to the interpreter, its hundred thousand objects would be freed at once: a stop of the event
loop of a third of a second, when the last request that holds it is over. Here it is emptied entity
by entity, by the same steps that apply a change.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from uuid import UUID

from gateway.snapshot.builder import SnapshotBuilder
from gateway.snapshot.slices import Slices
from gateway.snapshot.snapshot import Snapshot
from gateway.store.source import Batch

_ENTITIES_PER_PIECE = 20


async def dismantle(snapshot: Snapshot) -> None:
    """Free what a snapshot holds, in slices. Nobody else may hold on to it."""
    slices = Slices()
    pieces: list[Batch] = []
    for piece in _pieces(snapshot):
        pieces.append(piece)
        await slices.pause()
    builder = SnapshotBuilder(snapshot)
    del snapshot  # from here on the builder frees what it removes
    for piece in pieces:
        builder.add(piece)
        await slices.pause()
    for upstream_id in builder.unsettled():
        builder.settle(upstream_id)
        await slices.pause()


def _pieces(snapshot: Snapshot) -> Iterator[Batch]:
    """Yield deletions of everything there is, children before their parents."""
    for table, ids in (
        ("routes", snapshot.router.ids()),
        ("upstreams", iter(snapshot.upstreams)),
        ("targets", iter(snapshot.target_owners)),
        ("services", iter(snapshot.services)),
        ("snis", iter(snapshot.sni_names)),
        ("certificates", iter(snapshot.certificates)),
        ("ca_certificates", iter(snapshot.ca_certificates)),
    ):
        yield from (Batch(table, [], some) for some in _batched(ids))


def _batched(ids: Iterator[UUID]) -> Iterator[list[UUID]]:
    while some := list(islice(ids, _ENTITIES_PER_PIECE)):
        yield some
