"""Covariates that effects vary over: the caller's columns with the values that the estimate reads in them.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.tables.columns import holds_numbers, number_column
from dowhy_cina.tables.sentinels import Sentinel
from dowhy_cina.tables.words import Wording, numbers_and_words

#: Values up to which each code is a label here, too, and groups up to which most may have few rows.
MOST_GROUPS = 100
#: Size up to which whole numbers among floats are exact.
_LARGEST_WHOLE = 2.0**53


def columns_as_read(
    columns: pd.DataFrame,
    labels: Sequence[Any],
    wordings: Mapping[int, Wording],
    sentinels: Sequence[Sentinel],
    codes: Mapping[int, int],
) -> pd.DataFrame:
    """Return raw covariates as the estimate reads them; the frame itself where that is what it holds.

    Parameters
    ----------
    columns : DataFrame, N rows
        Some of the covariates under their names; others stay as they are.
    labels
        Names of the covariates by position.
    wordings
        Of those that are numbers though they came as text, which become numbers.
    sentinels
        Numbers that stand for a missing one, by the covariate's position, which become NaN.
    codes
        Number of values of those that are codes, which become categories where there are at most `MOST_GROUPS`.

    Raises
    ------
    InputError, InputTypeError
        If a number is no float, or a column holds what cannot be a covariate.
    """
    if not (wordings or sentinels or codes):
        return columns
    places = {label: at for at, label in enumerate(labels)}
    read = []
    for name, column in columns.items():
        at = places.get(name, -1)
        far = [one._replace(place=0) for one in sentinels if one.place == at]
        is_coded = codes.get(at, MOST_GROUPS + 1) <= MOST_GROUPS
        if far or is_coded or at in wordings:
            numbers = _numbers(column, wordings.get(at))
            for sentinel in far:
                numbers[sentinel.among(numbers[None])] = np.nan
            values = _as_labels(numbers) if is_coded else pd.Series(numbers)
            column = values.set_axis(column.index)
        read.append(column)
    return pd.concat(read, axis=1).set_axis(columns.columns, axis=1) if read else columns


def _numbers(column: pd.Series[Any], wording: Wording | None) -> npt.NDArray[np.float64]:
    """Numbers (N,) of a column, NaN where it has none."""
    what = f"covariate {str(column.name)!r}"
    if wording is not None and not holds_numbers(column, what):
        return numbers_and_words(column, wording).numbers
    return np.array(number_column(column, what))


def _as_labels(numbers: npt.NDArray[np.float64]) -> pd.Series[Any]:
    """Codes (N,) as categories in the order of the numbers: whole ones, if all are."""
    present = numbers[~np.isnan(numbers)]
    is_whole = bool((present == np.rint(present)).all() and (np.abs(present) <= _LARGEST_WHOLE).all())
    column = pd.Series(numbers)
    return (column.astype("Int64") if is_whole else column).astype("category")
