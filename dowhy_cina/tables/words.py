"""Numbers among words: columns of text most entries of which are numbers and no codes, as in 12.5 and "unknown".

Numbers may have a unit of money or a percent sign beside them, thousands apart, and a comma before their decimals.

Letters: N rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dowhy_cina.mathematics.scaling import Array

#: Share of the entries that are numbers, least share of these that are distinct if all are whole, and fewest of these:
#: of fewer levels a text may be meant as such.
LEAST_NUMBERS, LEAST_DISTINCT, FEWEST_DISTINCT = 0.5, 0.5, 20
#: What may stand around a number, and inside it before each three digits.
_AROUND = r"^[\s$€£¥%]+|[\s$€£¥%]+$"
_GAP = r"(?<=\d)[ '\u00a0\u202f](?=\d{3}(?!\d))"
#: Numbers that ``float`` does not read: with thousands apart, by what stands before decimals.
_APART = {
    ".": r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?",
    ",": r"[+-]?(?:\d+,\d+|[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?)",
}


class Wording(NamedTuple):
    """How a column of text has its numbers: the words that stand for none, and what stands before decimals."""

    words: tuple[str, ...]
    mark: str = "."


class NumbersAndWords(NamedTuple):
    """Numbers (N,) of a column, NaN where it has none, and how the text has them."""

    numbers: Array
    wording: Wording


def numbers_and_words(column: pd.Series[Any], mark: str | None = None) -> NumbersAndWords:
    """Take a column of text apart, in which a point or a comma stands before decimals; None for what reads more."""
    entries = column.astype(object)
    parsed = pd.to_numeric(entries, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    is_text = np.fromiter((isinstance(entry, str) for entry in entries), bool, len(entries))
    if np.isnan(parsed[is_text]).any():
        texts = entries[is_text]
        bare = texts.str.replace(_AROUND, "", regex=True).str.replace(_GAP, "", regex=True)
        if mark is None:
            commas = bare[bare.str.contains(",", regex=False)]
            mark = "," if _apart(commas, ",").sum() > _apart(commas, ".").sum() else "."
        apart, thousands = _apart(bare, mark), "," if mark == "." else "."
        plain = bare.str.replace(thousands, "", regex=False).str.replace(mark, ".", regex=False).where(apart, bare)
        parsed[is_text] = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64)
    numbers = np.where(np.isfinite(parsed), parsed, np.nan)
    words = column[np.isnan(numbers) & column.notna().to_numpy()]
    return NumbersAndWords(numbers, Wording(tuple(sorted({str(word) for word in words.unique()})), mark or "."))


def _apart(texts: pd.Series[Any], mark: str) -> pd.Series[bool]:
    """Which texts are numbers that have thousands apart, or such a mark before decimals."""
    return texts.str.fullmatch(_APART[mark])


def among_words(column: pd.Series[Any]) -> NumbersAndWords | None:
    """Numbers and words of a column of text that is one of numbers; None of another one."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return None
    found = numbers_and_words(column)
    present = found.numbers[~np.isnan(found.numbers)]
    distinct = len(np.unique(present))
    if distinct <= FEWEST_DISTINCT or len(present) < LEAST_NUMBERS * column.notna().sum():
        return None
    # Codes, such as of places, are whole and repeat.
    is_measured = distinct >= LEAST_DISTINCT * len(present) or bool((present != np.rint(present)).any())
    return found if is_measured else None
