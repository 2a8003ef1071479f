"""A data plane as a control plane reports it."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

from gateway.store.data_planes import DataPlaneReport

EXPIRES_AT = datetime(2030, 1, 1, tzinfo=UTC)


def a_report(number: int = 1) -> DataPlaneReport:
    return DataPlaneReport(
        id=UUID(int=number),
        name=f"edge-{number}",
        ip="10.0.0.1",
        software_version="0.1.0",
        applied_version=None,
        applied_committed_at=None,
        sync_status="unknown",
        labels={"region": "eu"},
        cert_expires_at=EXPIRES_AT,
        control_plane_id=uuid4(),
        heard_ago_s=0.0,
    )
