"""What learned rankings and rules need: effects of rows that other rows were asked for, ranks, and the judges' scores.

Letters: N rows of the caller, n of them compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dowhy_cina.results.heterogeneity.inference import Uncertainty, uncertainty
from dowhy_cina.results.heterogeneity.scores import Array, Codes, contributions

if TYPE_CHECKING:
    import pandas as pd

    from dowhy_cina.results.effect import EffectResult

Mask = npt.NDArray[np.bool_]
#: Priorities that differ by less, as a share of the largest, are a tie.
_DECIMALS = 9


class HeldOut(NamedTuple):
    """Modelled effects (N,) by the regressions of the other folds, NaN for rows set aside; and folds (N,), there -1."""

    effects: Array
    fold: Codes


class Halves(NamedTuple):
    """A search in one half of the rows and an estimate from the other.

    ``effects`` (n,) are what the regressions of the first half make of all rows, ``covariates`` the n rows as numbers,
    ``second`` (n,) says who is in the second half, and ``judge`` is the estimate from it alone.
    """

    effects: Array
    covariates: pd.DataFrame
    second: Mask
    judge: EffectResult


class TableRefits(Protocol):
    """The table of an estimate, ready for refits, such as :class:`dowhy_cina.calls.refits.Refits`."""

    @property
    def held_out(self) -> HeldOut:
        """Modelled effect of each row, by the regressions of the other folds."""
        ...

    def halves(self, target: str, members: Mask, confidence_level: float) -> Halves:
        """Fit one half of the rows for a search, and estimate in the other one by itself."""
        ...


@dataclass(frozen=True, eq=False)
class Judge:
    """Doubly robust scores of the compared rows, and how much is allowed for what they do not show.

    Attributes
    ----------
    added, base : ndarray, shape (n,)
        What a row adds to the average effect, and to the mean outcome without treatment.
    share : ndarray, shape (n,)
        The row's weight in the target population; they sum to one.
    treated : ndarray of bool, shape (n,)
    cluster : ndarray of int, shape (n,), or None
    level : float
        Of intervals.
    allowance : float
        Standard error of the average effect over that of its scores alone, at least one: smoothing and confounding that
        is only half learned make errors that no score shows. Other sums of the scores are taken to need as much.
    """

    added: Array
    base: Array
    share: Array
    treated: Mask
    cluster: Codes | None
    level: float
    allowance: float

    @classmethod
    def of(
        cls,
        scores: dict[str, Any],
        control_scores: Array,
        treated: Mask,
        cluster: Codes | None,
        level: float,
        standard_error: float | None,
    ) -> Judge:
        """Judge of an estimate, from its pseudo-outcomes and weights; NaN errors where the estimate has none."""
        added, share = contributions(scores["pseudo_outcomes"], scores["weights"])
        base = contributions(control_scores, share)[0]
        plain = cls(added, base, share, treated, cluster, level, 1.0)
        own = float(plain.uncertainty(added - share * added.sum()).errors[0])
        known = standard_error is not None and own > 0
        allowance = max(1.0, standard_error / own) if known and standard_error is not None else np.nan
        return cls(added, base, share, treated, cluster, level, allowance)

    def uncertainty(self, influence: Array) -> Uncertainty:
        """Uncertainty of one number from the influence (n,) of each row, before the allowance."""
        return uncertainty(influence, np.zeros(len(influence), np.intp), 1, self.cluster, self.treated)

    def interval(self, value: float, influence: Array) -> dict[str, float]:
        """A value with ``standard_error``, ``lower`` and ``upper``, the allowance included."""
        found = self.uncertainty(influence)
        half = self.allowance * float(found.half_widths(self.level, False)[0])
        error = self.allowance * float(found.errors[0])
        return {"value": value, "standard_error": error, "lower": value - half, "upper": value + half}


def ranks(priority: Array, share: Array, fold: Codes) -> Array:
    """Share (n,) of the row's own fold that comes before it, the largest priority first; ties in the middle of theirs.

    Folds are ranked by themselves: their regressions differ in level, and where the one without a fold lies high that
    fold's outcomes happen to lie low.
    """
    place = np.empty(len(priority))
    largest = float(np.abs(priority).max(initial=0.0)) or 1.0
    priority = np.round(priority / largest, _DECIMALS)
    for number in np.unique(fold):
        own = np.flatnonzero(fold == number)
        _, tie = np.unique(-priority[own], return_inverse=True)
        size = np.bincount(tie, share[own])
        before = np.cumsum(size) - size / 2
        # Rows outside the target may come before all of it, and a curve's weight may be infinite at zero.
        place[own] = (before[tie] / max(float(size.sum()), np.finfo(float).tiny)).clip(0.5 / len(own))
    return place


def within_folds(values: Array, share: Array, fold: Codes) -> Array:
    """Values (n,) about the mean of their fold."""
    sums, sizes = np.bincount(fold, share * values), np.bincount(fold, share)
    return np.asarray(values - (sums / np.maximum(sizes, np.finfo(float).tiny))[fold])


def marginal_effect(place: Array, cut: float, judge: Judge) -> float:
    """Average effect of the rows ranked near a cut, which is what moves when the cut does."""
    near = np.abs(place - cut) <= max(0.1, np.quantile(np.abs(place - cut), min(1.0, 20 / len(place))))
    size = float(judge.share[near].sum())
    return float(judge.added[near].sum()) / size if size > 0 else 0.0
