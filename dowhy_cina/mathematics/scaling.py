"""Standardisation that no permutation of rows can change, not even in the last bit.

Moments are taken over sorted columns.

Letters: N rows, D columns. Columns are stored as rows of a (D, N) array here, so that each is contiguous.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Standardised covariates are cut at this many standard deviations, which leaves all of a long tail in most tables;
#: indicators of few rows sooner, which a ridge would not shrink else.
CLIP, INDICATOR_CLIP = 30.0, 6.0
#: Before their moments are taken covariates are cut where numbers are so many interquartile ranges and more beyond the
#: quartiles, and so many times as far away as the next one, unlike those of a long tail; no more than such a share of
#: the rows, or so many, is beyond them. A single corrupt number would leave nothing of the others.
FAR, LEAST_GAP, MOST_FAR, FEWEST_FAR = 100.0, 10.0, 0.02, 2
#: A column whose spread is within this share of its size varies by rounding only: it is constant.
CONSTANT_TOLERANCE = 8 * float(np.finfo(np.float64).eps)


@contextmanager
def usual_arithmetic() -> Iterator[None]:
    """Let numpy treat overflow and underflow as it does by default, whatever the caller has asked of it.

    Where small numbers may vanish, as in the weight of a far row, a caller who has underflow raise would be stopped.
    """
    with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        yield


def unit_of(size: npt.ArrayLike) -> Array:
    """Powers of two that bring numbers of a size to about one without rounding; of zero it is one."""
    units: Array = np.ldexp(1.0, np.clip(-np.frexp(np.asarray(size, dtype=np.float64))[1], -1000, 1000))
    return units


@dataclass(frozen=True)
class Scaling:
    """Standardisation of D columns: ``((x * unit - centre) - mean) / sd``, cut at `clip`.

    Before that columns are cut at `lower` and `upper`, which are infinite where no number is far from the others.
    `unit` is a power of two that brings the column's size to one without rounding, `centre` the median in that unit;
    taking it off first keeps the digits of columns such as 1e9 with a spread of one.
    """

    unit: Array
    centre: Array
    mean: Array
    sd: Array
    constant: npt.NDArray[np.bool_]
    lower: Array
    upper: Array
    clip: Array

    def apply(self, columns: Array, clip: float | None = None) -> Array:
        """Standardise columns (D, N) into a new array, cut where the scaling says unless another bound is given."""
        reach = self.clip[:, None] if clip is None else clip
        scaled = self.cut(columns) * self.unit[:, None]
        scaled -= self.centre[:, None]
        scaled -= self.mean[:, None]
        scaled /= self.sd[:, None]
        return np.clip(scaled, -reach, reach, out=scaled)

    def cut(self, columns: Array) -> Array:
        """Columns (D, N) without what is far from their other numbers; the array itself where nothing is."""
        return _cut(columns, self.lower, self.upper)

    def far_rows(self, columns: Array) -> list[int]:
        """How many numbers of each column (D, N) are cut."""
        if not np.isfinite(self.lower).any():
            return [0] * len(columns)
        outside = (columns < self.lower[:, None]) | (columns > self.upper[:, None])
        counts: list[int] = outside.sum(1).tolist()
        return counts

    def take(self, kept: npt.NDArray[np.intp]) -> Scaling:
        """Return the scaling of some of the columns."""
        unit, centre, mean, sd, lower, upper, clip = (
            part[kept] for part in (self.unit, self.centre, self.mean, self.sd, self.lower, self.upper, self.clip)
        )
        return Scaling(unit, centre, mean, sd, self.constant[kept], lower, upper, clip)


def fit_scaling(ascending: Array, far: float = FAR) -> Scaling:
    """Fit the standardisation to columns (D, N) whose values are sorted.

    The median is taken off before the moments, and what is so many interquartile ranges away is cut; constant columns
    get a standard deviation of one.
    """
    # A sum over rows that lie apart in memory is taken in another order, with other last bits.
    ascending = np.ascontiguousarray(ascending)
    lower, upper = _bounds(ascending, far)
    ascending, rows = _cut(ascending, lower, upper), ascending.shape[1]
    size = np.maximum(np.abs(ascending[:, 0]), np.abs(ascending[:, -1]))
    unit = unit_of(size)
    centre = (ascending[:, (rows - 1) // 2] * unit + ascending[:, rows // 2] * unit) / 2
    shifted = ascending * unit[:, None]
    shifted -= centre[:, None]
    constant = shifted[:, -1] - shifted[:, 0] <= CONSTANT_TOLERANCE * size * unit
    mean = shifted.sum(axis=1) / rows
    shifted -= mean[:, None]
    sd = np.sqrt(np.square(shifted, out=shifted).sum(axis=1) / rows)
    ends = ascending[:, [0]], ascending[:, [-1]]
    has_two = ((ascending == ends[0]) | (ascending == ends[1])).all(axis=1)
    clip = np.where(has_two, INDICATOR_CLIP, CLIP)
    return Scaling(unit, centre, mean, np.where(constant, 1.0, sd), constant, lower, upper, clip)


def _cut(columns: Array, lower: Array, upper: Array) -> Array:
    """Columns (D, N) within their bounds (D,)."""
    if not np.isfinite(lower).any():
        return columns
    cut: Array = np.clip(columns, lower[:, None], upper[:, None])
    return cut


def _bounds(ascending: Array, far: float) -> tuple[Array, Array]:
    """Bounds (D,) of columns (D, N) whose values are sorted; infinite where none is outside."""
    upper = np.full(len(ascending), np.inf)
    lower, rows = -upper, ascending.shape[1]
    if np.isinf(far):
        return lower, upper
    place = (rows - 1) // 4
    few = max(int(MOST_FAR * rows), min(FEWEST_FAR, place))
    marks = ascending[:, [0, place, -1 - place, -1]]
    unit = unit_of(np.abs(marks).max(1))
    low, first, last, high = (marks * unit[:, None]).T
    distance = far * (last - first)
    for column in np.flatnonzero((distance > 0) & ((low < first - distance) | (high > last + distance))).tolist():
        values, size = ascending[column], unit[column]
        at, reach = (first[column], last[column]), distance[column]
        below = at[0] - _end_of(at[0] - values[few::-1] * size, reach)
        above = at[1] + _end_of(values[rows - 1 - few :] * size - at[1], reach)
        # Its numbers are cut on both sides, since which one is the upper depends on a sign.
        if np.isfinite(below) or np.isfinite(above):
            lower[column] = (below if np.isfinite(below) else min(low[column], at[0] - reach)) / size
            upper[column] = (above if np.isfinite(above) else max(high[column], at[1] + reach)) / size
    return lower, upper


def _end_of(distances: Array, reach: float) -> float:
    """Distance at which an end of a column is cut, given its ascending ones; infinite where it is not.

    The first of them is of a row that may not be cut.
    """
    inner = np.maximum(distances[:-1], reach)
    gaps = np.flatnonzero(distances[1:] >= LEAST_GAP * inner)
    return float(inner[gaps[0]]) if gaps.size else np.inf


def standardise(columns: Array, clip: float | None = None) -> tuple[Array, Scaling]:
    """Standardise columns (D, N) by their own moments; constant columns become zero."""
    is_cut = clip is None or np.isfinite(clip)
    scaling = fit_scaling(np.sort(columns, axis=1), FAR if is_cut else np.inf)
    return scaling.apply(columns, clip), scaling
