"""Errors of conditional effects on published splits and simulated tables: fitted on training rows, scored on test rows.

    python benchmarks/conditional.py [--data FOLDER] [--simulated 20] [--econml PYTHON] [--csv FILE]

PEHE is the root mean squared error of the effect at the test rows, in the outcome's unit: of mu1 - mu0 for IHDP and
ACIC 2016, of y1 - y0, which is noisy, for the RealCause tables. IHDP has a published split; of the others a tenth of
each arm's rows is drawn. FOLDER is that of ``benchmarks/tables.py``. PYTHON is an interpreter with EconML; without one
its methods are left out. ``--simulated`` draws so many tables of each source of ``benchmarks/effects.py``, with 1,000
test rows and effects in standard deviations of the outcome. Figures that others have published stand below, on more
realisations and with other draws of test rows.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # seconds of one core, for all alike

import conditional_econml
import numpy as np
import pandas as pd
from effects import SOURCES, draw
from scale import in_a_process, linear_table
from tables import realisations
from tqdm import tqdm

from dowhy_cina.learning.evaluation.conditional import (
    ROW_METHODS,
    RowEffects,
    RowMethod,
    RowProblem,
    draw_test_rows,
    measure_rows,
    own,
    row_figures,
    split,
    summarise_rows,
)

COLLECTIONS = ("ihdp", "acic2016", "lalonde_psid_realcause", "lalonde_cps_realcause")
#: Collection, method, mean PEHE and realisations.
PUBLISHED = (
    ("ihdp", "CausalPFN", 0.58, 100),
    ("ihdp", "causal multi-task Gaussian process", 0.76, 1000),
    ("acic2016", "CausalPFN", 0.92, 10),
    ("lalonde_psid_realcause", "CausalPFN", 14_000, 100),
    ("lalonde_cps_realcause", "CausalPFN", 8_800, 100),
)
SEED = 2016
#: Rows of a simulated population that effects are scored at; the few that are in the sample as well count too.
TEST_ROWS = 1000
#: Seconds after which a method of EconML is left out of a collection.
LIMIT = 1800


def problem_of(x: np.ndarray, t: np.ndarray, y: np.ndarray, truth: dict[str, Any]) -> RowProblem:
    """Split a realisation."""
    if "cfr_test_mask" in truth:
        test = truth["cfr_test_mask"].astype(bool)
    else:
        test = draw_test_rows(t, np.random.default_rng([SEED, truth["index"]]))
    exact = "mu1" in truth
    effects = truth["mu1"] - truth["mu0"] if exact else truth["y1"] - truth["y0"]
    return split(x, t, y, effects.astype(np.float64), test, exact)


def simulated(source: str, count: int) -> list[RowProblem]:
    """Samples of populations whose effects vary, in standard deviations of the outcome, and other rows of these."""
    problems = []
    for index in range(count):
        one = draw(source, index, False)
        places = np.random.default_rng([SEED, index]).permutation(len(one.effects))[:TEST_ROWS]
        unit = one.y.std()
        problems.append(RowProblem(one.x, one.t, one.y / unit, one.everyone[places], one.effects[places] / unit))
    return problems


def by_econml(python: str, problems: list[RowProblem]) -> dict[str, list[dict[str, float]]]:
    """Figures of EconML's methods on each table; methods that the interpreter does not have are left out."""
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for index, one in enumerate(problems):
            np.savez(folder / f"{index:04d}.npz", x=one.covariates, t=one.treatment, y=one.outcome, at=one.at)
        for method in conditional_econml.METHODS:
            seconds = in_a_process(python, method, folder, limit=LIMIT, script=conditional_econml.__file__)
            if seconds is None:
                continue
            rows = []
            for one, (name, took) in zip(problems, sorted(seconds.items()), strict=True):
                with np.load(folder / method / name) as found:
                    rows.append(row_figures(one, RowEffects(**found), took))
            figures[f"{method}, EconML"] = rows
    return figures


def measure(problems: list[RowProblem], methods: dict[str, RowMethod], python: str, label: str) -> pd.DataFrame:
    """Figures by method, of all realisations of a collection."""
    figures = {
        name: [measure_rows(problem, method) for problem in tqdm(problems, f"{label}, {name}")]
        for name, method in methods.items()
    }
    figures |= by_econml(python, problems)
    rows = [{"collection": label, "method": name, **summarise_rows(found)} for name, found in figures.items()]
    rows += [
        {"collection": label, "method": f"{name} (published)", "pehe": value, "tables": count}
        for collection, name, value, count in PUBLISHED
        if collection == label
    ]
    return pd.DataFrame(rows)


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Three digits of each number, and nothing where there is none."""

    def text(value: float) -> str:
        return "" if np.isnan(value) else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"

    names = {"pehe": "PEHE", "median": "median PEHE", "tables": "realisations"}
    digits = table.assign(**{name: table[name].map(text) for name in table.columns[2:]})
    return digits.rename(columns=names)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with load.py and the collections")
    parser.add_argument("--simulated", type=int, default=0, help="simulated tables of each source")
    parser.add_argument("--collections", nargs="+", default=list(COLLECTIONS))
    parser.add_argument("--realisations", type=int, help="the first ones of each collection; all by default")
    parser.add_argument("--checkpoint", default="cina-small")
    parser.add_argument("--econml", default=sys.executable, metavar="PYTHON", help="interpreter that has EconML")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    if not (arguments.data or arguments.simulated):
        parser.error("expected --data FOLDER, --simulated COUNT or both")
    warnings.filterwarnings("ignore")
    methods = {arguments.checkpoint: own(arguments.checkpoint), **ROW_METHODS}
    x, t, y = linear_table(500, 10)
    for method in methods.values():
        method(x, t, y, x)  # imports are not timed
    parts = []
    for name in SOURCES if arguments.simulated else ():
        parts.append(measure(simulated(name, arguments.simulated), methods, arguments.econml, f"simulated, {name}"))
    for name in arguments.collections if arguments.data else ():
        chosen = islice(realisations(arguments.data, name), arguments.realisations)
        parts.append(measure([problem_of(*one) for one in chosen], methods, arguments.econml, name))
    table = printed(pd.concat(parts, ignore_index=True))
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
