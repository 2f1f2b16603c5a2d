"""Column order and row keys that no permutation of rows or columns can change, not even in the last bit.

Floating-point sums depend on the order of their terms. So the association of columns is summed in whole
numbers, and no other matrix product, whose rounding depends on where a column lies, decides anything.

Letters: N rows, D columns. Columns are stored as rows of a (D, N) array here, so that each is contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]

#: Standardised columns that differ by at most this, up to sign, are the same column.
DUPLICATE_TOLERANCE = 1e-9
#: Statistics of columns that differ by less than this are a tie, so that an affine change of a column moves no column.
_STATISTIC_DECIMALS = 6
#: Fixed-point scale of the whole-number sums: 6 * 2^12 * 2^12 * N stays below 2^53, and so exact, up to N = 8e7.
_FIXED_POINT = 2.0**12
_REFINEMENTS = 3
#: Spread of the hash: rows that differ by more than about its inverse get unrelated keys.
_KEY_FACTOR = 10.0
_KEY_DECIMALS = 9


def column_order(standardised: Array, ascending: Array, names: Sequence[str]) -> tuple[npt.NDArray[np.intp], Array]:
    """Order columns (D, N) by what they hold, whichever way they point, and point them all the same way.

    First come two moments of the sorted values; ties are broken by the association with the other columns, and what is
    still tied (columns that can be exchanged without changing the table) by name. A column points to the side of its
    longer tail, one whose values lie evenly on both sides to where the other columns are large.

    Parameters
    ----------
    standardised, ascending : ndarray, shape (D, N)
        The standardised columns, in row order and sorted.
    names
        Names of the columns.

    Returns
    -------
    ndarray of int, shape (D,)
        Places of the columns in canonical order.
    ndarray, shape (D,)
        1 for each column that points the right way already, -1 for one that has to be negated.
    """
    columns, rows = standardised.shape
    place = np.linspace(-1.0, 1.0, rows)
    shape = np.round((ascending * (place * place * place)).sum(axis=1) / rows, _STATISTIC_DECIMALS)
    skew = _skewness(ascending)
    rank, signs = _dense_rank(np.abs(skew), shape), np.sign(skew)
    if rank.max(initial=-1) + 1 < columns or not signs.all():
        rank, signs = _refine_rank(rank, signs, standardised, names)
    order = sorted(range(columns), key=lambda column: (rank[column], names[column]))
    return np.array(order, dtype=np.intp), signs


def _skewness(ascending: Array) -> Array:
    """Skewness (D,) of sorted columns that no far value decides; zero for symmetric ones."""
    place = np.linspace(-1.0, 1.0, ascending.shape[1])
    mean: Array = (ascending * (place * place)).sum(axis=1) / ascending.shape[1]
    return np.round(mean, _STATISTIC_DECIMALS)


def _dense_rank(minor: npt.NDArray[np.generic], major: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Rank pairs from 0 by (major, minor); equal pairs share a rank."""
    order = np.lexsort((minor, major))
    new = (np.diff(major[order]) != 0) | (np.diff(minor[order]) != 0)
    rank = np.zeros(len(order), dtype=np.int64)
    rank[order[1:]] = np.cumsum(new)
    return rank


def _refine_rank(
    rank: npt.NDArray[np.int64], signs: Array, standardised: Array, names: Sequence[str]
) -> tuple[npt.NDArray[np.int64], Array]:
    """Split tied ranks, and give signs to columns that have none yet (0).

    Both by the association of each column with a bounded function of the rank-weighted row sums, into which columns
    without a sign enter by their size. If nothing tells where any of those points, the first stays as it is, and the
    others follow it.
    """
    fixed = np.rint(standardised * _FIXED_POINT)
    signs = signs.copy()
    for _ in range(_REFINEMENTS + len(signs)):
        loose, classes = signs == 0, rank.max() + 1
        pointed = np.where(loose[:, None], np.abs(fixed), fixed * signs[:, None])
        sums = ((rank + 1.0) @ pointed) / (_FIXED_POINT * classes)
        # u / (1 + |u|) instead of tanh: exactly rounded operations give the same row the same bits wherever it lies.
        score = np.rint(sums / (1 + np.abs(sums)) * _FIXED_POINT)
        association = fixed @ score
        found = np.where(loose, np.sign(association), signs)
        refined = _dense_rank(np.where(loose, np.abs(association), association * signs), rank)
        settled = refined.max() + 1 in (len(rank), classes) and bool((found == signs).all())
        rank, signs = refined, found
        if settled:
            if signs.all():
                break
            first = min(np.flatnonzero(signs == 0), key=lambda column: (rank[column], names[column]))
            signs[first] = 1.0
    return rank, np.where(signs == 0, 1.0, signs)


def find_duplicates(standardised: Array, ascending: Array, names: Sequence[str]) -> dict[int, int]:
    """Find columns (D, N) that repeat another one up to sign.

    The one whose longer tail is below is kept, of those that point the same way the first by name.

    Parameters
    ----------
    standardised, ascending, names
        As in :func:`column_order`.

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
    order = np.argsort(projection)
    breaks = np.flatnonzero(np.diff(projection[order]) > 2 * DUPLICATE_TOLERANCE * rows) + 1
    repeats: dict[int, int] = {}
    for group in np.split(order, breaks):
        kept: list[int] = []
        members = group.tolist()
        if len(members) > 1:
            skew = _skewness(ascending[group])
            members = [members[place] for place in sorted(range(len(skew)), key=lambda k: (skew[k], names[members[k]]))]
        for column in members:
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
    # A row of zeros, which another unit of a column may move by a last bit, stays on one side of a whole number.
    spread = np.round(spread, _KEY_DECIMALS)
    key: Array = spread - np.floor(spread)
    key[key >= 1.0] = 0.0
    return key


def sort_rows(keys: Sequence[Array]) -> npt.NDArray[np.intp]:
    """``lexsort`` of rows by several keys, the last of which hardly any two rows share: in a fraction of the time."""
    order = np.argsort(keys[-1])
    tied = np.diff(keys[-1][order]) == 0
    if tied.any():
        shared = np.flatnonzero(np.r_[tied, False] | np.r_[False, tied])
        rows = np.sort(order[shared])
        order[shared] = rows[np.lexsort([key[rows] for key in keys])]
    return order


def first_arm(key: Array, treatment: Array, outcome: Array) -> int:
    """Arm that comes first among rows with one key, by what the arms hold and not by what they are called.

    The smaller one, or of equal ones that whose keys, or where these are the same whose outcomes, are lower where the
    sorted values first differ.

    Parameters
    ----------
    key, treatment, outcome : ndarray, shape (N,)
        Row keys, 0 or 1, and outcomes, in any order.
    """
    control, treated = treatment == 0, treatment == 1
    difference = int(treated.sum()) - int(control.sum())
    if difference:
        return int(difference < 0)
    for values in (key, outcome):
        apart = np.sort(values[treated]) - np.sort(values[control])
        if apart.any():
            return int(apart[np.flatnonzero(apart)[0]] < 0)
    return 0


def cluster_key(cluster: npt.NDArray[np.int64], keys: Sequence[Array]) -> npt.NDArray[np.uint64]:
    """Hash what the cluster of each row holds, in any order of rows and whatever the clusters are called.

    Parameters
    ----------
    cluster : ndarray of int, shape (N,)
    keys : sequence of ndarray of shape (N,)
        What is known of the rows. Their ranks count, so that no unit changes the hash.

    Returns
    -------
    ndarray of int, shape (N,)
        Clusters that hold the same have the same hash.
    """
    codes, places = np.unique(cluster, return_inverse=True)
    order = np.lexsort(list(keys))
    new = np.any([np.diff(values[order]) != 0 for values in keys], axis=0)
    rank = np.zeros(len(order), dtype=np.int64)
    rank[order[1:]] = np.cumsum(new)
    total = np.zeros(len(codes), dtype=np.uint64)
    np.add.at(total, places, pd.util.hash_array(rank))
    hashed: npt.NDArray[np.uint64] = total[places]
    return hashed


def turns_of(key: Array, treatment: Array, outcome: Array) -> npt.NDArray[np.int64]:
    """Count the rows with the key and in the arm of each row that come before it.

    Copies of a row, which no other row of its arm shares the outcome of, count as one with it: what spans the kernels
    should not be richer for them.

    Parameters
    ----------
    key, treatment, outcome : ndarray, shape (N,)
        Row keys in ascending order, of all rows or of each arm, 0 or 1, each arm together among rows with one key, and
        outcomes, ascending among those of one arm too.

    Returns
    -------
    ndarray of int, shape (N,)
        Zero throughout if no row of an arm has the covariates of another one.
    """
    first = np.r_[True, (np.diff(key) != 0) | (np.diff(treatment) != 0)][: len(key)]
    if first.all():
        return np.zeros(len(key), dtype=np.int64)
    new = first | np.r_[True, np.diff(outcome) != 0][: len(key)]
    counts = new.copy()
    for arm in (0, 1):
        places = np.flatnonzero(new & (treatment == arm))
        _, value, holders = np.unique(outcome[places], return_inverse=True, return_counts=True)
        shared = np.zeros(len(key), dtype=np.bool_)
        shared[places] = holders[value] > 1
        counts |= shared[np.flatnonzero(new)][np.cumsum(new) - 1]
    total = np.cumsum(counts)
    turns: npt.NDArray[np.int64] = total - total[np.flatnonzero(first)][np.cumsum(first) - 1]
    return turns
