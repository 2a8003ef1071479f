"""Giving commands: what an endpoint writes to have all nodes do something.

``?wait=cluster`` then waits until all of them have, as for any other write.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from gateway.admin.errors import too_many_commands
from gateway.entities.command import COMMANDS, KEPT_S, Command
from gateway.store.transactions import WriteTransaction

MOST_KEPT = 10_000
"""Commands of the last hour. Each node that starts carries all of them out."""


async def give(
    transaction: WriteTransaction,
    name: str,
    subject: UUID | None = None,
    **arguments: Any,
) -> None:
    """Have all nodes carry out a command once the transaction is committed.

    Raises an answer when too many were given lately.
    """
    if await transaction.has_more_than(COMMANDS.table, MOST_KEPT - 1):
        raise too_many_commands(MOST_KEPT, KEPT_S)
    command = Command(
        name=name,
        subject=subject,
        arguments=arguments,
        version=transaction.version + 1,
        ttl=KEPT_S,
    )
    await transaction.insert(COMMANDS.table, COMMANDS.to_row(command))
