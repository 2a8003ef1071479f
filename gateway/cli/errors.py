"""Faults that a command answers with one line on standard error and an exit code."""

from __future__ import annotations


class CommandError(Exception):
    """The command cannot do what was asked; the message says why and what to do."""
