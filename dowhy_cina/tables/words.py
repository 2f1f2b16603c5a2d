"""Numbers among words: columns of text most entries of which are numbers that seldom repeat, as in 12.5 and "unknown".

Letters: N rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dowhy_cina.mathematics.scaling import Array

#: Share of the entries that are numbers, least share of these that are distinct, and fewest of these: of fewer levels a
#: text may be meant as such.
LEAST_NUMBERS, LEAST_DISTINCT, FEWEST_DISTINCT = 0.5, 0.5, 20


class NumbersAndWords(NamedTuple):
    """Numbers (N,) of a column, NaN where it has none, and the words that stand there instead."""

    numbers: Array
    words: tuple[str, ...]


def numbers_and_words(column: pd.Series[Any]) -> NumbersAndWords:
    """Take a column of text apart."""
    parsed = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    numbers = np.where(np.isfinite(parsed), parsed, np.nan)
    words = column[np.isnan(numbers) & column.notna().to_numpy()]
    return NumbersAndWords(numbers, tuple(sorted({str(word) for word in words.unique()})))


def among_words(column: pd.Series[Any]) -> NumbersAndWords | None:
    """Numbers and words of a column of text that is one of numbers; None of another one."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return None
    found = numbers_and_words(column)
    present = found.numbers[~np.isnan(found.numbers)]
    distinct = len(np.unique(present))
    is_one = len(present) >= LEAST_NUMBERS * column.notna().sum() and distinct >= LEAST_DISTINCT * len(present)
    return found if is_one and distinct > FEWEST_DISTINCT else None
