"""Steps: what outcomes do at thresholds of covariates, which no smooth kernel learns from a few hundred rows.

Above a threshold of a covariate, or where two covariates lie on the same side of their medians, outcomes may jump. Such
a step that drives the treatment, too, is confounding that a kernel smooths away by half. So after a pilot's smooth
regressions a few steps of their residuals are looked for, and those that are beyond doubt become columns of the table:
of its kernels, of its regressions, and of what the weights balance. The treatment has no say in the search.

Letters: B tables, P pilot rows, n of any rows, D covariates, S steps, C candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.scaling import Array

#: Levels of a covariate at which it may have a step: these shares of the rows, in sixteenths, lie below.
LEVELS = 16
#: Fewest rows, or clusters, on either side of a step.
LEAST_ROWS = 20
#: Most covariates that are looked at, those first along which the pilot's outcome regressions change most, most of them
#: of which two are looked at together, and most steps.
MOST_COLUMNS, MOST_PAIRED, MOST_STEPS = 16, 12, 8
#: A step is beyond doubt if its squared t statistic is at least this times the logarithm of the number of candidates;
#: two would be what the largest of as many comes to by chance.
DOUBT = 3.0
#: Values of a standardised covariate that are no further apart are the same: no threshold divides almost copies.
ALIKE = 1e-5
#: Squared lengths of directions, relative to the largest, up to which lines are taken to depend on each other.
DEPENDENT = 1e-9
#: Least share of a candidate's squares that the covariates and the steps before it must leave.
LEAST_OWN = 0.01
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

    def extended(self, covariates: Float[Tensor, "B n D"]) -> Float[Tensor, "B n D+S"]:
        """Covariates with the steps as further columns."""
        steps = [
            (self._signs(covariates, place, 0) * self._signs(covariates, place, 1) - self.centre[:, place, None])
            / self.unit[:, place, None]
            for place in range(self.count)
        ]
        return torch.cat([covariates, torch.stack(steps, 2)], 2)

    def _signs(self, covariates: Float[Tensor, "B n D"], place: int, side: int) -> Float[Tensor, "B n"]:
        """Signs of the first or of the second covariate of a step; of none they are one."""
        column, ends = self.columns[:, place, side, None], (self.lower, self.upper)
        values = covariates.gather(2, column[..., None].clamp_min(0).expand(-1, covariates.shape[1], -1))[..., 0]
        lower, upper = ((values > end[:, place, side, None]).to(values.dtype) for end in ends)
        return torch.where(column < 0, 1, lower + upper - 1)

    def reordered(self, places: Int[Tensor, " D"]) -> Steps:
        """The same where each covariate is in another place."""
        columns = torch.where(self.columns < 0, self.columns, places[self.columns.clamp_min(0)])
        return Steps(columns, self.lower, self.upper, self.centre, self.unit)


@dataclass(frozen=True)
class _Candidates:
    """Signs and products of two, and how they are made: arrays of shape (C, P), (C, 2), (C, 2) and (C, 2)."""

    signs: Array
    columns: npt.NDArray[np.int64]
    lower: Array
    upper: Array


def _thresholds(column: Array, least: float) -> list[tuple[float, float]]:
    """Pairs of thresholds of a column (P,), one for each level; of a level that lies in the middle of two they differ.

    They lie between neighbouring values, at the share of the rows that is nearest to the level. All of them change
    their places alone when the column is negated, and none does when rows are repeated.
    """
    ascending = np.sort(column)
    ends = np.flatnonzero(np.diff(ascending) > ALIKE)  # the last rows of all values but the largest
    if not len(ends):
        return []
    below, found = (ends + 1) / len(column), []
    for level in range(1, LEVELS):
        place = int(np.searchsorted(below, level / LEVELS))
        around = [near for near in (place - 1, place) if 0 <= near < len(ends)]
        distance = [abs(below[near] - level / LEVELS) for near in around]
        nearest = [near for near, far in zip(around, distance, strict=True) if far <= min(distance) + 1e-9]
        if min(below[nearest[0]], 1 - below[nearest[-1]]) * len(column) >= least:
            lower, upper = (ends[near] for near in (nearest[0], nearest[-1]))
            found.append(tuple((ascending[end] + ascending[end + 1]) / 2 for end in (lower, upper)))
    return list(dict.fromkeys(found))


def _candidates(covariates: Array, places: npt.NDArray[np.int64], least: float) -> _Candidates | None:
    """Steps of some of the covariates, the first of which may make pairs; None if there is no step.

    A pair is the product of two signs, each at the threshold that divides the rows most evenly, or at both of two.
    """
    ends = [(place, pair) for place in places for pair in _thresholds(covariates[:, place], least)]
    if not ends:
        return None
    columns = np.array([place for place, _ in ends])
    lower, upper = np.array([pair for _, pair in ends]).T
    taken = covariates.T[columns]
    signs = (taken > lower[:, None]).astype(np.float64) + (taken > upper[:, None]) - 1
    balance, halves = np.abs(signs.mean(1)), []
    for place in [place for place in places if place in columns][:MOST_PAIRED]:
        own = np.flatnonzero(columns == place)
        even = own[balance[own] <= balance[own].min() + 1e-9]
        halves.append((even[0], even[-1]))
    low, high = np.array(halves).T
    halved = (signs[low] + signs[high]) / 2
    first, second = np.triu_indices(len(halves), 1)
    alone, pairs = np.full(len(columns), -1), np.stack([first, second], 1)
    return _Candidates(
        np.concatenate([signs, halved[first] * halved[second]]),
        np.concatenate([np.stack([columns, alone], 1), columns[low][pairs]]),
        np.concatenate([np.stack([lower, lower], 1), lower[low][pairs]]),
        np.concatenate([np.stack([upper, upper], 1), upper[high][pairs]]),
    )


def _given(covariates: Array, treatment: Array, share: float) -> Array:
    """What every step is looked for beside: the arms and, of enough rows, lines in the covariates in each of them."""
    arms = np.stack([1 - treatment, treatment], 1)
    parts = [arms]
    if share * len(treatment) >= 2 * ROWS_OF_A_COLUMN * covariates.shape[1]:
        parts += [covariates * arm[:, None] for arm in arms.T]
    lines = np.concatenate(parts, 1)
    # Indicators of all levels add up to their arm: of lines that depend on each other rounding would make directions.
    lengths, directions = np.linalg.eigh(lines.T @ lines)
    kept = lengths > DEPENDENT * lengths[-1]
    basis: Array = lines @ (directions[:, kept] / np.sqrt(lengths[kept]))
    return basis


def _chosen(signs: Array, residual: Array, given: Array, cluster: npt.NDArray[np.int64] | None) -> list[int]:
    """Candidates (C, P) that explain a residual (P,) beyond doubt, one after the other, each beside those before it.

    The statistic is robust to unequal variances, or some rare outcome would vouch for a rare step, and to clusters.
    """
    whole = signs.shape[1] * signs.var(1)
    left, own = residual - given @ (given.T @ residual), signs - (signs @ given) @ given.T
    found: list[int] = []
    for _ in range(MOST_STEPS):
        if cluster is None:
            square = np.square(own)
            squares, noise = square.sum(1), square @ np.square(left)
        else:
            squares, scores = np.square(own).sum(1), pd.DataFrame((own * left).T).groupby(cluster).sum().to_numpy()
            noise = np.square(scores).sum(0)
        usable = (squares > LEAST_OWN * whole) & (noise > 0)
        gain = np.where(usable, np.square(own @ left) / np.where(usable, noise, 1), 0)
        # Of candidates that are the same but for rounding, the first.
        best = int(np.argmax(gain >= gain.max() * (1 - 1e-9)))
        if gain[best] < DOUBT * math.log(max(len(gain), 2)):
            break
        found.append(best)
        direction = own[best] / math.sqrt(squares[best])
        left = left - direction * (direction @ left)
        own = own - np.outer(own @ direction, direction)
    return sorted(found)


def find_steps(
    covariates: Array,
    treatment: Array,
    residual: Array,
    shares: Array,
    cluster: npt.NDArray[np.int64] | None = None,
) -> Steps | None:
    """Look for steps in what smooth regressions leave of outcomes.

    Parameters
    ----------
    covariates : ndarray, shape (P, D)
        Standardised.
    treatment, residual : ndarray, shape (P,)
        0 or 1, and what the regression of the row's arm leaves of its outcome.
    shares : ndarray, shape (D,)
        How much the regressions change along each covariate.
    cluster : ndarray of int, shape (P,), optional
        Codes of clusters.

    Returns
    -------
    Steps of one table, or None

    References
    ----------
    Tropp (2004), Greed is good: algorithmic results for sparse approximation, for orthogonal matching pursuit.
    """
    share = 1.0 if cluster is None else len(np.unique(cluster)) / len(cluster)
    places = np.argsort(-shares, kind="stable")[:MOST_COLUMNS]
    candidates = _candidates(covariates, places, LEAST_ROWS / share)
    if candidates is None:
        return None
    given = _given(covariates[:, places], treatment, share)
    chosen = _chosen(candidates.signs, residual, given, cluster)
    if not chosen:
        return None
    signs = candidates.signs[chosen].T
    centre, unit = signs.mean(0), signs.std(0)
    unit = np.where(((signs - centre) ** 3).mean(0) < -1e-9 * unit**3, -unit, unit)
    parts = (candidates.columns, candidates.lower, candidates.upper)
    columns, lower, upper = (torch.from_numpy(np.ascontiguousarray(part[chosen]))[None] for part in parts)
    return Steps(columns, lower, upper, torch.from_numpy(centre)[None], torch.from_numpy(unit)[None])
