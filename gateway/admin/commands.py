"""Giving commands: what an endpoint writes to have all nodes do something.

``?wait=cluster`` then waits until all of them have, as for any other write.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from gateway.entities.command import COMMANDS, KEPT_S, Command
from gateway.store.transactions import WriteTransaction


async def give(
    transaction: WriteTransaction,
    name: str,
    subject: UUID | None = None,
    **arguments: Any,
) -> None:
    """Have all nodes carry out a command once the transaction is committed."""
    command = Command(
        name=name,
        subject=subject,
        arguments=arguments,
        version=transaction.version + 1,
        ttl=KEPT_S,
    )
    await transaction.insert(COMMANDS.table, COMMANDS.to_row(command))
