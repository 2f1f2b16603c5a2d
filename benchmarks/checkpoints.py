"""Errors of the average effect by several checkpoints on the same tables, over those of the untrained rule.

    python benchmarks/checkpoints.py [CHECKPOINT ...] [--tables 60] [--data FOLDER] [--csv FILE]

Checkpoints are bundled names or files. Tables are of the families that no bundled model was trained on (so many of
each), of designs that are not the package's, and with a folder the published ones, whose geometric mean over the
collections (errors below .015 sd count as that) stands in place of a ratio. Standard errors by bootstrap over tables.
What is printed at the end stands beside its goal.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from foreign import foreign_table
from tables import COLLECTIONS, realisations
from tqdm import tqdm

import dowhy_cina
from dowhy_cina.learning.simulators import draw_table

FAMILIES = ("kang_schafer", "simulation_a", "quadratic_forms")
#: Rows and columns of tables of the families, log-uniform between these.
ROWS, COLUMNS = (150, 2500), (3, 40)
#: Rows that an arm has at least.
SMALLEST_ARM = 10
FLOOR, DRAWS = 0.015, 300
#: Errors over the rule's that the bundled checkpoints should not exceed.
GOALS = {
    ("cina-selfsup", "apart"): 0.85,
    ("cina-selfsup", "apart, weights alone"): 0.9,
    ("cina-selfsup", "published, sd"): 0.9,
    ("cina-selfsup", "published, weights alone, sd"): 1.0,
    ("cina-small", "apart"): 0.9,
}


class Problem(NamedTuple):
    """A table and its average effect."""

    x: np.ndarray
    t: np.ndarray
    y: np.ndarray
    effect: float


def apart(count: int) -> Iterator[Problem]:
    """Tables of families that training has not seen."""
    for place, family in enumerate(FAMILIES):
        for index in range(count):
            rng = np.random.default_rng([909, index, place])
            rows, columns = (int(np.exp(rng.uniform(*np.log(ends)))) for ends in (ROWS, COLUMNS))
            table = draw_table(rng, rows, columns, families=[family])
            if min(table.treatment.sum(), rows - table.treatment.sum()) >= SMALLEST_ARM:
                yield Problem(table.covariates, table.treatment, table.outcome, table.effect)


def foreign(count: int) -> Iterator[Problem]:
    """Tables that no simulator of the package draws."""
    for index in range(count):
        table = foreign_table(index, 18)
        yield Problem(table.x, table.t, table.y, table.effect)


def errors(problems: list[Problem], checkpoints: list[str], label: str) -> np.ndarray:
    """Absolute errors in sd of the outcome, shape (tables, checkpoints, with and without regressions)."""
    found = []
    for x, t, y, effect in tqdm(problems, label):
        for checkpoint in checkpoints:
            for augmentation in ("kernel", "none"):
                value = dowhy_cina.estimate_effect(x, t, y, checkpoint=checkpoint, augmentation=augmentation).value
                found.append(abs(value - effect) / y.std())
    return np.reshape(found, (len(problems), len(checkpoints), 2))


def over_rule(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean errors over those of the first checkpoint, and their standard errors."""
    rng = np.random.default_rng(0)
    draws = [found[rng.integers(0, len(found), len(found))].mean(0) for _ in range(DRAWS)]
    return found.mean(0) / found.mean(0)[0], np.std([draw / draw[0] for draw in draws], 0)


def main() -> None:
    """Print the figures of every checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", default=["cina-selfsup", "cina-small"])
    parser.add_argument("--tables", type=int, default=60, help="tables of each family")
    parser.add_argument("--data", type=Path, help="folder of the published tables")
    parser.add_argument("--csv", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    names = ["rule", *arguments.checkpoints]
    figures = pd.DataFrame(index=pd.Index([Path(name).stem for name in names], name="checkpoint"))
    for label, draw, count in (("apart", apart, arguments.tables), ("foreign", foreign, 2 * arguments.tables)):
        ratio, error = over_rule(errors(list(draw(count)), names, label))
        for place, way in enumerate(("", ", weights alone")):
            figures[f"{label}{way}"], figures[f"{label}{way}, standard error"] = ratio[:, place], error[:, place]
    if arguments.data:
        means = []
        for name in COLLECTIONS:
            problems = [Problem(x, t, y, truth["ate"]) for x, t, y, truth in realisations(arguments.data, name)]
            means.append(errors(problems, names, name).mean(0))
        geometric = np.exp(np.log(np.maximum(means, FLOOR)).mean(0))
        for place, way in enumerate(("", ", weights alone")):
            figures[f"published{way}, sd"] = geometric[:, place]
    print(figures.round(4).T.to_string())
    for (name, figure), goal in GOALS.items():
        if name in figures.index and figure in figures:
            found = figures.loc[name, figure] / figures.loc["rule", figure]
            print(f"{name}, {figure}: {found:.3f} of the rule's (goal {goal}), {'met' if found <= goal else 'MISSED'}")
    if arguments.csv:
        figures.round(4).to_csv(arguments.csv)


if __name__ == "__main__":
    main()
