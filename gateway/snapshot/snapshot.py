"""The snapshot: the immutable compiled configuration of one version.

Its maps share structure with those of the version before, so that the next snapshot costs what
changed, not what there is; a request that keeps an old one is undisturbed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from immutables import Map

from gateway.plugins.identity import Directory
from gateway.routing import Router
from gateway.snapshot.certificates import Certificate
from gateway.snapshot.compiled import Route, Service, Upstream
from gateway.snapshot.plugins import Plugins
from gateway.status.facts import BadEntity
from gateway.store.source import VersionMark


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a node serves from. ``mark`` is None only for the empty one a node starts with.

    ``snis`` leads from a server name, as stored, to its certificate; that may be missing, as one of
    the bad rows. ``sni_ids`` and ``sni_names`` tell which row a name comes from, and back.
    ``ca_certificates`` are PEM texts.
    """

    mark: VersionMark | None
    router: Router
    services: Map[UUID, Service]
    upstreams: Map[UUID, Upstream]
    upstream_ids: Map[str, UUID]
    target_owners: Map[UUID, UUID]
    certificates: Map[UUID, Certificate]
    snis: Map[str, UUID]
    sni_ids: Map[str, UUID]
    sni_names: Map[UUID, str]
    ca_certificates: Map[UUID, str]
    directory: Directory
    plugins: Plugins
    bad: Map[tuple[str, UUID], BadEntity]

    @classmethod
    def empty(cls) -> Snapshot:
        """Return the snapshot of no configuration at all."""
        nothing: Map[Any, Any] = Map()
        return cls(
            mark=None,
            router=Router(),
            services=nothing,
            upstreams=nothing,
            upstream_ids=nothing,
            target_owners=nothing,
            certificates=nothing,
            snis=nothing,
            sni_ids=nothing,
            sni_names=nothing,
            ca_certificates=nothing,
            directory=Directory(),
            plugins=Plugins(),
            bad=nothing,
        )

    def service_of(self, route: Route) -> Service | None:
        """Return a route's service; None when it has none, or that is one of the bad rows."""
        return None if route.service_id is None else self.services.get(route.service_id)

    def upstream_of(self, service: Service) -> Upstream | None:
        """Return the upstream entity that the service's host names, if any."""
        upstream_id = self.upstream_ids.get(service.host)
        return None if upstream_id is None else self.upstreams[upstream_id]
