"""Registration of the estimation method ``"backdoor.cina"`` with DoWhy.

DoWhy finds ``"backdoor.dowhy_cina.CinaEstimator"`` by itself. A short name it turns into a module of its own,
``dowhy.causal_estimators.cina_estimator``, and the class ``CinaEstimator`` in it; it has no entry points. A light
module of that name is put where Python looks first; it loads the class when asked for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

PACKAGE = "dowhy.causal_estimators"
MODULE = "cina_estimator"


class _EstimatorModule(ModuleType):
    """Stands for ``dowhy.causal_estimators.cina_estimator`` and loads the estimator on first use."""

    def __getattr__(self, name: str) -> Any:
        # Tools that walk sys.modules ask for all sorts of attributes; only the class may load torch and DoWhy.
        if name != "CinaEstimator":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        from dowhy_cina.adapter.estimator import CinaEstimator

        return CinaEstimator


class _BindWhenImported:
    """Import hook, used once: binds the module to DoWhy's package when that package is imported after this one."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find DoWhy's package as Python would, and have the module bound to it once it has run."""
        if name != PACKAGE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_bind(package: ModuleType) -> None:
            run(package)
            _bind(package)

        spec.loader.exec_module = run_and_bind  # type: ignore[assignment, method-assign]
        sys.meta_path.remove(self)
        return spec


def _bind(package: ModuleType) -> None:
    setattr(package, MODULE, sys.modules[f"{PACKAGE}.{MODULE}"])


def register() -> None:
    """Make ``method_name="backdoor.cina"`` known to DoWhy, whether DoWhy is imported already, later or never."""
    name = f"{PACKAGE}.{MODULE}"
    if name in sys.modules:
        return
    module = _EstimatorModule(name, "The estimation method cina of DoWhy; see dowhy_cina.CinaEstimator.")
    module.__spec__ = ModuleSpec(name, loader=None)
    sys.modules[name] = module
    if PACKAGE in sys.modules:
        _bind(sys.modules[PACKAGE])
    else:
        sys.meta_path.insert(0, _BindWhenImported())
