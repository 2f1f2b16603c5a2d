"""Numbers that stand for a missing one, such as -999 or 99: far from all the others, and held by several rows.

Letters: N rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dowhy_cina.mathematics.scaling import Array

#: Distance of such a number from the others, in their range; most of them in a column; fewest other numbers; least
#: share of the rows that hold one of them, and most that hold any.
LEAST_DISTANCE, MOST_SENTINELS, LEAST_OTHERS = 8.0, 3, 2
LEAST_SHARE, MOST_SHARE = 0.01, 0.5


def find_sentinels(numbers: Array) -> tuple[float, ...]:
    """Values of a column (N,) that stand for a missing one, ascending; NaN is missing already.

    Nothing changes where the column is negated, shifted or scaled.
    """
    present = numbers[~np.isnan(numbers)]
    if not present.size or not _may_have(present):
        return ()
    values, rows = np.unique(present, return_counts=True)
    above, below = _far_above(values, rows), _far_above(-values[::-1], rows[::-1])
    # Beside the one end's, those of the other end are not far.
    if above and not below:
        below = _far_above(-values[:-above][::-1], rows[:-above][::-1])
    elif below and not above:
        above = _far_above(values[below:], rows[below:])
    # Of two groups each is far from the other, and none is a sentinel.
    if len(values) - above - below < LEAST_OTHERS:
        return ()
    return (*values[:below].tolist(), *values[len(values) - above :].tolist())


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
