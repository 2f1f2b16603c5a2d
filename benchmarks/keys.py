"""What scores the keys should be made of: fitted, or of each row by the others; errors on the same tables.

    python benchmarks/keys.py [--tables N] [--data FOLDER] [--csv FILE]

Left out, a row's score is no function of its covariates: in a cell of n rows, of which k are treated, the propensity
score of a treated row is (k - 1) / (n - 1), that of a control k / (n - 1), and a prognostic score falls with the row's
own outcome. The tables are those of ``additions.py``; errors are in sd of the outcome, and the last columns say how
many intervals hold the effect.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from designs import DESIGNS, designed, others, published
from members import Problem
from tables import COLLECTIONS
from tqdm import tqdm

from dowhy_cina.calls.direct import analyse
from dowhy_cina.model import network
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import ScoreModel

#: Share of the fitted scores in the propensity scores and in the prognostic scores of keys; the last is the default.
VARIANTS = {
    "left out": (0.0, 0.0),
    "fitted propensity": (1.0, 0.0),
    "prognosis halfway": (1.0, 0.5),
    "both fitted": (1.0, 1.0),
}


@contextmanager
def keys_of(propensity: float, prognosis: float) -> Iterator[None]:
    """Keys with these shares of the fitted scores."""
    fit = CinaModel.fit_scores

    def scores(model: Any, table: Any, settings: Any) -> Any:
        own, fitted, left_out = fit(model, table, settings)
        mixed = left_out + propensity * (fitted - left_out)
        floor = model.config.propensity_floor * table.treatment.std(1, unbiased=False, keepdim=True)
        spread = mixed.mean(1, keepdim=True), mixed.std(1, unbiased=False, keepdim=True)
        return ScoreModel.of(own.kernel, own.fit, *spread, floor), mixed, left_out

    with_borrowing = network.with_borrowing

    def between(own: Any, other: Any, found: Any) -> Any:
        whole = with_borrowing(own, other, found)
        return replace(whole, prognosis=own.clipped[1] + prognosis * (own.clipped[0] - own.clipped[1]))

    with patch.object(CinaModel, "fit_scores", scores), patch.object(network, "with_borrowing", between):
        yield


def estimated(problem: Problem) -> dict[str, float]:
    """Error of each variant and whether its interval holds the effect."""
    found, scale = {}, float(problem.y.std())
    for name, shares in VARIANTS.items():
        with keys_of(*shares):
            result = analyse(problem.x, problem.t, problem.y).effect()
        low, high = result.confidence_interval or (np.nan, np.nan)
        found[name] = abs(result.value - problem.effect) / scale
        found[f"{name}, coverage"] = float(low <= problem.effect <= high)
    return found


def measure(problems: Iterator[Problem], label: str, count: int | None) -> dict[str, Any]:
    """A row of the table: mean errors, the difference of the last from the first with its standard error, coverage."""
    found = pd.DataFrame([estimated(problem) for problem in tqdm(problems, label, count)])
    first, *_, last = VARIANTS
    apart, means = found[last] - found[first], found.mean()
    row = {"tables": label.replace("_", " "), "count": len(found)} | {name: means[name] for name in VARIANTS}
    row |= {"difference": apart.mean(), "standard error": apart.sem()}
    return row | {"coverage left out": means[f"{first}, coverage"], "coverage": means[f"{last}, coverage"]}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=30, help="of each design; four times as many of other kinds")
    parser.add_argument("--data", type=Path, help="folder with load.py and the collections")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    count = arguments.tables
    rows = [measure(designed(design, count), design.__name__, count) for design in DESIGNS]
    rows += [measure(others(kind, 4 * count), kind, 4 * count) for kind in ("foreign", "real covariates", "simulated")]
    rows += [measure(published(arguments.data, name), name, None) for name in COLLECTIONS if arguments.data]
    table = pd.DataFrame(rows).round(4)
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
