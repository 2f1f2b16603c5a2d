"""Numbers that stand for a missing one, such as -999 or 99: far from all the others, and held by several rows.

Letters: N rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dowhy_cina.mathematics.scaling import Array, unit_of

#: Distance of such a number from the others, in their range; most of them in a column; fewest other numbers; least
#: share of the rows that hold one of them, and most that hold any.
LEAST_DISTANCE, MOST_SENTINELS, LEAST_OTHERS = 8.0, 3, 2
LEAST_SHARE, MOST_SHARE = 0.01, 0.5
#: Size of a rounding, as by single precision, that leaves such a number what it is.
ROUNDING = 1e-6


class Sentinel(NamedTuple):
    """A number that stands for a missing one, of the column at a place; others within a reach of it are the same."""

    place: int
    value: float
    reach: float

    def among(self, numbers: Array) -> npt.NDArray[np.bool_]:
        """Which numbers (C, N) of its column are it, shape (N,)."""
        own = numbers[self.place]
        found: npt.NDArray[np.bool_] = (own >= self.value - self.reach) & (own <= self.value + self.reach)
        return found


def sentinels_of(numbers: Array) -> list[Sentinel]:
    """Those of columns (C, N), none of which reaches another number of its column."""
    return [
        Sentinel(place, value, _reach(value, column))
        for place, column in enumerate(numbers)
        for value in find_sentinels(column)
    ]


def _reach(value: float, column: Array) -> float:
    """How far a number may be from a sentinel of a column (N,) to be the same, halves taken against overflows."""
    others = column[~np.isnan(column) & (column != value)]
    return min(ROUNDING * abs(value), float(np.abs(others / 2 - value / 2).min()) / 2)


def shortest(value: float) -> str:
    """A number in as few digits as tell it from others of its precision, as -999 or -99.9."""
    if value.is_integer() and abs(value) < 2.0**53:
        return str(int(value))
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(value)
    return str(single) if float(single) == value else repr(value)


def find_sentinels(numbers: Array) -> tuple[float, ...]:
    """Values of a column (N,) that stand for a missing one, ascending; NaN is missing already.

    Nothing changes where the column is negated, shifted or scaled.
    """
    present = numbers[~np.isnan(numbers)]
    if not present.size:
        return ()
    unit = float(unit_of(np.abs(present).max()))
    if not _may_have(present * unit):
        return ()
    found, rows = np.unique(present, return_counts=True)
    values = found * unit
    above, below = _far_above(values, rows), _far_above(-values[::-1], rows[::-1])
    # Beside the one end's, those of the other end are not far.
    if above and not below:
        below = _far_above(-values[:-above][::-1], rows[:-above][::-1])
    elif below and not above:
        above = _far_above(values[below:], rows[below:])
    # Of two groups each is far from the other, and none is a sentinel.
    if len(values) - above - below < LEAST_OTHERS:
        return ()
    return (*found[:below].tolist(), *found[len(found) - above :].tolist())


def _may_have(present: Array) -> bool:
    """Whether one end is so far from the middle as sentinels make it: the middle itself is no sentinel."""
    half = [(present.size - 1) // 2, present.size // 2]
    low, (lower, upper), high = present.min(), np.partition(present, half)[half], present.max()
    sides = (lower - low, high - lower), (upper - low, high - upper)
    return any(max(side) >= LEAST_DISTANCE * min(side) for side in sides)


def _far_above(values: Array, rows: npt.NDArray[np.int64]) -> int:
    """How many of the largest values are sentinels, given how many rows hold each."""
    for count in range(1, min(MOST_SENTINELS, len(values) - LEAST_OTHERS) + 1):
        others, far = values[:-count], values[-count]
        shares = rows[-count:] / rows.sum()
        is_far = far - others[-1] >= LEAST_DISTANCE * (others[-1] - others[0])
        if is_far and shares.min() >= LEAST_SHARE and shares.sum() <= MOST_SHARE:
            return count
    return 0
