"""How many landmarks a long table needs: errors, intervals and time with 128, with the default, and with 512.

    python benchmarks/landmarks.py [--tables N] [--data FOLDER] [--csv FILE]

Tables of 3,000 to 30,000 rows: foreign ones, which no simulator of the package draws, and the package's own; with
FOLDER, which holds a ``load.py``, published ones as long as that. Errors of the average effect and of single rows
(PEHE) are in sd of the outcome, the difference of errors is to those with 128 on the same tables, and seconds are of
one processor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import foreign
import numpy as np
import pandas as pd
from members import Problem
from tables import COLLECTIONS, realisations
from tqdm import tqdm

from dowhy_cina.calls.direct import analyse
from dowhy_cina.config import LANDMARKS, EstimatorOptions
from dowhy_cina.learning.simulators import draw_table

ROW_CLASSES = ((3000, 9999), (10_000, 30_000))
#: Fewest rows of the smaller arm of simulated tables: of fewer the default is 128.
FEWEST_OF_AN_ARM = 1024
CHOICES: dict[str, int | None] = {str(LANDMARKS): LANDMARKS, "default": None, "512": 512}


def foreign_problems(count: int, rows: tuple[int, int]) -> Iterator[Problem]:
    """Foreign tables of so many rows."""
    with patch.object(foreign, "ROW_CLASSES", (rows,)):
        for index in range(count):
            table = foreign.foreign_table(index, 91)
            yield Problem(table.x, table.t, table.y, table.effect, None)


def simulated_problems(count: int, bounds: tuple[int, int]) -> Iterator[Problem]:
    """Tables of the package's own families."""
    index, found = 0, 0
    while found < count:
        rng = np.random.default_rng([91, bounds[0], index])
        rows, columns = (int(np.exp(rng.uniform(*np.log(ends)))) for ends in (bounds, (2, 60)))
        table, index = draw_table(rng, rows, columns), index + 1
        if min(table.treatment.sum(), rows - table.treatment.sum()) >= FEWEST_OF_AN_ARM:
            found += 1
            yield Problem(table.covariates, table.treatment, table.outcome, table.effect, table.mu1 - table.mu0)


def published_problems(folder: Path, name: str) -> Iterator[Problem]:
    """Published tables of at least so many rows."""
    for x, t, y, truth in realisations(folder, name):
        if len(y) >= ROW_CLASSES[0][0]:
            yield Problem(x, t, y, truth["ate"], truth["mu1"] - truth["mu0"] if "mu0" in truth else None)


def estimated(problem: Problem, landmarks: int | None) -> dict[str, float]:
    """Error, width and seconds of one estimate."""
    x, t, y, effect, effects = problem
    start = time.process_time()
    analysis = analyse(x, t, y, options=EstimatorOptions(landmarks=landmarks))
    result = analysis.effect()
    seconds, (low, high) = time.process_time() - start, result.confidence_interval
    found = {"seconds": seconds, "width": (high - low) / y.std(), "covered": float(low <= effect <= high)}
    if effects is not None:
        assert analysis.function is not None
        found["PEHE"] = float(np.sqrt(np.mean((analysis.function.at(x)[0] - effects) ** 2))) / y.std()
    return {**found, "error": abs(result.value - effect) / y.std(), "landmarks": result.plan.landmarks}


def measure(problems: Iterator[Problem], label: str, count: int | None = None) -> list[dict[str, Any]]:
    """A row per number of landmarks."""
    found: dict[str, list[dict[str, float]]] = {choice: [] for choice in CHOICES}
    for problem in tqdm(problems, label, count):
        for choice, landmarks in CHOICES.items():
            found[choice].append(estimated(problem, landmarks))
    first, rows = pd.DataFrame(found[str(LANDMARKS)]), []
    for choice, records in found.items():
        own = pd.DataFrame(records)
        apart = own.error - first.error
        rows.append(
            {
                "tables": label,
                "landmarks": choice,
                "count": len(own),
                "median landmarks": own.landmarks.median(),
                "error": own.error.mean(),
                "difference": apart.mean(),
                "standard error": apart.sem(),
                "coverage": own.covered.mean(),
                "median width": own.width.median(),
                "PEHE": own.PEHE.mean() if "PEHE" in own else np.nan,
                "seconds": own.seconds.median(),
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=40, help="of each kind and class of rows")
    parser.add_argument("--data", type=Path, help="folder with load.py and the collections")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    rows = []
    for name, draw in (("foreign", foreign_problems), ("simulated", simulated_problems)):
        for low, high in ROW_CLASSES:
            label = f"{name}, {low:,} to {high:,} rows"
            rows += measure(draw(arguments.tables, (low, high)), label, arguments.tables)
    for name in COLLECTIONS if arguments.data else ():
        problems = list(published_problems(arguments.data, name))
        rows += measure(iter(problems), name) if problems else []
    table = pd.DataFrame(rows)
    print(table.round(4).to_string(index=False))
    if arguments.csv:
        table.round(4).to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
