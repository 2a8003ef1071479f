"""Consumers, credentials and groups of a snapshot, compiled from rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from immutables import Map

from gateway.plugins.identity import Consumer, Credential, Directory

Row = Mapping[str, Any]

NAME_COLUMNS = {
    "keyauth_credentials": "key",
    "basicauth_credentials": "username",
    "jwt_secrets": "key",
    "hmacauth_credentials": "username",
}
"""The tables of credentials, and the column each is found by."""

_OTHER_NAMES = ("username", "custom_id")


class DirectoryBuilder:
    """Makes the next directory from the one before, row by row. Rows may raise ValueError."""

    def __init__(self, base: Directory) -> None:
        self._base = base
        self._is_changed = False
        self._consumers = base.consumers.mutate()
        self._consumer_ids = base.consumer_ids.mutate()
        self._credentials = base.credentials.mutate()
        self._credential_names = base.credential_names.mutate()
        self._groups = base.groups.mutate()
        self._group_owners = base.group_owners.mutate()

    def put_consumer(self, row: Row) -> None:
        """Take a row of ``consumers``."""
        self.remove_consumer(row["id"])
        consumer = Consumer(row["id"], row["username"], row["custom_id"])
        self._consumers[consumer.id] = consumer
        for name in _OTHER_NAMES:
            if row[name] is not None:
                self._consumer_ids[name, row[name]] = consumer.id

    def remove_consumer(self, id_: UUID) -> None:
        """Take a consumer out; a name that another row has taken over meanwhile stays."""
        self._is_changed = True
        consumer = self._consumers.pop(id_, None)
        if consumer is None:
            return
        for name in _OTHER_NAMES:
            key = name, getattr(consumer, name)
            if self._consumer_ids.get(key) == id_:
                del self._consumer_ids[key]

    def put_credential(self, table: str, row: Row) -> None:
        """Take a row of one of the tables of credentials."""
        self.remove_credential(row["id"])
        expires_at = row.get("expires_at")
        credential = Credential(
            id=row["id"],
            kind=table,
            consumer_id=row["consumer_id"],
            name=row[NAME_COLUMNS[table]],
            secret=row.get("password") or row.get("secret") or "",
            algorithm=row.get("algorithm") or "",
            public_key=row.get("rsa_public_key") or "",
            expires_at=None if expires_at is None else expires_at.timestamp(),
        )
        key = table, credential.name
        self._credentials[key] = credential
        self._credential_names[credential.id] = key

    def remove_credential(self, id_: UUID) -> None:
        """Take a credential out, unless another row has its name now."""
        self._is_changed = True
        key = self._credential_names.pop(id_, None)
        if key is not None and self._credentials[key].id == id_:
            del self._credentials[key]

    def put_group(self, row: Row) -> None:
        """Take a row of ``acls``."""
        self.remove_group(row["id"])
        groups: Map[UUID, str] = self._groups.get(row["consumer_id"], Map())
        self._groups[row["consumer_id"]] = groups.set(row["id"], row["group"])
        self._group_owners[row["id"]] = row["consumer_id"]

    def remove_group(self, id_: UUID) -> None:
        """Take a consumer's membership of a group out."""
        self._is_changed = True
        owner = self._group_owners.pop(id_, None)
        if owner is not None:
            groups = self._groups.pop(owner).delete(id_)
            if groups:
                self._groups[owner] = groups

    def finish(self) -> Directory:
        """Return the directory: the one before, where nothing has changed."""
        if not self._is_changed:
            return self._base
        return Directory(
            self._consumers.finish(),
            self._consumer_ids.finish(),
            self._credentials.finish(),
            self._credential_names.finish(),
            self._groups.finish(),
            self._group_owners.finish(),
        )
