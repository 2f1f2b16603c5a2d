"""Numbers among words: columns of text most entries of which are numbers and no codes, as in 12.5 and "unknown".

Numbers may have a unit beside them, thousands apart, and a comma before their decimals.

Letters: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.tables.columns import MAX_LEVELS

#: Share of the entries that are numbers, share of these that are distinct from which they are no codes, and fewest
#: distinct ones: of fewer levels a text may be meant as such.
LEAST_NUMBERS, LEAST_DISTINCT, FEWEST_DISTINCT = 0.5, 0.5, 20
#: Most that neighbours of measured numbers are apart by the median, in their last decimal place; most such places of a
#: code; largest number that is looked at.
MOST_APART, CODE_PLACES, LARGEST_CODE = 2, 4, 1e11
#: Words for a missing entry.
MISSING_MARKS = frozenset(["", "?", "-", "na", "n/a", "nan", "none", "null", "unknown", "missing", "."])
#: What may stand around a number, between its sign and it, and inside it before each three digits; a negative one, as
#: accountants write it.
_AROUND = r"^[\s$€£¥%]+|[\s$€£¥%]+$"
_SIGNED = r"^([+-])[\s$€£¥]+"
_GAP = r"(?<=\d)[ '\u00a0\u202f](?=\d{3}(?!\d))"
_NEGATIVE = r"^\(([\s$€£¥]*[\d.,][^()]*)\)$"
#: A number, however it is written, and the word for its unit.
WITH_UNIT = r"[+-]?\.?\d[\d.,' \u00a0\u202f]*?\s*((?:[^\W\d_]|°)\S*)"
#: Numbers that ``float`` does not read: with thousands apart (or, as in India, hundreds beyond), by what stands before
#: decimals.
_APART = {
    ".": r"[+-]?(?:[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d{2})+,\d{3})(?:\.\d*)?",
    ",": r"[+-]?(?:\d+,\d+|[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?)",
}


class Wording(NamedTuple):
    """How a column has its numbers: the words that stand for none, what stands before decimals, and their unit."""

    words: tuple[str, ...]
    mark: str = "."
    unit: str = ""


class NumbersAndWords(NamedTuple):
    """Numbers (N,) of a column, NaN where it has none, and how the text has them."""

    numbers: Array
    wording: Wording


def numbers_and_words(column: pd.Series[Any], known: Wording | None = None) -> NumbersAndWords:
    """Take a column of text apart, as it is known to have its numbers, or else in the way that reads more."""
    entries = column.astype(object)
    is_text = np.fromiter((isinstance(entry, str) for entry in entries), bool, len(entries))
    numbers = np.empty(len(entries))
    numbers[~is_text] = pd.to_numeric(entries[~is_text], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    codes, unique = pd.factorize(entries[is_text])
    may_have_unit = bool(np.isnan(numbers[~is_text]).all())
    parsed, mark, unit = _parsed(pd.Series(unique, dtype=object), known, may_have_unit)
    numbers[is_text] = parsed[codes]
    numbers[~np.isfinite(numbers)] = np.nan
    words = column[np.isnan(numbers) & column.notna().to_numpy()]
    return NumbersAndWords(numbers, Wording(tuple(sorted({str(word) for word in words.unique()})), mark, unit))


def _parsed(texts: pd.Series[Any], known: Wording | None, may_have_unit: bool) -> tuple[Array, str, str]:
    """Texts as numbers (N,), NaN of words, what stands before decimals, and the unit behind them."""
    plain: Array = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    if not np.isnan(plain).any() and (known is None or known.mark == "."):
        return plain, ".", ""
    bare = _bare(texts)
    unit = known.unit if known else _common_unit(bare) if may_have_unit else ""
    bare = bare.str.removesuffix(unit).str.rstrip()
    if known is None:
        commas = bare[bare.str.contains(",", regex=False)]
        mark = "," if _apart(commas, ",").sum() > _apart(commas, ".").sum() else "."
    else:
        mark = known.mark
    apart, thousands = _apart(bare, mark), "," if mark == "." else "."
    points = bare.str.replace(thousands, "", regex=False).str.replace(mark, ".", regex=False).where(apart, bare)
    return pd.to_numeric(points, errors="coerce").to_numpy(np.float64), mark, unit


def _bare(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Texts without what may stand around a number, and with a plain minus."""
    bare = texts.str.replace("\u2212", "-", regex=False).str.replace(_AROUND, "", regex=True)
    bare = bare.str.replace(_NEGATIVE, r"-\1", regex=True).str.replace(_AROUND, "", regex=True)
    return bare.str.replace(_SIGNED, r"\1", regex=True).str.replace(_GAP, "", regex=True)


def _common_unit(bare: pd.Series[Any]) -> str:
    """The word behind numbers of such texts, be it behind some of them; empty if there is none, or several."""
    units = bare.str.extract(f"^{WITH_UNIT}$", expand=False).dropna().unique()
    return str(units[0]) if len(units) == 1 else ""


def _apart(texts: pd.Series[Any], mark: str) -> pd.Series[bool]:
    """Which texts are numbers that have thousands apart, or such a mark before decimals."""
    return texts.str.fullmatch(_APART[mark])


def among_words(
    column: pd.Series[Any], counted: Callable[[], npt.NDArray[np.bool_]] | None = None
) -> NumbersAndWords | None:
    """Numbers and words of a column of text that is one of numbers; None of another one.

    Parameters
    ----------
    column : Series, N rows
    counted : callable, optional
        Returns which rows count, shape (N,), as copies do not; called where there are numbers. All by default.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return None
    found = numbers_and_words(column)
    if np.isnan(found.numbers).all():
        return None
    rows = slice(None) if counted is None else counted()
    return found if _are_numbers(column[rows], found.numbers[rows]) else None


def _are_numbers(entries: pd.Series[Any], numbers: Array) -> bool:
    """Whether the entries of a column are numbers (N,), and no codes."""
    is_number = ~np.isnan(numbers)
    present = numbers[is_number]
    given = int(entries.notna().sum())
    if len(present) < LEAST_NUMBERS * given:
        return False
    values = np.unique(present)
    words = entries[~is_number].dropna().unique()
    marked = all(str(word).strip().lower() in MISSING_MARKS for word in words)
    if _of_type(entries) > LEAST_NUMBERS * given and (marked or len(values) > FEWEST_DISTINCT):
        return True
    if len(values) <= FEWEST_DISTINCT:
        return False
    # Codes, such as of places or illnesses, repeat, and are no more than labels may be.
    if len(values) >= LEAST_DISTINCT * len(present) or len(values) > MAX_LEVELS:
        return True
    if (values == np.rint(values)).all():
        return marked and len(words) > 0 and bool(np.median(np.diff(values)) <= MOST_APART)
    return _are_measured(values)


def _of_type(entries: pd.Series[Any]) -> int:
    """How many entries are numbers by their type, not text that reads like one."""
    return sum(isinstance(entry, Real | Decimal) and not isinstance(entry, bool) for entry in entries.dropna())


def _are_measured(values: Array) -> bool:
    """Whether distinct ascending numbers with decimals lie as densely as their last places, halves or quarters can."""
    if np.abs(values[[0, -1]]).max() > LARGEST_CODE:
        return False
    for places in range(1, CODE_PLACES + 1):
        scaled = values * 10.0**places
        whole = np.rint(scaled)
        if (np.abs(scaled - whole) <= 4 * np.spacing(np.abs(scaled))).all():
            gaps = np.diff(whole).astype(np.int64)
            part = math.gcd(int(np.gcd.reduce(gaps)), 10**places // 2)
            return bool(np.median(gaps) <= max(MOST_APART, part))
    return True
