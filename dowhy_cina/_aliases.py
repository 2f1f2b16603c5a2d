"""Public packages by short names: ``dowhy_cina.plots`` is ``dowhy_cina.results.plots``, wherever its room is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

#: Room of each package that is public under a name of its own.
ROOM_OF = {
    "data": "tables",
    "evaluation": "learning",
    "plots": "results",
    "simulators": "learning",
    "training": "learning",
}
_PACKAGE = __name__.rpartition(".")[0]


def _home(name: str) -> str | None:
    """Where the module of a public name stands; None if the name is no short one."""
    package, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    return f"{_PACKAGE}.{ROOM_OF[first]}.{rest}" if package == _PACKAGE and first in ROOM_OF else None


class _Alias(Loader):
    """Gives the module itself under its short name, so that there is one of each class and of each setting."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find modules of short names; all others are left to Python."""
        home = _home(name)
        found = home and find_spec(home)
        return ModuleSpec(name, self, is_package=found.submodule_search_locations is not None) if found else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the module where it stands."""
        module = import_module(str(_home(spec.name)))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run; the module's own name and place, over which the import has written, are put back."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def register() -> None:
    """Let the short names be imported."""
    if not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        # Before Python's own finder, which would load a package's modules once more under the short name.
        sys.meta_path.insert(0, _Alias())
