"""Share of 95 % intervals that hold the effect of the table, on simulated tables, by family.

    python benchmarks/coverage.py [--tables 400] [--csv FILE]

Tables of 200 to 1,000 rows and 2 to 20 columns; ATE, default options.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import trange

import dowhy_cina
from dowhy_cina.simulators import draw_table


def measure(tables: int, seed: int) -> pd.DataFrame:
    """Coverage, median width in sd of the outcome and number of tables, a row per family."""
    rows = []
    for index in trange(tables):
        rng = np.random.default_rng([seed, index])
        table = draw_table(rng, int(rng.integers(200, 1001)), int(rng.integers(2, 21)))
        found = dowhy_cina.estimate_effect(table.covariates, table.treatment, table.outcome)
        if found.confidence_interval is None:
            continue
        low, high = found.confidence_interval
        rows.append((table.family, low <= table.effect <= high, (high - low) / found.outcome_scale))
    frame = pd.DataFrame(rows, columns=["family", "coverage", "width"])
    by_family = frame.groupby("family").agg(
        coverage=("coverage", "mean"), width=("width", "median"), tables=("width", "size")
    )
    by_family.loc["all"] = [frame.coverage.mean(), frame.width.median(), len(frame)]
    return by_family.astype({"tables": int})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=400)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    table = measure(arguments.tables, arguments.seed)
    print(table.round(3).to_string())
    if arguments.csv:
        table.round(3).to_csv(arguments.csv)


if __name__ == "__main__":
    main()
