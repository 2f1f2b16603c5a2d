"""Files of a user's own tables: which they are, the names of their columns, and their values.

Every way to such a file, the command line's too, reads it here, so that all refuse the same.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from dowhy_cina.errors import InputError

#: What stands between the values of a file of text, by its ending.
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
PARQUET = (".parquet", ".pq")
ENDINGS = (*DELIMITERS, *PARQUET)
#: Words for a truth value.
_TRUTH = {"true": True, "false": False}


def table_files(folder: Path) -> list[Path]:
    """CSV, TSV and Parquet files of a folder, in order of their names.

    Raises
    ------
    InputError
        If there is no such folder, or it cannot be read.
    """
    try:
        return sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS)
    except OSError as error:
        raise InputError(f"expected a folder of CSV or Parquet tables, got {folder} ({error.strerror}).") from error


def check_apart(output: Path, folder: Path) -> None:
    """Refuse to write into a folder of tables, where what is written would be read as one of them later on.

    Raises
    ------
    InputError
        If the output's folder is that of the tables.
    """
    if output.parent.resolve() == folder.resolve():
        raise InputError(
            f"expected an output outside of the folder of tables, got {str(output)!r}: what is written there would be "
            f"read as a table, or replace one. Name another, such as {str(folder.resolve().parent / output.name)!r}."
        )


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what an engine raises for a damaged file, each an error of its own, into one of ours."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"it cannot be read as a table ({error}).") from error


def column_names(path: Path) -> list[str]:
    """Names of the columns of a file, of which nothing else is read.

    Raises
    ------
    InputError
        If it cannot be read as a table, or as :func:`check_names`.
    """
    with _reading():
        if path.suffix.lower() in DELIMITERS:
            return header_names(path, DELIMITERS[path.suffix.lower()])
        schema = importlib.import_module("pyarrow.parquet").read_schema(path)
        return [str(name) for name in schema.names]


def read_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """Read some of the columns of a file, and nothing of the others.

    Raises
    ------
    InputError
        If it cannot be read as a table.
    """
    with _reading():
        if path.suffix.lower() in DELIMITERS:
            return read_text(path, DELIMITERS[path.suffix.lower()], names)
        return pd.read_parquet(path, columns=list(names))


def header_names(source: Path | IO[bytes], delimiter: str) -> list[str]:
    """Names in the first line of a text file.

    Raises
    ------
    InputError
        As :func:`check_names`, or if something else than the delimiter seems to stand between them.
    """
    header = pd.read_csv(source, sep=delimiter, header=None, nrows=1, dtype=str, keep_default_na=False)
    names: list[str] = header.iloc[0].tolist()
    other = next((mark for mark in ",;|\t" if mark != delimiter and mark in names[0]), None)
    if len(names) == 1 and other is not None:
        raise InputError(
            f"expected {delimiter!r} between the columns, got a single one with {other!r} in its name: write the table "
            "with commas and decimal points into a file that ends in .csv, or with tabs into one that ends in .tsv."
        )
    check_names(names)
    return names


def check_names(names: Sequence[str]) -> None:
    """Refuse columns without a name, such as the index that pandas writes, and two of one name.

    Raises
    ------
    InputError
        If there are any.
    """
    unnamed = [place for place, name in enumerate(names, start=1) if not name.strip()]
    if unnamed:
        raise InputError(
            f"expected a name for each column, got none for column {unnamed[0]} of {len(names)}, perhaps the index "
            "of a DataFrame: name it, or write the table without it (index=False)."
        )
    index = pd.Index(names)
    twice = index[index.duplicated()]
    if len(twice):
        raise InputError(f"expected one column of each name, got {twice[0]!r} more than once: rename one.")


def read_text(source: Path | IO[bytes], delimiter: str, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Read the columns of a text file, or some of them.

    Raises
    ------
    InputError
        If rows are longer than the header.
    """
    # By a function, with which pandas sees longer rows as without. In one piece: in blocks a column of numbers and text
    # would hold numbers in some and text in others.
    wanted = None if names is None else set(names).__contains__
    table = pd.read_csv(source, sep=delimiter, usecols=wanted, low_memory=False)
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first values of longer rows for an index
        raise InputError("expected as many values in each row as the header names, got more: name them all.")
    return table


def treatment_value(text: str | None, column: pd.Series[Any]) -> Any:
    """Read a value of the treatment as what the column holds: a truth value, a number or text; None stays None."""
    if text is None:
        return None
    levels = column.dropna().unique()
    exact = [level for level in levels if str(level) == text]
    if exact:
        return exact[0]
    if text.lower() in _TRUTH and any(isinstance(level, bool | np.bool_) for level in levels):
        return _TRUTH[text.lower()]
    try:
        return float(text)
    except ValueError:
        return text
