"""Plugins in directories: each file there, and each folder that is a package, is imported.

A directory stands for a package of its own, so that its files never hide modules of others, and
share code among each other as ``from ._shared import …``. Whatever is imported runs with the rights
of the node: what anybody on the machine may write to is refused.
"""

from __future__ import annotations

import importlib
import os
import stat
import sys
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

from gateway.plugins import contract

_PACKAGE = "gateway_plugin_path_"
_NOT_PLUGINS = ("_", ".", "test_")
"""What names of files begin with that are no business of ours."""


@dataclass(frozen=True, slots=True)
class PluginModule:
    """A file, or a folder that is a package, that may have plugins."""

    path: Path
    package: str

    def plugins(self) -> list[type[contract.Plugin]]:
        """Import it and return its plugins; a class with a leading underscore is none.

        Raises ContractError, OSError, and whatever the code itself raises.
        """
        if "." in self.path.stem:
            raise contract.ContractError("its name may have no dot but that of .py")
        for path in (self.path, *self.path.rglob("*")):
            _refuse_what_others_may_write(path)
        module = importlib.import_module(f"{self.package}.{self.path.stem}")
        plugins = [found for found in vars(module).values() if _is_plugin_of(module, found)]
        if not plugins:
            raise contract.ContractError(
                f"no class in it is derived from {contract.__name__}.Plugin; the name of a file "
                "that others import begins with _"
            )
        return plugins


def modules_in(directory: Path) -> list[PluginModule]:
    """Return what in a directory is to be imported, by name; its own may begin with ``~``.

    Raises ContractError, OSError if the directory cannot be read, RuntimeError for no such home.
    """
    directory = directory.expanduser().resolve(strict=True)
    shared = (inner for path in directory.glob("_*") for inner in (path, *path.rglob("*")))
    for path in (directory, *shared):
        _refuse_what_others_may_write(path)
    package = _package_of(directory)
    paths = sorted(path for path in directory.iterdir() if _is_module(path))
    return [PluginModule(path, package) for path in paths]


def file_of(plugin: type[contract.Plugin]) -> str | None:
    """Return the file that a plugin comes from; None if an installed package has it."""
    is_in_directory = plugin.__module__.startswith(_PACKAGE)
    return sys.modules[plugin.__module__].__file__ if is_in_directory else None


def _is_module(path: Path) -> bool:
    if path.name.startswith(_NOT_PLUGINS):
        return False
    return path.suffix == ".py" if path.is_file() else (path / "__init__.py").is_file()


def _package_of(directory: Path) -> str:
    """Return the name of the package whose modules are in a directory."""
    name = _PACKAGE + blake2b(os.fsencode(directory), digest_size=8).hexdigest()
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = [str(directory)]
        sys.modules[name] = package
    return name


def _is_plugin_of(module: ModuleType, found: object) -> bool:
    """Tell whether something is a plugin that was written here, not one that was imported."""
    if not (isinstance(found, type) and issubclass(found, contract.Plugin)):
        return False
    is_here = f"{found.__module__}.".startswith(f"{module.__name__}.")
    return is_here and not found.__name__.startswith("_")


def _refuse_what_others_may_write(path: Path) -> None:
    """Raise ContractError if others could change what a file or folder makes the node do."""
    path = path.resolve(strict=True)
    if _others_may_write(path):
        raise contract.ContractError(f"everybody may write to {path}: chmod o-w {path}")
    for above in path.parents:
        if _others_may_write(above) and not above.stat().st_mode & stat.S_ISVTX:
            raise contract.ContractError(f"everybody may replace what is in {above}")


def _others_may_write(path: Path) -> bool:
    """Tell whether everybody may write to it; as Kubernetes mounts its files, nobody may."""
    may_write = path.stat().st_mode & stat.S_IWOTH
    return bool(may_write and not os.statvfs(path).f_flag & os.ST_RDONLY)
