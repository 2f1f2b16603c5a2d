"""What one column of the user's table holds: numbers, or labels.

Letters: N rows.
"""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from dowhy_cina.errors import InputError, InputTypeError

#: Levels of a text column from which it is an identifier and not a covariate.
MAX_LEVELS = 1000
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal", "boolean", "empty"}
_DATES = {"datetime64", "datetime", "date", "time", "timedelta64", "timedelta", "period"}


def check_real(series: pd.Series[Any], what: str) -> None:
    """Refuse a column of complex numbers, which lose their imaginary part on the way to floats.

    Raises
    ------
    InputTypeError
        If it is one.
    """
    if types.is_complex_dtype(series.dtype):
        raise InputTypeError(
            f"{what}: expected real numbers, got complex ones. Pass the real and imaginary part apart."
        )


def holds_dates(series: pd.Series[Any]) -> bool:
    """Whether a column holds dates or times."""
    return types.infer_dtype(series, skipna=True) in _DATES


def holds_numbers(series: pd.Series[Any], what: str) -> bool:
    """Tell numbers and booleans (True) from labels, that is text and categories (False).

    Raises
    ------
    InputTypeError
        If the column holds dates, complex numbers or containers.
    """
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return False
    check_real(series, what)
    if types.is_numeric_dtype(dtype) or types.is_bool_dtype(dtype):
        return True
    if holds_dates(series):
        raise InputTypeError(
            f"{what}: expected numbers, text or categories, got dates or times. Turn them into a number, for example "
            "(column - column.min()).dt.days for dates; column.astype('datetime64[ns]') makes these of other objects."
        )
    kind = types.infer_dtype(series, skipna=True)
    if kind in _NUMBERS:
        return True
    if kind in {"string", "bytes", "categorical", "interval"}:
        return False
    present = series.dropna()
    if all(isinstance(value, Real | Decimal | np.bool_) for value in present):
        return True
    odd = next((value for value in present if not _is_label(value)), None)
    if odd is not None:
        raise InputTypeError(
            f"{what}: expected numbers, text or categories, got values of type {type(odd).__name__}, such as {odd!r}. "
            "Turn each into one number or one label."
        )
    return False


def is_hashable(value: Any) -> bool:
    """Whether a value can be a label or a name."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_label(value: Any) -> bool:
    if not is_hashable(value):
        return False
    return isinstance(value, str | bytes | Real | Decimal) or (np.ndim(value) == 0 and not isinstance(value, complex))


def number_column(series: pd.Series[Any], what: str) -> npt.NDArray[np.float64]:
    """Return a column of numbers as float64 (N,), missing ones as NaN.

    Raises
    ------
    InputError
        If one cannot be a float.
    """
    if series.dtype == object:
        series = series.where(series.notna(), np.nan)
    try:
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what}: expected numbers up to 1e308, got one that is no float ({error}).") from error


def typed(column: pd.Series[Any], what: str) -> pd.Series[Any]:
    """Column of objects as numbers or as text; others as they are.

    Pandas' own numbers and truth values become plain numbers where some are missing or none is stored.

    Raises
    ------
    InputError, InputTypeError
        If the column holds neither numbers nor labels, or a number that is no float.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return column
    if types.is_extension_array_dtype(dtype) and (types.is_numeric_dtype(dtype) or types.is_bool_dtype(dtype)):
        if not column.isna().any() and not isinstance(dtype, pd.SparseDtype):
            return column
    elif not types.is_object_dtype(dtype) and not isinstance(dtype, pd.StringDtype):
        return column
    elif not holds_numbers(column, what):
        return _as_text(column)
    return pd.Series(number_column(column, what), column.index, name=column.name)


def _as_text(column: pd.Series[Any]) -> pd.Series[Any]:
    """Labels as text, None where they are missing; in quotes if a number or another label reads like a text."""
    plain = column.astype(object).where(column.notna(), None)
    text = plain.map(str, na_action="ignore")
    return plain.map(repr, na_action="ignore") if text.nunique() < plain.nunique() else text
