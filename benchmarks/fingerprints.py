"""Fingerprints of the public benchmark tables, by which a test finds them in training data under any name.

    python benchmarks/fingerprints.py FOLDER > tests/learning/training/benchmark_fingerprints.json

FOLDER holds one ``.npz`` for each collection, with arrays ``X`` and ``feature_names``. The file keeps hashes and column
names only, no data. Letters: N rows, D columns.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

#: Rows of a collection whose hashes are kept.
ROWS = 400
#: Rows and columns with fewer distinct values are too common to tell tables apart.
DISTINCT = 4
#: Share of a collection's column names that makes a table suspicious.
NAMES = 0.6


def digest(values: Iterable[float]) -> str:
    """Hash of numbers in any order, at six significant digits."""
    text = ",".join(f"{value + 0.0:.6g}" for value in sorted(values))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rows_of(table: np.ndarray) -> list[str]:
    """Hashes of the rows of a table (N, D), whatever the order and the names of its columns."""
    return [digest(row) for row in table if np.unique(row).size >= DISTINCT]


def columns_of(table: np.ndarray) -> list[str]:
    """Hashes of the columns of a table (N, D), whatever the order of its rows and its names."""
    return [digest(column) for column in table.T if np.unique(column).size >= DISTINCT]


def suspicions(table: np.ndarray, names: Iterable[str], known: dict[str, dict[str, list[str]]]) -> list[str]:
    """What ties a table (N, D) to benchmark collections: names, rows or columns; empty if nothing does."""
    own = {str(name).lower() for name in names}
    rows, columns = set(rows_of(table)), set(columns_of(table))
    found = []
    for collection, prints in known.items():
        theirs = {name.lower() for name in prints["names"]}
        if len(own & theirs) >= NAMES * len(theirs):
            found.append(f"column names of {collection}")
        if rows & set(prints["rows"]):
            found.append(f"rows of {collection}")
        if columns & set(prints["columns"]):
            found.append(f"columns of {collection}")
    return found


def fingerprint(path: Path) -> dict[str, list[str]]:
    """Names, hashes of evenly spaced rows, and hashes of the columns of one collection."""
    with np.load(path, allow_pickle=False) as arrays:
        covariates, names = arrays["X"], [str(name) for name in arrays["feature_names"]]
    tables = [covariates] if covariates.ndim == 2 else list(covariates)
    rows = sorted({row for table in tables for row in rows_of(table)})
    kept = rows[:: max(1, len(rows) // ROWS)][:ROWS]
    return {"names": names, "rows": kept, "columns": sorted({h for table in tables for h in columns_of(table)})}


def main() -> None:
    """Print the fingerprints of every collection in a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    prints = {path.stem: fingerprint(path) for path in sorted(folder.glob("*.npz"))}
    print("{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in prints.items()) + "\n}")


if __name__ == "__main__":
    main()
