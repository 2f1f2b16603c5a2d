"""Rows as masks: of a population with a name, of a value, of what a user's function answers.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Hashable
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dowhy_cina.errors import InputError
from dowhy_cina.tables.columns import holds_numbers, number_column
from dowhy_cina.tables.matching import check_order
from dowhy_cina.tables.reading import inferred


def named_rows(name: str, data: pd.DataFrame, treatment: Hashable, treated: Any, control: Any) -> NDArray[np.bool_]:
    """Tell the rows (N,) of a population that has a name.

    Raises
    ------
    InputError
        If that needs the treatment, and the data lack it.
    """
    if treatment not in data.columns:
        if name == "ate":
            return np.ones(len(data), dtype=bool)
        raise InputError(f"target_units={name!r} needs the treatment column {treatment}, which data lacks.")
    is_treated, is_control = (rows_equal(data[treatment], value) for value in (treated, control))
    return {"att": is_treated, "atc": is_control}.get(name, is_treated | is_control)


def rows_equal(values: pd.Series[Any], value: Any) -> NDArray[np.bool_]:
    """Tell the rows (N,) of a column that hold a value."""
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf" and isinstance(value, Real | np.bool_):
        same: NDArray[np.bool_] = values.to_numpy() == value  # pandas compares the same, ten times as slowly
        return same
    equal: NDArray[np.bool_] = (values == value).fillna(False).to_numpy(dtype=bool)
    if values.dtype == object and isinstance(value, Real) and not equal.any():
        # Numbers of another kind (decimals), as an analysis reads them.
        read = inferred(values, str(values.name))
        if holds_numbers(read, str(values.name)):
            return np.asarray(number_column(read, str(values.name)) == value)
    return equal


def as_mask(answer: Any, data: pd.DataFrame) -> NDArray[np.bool_]:
    """Take the answer of a function of data that was given as ``target_units``, as a mask (N,).

    Raises
    ------
    InputError
        If it is not one truth value for each row, or has the data's labels in another order.
    """
    rows = len(data)
    check_order(answer, data, "target_units")
    values = answer.to_numpy() if isinstance(answer, pd.Series | pd.DataFrame) else np.asarray(answer)
    if values.dtype == object:  # pandas' nullable booleans; a missing answer selects nothing
        values = np.array([value is True or value is np.True_ for value in values.ravel()]).reshape(values.shape)
    if values.dtype != bool or values.size != rows:
        raise InputError(
            f"a function given as target_units must give one boolean for each of the {rows} rows, "
            f"got {values.dtype} of shape {values.shape}."
        )
    mask: NDArray[np.bool_] = values.reshape(rows)
    return mask
