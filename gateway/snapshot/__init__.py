"""The configuration a node serves from: built aside from rows, swapped in by one assignment."""

from __future__ import annotations

from gateway.snapshot.applier import SnapshotApplier
from gateway.snapshot.compiled import Route, Service, Target, Upstream
from gateway.snapshot.snapshot import Snapshot

__all__ = ["Route", "Service", "Snapshot", "SnapshotApplier", "Target", "Upstream"]
