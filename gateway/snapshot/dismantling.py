"""Takes a snapshot apart that was replaced as a whole.

Left to the interpreter, its hundred thousand objects would be freed at once: a stop of the event
loop of a third of a second, when the last request that holds it is over. Here it is emptied entity
by entity, by the same steps that apply a change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, islice
from uuid import UUID

from gateway.snapshot.builder import SnapshotBuilder
from gateway.snapshot.slices import Slices
from gateway.snapshot.snapshot import Snapshot
from gateway.store.source import Batch

_ENTITIES_PER_PIECE = 20

_IDS: dict[str, Callable[[Snapshot], Iterable[UUID]]] = {
    "plugins": lambda snapshot: chain(snapshot.plugins.places, snapshot.plugins.guard_scopes),
    "keyauth_credentials": lambda snapshot: snapshot.directory.credential_names,  # of all kinds
    "acls": lambda snapshot: snapshot.directory.group_owners,
    "consumers": lambda snapshot: snapshot.directory.consumers,
    "routes": lambda snapshot: snapshot.router.ids(),
    "upstreams": lambda snapshot: snapshot.upstreams,
    "targets": lambda snapshot: snapshot.target_owners,
    "services": lambda snapshot: snapshot.services,
    "snis": lambda snapshot: snapshot.sni_names,
    "certificates": lambda snapshot: snapshot.certificates,
    "ca_certificates": lambda snapshot: snapshot.ca_certificates,
}
"""How to list what there is of each table, children before their parents."""


async def dismantle(snapshot: Snapshot) -> None:
    """Free what a snapshot holds, in slices. Nobody else may hold on to it."""
    slices = Slices()
    for table, ids_of in _IDS.items():
        # Listed anew for each piece: a list of all ids would itself be freed at once.
        while ids := list(islice(ids_of(snapshot), _ENTITIES_PER_PIECE)):
            snapshot = _without(snapshot, Batch(table, [], ids))
            await slices.pause()


def _without(snapshot: Snapshot, piece: Batch) -> Snapshot:
    builder = SnapshotBuilder(snapshot)
    builder.add(piece)
    for upstream_id in builder.unsettled():
        builder.settle(upstream_id)
    return builder.finish(snapshot.mark)
