"""Numbers that are codes of labels, such as of places: the treatment goes by each value, not by a curve.

Letters: N rows, D columns.

References
----------
.. [BH95] Benjamini & Hochberg (1995), Controlling the false discovery rate, Journal of the Royal Statistical Society B
   57, 289-300.
.. [C54] Cochran (1954), Some methods for strengthening the common chi-square tests, Biometrics 10, 417-451.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from dowhy_cina.mathematics.design_effects import comparable, independent_share
from dowhy_cina.mathematics.scaling import Array

#: Values from which a column may hold codes, and most of them; fewer than so many are few.
LEAST_CODES, MOST_VALUES, FEW_CODES = 4, 2000, 10
#: Independent rows of a value that counts, of few values those of either arm by chance [C54]_, and share of the rows
#: that such values have at least: so there are no more values than a share of the rows.
LEAST_ROWS, LEAST_EXPECTED, LEAST_KNOWN = 2, 5, 0.8
MOST_SHARE = 1 - LEAST_KNOWN + LEAST_KNOWN / LEAST_ROWS
#: Most half waves of what may be smooth in them. How clear it must be that they are codes: of many values the chance,
#: the share of the treatment's variance that they explain beyond it, and how much of that neighbours may have in
#: common; of few, for little is lost by as few labels, the expected share of columns found in vain.
SMOOTH_WAVES = 8
CHANCE, LEAST_EXPLAINED, MOST_COMMON, IN_VAIN = 3e-7, 0.06, 0.25, 0.05

Codes = npt.NDArray[np.int64]


class Coded(NamedTuple):
    """A column of codes: its place, and how many levels it has."""

    place: int
    levels: int


def find_codes(columns: Array, ascending: Array, treatment: Array, cluster: Codes | None = None) -> list[Coded]:
    """Look for columns whose every value is treated as often as it is, whatever the values beside it are.

    Nothing changes where a column is negated, shifted or scaled, or where the arms change places. Without clusters rows
    that agree in every covariate may be those of one person, who is treated in all of them or in none.

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
    found: list[Coded] = []
    few: dict[bytes, tuple[float, list[Coded]]] = {}
    alike: Codes | None = None
    for place in np.flatnonzero(1 + (np.diff(glance, axis=1) > 0).sum(1) <= most).tolist():
        values = np.unique(ascending[place])
        if LEAST_CODES <= len(values) <= most:
            codes, column = np.searchsorted(values, columns[place]), Coded(place, len(values))
            chance = _chance(codes, values, treatment, cluster)
            if cluster is None and chance <= IN_VAIN:
                alike = _alike(columns) if alike is None else alike
                chance = max(chance, _chance(codes, values, treatment, alike))
            if len(values) < FEW_CODES:
                # A copy that is negated, shifted or scaled is the same column.
                same = min(codes.tobytes(), (len(values) - 1 - codes).tobytes())
                few.setdefault(same, (chance, []))[1].append(column)
            elif chance < CHANCE:
                found.append(column)
    return sorted([*found, *_clear_ones(list(few.values()))])


def _alike(columns: Array) -> Codes:
    """Numbers of the kinds of rows that agree in every column (D, N)."""
    kinds: Codes = pd.factorize(pd.util.hash_pandas_object(pd.DataFrame(columns.T), index=False))[0].astype(np.int64)
    return kinds


def _clear_ones(few: list[tuple[float, list[Coded]]]) -> list[Coded]:
    """Columns of few values that are codes, by their chances, of which a share is found in vain [BH95]_."""
    ascending = sorted(few)
    clear = [rank for rank, (chance, _) in enumerate(ascending, 1) if chance <= IN_VAIN * rank / len(few)]
    return [column for _, same in ascending[: max(clear, default=0)] for column in same]


def _chance(codes: Codes, values: Array, treatment: Array, cluster: Codes | None) -> float:
    """Chance that the treatment differs so much between values, given in their order, beyond waves of their ranks.

    Of many values it is one where curves or thresholds may have done it: of a threshold's edge waves leave something,
    too, but neighbours share that.
    """
    count = len(values)
    sizes = np.bincount(codes, minlength=count).astype(np.float64)
    means = np.bincount(codes, treatment, count) / sizes
    share = independent_share(treatment - means[codes], cluster)
    # Of a value without two independent rows nothing tells how far its mean is from others by chance.
    is_few, rarer = count < FEW_CODES, min(treatment.mean(), 1 - treatment.mean())
    several = share * sizes >= (LEAST_EXPECTED / rarer if is_few else LEAST_ROWS) - 1e-9
    known, least_values = sizes[several].sum() / len(codes), LEAST_CODES if is_few else FEW_CODES
    if known < LEAST_KNOWN or several.sum() < least_values or not comparable(sizes, sizes * means, share):
        return 1.0
    sizes, means = sizes[several], means[several]
    if is_few:
        return _chance_of_few(share * sizes, means, values[several])
    noise = means * (1 - means) * sizes / (share * sizes - 1)
    least = LEAST_EXPLAINED * float(len(codes) * treatment.var())
    if sizes @ (means - treatment.mean()) ** 2 - noise.sum() <= least:
        return 1.0
    ranks = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    waves = np.cos(np.pi * np.arange(min(SMOOTH_WAVES, (len(sizes) - 1) // 2) + 1) * ranks[:, None])
    left, kept = _left_by(waves, means, sizes)
    by_chance = float(noise @ kept)
    if by_chance <= 0:
        return 1.0
    freedom = by_chance**2 / float(noise @ noise)
    squares = float(left @ left)
    beyond, common = squares - by_chance, float(left[1:] @ left[:-1])
    if beyond <= least or common >= MOST_COMMON * beyond:
        return 1.0
    return float(special.chdtrc(freedom, squares * freedom / by_chance))


def _chance_of_few(rows: Array, means: Array, values: Array) -> float:
    """The same of few values, by independent rows of each: beyond a logistic regression on a parabola and waves."""
    # Halved first, since numbers may be as large as they get; in their order the last is the largest.
    line = (values / 2 - values[0] / 2) / (values[-1] / 2 - values[0] / 2)
    ranks = (np.cumsum(rows) - rows / 2) / rows.sum()
    waves = np.cos(np.pi * np.arange(1, (len(rows) - 1) // 2 - 1) * ranks[:, None])
    basis = np.column_stack([np.ones_like(line), line, line**2, waves])
    means = (rows * means + 0.5) / (rows + 1)
    left, _ = _left_by(basis, special.logit(means), rows * means * (1 - means))
    return float(special.chdtrc(len(rows) - basis.shape[1], left @ left))


def _left_by(basis: Array, means: Array, weights: Array) -> tuple[Array, Array]:
    """What a weighted regression leaves of values' means, times the weights' roots, and the share that it would."""
    root = np.sqrt(weights)
    columns = np.linalg.qr(root[:, None] * basis)[0]
    return root * means - columns @ (columns.T @ (root * means)), 1 - (columns**2).sum(1)
