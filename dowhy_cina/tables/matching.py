"""Whose average effect is wanted, where rows are given that are the table's own.

Letters: N rows of the table, M target rows, D covariates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import InputError
from dowhy_cina.tables.canonical import Array, canonical_row_key


def name_of(members: npt.NDArray[np.generic], treatment: Array) -> str:
    """Name of the population with these members (N,), "ate", "att" or "atc", or "rows" if it has none."""
    arms = {"ate": np.ones_like(treatment), "att": treatment, "atc": 1 - treatment}
    return next((name for name, rows in arms.items() if np.array_equal(members, rows)), "rows")


def check_order(values: Any, table: Any, what: str) -> None:
    """Refuse values with the labels of a table in another order: they are taken by position.

    Parameters
    ----------
    values : object
        Of N rows; those without labels are as they should be.
    table : object
        The caller's covariates, or another column of the table where these are an array.
    what : str
        Name of the values.

    Raises
    ------
    InputError
    """
    if not (isinstance(values, pd.Series | pd.DataFrame) and isinstance(table, pd.Series | pd.DataFrame)):
        return
    own, index = values.index, table.index
    if len(own) != len(index) or own.equals(index) or not (own.is_unique and index.is_unique):
        return
    if index.isin(own).all():
        raise InputError(
            f"{what}: expected rows in the order of the table, got its labels in another order. Values are taken by "
            "position: put them in order with .loc[X.index], or drop the labels with .reset_index(drop=True)."
        )


def places_by_label(index: pd.Index[Any], table: Any, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp] | None:
    """Places of rows among the compared ones of a table, by the labels of both.

    Parameters
    ----------
    index : Index of M labels
    table : object
        The caller's covariates.
    keep : ndarray of bool
        Which of the caller's rows are compared.

    Returns
    -------
    ndarray of int, shape (M,), or None
        None if the table has no labels that tell its rows apart, or lacks one.
    """
    if not isinstance(table, pd.DataFrame) or not table.index.is_unique:
        return None
    places = table.index.get_indexer(index)
    if (places < 0).any() or not keep[places].all():
        return None
    found: npt.NDArray[np.intp] = (np.cumsum(keep) - 1)[places]
    return found


def members_of(rows: Array, table: Array, treatment: Array, places: npt.NDArray[np.intp] | None = None) -> Array | None:
    """Find rows in the table.

    Parameters
    ----------
    rows, table : ndarray, shape (M, D) and (N, D)
        Encoded covariates.
    treatment : ndarray, shape (N,)
        0 or 1.
    places : ndarray of int, shape (M,), optional
        Where the rows are in the table, if their labels tell the truth.

    Returns
    -------
    ndarray of shape (N,), or None
        How often each row of the table is meant; None if one of ``rows`` is none of them. Rows of the table with the
        same covariates share what is meant of them, unless labels tell them apart, or the rows are as many of every
        kind as the table or one of its arms has: then they are those.
    """
    if places is not None and np.array_equal(table[places], rows):
        return np.bincount(places, minlength=len(table)).astype(np.float64)
    if not np.isin(canonical_row_key(rows), canonical_row_key(table)).all():
        return None
    kinds = np.zeros(len(table) + len(rows), dtype=np.intp)
    if table.shape[1]:
        kinds = np.unique(np.concatenate([table, rows]), axis=0, return_inverse=True)[1].ravel()
    own, count = kinds[: len(table)], int(kinds.max()) + 1
    held, wanted = np.bincount(own, minlength=count), np.bincount(kinds[len(table) :], minlength=count)
    if (held[wanted > 0] == 0).any():
        return None
    for members in (np.ones_like(treatment), treatment, 1 - treatment):
        if np.array_equal(np.bincount(own, members, count), wanted):
            return members
    shared: Array = (wanted / np.maximum(held, 1))[own]
    return shared
