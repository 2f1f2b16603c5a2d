"""Tables from files, and their values as text names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowhy_cina.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file, or a Parquet file by its ending.

    Raises
    ------
    InputError
        If it holds no table.
    """
    import pandas as pd

    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except (OSError, ImportError):
        raise
    except Exception as error:  # each of pandas' engines raises errors of its own for a damaged file
        raise InputError(f"expected a CSV or Parquet table in {path}, could not read it: {error}") from error


def check_columns(table: pd.DataFrame, names: Sequence[str], path: Path) -> None:
    """Raise unless the table has the columns.

    Raises
    ------
    InputError
        If one is missing.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise InputError(
            f"expected the columns {', '.join(map(repr, missing))} in {path}, "
            f"which has {', '.join(map(repr, table.columns))}."
        )


def value_of(text: str | None, column: pd.Series[Any]) -> Any:
    """Read a treatment value as what the column holds: a truth value, a number or text."""
    if text is None:
        return None
    found = [value for value in column.dropna().unique() if str(value) == text]
    if found:
        return found[0]
    try:
        return float(text)
    except ValueError:
        return text
