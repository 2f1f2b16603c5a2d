"""Zero-shot treatment effects for DoWhy: balancing weights from one forward pass of a pretrained attention model.

Importing this package registers the estimation method ``"backdoor.cina"`` with DoWhy. Neither torch nor DoWhy is
imported for it: both come with the first estimate, and every public name below is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dowhy_cina import _plugin

if TYPE_CHECKING:
    from dowhy_cina import errors, plots, training
    from dowhy_cina.estimator import CinaEstimator
    from dowhy_cina.inference import estimate_effect
    from dowhy_cina.many import estimate_effects
    from dowhy_cina.per_dataset import CinaPerDataset
    from dowhy_cina.refutation import RefutationReport, refute
    from dowhy_cina.results import EffectResult

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

_HOME_OF = {
    "CinaEstimator": "estimator",
    "CinaPerDataset": "per_dataset",
    "EffectResult": "results",
    "RefutationReport": "refutation",
    "estimate_effect": "inference",
    "estimate_effects": "many",
    "refute": "refutation",
}
_SUBMODULES = ("errors", "plots", "training")

_plugin.register()


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    elif name in _SUBMODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
