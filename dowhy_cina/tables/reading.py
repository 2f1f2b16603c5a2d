"""Reading the user's covariates: arrays, frames, series or lists into numbers and columns of labels.

Letters: N rows, C raw covariates.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import InputError, InputTypeError, first_rows
from dowhy_cina.tables.columns import MAX_LEVELS, holds_numbers, number_column, typed
from dowhy_cina.tables.words import Wording, among_words, numbers_and_words

#: Least share of distinct rows that the other columns tell apart, so that rows that are the same are copies.
LEAST_TOLD_APART = 0.9
#: Least and largest size of numbers whose quantiles pandas can name.
SMALLEST_CUT, LARGEST_CUT = 1e-280, 1e280


def unmasked(values: Any, what: str) -> Any:
    """Return a masked array of numpy as a plain one, what is masked as missing values; anything else as it came.

    Without this numpy hands out the numbers under the mask as if they were data.

    Raises
    ------
    InputTypeError
        If it is a sparse matrix, which numpy takes for a single object.
    """
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise InputTypeError(f"{what}: expected an array or a DataFrame, got a sparse matrix. Pass its toarray().")
    if not isinstance(values, np.ma.MaskedArray):
        return values
    mask = np.broadcast_to(values.mask, values.shape)  # a single False where nothing is masked
    if not mask.any():
        return np.asarray(values)
    is_number = values.dtype.kind in "biuf"
    plain = np.array(values.data, dtype=np.float64 if is_number else object)
    plain[mask] = np.nan if is_number else None
    return plain


def as_array(values: Any, what: str, dtype: Any = None) -> npt.NDArray[Any]:
    """Return values as an array.

    Raises
    ------
    InputTypeError
        If they make none, as lists of different lengths.
    """
    try:
        return np.asarray(unmasked(values, what), dtype=dtype)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputTypeError(
            f"{what}: expected {'values' if dtype is None else 'numbers'} in rows of one length, got "
            f"{type(values).__name__} that makes no such array ({error}). Turn it into one first."
        ) from error


def inferred(values: Any, what: str) -> Any:
    """Return a Series or frame of objects in the types that its columns hold.

    Raises
    ------
    InputError
        If a whole number is beyond the largest float.
    """
    try:
        return values.infer_objects()
    except OverflowError as error:
        raise InputError(f"{what}: expected numbers up to 1e308, got one beyond ({error}). Correct it.") from error


def uniform(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns as :func:`typed` makes them, for libraries that sort or cut their values.

    Raises
    ------
    InputError, InputTypeError
        If a column holds neither numbers nor labels, or numbers whose quantiles pandas cannot name.
    """
    changed: dict[Any, Any] = {}
    for name in frame.columns:
        column = frame[name]
        read = typed(column, f"covariate {str(name)!r}")
        if read is not column:
            changed[name] = read
    frame = frame.assign(**changed) if changed else frame
    sizes = frame.select_dtypes("number", exclude=["timedelta", "complex"]).astype(np.float64).abs().max()
    if ((sizes > 0) & ~sizes.between(SMALLEST_CUT, LARGEST_CUT)).any():
        raise InputError(
            f"expected effect modifiers of sizes from {SMALLEST_CUT:g} to {LARGEST_CUT:g}; give them in another unit."
        )
    return frame


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


@dataclass(frozen=True)
class Table:
    """Raw covariates: `numbers` (C_numbers, N) with NaN where missing, and the columns of labels by position.

    Of columns of numbers that came as text `wordings` are how they have them, by position.
    """

    rows: int
    labels: list[Any]
    named: bool
    numeric: list[int]
    numbers: npt.NDArray[np.float64]
    text: dict[int, pd.Series[Any]]
    wordings: dict[int, Wording] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the covariates as text."""
        return [str(label) for label in self.labels]

    def with_labels(self, codes: Sequence[int]) -> Table:
        """Return the table with some of its columns of numbers as labels."""
        if not codes:
            return self
        kept = [place for place, at in enumerate(self.numeric) if at not in codes]
        text = self.text | {at: _whole(self.numbers[self.numeric.index(at)]) for at in codes}
        numeric = [self.numeric[place] for place in kept]
        return replace(self, numeric=numeric, numbers=self.numbers[kept], text=dict(sorted(text.items())))


def _whole(numbers: npt.NDArray[np.float64]) -> pd.Series[Any]:
    """Numbers as labels: whole ones, if all are and such integers can hold them."""
    column = pd.Series(numbers)
    is_whole = (column == column.round()) & (column.abs() < 2.0**63)
    return column.astype("Int64") if (column.isna() | is_whole).all() else column


def read_table(
    covariates: Any,
    labels: list[Any] | None = None,
    numeric: list[int] | None = None,
    by_position: bool = False,
    wordings: Mapping[int, Wording] | None = None,
) -> Table:
    """Read covariates without changing them.

    Parameters
    ----------
    covariates : array_like, DataFrame or Series, shape (N, C) or (N,)
        Numbers, booleans, text or categories; missing values allowed, which are also what numpy's arrays mask.
    labels
        The columns of the fitted table: frames may hold them in any order and beside others, arrays must have as many.
    numeric
        Positions of the fitted table's columns of numbers; the others were labels, and stay so whatever they hold here.
    by_position
        Frames are taken by position, since an array without names was fitted; by name where they have those that the
        table has for an array's columns.
    wordings
        By position, the fitted table's columns of numbers that came as text, in which words are missing numbers.

    Raises
    ------
    InputError
        If the shape is wrong, no row is there, columns lack or repeat, or a number is infinite.
    InputTypeError
        If a column holds what cannot be a covariate.
    """
    source = as_table(covariates)
    if source.ndim != 2:
        raise InputError(
            f"X: expected covariates of shape (N, D) or (N,), got shape {source.shape}. Reshape them to a row per unit."
        )
    if source.shape[0] == 0:
        raise InputError("X: expected at least one row, got an empty table.")
    if by_position and isinstance(source, pd.DataFrame) and labels is not None:
        _check_width(source.shape[1], labels)
        if set(source.columns) != set(labels):
            source = source.set_axis(labels, axis=1)
    plain = isinstance(source, np.ndarray) and source.dtype.kind in "biuf"
    if plain and (numeric is None or len(numeric) == source.shape[1]):
        labels = array_names(source.shape[1]) if labels is None else labels
        _check_width(source.shape[1], labels)
        numbers = np.ascontiguousarray(source.T, dtype=np.float64)
        table = Table(source.shape[0], labels, False, list(range(source.shape[1])), numbers, {})
    else:
        table = _read_frame(source, labels, numeric, wordings or {})
    _check_finite(table)
    return table


def as_table(covariates: Any) -> Any:
    """Return covariates as a DataFrame or as an array, of shape (N, D) where they have one or two dimensions.

    Raises
    ------
    InputTypeError
        If they are neither and make no array.
    """
    covariates = unmasked(covariates, "X")
    if isinstance(covariates, pd.Series):
        return covariates.to_frame("x0" if covariates.name is None else covariates.name)
    if isinstance(covariates, pd.DataFrame):
        return covariates
    array = as_array(covariates, "X")
    if array.dtype.kind not in "biufcOUSmM":
        raise InputTypeError(f"X: expected an array of numbers or a DataFrame, got an array of dtype {array.dtype}.")
    if array.dtype.kind in "US" and not isinstance(covariates, np.ndarray):
        array = as_array(covariates, "X", object)  # numpy turned the numbers of a mixed list into text
    if array.ndim == 0:
        raise InputTypeError(
            f"X: expected an array (N, D) or a DataFrame, got {type(covariates).__name__}. "
            "Turn it into one of these first."
        )
    return array[:, None] if array.ndim == 1 else array


def array_names(count: int) -> list[Any]:
    """Names of the columns of an array, which has none: x0, x1, ..."""
    return [f"x{position}" for position in range(count)]


def as_frame(covariates: Any) -> pd.DataFrame:
    """Return covariates as a DataFrame, the columns of an array under the names that the table has for them.

    Raises
    ------
    InputError, InputTypeError
        If they make no table.
    """
    source = as_table(covariates)
    if isinstance(source, pd.DataFrame):
        return source
    frame: pd.DataFrame = inferred(pd.DataFrame(source, columns=array_names(source.shape[1])), "X")
    return frame


def _check_width(width: int, labels: list[Any]) -> None:
    if width != len(labels):
        raise InputError(
            f"X: expected {len(labels)} columns as in the fitted table ({', '.join(map(str, labels[:20]))}), "
            f"got {width}."
        )


def _read_frame(
    source: Any, labels: list[Any] | None, numeric: list[int] | None, wordings: Mapping[int, Wording]
) -> Table:
    """Read a frame, or an array of objects or text, column by column where it is not plain numbers."""
    frame, named = source, isinstance(source, pd.DataFrame)
    if not named:
        frame = inferred(pd.DataFrame(source, dtype=object if source.dtype == object else None), "X")
        if labels is None:
            labels = array_names(frame.shape[1])
        _check_width(frame.shape[1], labels)
    else:
        check_unique(list(frame.columns), "X")
        if labels is not None:
            absent = [label for label in labels if label not in frame.columns]
            if absent:
                raise InputError(
                    f"X: the covariates {', '.join(repr(str(label)) for label in absent)} of the fitted table are "
                    f"missing; got the columns {', '.join(map(str, frame.columns[:20]))}. Add them."
                )
            frame = frame[labels]
        labels = list(frame.columns)
    if all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in frame.dtypes) and (
        numeric is None or len(numeric) == len(labels)
    ):
        numbers = np.ascontiguousarray(frame.to_numpy(dtype=np.float64).T)
        return Table(len(frame), labels, named, list(range(len(labels))), numbers, {})
    return _read_columns(frame, labels, named, numeric, wordings)


def _read_columns(
    frame: pd.DataFrame, labels: list[Any], named: bool, numeric: list[int] | None, wordings: Mapping[int, Wording]
) -> Table:
    columns = {position: frame.iloc[:, position] for position in range(len(labels))}
    texts = [
        position
        for position, column in columns.items()
        if not holds_numbers(column, f"covariate {str(labels[position])!r}")
    ]
    if numeric is None:
        first = functools.cache(lambda: ~frame.duplicated().to_numpy())
        read = {at: among_words(columns[at], functools.partial(_counted, frame, at, first)) for at in texts}
        split = {at: parts for at, parts in read.items() if parts is not None}
    else:
        split = {at: numbers_and_words(columns[at], wordings[at]) for at in texts if at in wordings}
        odd = next((position for position in numeric if position in texts and position not in split), None)
        if odd is not None:
            raise InputTypeError(
                f"covariate {str(labels[odd])!r}: expected numbers as in the fitted table, got labels."
            )
    found = [at for at in columns if at not in texts or at in split] if numeric is None else numeric
    numbers = np.empty((len(found), len(frame)))
    for index, at in enumerate(found):
        own = split.get(at)
        numbers[index] = own.numbers if own else number_column(columns[at], f"covariate {str(labels[at])!r}")
    text = {position: column for position, column in columns.items() if position not in set(found)}
    return Table(len(frame), labels, named, found, numbers, text, {at: parts.wording for at, parts in split.items()})


def _counted(frame: pd.DataFrame, at: int, first: Callable[[], npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """Which rows tell whether numbers of a column repeat: of copies the first, if the other columns tell rows apart."""
    every = np.ones(len(frame), dtype=np.bool_)
    if frame.shape[1] == 1 or first().all():
        return every
    told = (~frame.drop(columns=frame.columns[at]).duplicated()).sum()
    return first() if told >= LEAST_TOLD_APART * first().sum() else every


def check_unique(labels: list[Any], what: str) -> None:
    """Refuse columns of one name, be it once as a number and once as text.

    Raises
    ------
    InputError
        If there are any.
    """
    names = [str(label) for label in labels]
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise InputError(
            f"{what}: expected distinct column names, got {', '.join(map(repr, repeated))} more than once. Rename them."
        )


def _check_finite(table: Table) -> None:
    if np.isfinite(table.numbers).all():
        return
    infinite = np.isinf(table.numbers)
    bad = np.flatnonzero(infinite.any(axis=1))
    if bad.size:
        rows = np.flatnonzero(infinite[bad[0]])
        name = table.names[table.numeric[bad[0]]]
        raise InputError(
            f"covariate {name!r}: expected finite numbers or missing values, got {rows.size} infinite "
            f"({first_rows(rows.tolist())}). Correct these values, or set them to NaN to have them imputed."
        )
