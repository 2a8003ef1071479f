"""Fuzzing guided by coverage: a process of its own, since libFuzzer ends the one it runs in.

`python -m fuzz.guided CORPUS... [libFuzzer's options]`; the command is `python -m fuzz`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["gateway.proxy"]):
    from fuzz.mutation import mutated
    from fuzz.oracles import problems
    from fuzz.world import World


class FindingError(Exception):
    """A case that breaks a rule."""


def main() -> None:
    """Play cases until the time is over, or one of them is a finding."""
    world = World()
    others = [path.read_bytes() for path in Path(sys.argv[1]).glob("*") if path.is_file()]

    def play(case: bytes) -> None:
        found = problems(world.play(case))
        if found:
            raise FindingError("\n".join(found))

    def mutate(case: bytes, limit_bytes: int, seed: int) -> bytes:
        chance = Random(seed)  # noqa: S311 - not for secrets
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(case, limit_bytes))
        return mutated(case, others, chance)[:limit_bytes]

    atheris.Setup(sys.argv, play, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
