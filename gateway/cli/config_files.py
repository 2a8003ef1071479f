"""The declarative files of a command: found, read, put together; and written."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway.cli.errors import CommandError
from gateway.declarative.bounds import MOST_CHARACTERS, ReadError
from gateway.declarative.merging import merged
from gateway.declarative.reading import read

STANDARD_STREAM = "-"
SUFFIXES = (".yaml", ".yml", ".json")
MOST_FILES = 10_000

_TEMPLATE = re.compile(r"\$\{\{ *env [^}\n]{0,80}\}\}")
"""What decK fills in from the environment; it would otherwise end up in a key or a password."""


def read_files(names: Sequence[str]) -> dict[str, Any]:
    """Return what files say together: ``-`` is standard input, a directory all files below it.

    Raises CommandError.
    """
    files = [found for name in names for found in _found(name)]
    if len(files) > MOST_FILES:
        raise CommandError(f"{len(files)} files are more than {MOST_FILES}")
    if not files:
        raise CommandError(f"no file in {', '.join(names)} ends with {', '.join(SUFFIXES)}")
    try:
        return merged((name, _read(name)) for name in files)
    except ReadError as error:
        raise CommandError(str(error)) from None


def write_file(name: str, text: str, *, force: bool) -> None:
    """Write a file that only its owner can read: it has private keys and passwords' hashes.

    Raises CommandError if it exists, unless ``force``; then it is replaced in one go.
    """
    path = Path(name)
    if path.exists() and not force:
        raise CommandError(f"{name} exists: give another name, or --force to replace it")
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CommandError(f"cannot write {name}: {error.strerror}") from None


def _found(name: str) -> Iterator[str]:
    if name == STANDARD_STREAM or not Path(name).is_dir():
        yield name
        return
    yield from (str(p) for p in sorted(Path(name).rglob("*")) if p.suffix in SUFFIXES)


def _read(name: str) -> Any:
    try:
        if name == STANDARD_STREAM:
            text = sys.stdin.read(MOST_CHARACTERS + 1)
        else:
            with Path(name).open(encoding="utf-8") as file:
                text = file.read(MOST_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} is not UTF-8 at byte {error.start + 1}") from None
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}") from None
    if template := _TEMPLATE.search(text):
        raise CommandError(
            f"{name}: templates such as {template[0]} are not filled in here: do so before, "
            "for example with `deck file render`"
        )
    try:
        return read(text)
    except ReadError as error:
        raise CommandError(f"{name}: {error}") from None
