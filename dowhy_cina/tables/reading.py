"""Reading the user's covariates: arrays, frames, series or lists into numbers and columns of labels.

Letters: N rows, C raw covariates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import InputError, InputTypeError, first_rows
from dowhy_cina.tables.columns import holds_numbers, number_column


@dataclass(frozen=True)
class Table:
    """Raw covariates: `numbers` (C_numbers, N) with NaN where missing, and the columns of labels by position."""

    rows: int
    labels: list[Any]
    named: bool
    numeric: list[int]
    numbers: npt.NDArray[np.float64]
    text: dict[int, pd.Series[Any]]

    @property
    def names(self) -> list[str]:
        """Names of the covariates as text."""
        return [str(label) for label in self.labels]


def read_table(
    covariates: Any, labels: list[Any] | None = None, numeric: list[int] | None = None, by_position: bool = False
) -> Table:
    """Read covariates without changing them.

    Parameters
    ----------
    covariates : array_like, DataFrame or Series, shape (N, C) or (N,)
        Numbers, booleans, text or categories; missing values allowed.
    labels
        The columns of the fitted table: frames may hold them in any order and beside others, arrays must have as many.
    numeric
        Positions of the fitted table's columns of numbers; the others were labels, and stay so whatever they hold here.
    by_position
        Frames are taken by position, since an array without names was fitted.

    Raises
    ------
    InputError
        If the shape is wrong, no row is there, columns lack or repeat, or a number is infinite.
    InputTypeError
        If a column holds what cannot be a covariate.
    """
    source = _as_array_or_frame(covariates)
    if source.ndim != 2:
        raise InputError(
            f"X: expected covariates of shape (N, D) or (N,), got shape {source.shape}. Reshape them to a row per unit."
        )
    if source.shape[0] == 0:
        raise InputError("X: expected at least one row, got an empty table.")
    if by_position and isinstance(source, pd.DataFrame) and labels is not None:
        _check_width(source.shape[1], labels)
        source = source.set_axis(labels, axis=1)
    plain = isinstance(source, np.ndarray) and source.dtype.kind in "biuf"
    if plain and (numeric is None or len(numeric) == source.shape[1]):
        labels = [f"x{position}" for position in range(source.shape[1])] if labels is None else labels
        _check_width(source.shape[1], labels)
        numbers = np.ascontiguousarray(source.T, dtype=np.float64)
        table = Table(source.shape[0], labels, False, list(range(source.shape[1])), numbers, {})
    else:
        table = _read_frame(source, labels, numeric)
    _check_finite(table)
    return table


def _as_array_or_frame(covariates: Any) -> Any:
    if isinstance(covariates, pd.Series):
        return covariates.to_frame("x0" if covariates.name is None else covariates.name)
    if isinstance(covariates, pd.DataFrame):
        return covariates
    array = np.asarray(covariates)
    if array.dtype.kind not in "biufcOUSmM":
        raise InputTypeError(f"X: expected an array of numbers or a DataFrame, got an array of dtype {array.dtype}.")
    if array.dtype.kind in "US" and not isinstance(covariates, np.ndarray):
        array = np.asarray(covariates, dtype=object)  # numpy turned the numbers of a mixed list into text
    if array.ndim == 0:
        raise InputTypeError(
            f"X: expected an array (N, D) or a DataFrame, got {type(covariates).__name__}. "
            "Turn it into one of these first."
        )
    return array[:, None] if array.ndim == 1 else array


def _check_width(width: int, labels: list[Any]) -> None:
    if width != len(labels):
        raise InputError(
            f"X: expected {len(labels)} columns as in the fitted table ({', '.join(map(str, labels[:20]))}), "
            f"got {width}."
        )


def _read_frame(source: Any, labels: list[Any] | None, numeric: list[int] | None) -> Table:
    """Read a frame, or an array of objects or text, column by column where it is not plain numbers."""
    frame, named = source, isinstance(source, pd.DataFrame)
    if not named:
        frame = pd.DataFrame(source).infer_objects()
        if labels is None:
            labels = [f"x{position}" for position in range(frame.shape[1])]
        _check_width(frame.shape[1], labels)
    else:
        _check_unique(list(frame.columns))
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
    return _read_columns(frame, labels, named, numeric)


def _read_columns(frame: pd.DataFrame, labels: list[Any], named: bool, numeric: list[int] | None) -> Table:
    columns = {position: frame.iloc[:, position] for position in range(len(labels))}
    found = [
        position
        for position, column in columns.items()
        if holds_numbers(column, f"covariate {str(labels[position])!r}")
    ]
    if numeric is not None:
        odd = next((position for position in numeric if position not in found), None)
        if odd is not None:
            raise InputTypeError(
                f"covariate {str(labels[odd])!r}: expected numbers as in the fitted table, got labels."
            )
        found = numeric
    numbers = np.empty((len(found), len(frame)))
    for index, position in enumerate(found):
        numbers[index] = number_column(columns[position])
    text = {position: column for position, column in columns.items() if position not in set(found)}
    return Table(len(frame), labels, named, found, numbers, text)


def _check_unique(labels: list[Any]) -> None:
    names = [str(label) for label in labels]
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise InputError(
            f"X: expected distinct column names, got {', '.join(map(repr, repeated))} more than once. Rename them."
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
