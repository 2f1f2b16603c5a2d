"""Time and error beside EconML's LinearDML on published benchmark tables.

    python benchmarks/dml.py --data FOLDER [--realisations 3] [--csv FILE]

LinearDML has LightGBM nuisances and otherwise its defaults, and gives an interval too; it needs EconML in this
environment. FOLDER is that of ``benchmarks/tables.py``. The faster of two runs counts, of each method in turn.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scale import econml, linear_table, ours
from tables import COLLECTIONS, realisations

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def measure(estimate: Callable[..., float], table: Table, effect: float) -> tuple[float, float, float]:
    """Seconds, processor seconds and error in sd of the outcome."""
    seconds, processor = [], []
    for _ in range(2):
        start, cpu = time.perf_counter(), time.process_time()
        value = estimate(*table)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - cpu)
    return min(seconds), min(processor), abs(value - effect) / float(table[2].std())


def main() -> None:
    """Print means over realisations, and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--realisations", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    methods = {"cina": ours, "LinearDML": econml("LinearDML")}
    for estimate in methods.values():
        estimate(*linear_table(2000, 10))
    records = []
    for collection in COLLECTIONS:
        for x, t, y, truth in itertools.islice(realisations(arguments.data, collection), arguments.realisations):
            for name, estimate in methods.items():
                seconds, processor, error = measure(estimate, (x, t, y), truth["ate"])
                record = {"collection": collection, "rows": len(y), "columns": x.shape[1], "method": name}
                records.append({**record, "seconds": seconds, "core_seconds": processor, "error": error})
    means = pd.DataFrame(records).pivot_table(index="collection", columns="method", sort=False)
    table = means[["rows", "columns"]].xs("cina", axis=1, level="method").round().astype(int)
    for figure in ("seconds", "core_seconds", "error"):
        for name in methods:
            table[f"{name} {figure}"] = means[figure][name]
    table["times as long"] = table["LinearDML seconds"] / table["cina seconds"]
    print(table.round(3).to_string())
    if arguments.csv:
        table.to_csv(arguments.csv, float_format="%.3g")


if __name__ == "__main__":
    main()
