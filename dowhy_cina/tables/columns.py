"""What a single column holds: numbers, or labels to be told apart; everything else is refused with a remedy.

Letters: N rows, L levels.
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
_DATES = {"datetime64", "datetime", "date", "time", "timedelta64", "timedelta", "period", "interval"}


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
    if types.is_complex_dtype(dtype):
        raise InputTypeError(
            f"{what}: expected real numbers, got complex ones. Pass the real and imaginary part apart."
        )
    if types.is_numeric_dtype(dtype) or types.is_bool_dtype(dtype):
        return True
    kind = types.infer_dtype(series, skipna=True)
    if kind in _DATES:
        raise InputTypeError(
            f"{what}: expected numbers, text or categories, got dates or times. Turn them into a number, for example "
            "(column - column.min()).dt.days for dates."
        )
    if kind in _NUMBERS:
        return True
    if kind in {"string", "bytes", "categorical"}:
        return False
    present = series.dropna()
    if all(isinstance(value, Real | Decimal | np.bool_) for value in present):
        return True
    odd = next((value for value in present if not isinstance(value, str | bytes | Real | Decimal | np.bool_)), None)
    if odd is not None and not _is_label(odd):
        raise InputTypeError(
            f"{what}: expected numbers, text or categories, got values of type {type(odd).__name__}, such as {odd!r}. "
            "Turn each into one number or one label."
        )
    return False


def _is_label(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return np.ndim(value) == 0 and not isinstance(value, complex)


def number_column(series: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Return a column of numbers as float64 (N,), missing ones as NaN."""
    if series.dtype == object:
        series = series.where(series.notna(), np.nan)
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def column_levels(series: pd.Series[Any], what: str) -> tuple[Any, ...]:
    """Return the levels that occur in a column of labels, in an order of their own; None stands for missing.

    Raises
    ------
    InputError
        If there are so many that the column names rows instead of describing them.
    """
    codes, unique = pd.factorize(series)
    if len(unique) > MAX_LEVELS:
        raise InputError(
            f"covariate {what!r}: expected at most {MAX_LEVELS} levels, got {len(unique)} in {len(series)} rows. It "
            "looks like an identifier: leave it out, or group its levels."
        )
    levels = sorted(unique.tolist(), key=lambda level: (type(level).__name__, str(level)))
    return (*levels, None) if bool((codes < 0).any()) else tuple(levels)


def level_names(what: str, levels: tuple[Any, ...]) -> list[str]:
    """Name the indicator of each level as ``column=level``, the missing one ``column=missing``."""
    missing = "(missing)" if "missing" in map(str, levels) else "missing"
    return [f"{what}={missing if level is None else level}" for level in levels]


def indicators(series: pd.Series[Any], levels: tuple[Any, ...], what: str) -> npt.NDArray[np.float64]:
    """One-hot code a column of labels; exactly two levels need only the second one's indicator.

    Returns
    -------
    ndarray, shape (L, N) or (1, N)

    Raises
    ------
    InputError
        If the column has a level that was not there at the fit.
    """
    codes, unique = pd.factorize(series)
    position = {level: index for index, level in enumerate(levels)}
    found = [position.get(level, -1) for level in [*unique.tolist(), None]]  # code -1 is missing, and the last one here
    occurs = np.bincount(codes + 1, minlength=len(unique) + 1)
    unseen = [level for level, where in zip(unique.tolist(), found, strict=False) if where < 0]
    if found[-1] < 0 and occurs[0]:
        unseen.append("missing")
    if unseen:
        raise InputError(
            f"covariate {what!r}: expected the levels of the fitted table ({', '.join(map(repr, levels[:20]))}), got "
            f"{', '.join(map(repr, unseen[:5]))}. Leave these rows out or map them to a known level."
        )
    mapped = np.asarray(found, dtype=np.intp)[codes]
    shown = np.arange(len(levels))[1:] if len(levels) == 2 else np.arange(len(levels))
    coded: npt.NDArray[np.float64] = (mapped[None, :] == shown[:, None]).astype(np.float64)
    return coded
