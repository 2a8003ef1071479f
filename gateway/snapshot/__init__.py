"""The configuration a node serves from: built aside from rows, swapped in by one assignment."""

from __future__ import annotations

from gateway.snapshot.applier import SnapshotApplier
from gateway.snapshot.certificates import Certificate, KeyPair
from gateway.snapshot.compiled import Route, Service, Target, Upstream
from gateway.snapshot.snapshot import Snapshot

__all__ = [
    "Certificate",
    "KeyPair",
    "Route",
    "Service",
    "Snapshot",
    "SnapshotApplier",
    "Target",
    "Upstream",
]
