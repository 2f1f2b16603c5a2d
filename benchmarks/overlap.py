"""Errors and coverage by overlap verdict, on simulated tables with known effects.

    python benchmarks/overlap.py [--tables 600] [--csv FILE]

Tables of 200 to 2,000 rows and 2 to 20 columns, each asked for the ATE, the ATT and the ATC with default options. A
verdict is worth something if errors rise and coverage falls from one grade to the next.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from dowhy_cina.simulators import SimulatedTable, draw_table
from tqdm import trange

from dowhy_cina.calls.direct import analyse
from dowhy_cina.results.overlap import GRADES, overlap_verdict

TARGETS = ("ate", "att", "atc")


def answers(table: SimulatedTable) -> list[dict[str, object]]:
    """Error, coverage and verdict for each target population; errors and widths in sd of the outcome."""
    analysis = analyse(table.covariates, table.treatment, table.outcome)
    rows: list[dict[str, object]] = []
    for target in TARGETS:
        found = analysis.effect(target)
        truth = float(found.target_weights @ (table.mu1 - table.mu0))
        verdict = overlap_verdict(table.treatment, found.weights, found.target_weights, found.propensity, found.balance)
        low, high = found.confidence_interval or (-np.inf, np.inf)
        rows.append(
            {
                "target": target,
                "verdict": verdict.grade,
                "error": abs(found.value - truth) / found.outcome_scale,
                "covered": low <= truth <= high,
                "width": (high - low) / found.outcome_scale,
            }
        )
    return rows


def measure(tables: int, seed: int) -> pd.DataFrame:
    """A row per estimate."""
    rows = []
    for index in trange(tables):
        rng = np.random.default_rng([seed, index])
        rows += answers(draw_table(rng, int(np.exp(rng.uniform(np.log(200), np.log(2000)))), int(rng.integers(2, 21))))
    return pd.DataFrame(rows)


def by_verdict(estimates: pd.DataFrame) -> pd.DataFrame:
    """Share of the estimates, mean, median and 90th percentile of the error, coverage and width by grade."""
    groups = estimates.groupby(pd.Categorical(estimates["verdict"], GRADES), observed=True)
    table = groups.agg(
        estimates=("error", "size"),
        mean_error=("error", "mean"),
        median_error=("error", "median"),
        error_90=("error", lambda error: error.quantile(0.9)),
        median_width=("width", "median"),
        coverage=("covered", "mean"),
    )
    table["binomial_error"] = np.sqrt(table["coverage"] * (1 - table["coverage"]) / table["estimates"])
    return table.rename_axis("verdict")


def main() -> None:
    """Print the table, pooled and by target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=600)
    parser.add_argument("--seed", type=int, default=78)
    parser.add_argument("--csv", type=Path, help="write the pooled table here too")
    arguments = parser.parse_args()
    estimates = measure(arguments.tables, arguments.seed)
    pooled = by_verdict(estimates)
    print(pooled.round(3).to_string())
    for target in TARGETS:
        print(f"\n{target}\n{by_verdict(estimates[estimates['target'] == target]).round(3).to_string()}")
    if arguments.csv:
        pooled.round(3).to_csv(arguments.csv)


if __name__ == "__main__":
    main()
