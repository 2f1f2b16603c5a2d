"""Numbers that are codes of labels, such as of places: the treatment goes by each value, not by a curve.

Letters: N rows, D columns, V values of a column.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from dowhy_cina.mathematics.design_effects import independent_share
from dowhy_cina.mathematics.scaling import Array

#: Values from which a column may hold codes, and most of them.
LEAST_CODES, MOST_VALUES = 10, 2000
#: Independent rows of a value that counts, and share of the rows that such values have at least: so there are no more
#: values than a share of the rows.
LEAST_ROWS, LEAST_KNOWN = 2, 0.8
MOST_SHARE = 1 - LEAST_KNOWN + LEAST_KNOWN / LEAST_ROWS
#: Half waves of what may be smooth in them, and how clear it must be that they are codes: its chance, the share of the
#: treatment's variance that values explain beyond it, and how much of that neighbours may have in common.
SMOOTH_WAVES, CHANCE, LEAST_EXPLAINED, MOST_COMMON = 8, 3e-7, 0.06, 0.25

Codes = npt.NDArray[np.int64]


class Coded(NamedTuple):
    """A column of codes: its place, and how many values it has."""

    place: int
    values: int


def find_codes(columns: Array, ascending: Array, treatment: Array, cluster: Codes | None = None) -> list[Coded]:
    """Look for columns whose every value is treated as often as it is, whatever the values beside it are.

    Nothing changes where a column is negated, shifted or scaled, or where the arms change places.

    Parameters
    ----------
    columns, ascending : ndarray, shape (D, N)
        Numbers without missing ones, as the rows have them and each column sorted.
    treatment : ndarray, shape (N,)
        0 or 1.
    cluster : ndarray of int, shape (N,), optional
        Codes of clusters, whose rows tell of no value where they are treated as a whole.
    """
    most = min(MOST_SHARE * len(treatment), MOST_VALUES)
    # Some of the sorted numbers rule out most columns.
    glance = ascending[:, :: max(1, len(treatment) // (4 * MOST_VALUES))]
    found = []
    for place in np.flatnonzero(1 + (np.diff(glance, axis=1) > 0).sum(1) <= most).tolist():
        values = np.unique(ascending[place])
        if LEAST_CODES <= len(values) <= most:
            codes = np.searchsorted(values, columns[place])
            if _goes_by_value(codes, treatment, len(values), cluster):
                found.append(Coded(place, len(values)))
    return found


def _goes_by_value(codes: Codes, treatment: Array, count: int, cluster: Codes | None) -> bool:
    """Whether the treatment differs between values, from 0 in their order, beyond waves of their ranks.

    Of a threshold's edge waves leave something, too, but neighbours share that.
    """
    sizes = np.bincount(codes, minlength=count)
    means = np.bincount(codes, treatment, count) / sizes
    share = independent_share(treatment - means[codes], cluster)
    # Of a value without two independent rows nothing tells how far its mean is from others by chance.
    several = share * sizes >= LEAST_ROWS - 1e-9
    if several.sum() < LEAST_CODES or sizes[several].sum() < LEAST_KNOWN * len(codes):
        return False
    sizes, means = sizes[several], means[several]
    noise = means * (1 - means) * sizes / (share * sizes - 1)
    least = LEAST_EXPLAINED * float(len(codes) * treatment.var())
    if sizes @ (means - treatment.mean()) ** 2 - noise.sum() <= least:
        return False
    ranks = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    waves = np.cos(np.pi * np.arange(SMOOTH_WAVES + 1) * ranks[:, None])
    # Weighted by rows, the regression of rows is that of the values' means.
    root = np.sqrt(sizes)
    basis = np.linalg.qr(root[:, None] * waves)[0]
    left = root * means - basis @ (basis.T @ (root * means))
    by_chance = float(noise @ (1 - (basis**2).sum(1)))
    if by_chance <= 0:
        return False
    freedom = by_chance**2 / float(noise @ noise)
    squares = float(left @ left)
    clear = bool(special.chdtrc(freedom, squares * freedom / by_chance) < CHANCE)
    beyond, common = squares - by_chance, float(left[1:] @ left[:-1])
    return clear and beyond > least and common < MOST_COMMON * beyond
