"""Column order and row keys that no permutation of rows or columns can change, not even in the last bit.

Floating-point sums depend on the order of their terms. So the association of columns is summed in whole
numbers, and no other matrix product, whose rounding depends on where a column lies, decides anything.

Letters: N rows, D columns. Columns are stored as rows of a (D, N) array here, so that each is contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Standardised columns that differ by at most this, up to sign, are the same column.
DUPLICATE_TOLERANCE = 1e-9
#: Statistics of columns that differ by less than this are a tie, so that an affine change of a column moves no column.
_STATISTIC_DECIMALS = 6
#: Fixed-point scale of the whole-number sums: 6 * 2^12 * 2^12 * N stays below 2^53, and so exact, up to N = 8e7.
_FIXED_POINT = 2.0**12
_REFINEMENTS = 3
#: Spread of the hash: rows that differ by more than about its inverse get unrelated keys.
_KEY_FACTOR = 1e4


def column_order(standardised: Array, ascending: Array, names: Sequence[str]) -> list[int]:
    """Order columns (D, N) by what they hold.

    First come two moments of the sorted values; ties are broken by the association with the other columns, and what is
    still tied (columns that can be exchanged without changing the table) by name.

    Parameters
    ----------
    standardised, ascending : ndarray, shape (D, N)
        The standardised columns, in row order and sorted.
    names
        Names of the columns.
    """
    columns, rows = standardised.shape
    place = np.linspace(-1.0, 1.0, rows)
    shape = np.round((ascending * (place * place * place)).sum(axis=1) / rows, _STATISTIC_DECIMALS)
    skew = np.round((ascending * (place * place)).sum(axis=1) / rows, _STATISTIC_DECIMALS)
    rank = _dense_rank(skew, shape)
    if rank.max(initial=-1) + 1 < columns:
        rank = _refine_rank(rank, standardised)
    return sorted(range(columns), key=lambda column: (rank[column], names[column]))


def _dense_rank(minor: npt.NDArray[np.generic], major: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Rank pairs from 0 by (major, minor); equal pairs share a rank."""
    order = np.lexsort((minor, major))
    new = (np.diff(major[order]) != 0) | (np.diff(minor[order]) != 0)
    rank = np.zeros(len(order), dtype=np.int64)
    rank[order[1:]] = np.cumsum(new)
    return rank


def _refine_rank(rank: npt.NDArray[np.int64], standardised: Array) -> npt.NDArray[np.int64]:
    """Split tied ranks by the association of each column with a bounded function of the rank-weighted row sums."""
    fixed = np.rint(standardised * _FIXED_POINT)
    for _ in range(_REFINEMENTS):
        classes = rank.max() + 1
        sums = ((rank + 1.0) @ fixed) / (_FIXED_POINT * classes)
        # u / (1 + |u|) instead of tanh: exactly rounded operations give the same row the same bits wherever it lies.
        score = np.rint(sums / (1 + np.abs(sums)) * _FIXED_POINT)
        refined = _dense_rank(fixed @ score, rank)
        if refined.max() + 1 in (len(rank), classes):
            return refined
        rank = refined
    return rank


def find_duplicates(standardised: Array, order: Sequence[int]) -> dict[int, int]:
    """Find columns (D, N) that repeat an earlier one of `order` up to sign.

    Returns
    -------
    dict
        Column to the column that it repeats.
    """
    columns, rows = standardised.shape
    if columns < 2:
        return {}
    # Equal columns have equal projections, so only neighbours among the sorted projections can be equal.
    probe = np.modf(np.arange(1, rows + 1) * 0.6180339887498949)[0] - 0.5
    projection = np.abs(standardised @ probe)
    ascending = np.argsort(projection)
    breaks = np.flatnonzero(np.diff(projection[ascending]) > 2 * DUPLICATE_TOLERANCE * rows) + 1
    groups = [group for group in np.split(ascending, breaks) if len(group) > 1]
    position = {column: index for index, column in enumerate(order)}
    repeats: dict[int, int] = {}
    for group in groups:
        kept: list[int] = []
        for column in sorted(group.tolist(), key=position.__getitem__):
            same = next((other for other in kept if _same_up_to_sign(standardised[column], standardised[other])), None)
            if same is None:
                kept.append(column)
            else:
                repeats[column] = same
    return repeats


def _same_up_to_sign(left: Array, right: Array) -> bool:
    sign = 1.0 if left[np.argmax(np.abs(left))] * right[np.argmax(np.abs(left))] > 0 else -1.0
    return float(np.abs(left - sign * right).max()) <= DUPLICATE_TOLERANCE


def canonical_row_key(covariates: Array) -> Array:
    """Hash each row to a number in [0, 1) that depends on nothing but what the row holds.

    Parameters
    ----------
    covariates : ndarray, shape (N, D)
        Standardised covariates in canonical column order.

    Returns
    -------
    ndarray, shape (N,)
        Equal rows have equal keys; a subset chosen by key is a pseudo-random one that no permutation changes.
    """
    columns = covariates.shape[1]
    # Sines of squares have no linear relation with whole coefficients, so balanced binary columns do not collide.
    coefficients = 1.5 + 0.5 * np.sin(np.square(np.arange(1.0, columns + 1)))
    spread = (np.ascontiguousarray(covariates) * coefficients).sum(axis=1) * _KEY_FACTOR
    key: Array = spread - np.floor(spread)
    key[key >= 1.0] = 0.0
    return key
