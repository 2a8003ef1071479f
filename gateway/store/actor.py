"""Who asks for a change, as the audit log keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """The name of the token that was used (None: no login was needed), and the request."""

    token: str | None
    address: str
    request_id: str

    def as_json(self) -> str:
        """Return it as the database's triggers read it."""
        return json.dumps(asdict(self))
