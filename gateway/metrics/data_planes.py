"""What a control plane's metrics say of each data plane: which version it serves, and how old.

The first four are Kong's (metrics.md, roles); the others are ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

from gateway.hybrid.protocol import DataPlaneStatus, config_hash
from gateway.hybrid.register import DataPlaneFacts
from gateway.store.source import VersionMark

_LABELS = ["node_id", "hostname", "ip"]
_HASH_DIGITS = 13
"""As many hex digits as a gauge can hold exactly."""

Value = Callable[[DataPlaneFacts], float | None]


@dataclass(frozen=True, slots=True)
class DataPlaneFamilies:
    """Families for a slice of the data planes; ``newest`` is what they should serve."""

    prefix: str
    newest: VersionMark | None

    def all(self) -> list[Callable[[Iterable[DataPlaneFacts]], Metric]]:
        """Return what makes the families, one each."""
        return [
            self._last_seen,
            self._config_hash,
            self._version_compatible,
            self._cert_expiry,
            self._age,
            self._applied,
            self._lag,
        ]

    def _last_seen(self, data_planes: Iterable[DataPlaneFacts]) -> Metric:
        return self._gauge(
            "last_seen",
            "When a control plane last heard of the data plane, in seconds since the epoch.",
            data_planes,
            lambda facts: time.time() - facts.age_s,
        )

    def _config_hash(self, data_planes: Iterable[DataPlaneFacts]) -> Metric:
        return self._gauge(
            "config_hash",
            "Number that is the same for those that serve the same configuration; 0 for none.",
            data_planes,
            self._hash,
        )

    def _version_compatible(self, data_planes: Iterable[DataPlaneFacts]) -> Metric:
        release = f"{self.prefix.removesuffix('_')}_version"
        family = GaugeMetricFamily(
            f"{self.prefix}data_plane_version_compatible",
            "1 if the data plane's release gets on with the control plane's.",
            labels=[*_LABELS, release],
        )
        for facts in data_planes:
            fits = facts.status != DataPlaneStatus.VERSION_INCOMPATIBLE
            family.add_metric([*_labels(facts), facts.software_version], int(fits))
        return family

    def _cert_expiry(self, data_planes: Iterable[DataPlaneFacts]) -> Metric:
        return self._gauge(
            "cluster_cert_expiry_timestamp",
            "When the certificate that the data plane shows expires, in seconds since the epoch.",
            data_planes,
            lambda facts: facts.cert_expires_at.timestamp() if facts.cert_expires_at else None,
        )

    def _age(self, data_planes: Iterable[DataPlaneFacts]) -> Metric:
        return self._gauge(
            "age_seconds",
            "Seconds since a control plane last heard of the data plane.",
            data_planes,
            lambda facts: facts.age_s,
        )

    def _applied(self, data_planes: Iterable[DataPlaneFacts]) -> Metric:
        return self._gauge(
            "config_version_applied",
            "Version of the configuration that the data plane serves; 0 for none.",
            data_planes,
            lambda facts: facts.applied.version if facts.applied else 0,
        )

    def _lag(self, data_planes: Iterable[DataPlaneFacts]) -> Metric:
        newest = self.newest.version if self.newest else 0
        return self._gauge(
            "config_version_lag",
            "Versions between what the data plane serves and what this control plane has.",
            data_planes,
            lambda facts: max(0, newest - (facts.applied.version if facts.applied else 0)),
        )

    def _hash(self, facts: DataPlaneFacts) -> float | None:
        if self.newest is None:
            return None
        return int(config_hash(self.newest.epoch, facts.applied)[:_HASH_DIGITS], 16)

    def _gauge(
        self, name: str, text: str, data_planes: Iterable[DataPlaneFacts], value_of: Value
    ) -> Metric:
        family = GaugeMetricFamily(f"{self.prefix}data_plane_{name}", text, labels=_LABELS)
        for facts in data_planes:
            value = value_of(facts)
            if value is not None:
                family.add_metric(_labels(facts), value)
        return family


def _labels(facts: DataPlaneFacts) -> list[str]:
    return [str(facts.id), facts.name, facts.ip]
