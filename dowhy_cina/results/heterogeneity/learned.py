"""What learned rankings and rules need: effects of rows that other rows were asked for, ranks, and the judges' scores.

Letters: N rows of the caller, n of them compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.results.heterogeneity.inference import Uncertainty, error_of_scores, uncertainty
from dowhy_cina.results.heterogeneity.scores import Codes, Mask, contributions

if TYPE_CHECKING:
    import pandas as pd

    from dowhy_cina.results.effect import EffectResult

#: Priorities that differ by less, as a share of the largest, are a tie.
_DECIMALS = 9
#: Part of a row, or of all but it, that is rounding.
_ROUNDING = 1e-9
#: Distance from a cut within which rows are near it, and the fewest of them.
_NEAR, _NEAR_ROWS = 0.1, 20


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
        Standard error of the average effect over that of its scores alone, at least one. Other sums of the scores are
        taken to need as much.
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
        own = error_of_scores(added, share, cluster, treated)
        allowance = max(1.0, standard_error / own) if standard_error is not None and own > 0 else np.nan
        return cls(added, base, share, treated, cluster, level, allowance)

    def uncertainty(self, influence: Array) -> Uncertainty:
        """Uncertainty of one number from the influence (n,) of each row, the allowance included."""
        rows = np.zeros(len(influence), np.intp)
        return uncertainty(influence, rows, 1, self.cluster, self.treated).times(self.allowance)

    def interval(self, value: float, influence: Array) -> dict[str, float]:
        """A value with ``standard_error``, ``lower`` and ``upper``."""
        found = self.uncertainty(influence)
        half, error = float(found.half_widths(self.level, False)[0]), float(found.errors[0])
        return {"value": value, "standard_error": error, "lower": value - half, "upper": value + half}


@dataclass(frozen=True, eq=False)
class Ranking:
    """Places of rows in their own fold, the largest priority first. Compared by identity.

    Rows of one priority hold a stretch of places together, and whatever depends on a place is for each of them the
    average over the stretch. That is what breaking ties at random gives on average.

    Attributes
    ----------
    place : ndarray, shape (n,)
        Share of the fold that comes before the row, ties in the middle of their stretch.
    each : ndarray, shape (n,)
        The places of a stretch in equal steps, one for each of its rows, in no order; of a row without ties its place.
    start, width : ndarray, shape (n,)
        Where the row's stretch begins, and its length.
    tie : ndarray of int, shape (n,)
        Number of the row's stretch.
    """

    place: Array
    each: Array
    start: Array
    width: Array
    tie: Codes

    def shared(self, values: npt.NDArray[Any]) -> Array:
        """Averages (n,) of values (n,) over the rows that tie with each."""
        return np.asarray((np.bincount(self.tie, values) / np.bincount(self.tie))[self.tie])

    def taken(self, share: float) -> Array:
        """How much (n,) of each row is among a share of its fold: one above the cut, zero below, a part for ties at it.

        The parts sum to the share, by the weights that the places were made of.
        """
        length = np.where(self.width > 0, self.width, 1.0)
        part = np.where(self.width > 0, ((share - self.start) / length).clip(0, 1), self.place <= share)
        whole = np.round(part)
        return np.asarray(np.where(np.abs(part - whole) < _ROUNDING, whole, part))

    def near(self, cut: float) -> Array:
        """Weights (n,) of the rows ranked near a cut, which are those that move when it does.

        The ties that a cut divides are exactly these, where they are enough to tell an average.
        """
        part = self.taken(cut)
        divided = (part > 0) & (part < 1) & (np.bincount(self.tie)[self.tie] > 1)
        if divided.sum() >= _NEAR_ROWS:
            return divided.astype(np.float64)
        far = np.abs(self.each - cut)
        return self.shared(far <= max(_NEAR, np.quantile(far, min(1.0, _NEAR_ROWS / len(far)))))


def ranks(priority: Array, share: Array, fold: Codes) -> Ranking:
    """Places of n rows in their own fold by their priorities (n,), weighted by their shares (n,) of the target.

    Folds are ranked by themselves: their regressions differ in level, and where the one without a fold lies high that
    fold's outcomes happen to lie low.
    """
    place, each, start, width = (np.empty(len(priority)) for _ in range(4))
    ties, count = np.empty(len(priority), np.intp), 0
    largest = float(np.abs(priority).max(initial=0.0)) or 1.0
    priority = np.round(priority / largest, _DECIMALS)
    for number in np.unique(fold):
        own = np.flatnonzero(fold == number)
        _, tie, rows = np.unique(-priority[own], return_inverse=True, return_counts=True)
        size = np.bincount(tie, share[own])
        whole = max(float(size.sum()), np.finfo(float).tiny)
        middle, length = ((np.cumsum(size) - size / 2) / whole)[tie], (size / whole)[tie]
        step = np.empty(len(own))
        step[np.argsort(tie, kind="stable")] = np.arange(len(own)) - np.repeat(np.cumsum(rows) - rows, rows)
        # Rows outside the target may come before all of it, and a curve's weight may be infinite at zero.
        least = 0.5 / len(own)
        place[own] = middle.clip(least)
        each[own] = (middle + ((step + 0.5) / rows[tie] - 0.5) * length).clip(least)
        start[own], width[own], ties[own] = middle - length / 2, length, count + tie
        count += len(rows)
    return Ranking(place, each, start, width, ties)


def within_folds(values: Array, share: Array, fold: Codes) -> Array:
    """Values (n,) about the mean of their fold."""
    sums, sizes = np.bincount(fold, share * values), np.bincount(fold, share)
    return np.asarray(values - (sums / np.maximum(sizes, np.finfo(float).tiny))[fold])


def marginal_effect(ranking: Ranking, cut: float, added: Array, share: Array) -> float:
    """Average of the rows ranked near a cut, from what each adds (n,) to the whole and its share (n,) of the target."""
    near = ranking.near(cut)
    size = float(share @ near)
    return float(added @ near) / size if size > 0 else 0.0
