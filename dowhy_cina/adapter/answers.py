"""What DoWhy is handed for an answer: its own ``CausalEstimate``, with parts of our result as further attributes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from dowhy.causal_estimator import CausalEstimate

from dowhy_cina.adapter.host import Positions
from dowhy_cina.adapter.targets import TargetRows

if TYPE_CHECKING:  # its module imports torch
    from dowhy_cina.results.effect import EffectResult

#: Attributes that estimates have beside DoWhy's, and what they are of the result.
OF_RESULT: dict[str, Callable[[EffectResult], Any]] = {
    "cina_result": lambda result: result,
    "weights": attrgetter("weights"),
    "propensity_scores": attrgetter("propensity"),
    "balance": attrgetter("balance"),
    "effective_sample_size": attrgetter("effective_sample_size"),
    "duality_gap": attrgetter("duality_gap"),
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one call of ``estimate_effect`` was asked and found; of a refit nothing, until it is read."""

    target: TargetRows
    result: EffectResult | None


class RefitEstimate(CausalEstimate):  # type: ignore[misc]  # DoWhy ships no types
    """Estimate of a refit, of which DoWhy's refuters read the value alone: its result is worked out when it is read."""

    def __getattr__(self, name: str) -> Any:
        """Take from the result what a plain estimate has from the start."""
        estimator = vars(self).get("estimator")
        if name not in OF_RESULT or estimator is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return OF_RESULT[name](estimator.answered())


def estimate_of(result: EffectResult | None, value: float, given: Mapping[str, Any]) -> CausalEstimate:
    """Estimate from DoWhy's own arguments, with all that the result has; of a refit, which has none yet, the value."""
    if result is None:
        return RefitEstimate(estimate=value, **given)
    return CausalEstimate(estimate=value, **given, **{name: take(result) for name, take in OF_RESULT.items()})


def part_of_effect(result: EffectResult, rows: Positions) -> float:
    """Average the doubly robust scores of some rows of the fitted table, as the target weighs them.

    The averages of the parts of a table, weighted by their shares of the target, give the effect.
    """
    scores = result.pseudo_outcomes - result.value
    return float(
        result.value + np.nansum(scores[rows]) / (np.isfinite(scores).sum() * result.target_weights[rows].sum())
    )
