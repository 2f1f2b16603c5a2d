"""What labels, differences, steps or waves bring: errors and intervals with the search and without, on the same tables.

    python benchmarks/additions.py {labels,differences,steps,waves}
        [--tables N] [--designs NAME ...] [--data FOLDER] [--csv FILE]

Textbook designs (``designs.py``), among them confounding that jumps at thresholds or where two covariates are alike in
sign, and that goes up and down in time and on maps; foreign tables, real covariates, the package's own families and,
with FOLDER, which holds a ``load.py``, published tables. Errors and widths are in sd of the outcome, seconds are of one
processor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from designs import DESIGNS, designed, others, published
from members import Problem
from statsmodels.api import OLS, add_constant
from tables import COLLECTIONS
from tqdm import tqdm

from dowhy_cina.calls.direct import analyse
from dowhy_cina.learning.evaluation.classical import aipw
from dowhy_cina.model import search

#: What looks for each kind of columns, and what finds none.
SEARCHES: dict[str, tuple[str, Callable[..., Any]]] = {
    "labels": ("find_labels", lambda covariates, *_: [None] * len(covariates)),
    "differences": ("find_differences", lambda *_: None),
    "steps": ("find_steps", lambda *_: None),
    "waves": ("find_waves", lambda *_: []),
}


def estimated(problem: Problem, label: str, kind: str) -> dict[str, float]:
    """Error, coverage, width and seconds with such columns and without, and the boosted estimator's for a design."""
    found: dict[str, float] = {}
    scale = float(problem.y.std())
    search_name, nothing = SEARCHES[kind]
    for name, find in (("", getattr(search, search_name)), (" without", nothing)):
        with patch.object(search, search_name, find):
            start = time.process_time()
            analysis = analyse(problem.x, problem.t, problem.y)
            result = analysis.effect()
            found[f"seconds{name}"] = time.process_time() - start
        low, high = result.confidence_interval or (np.nan, np.nan)
        found[f"error{name}"] = abs(result.value - problem.effect) / scale
        found[f"coverage{name}"] = float(low <= problem.effect <= high)
        found[f"width{name}"] = (high - low) / scale
        found.setdefault(kind, len(getattr(result, kind)))
    if label in {design.__name__ for design in DESIGNS}:
        value, error = aipw(problem.x, problem.t.astype(np.float64), problem.y)
        found["error of AIPW"] = abs(value - problem.effect) / scale
        found["coverage of AIPW"] = float(abs(value - problem.effect) < 1.96 * error)
        found["width of AIPW"] = 2 * 1.96 * error / scale
    if kind == "labels":
        linear = OLS(problem.y, add_constant(np.column_stack([problem.t, problem.x]))).fit(cov_type="HC1")
        error, margin = abs(linear.params[1] - problem.effect), 1.96 * linear.bse[1]
        found |= {
            "error of OLS": error / scale,
            "coverage of OLS": float(error < margin),
            "width of OLS": 2 * margin / scale,
        }
    return found


def measure(problems: Iterator[Problem], label: str, count: int | None, kind: str) -> dict[str, Any]:
    """A row of the table."""
    found = pd.DataFrame([estimated(problem, label, kind) for problem in tqdm(problems, label, count)])
    apart = found["error"] - found["error without"]
    middle = [name for name in found.columns if "width" in name or "seconds" in name]
    row = found.mean().to_dict() | found[middle].median().to_dict()
    return {"tables": label, "count": len(found), "difference": apart.mean(), "standard error": apart.sem(), **row}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(SEARCHES))
    parser.add_argument("--tables", type=int, default=30, help="of each design; twice as many of other kinds")
    parser.add_argument("--designs", nargs="*", help="names of the designs; all by default")
    parser.add_argument("--data", type=Path, help="folder with load.py and the collections")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    count, kind = arguments.tables, arguments.kind
    designs = [one for one in DESIGNS if arguments.designs is None or one.__name__ in arguments.designs]
    rows = [measure(designed(design, count), design.__name__, count, kind) for design in designs]
    for name in ("foreign", "real covariates", "simulated"):
        rows.append(measure(others(name, 2 * count), name, 2 * count, kind))
    for name in COLLECTIONS if arguments.data else ():
        rows.append(measure(published(arguments.data, name), name, None, kind))
    others_too = [" of AIPW", " of OLS"] if kind == "labels" else [" of AIPW"]
    order = ["tables", "count", kind, "error", "error without", "difference", "standard error"]
    order += [f"error{whose}" for whose in others_too]
    order += [f"{what}{whose}" for what in ("coverage", "width") for whose in ("", " without", *others_too)]
    table = pd.DataFrame(rows)[[*order, "seconds", "seconds without"]].round(4)
    table["tables"] = table["tables"].str.replace("_", " ")
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
