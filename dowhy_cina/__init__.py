"""Zero-shot treatment effects for DoWhy: balancing weights from one forward pass of a pretrained attention model.

DoWhy finds the estimator without an import of this package as ``"backdoor.dowhy_cina.CinaEstimator"``; importing it
registers the short name ``"backdoor.cina"``. Neither torch nor DoWhy is imported for it: both come with the first
estimate, and every public name below is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dowhy_cina import _aliases
from dowhy_cina.adapter import plugin

if TYPE_CHECKING:
    from dowhy_cina import errors
    from dowhy_cina.adapter.estimator import CinaEstimator
    from dowhy_cina.adapter.refutation import RefutationReport, refute
    from dowhy_cina.calls.direct import estimate_effect
    from dowhy_cina.calls.many import estimate_effects
    from dowhy_cina.calls.per_dataset import CinaPerDataset
    from dowhy_cina.learning import training
    from dowhy_cina.results import plots
    from dowhy_cina.results.effect import EffectResult

__version__ = "0.1.0"

__all__ = [
    "CinaEstimator",
    "CinaPerDataset",
    "EffectResult",
    "RefutationReport",
    "errors",
    "estimate_effect",
    "estimate_effects",
    "plots",
    "refute",
    "training",
]

#: Room and module of each public name.
_HOME_OF = {
    "CinaEstimator": "adapter.estimator",
    "CinaPerDataset": "calls.per_dataset",
    "EffectResult": "results.effect",
    "RefutationReport": "adapter.refutation",
    "estimate_effect": "calls.direct",
    "estimate_effects": "calls.many",
    "refute": "adapter.refutation",
}

plugin.register()
_aliases.register()


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF and name != "errors" and name not in _aliases.ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import random  # here, for it takes a tenth of the time of this package's import

    # Rich, which scikit-learn imports where it is installed, draws from Python's random numbers as it loads.
    numbers = random.getstate()
    try:
        module = import_module(f"{__name__}.{_HOME_OF.get(name, name)}")
    finally:
        random.setstate(numbers)
    globals()[name] = value = getattr(module, name) if name in _HOME_OF else module
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
