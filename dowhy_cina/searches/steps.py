"""Steps: what outcomes do at thresholds of covariates, which no smooth kernel learns from a few hundred rows.

Above a threshold of a covariate, or where two covariates lie on the same side of their medians, outcomes may jump. Such
a step that drives the treatment, too, is confounding that a kernel smooths away by half. So after a pilot's smooth
regressions a few steps of their residuals are looked for, and those that are beyond doubt become columns of the table:
of its kernels, of its regressions, and of what the weights balance. The treatment has no say in the search.

Letters: B tables, P pilot rows, n of any rows, D covariates, S steps, C candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.design_effects import independent_share
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.searches.priorities import looked_at_first
from dowhy_cina.searches.pursuit import LEAST_ROWS, Pursuit

#: Quantiles of a covariate at which it may have a step, in sixteenths of the rows, and the median's place among them.
LEVELS = 16
QUANTILES, MEDIAN = np.arange(1, LEVELS) / LEVELS, LEVELS // 2 - 1
#: Places between two levels at which a step that was found may lie.
FINER = 8
#: Most covariates that are looked at, see :func:`looked_at_first`, and most of which two are looked at together; and
#: most pairs that are kept, those that go most with the residual.
MOST_COLUMNS, MOST_PAIRED, KEPT_PAIRS = 32, 100, 60
#: Most steps of few rows, and rows for each step of many.
MOST_STEPS, ROWS_OF_A_STEP = 8, 170
#: A step is beyond doubt if its squared t statistic is at least this times the logarithm of the number of candidates;
#: two would be what the largest of as many comes to by chance.
CRITICAL_FACTOR = 3.0
#: Values of a standardised covariate that are no further apart are the same: no threshold divides almost copies.
ALIKE = 1e-5
#: Squared lengths of directions, relative to the largest, up to which lines are taken to depend on each other.
DEPENDENT = 1e-9
#: Rows for each coefficient from which the search takes what is linear in the covariates for given.
ROWS_OF_A_COLUMN = 3


@dataclass(frozen=True)
class Steps:
    """Steps as columns: the product of one or two signs, standardised on the rows that they were found in.

    The sign of a covariate is 1 above both thresholds, -1 below both and 0 between.

    Attributes
    ----------
    columns : Tensor of int, shape (B, S, 2)
        Covariates; -1 stands for the second one of a single step.
    lower, upper : Tensor, shape (B, S, 2)
        Thresholds, equal where they divide the rows as they should.
    centre, unit : Tensor, shape (B, S)
        Subtracted, and divided by; a negative unit points a step to the side of its fewer rows.
    """

    columns: Int[Tensor, "B S 2"]
    lower: Float[Tensor, "B S 2"]
    upper: Float[Tensor, "B S 2"]
    centre: Float[Tensor, "B S"]
    unit: Float[Tensor, "B S"]

    @property
    def count(self) -> int:
        """Number S of steps."""
        return self.columns.shape[1]

    def columns_of(self, covariates: Float[Tensor, "B n D"]) -> Float[Tensor, "B n S"]:
        """Steps of rows."""
        steps = [
            (self._signs(covariates, place, 0) * self._signs(covariates, place, 1) - self.centre[:, place, None])
            / self.unit[:, place, None]
            for place in range(self.count)
        ]
        return torch.stack(steps, 2)

    def _signs(self, covariates: Float[Tensor, "B n D"], place: int, side: int) -> Float[Tensor, "B n"]:
        """Signs of the first or of the second covariate of a step; of none they are one."""
        column, ends = self.columns[:, place, side, None], (self.lower, self.upper)
        values = covariates.gather(2, column[..., None].clamp_min(0).expand(-1, covariates.shape[1], -1))[..., 0]
        lower, upper = ((values > end[:, place, side, None]).to(values.dtype) for end in ends)
        return torch.where(column < 0, 1, lower + upper - 1)

    def joined(self, others: Steps) -> Steps:
        """These and, after them, others."""
        pairs = zip(vars(self).values(), vars(others).values(), strict=True)
        return Steps(*(torch.cat(pair, 1) for pair in pairs))

    def reordered(self, places: Int[Tensor, " D"]) -> Steps:
        """The same where each covariate is in another place."""
        columns = torch.where(self.columns < 0, self.columns, places[self.columns.clamp_min(0)])
        return Steps(columns, self.lower, self.upper, self.centre, self.unit)


@dataclass(frozen=True)
class _Candidates:
    """Signs and products of two, and how they are made.

    Attributes
    ----------
    signs : ndarray, shape (C, P)
    columns : ndarray of int, shape (C, 2)
    lower, upper : ndarray, shape (C, 2)
    count : int
        How many there were, of which some may be left.
    """

    signs: Array
    columns: npt.NDArray[np.int64]
    lower: Array
    upper: Array
    count: int

    def take(self, chosen: list[int]) -> _Candidates:
        """Some of them."""
        lower, upper = self.lower[chosen], self.upper[chosen]
        return _Candidates(self.signs[chosen], self.columns[chosen], lower, upper, self.count)

    def moved(self, covariates: Array, side: int, pairs: Array) -> _Candidates:
        """The one candidate, and copies with other thresholds of one of its covariates (P, D)."""
        copies = self.take([0] * (1 + len(pairs)))
        lower, upper = copies.lower, copies.upper
        lower[1:, side], upper[1:, side] = pairs.T
        signs = np.ones((1, len(covariates)))
        for place, column in enumerate(self.columns[0]):
            if column >= 0:
                signs = signs * _signs(covariates[:, column], lower[:, place], upper[:, place])
        return replace(copies, signs=signs)


def _signs(columns: Array, lower: Array, upper: Array) -> Array:
    """Signs (C, P) of columns, one for each pair of thresholds or the same one for all."""
    signs: Array = (columns > upper[:, None]).astype(np.float64)
    signs *= 2
    signs -= 1
    between = np.flatnonzero(lower < upper)
    if len(between):
        signs[between] += np.broadcast_to(columns, signs.shape)[between] > lower[between, None]
        np.minimum(signs, 1, out=signs)
    return signs


def _thresholds(ascending: Array, least: float, shares: Array) -> tuple[npt.NDArray[np.bool_], Array]:
    """Pairs of thresholds (C, T, 2) of sorted columns (C, P), and which of them leave rows on either side.

    They lie between neighbouring values, where the share of the rows below is nearest to one of those asked for, which
    ascend; where two are as near they differ. All of them change their places alone when a column is negated, and none
    does when rows are repeated.
    """
    rows = ascending.shape[1]
    ends = np.arange(rows - 1)  # rows that may be the last ones of a value
    is_end = np.diff(ascending, axis=1) > ALIKE
    below = (ends + 1) / rows
    here = np.searchsorted(below, shares)
    # The last end before each share, and the first one from it on; where there is none, the other one.
    before = np.maximum.accumulate(np.where(is_end, ends, -1), axis=1)[:, np.maximum(here - 1, 0)]
    before = np.where(here > 0, before, -1)
    after = np.minimum.accumulate(np.where(is_end, ends, rows)[:, ::-1], axis=1)[:, ::-1]
    after = np.where(here < rows - 1, after[:, np.minimum(here, rows - 2)], rows)
    near = np.stack([np.where(before < 0, after, before), np.where(after == rows, before, after)], 2)
    near[~is_end.any(1)] = 0
    distance = np.abs(below[near] - shares[:, None])
    pairs = np.where(distance <= distance.min(2, keepdims=True) + 1e-9, near, near[..., ::-1])
    kept = np.minimum(below[pairs[..., 0]], 1 - below[pairs[..., 1]]) * rows >= least
    own = np.arange(len(ascending))[:, None, None]
    return kept & is_end.any(1, keepdims=True), np.asarray((ascending[own, pairs] + ascending[own, pairs + 1]) / 2)


def _distinct(kept: npt.NDArray[np.bool_], thresholds: Array) -> npt.NDArray[np.bool_]:
    """Which of the kept thresholds (C, T, 2) are not those before them again."""
    found = kept.copy()
    found[:, 1:] &= (thresholds[:, 1:] != thresholds[:, :-1]).any(2)
    return found


def _single(
    values: Array, places: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_], thresholds: Array
) -> _Candidates:
    """Steps of columns (C, P), the covariates of these places, at the kept ones of their thresholds (C, T, 2)."""
    own, level = np.nonzero(_distinct(kept, thresholds))
    (lower, upper), columns = thresholds[own, level].T, places[own]
    signs, columns = _signs(values[own], lower, upper), np.stack([columns, np.full_like(columns, -1)], 1)
    return _Candidates(signs, columns, np.stack([lower] * 2, 1), np.stack([upper] * 2, 1), len(signs))


def _paired(
    values: Array, places: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_], medians: Array, residual: Array
) -> _Candidates:
    """Products of the signs of two columns (C, P) at their medians (C, 2), those that go most with a residual."""
    (lower, upper), columns = medians[kept].T, places[kept]
    signs = _signs(values[kept], lower, upper)
    chosen = np.stack(np.triu_indices(len(columns), 1), 1)
    count = len(chosen)
    if count > KEPT_PAIRS:
        strength = np.abs((signs * residual) @ signs.T)[chosen[:, 0], chosen[:, 1]]
        chosen = chosen[np.sort(np.argsort(-strength, kind="stable")[:KEPT_PAIRS])]
    products = signs[chosen[:, 0]] * signs[chosen[:, 1]]
    return _Candidates(products, columns[chosen], lower[chosen], upper[chosen], count)


def _joined(parts: list[_Candidates]) -> _Candidates:
    """All of several candidates."""
    signs, columns, lower, upper = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("signs", "columns", "lower", "upper")
    )
    return _Candidates(signs, columns, lower, upper, sum(part.count for part in parts))


def _nuisance_basis(covariates: Array, treatment: Array, units_per_row: float) -> Array:
    """What every step is looked for beside: the arms and, of enough rows, lines in the covariates in each of them."""
    arms = np.stack([1 - treatment, treatment], 1)
    parts = [arms]
    if units_per_row * len(treatment) >= 2 * ROWS_OF_A_COLUMN * covariates.shape[1]:
        parts += [covariates * arm[:, None] for arm in arms.T]
    lines = np.concatenate(parts, 1)
    # Indicators of all levels add up to their arm: of lines that depend on each other rounding would make directions.
    lengths, directions = np.linalg.eigh(lines.T @ lines)
    kept = lengths > DEPENDENT * lengths[-1]
    basis: Array = lines @ (directions[:, kept] / np.sqrt(lengths[kept]))
    return basis


def _first_best(sizes: Array) -> int:
    """The largest; of those that are the same but for rounding, the first."""
    return int(np.argmax(sizes >= sizes.max() * (1 - 1e-9)))


def _chosen(candidates: _Candidates, covariates: Array, search: Pursuit, least: float) -> list[_Candidates]:
    """Candidates that explain a residual beyond doubt, the strongest first, each beside those before it."""
    critical, found = CRITICAL_FACTOR * math.log(max(candidates.count, 2)), list[_Candidates]()
    for _ in range(max(MOST_STEPS, len(covariates) // ROWS_OF_A_STEP) if len(candidates.signs) else 0):
        gains = search.gains(candidates.signs)
        best = _first_best(gains)
        if gains[best] < critical:
            break
        found.append(_refined(candidates.take([best]), covariates, search, least))
        search.add(found[-1].signs[0])
    return found


def _refined(step: _Candidates, covariates: Array, search: Pursuit, least: float) -> _Candidates:
    """A step at the places near its own, of either covariate in turn, that explain most; a pair's anywhere at first."""
    sides = [side for side in (0, 1) if step.columns[0, side] >= 0]
    for anywhere in (True, False)[2 - len(sides) :]:
        for side in sides:
            column = covariates[:, step.columns[0, side]]
            shares = QUANTILES if anywhere else _near(column, step.lower[0, side], step.upper[0, side])
            kept, thresholds = _thresholds(np.sort(column)[None], least, shares)
            others = step.moved(covariates, side, thresholds[_distinct(kept, thresholds)])
            step = others.take([_first_best(search.gains(others.signs))])
    return step


def _near(column: Array, lower: float, upper: float) -> Array:
    """Shares of the rows between those of the neighbouring levels of a threshold."""
    middle = ((column <= lower).mean() + (column <= upper).mean()) / 2
    shares: Array = middle + np.arange(1 - FINER, FINER) / (LEVELS * FINER)
    return shares


def find_steps(
    covariates: Array,
    treatment: Array,
    residual: Array,
    gradient_shares: Array,
    smoothed: Callable[[Array], Array],
    cluster: npt.NDArray[np.int64] | None = None,
) -> Steps | None:
    """Look for steps in what smooth regressions leave of outcomes.

    Parameters
    ----------
    covariates : ndarray, shape (P, D)
        Standardised.
    treatment, residual : ndarray, shape (P,)
        0 or 1, and what the regression of the row's arm leaves of its outcome.
    gradient_shares : ndarray, shape (D,)
        How much the regressions change along each covariate.
    smoothed : callable
        What the regressions make of values (P,) of the rows in place of outcomes.
    cluster : ndarray of int, shape (P,), optional
        Codes of clusters.

    Returns
    -------
    Steps of one table, or None

    References
    ----------
    Tropp (2004), Greed is good: algorithmic results for sparse approximation, for orthogonal matching pursuit.
    """
    units_per_row = independent_share(residual - residual.mean(), cluster)
    places, least = looked_at_first(covariates, residual, gradient_shares), LEAST_ROWS / units_per_row
    basis = _nuisance_basis(covariates[:, places[:MOST_COLUMNS]], treatment, units_per_row)
    search = Pursuit(residual - basis @ (basis.T @ residual), basis, smoothed, cluster)
    paired = places[:MOST_PAIRED]
    values = np.ascontiguousarray(covariates[:, paired].T)
    kept, thresholds = _thresholds(np.sort(values), least, QUANTILES)
    candidates = _single(values, paired, kept[:MOST_COLUMNS], thresholds[:MOST_COLUMNS])
    if len(paired) > 1:
        pairs = _paired(values, paired, kept[:, MEDIAN], thresholds[:, MEDIAN], search.residual)
        candidates = _joined([candidates, pairs])
    found = _chosen(candidates, covariates, search, least)
    if not found:
        return None
    steps = _joined(found)
    signs = steps.signs.T
    centre, unit = signs.mean(0), signs.std(0)
    unit = np.where(((signs - centre) ** 3).mean(0) < -1e-9 * unit**3, -unit, unit)
    columns, lower, upper = (torch.from_numpy(part)[None] for part in (steps.columns, steps.lower, steps.upper))
    return Steps(columns, lower, upper, torch.from_numpy(centre)[None], torch.from_numpy(unit)[None])
