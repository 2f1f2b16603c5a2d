"""What a search for steps brings: errors and intervals with it and without, on the same tables.

    python benchmarks/steps.py [--tables N] [--data FOLDER] [--csv FILE]

Textbook designs that no simulator of the package draws, among them confounding that jumps at thresholds or where two
covariates are alike in sign; foreign tables, real covariates, the package's own families and, with FOLDER, which holds
a ``load.py``, published tables. Errors and widths are in sd of the outcome, seconds are of one processor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
from foreign import foreign_table
from members import Problem
from real_surfaces import real_table
from scipy.special import expit
from tables import COLLECTIONS, realisations
from tqdm import tqdm

from dowhy_cina.calls.direct import analyse
from dowhy_cina.learning.evaluation.classical import aipw
from dowhy_cina.learning.simulators import draw_table
from dowhy_cina.model import search

Array = np.ndarray[Any, Any]
#: Rows of a design's population, of which a table is a random part.
POPULATION = 40_000
SEED = 7


class Design(NamedTuple):
    """Propensities and mean outcomes of both arms in a population, and how outcomes are drawn about a mean."""

    x: Array
    propensity: Array
    control: Array
    treated: Array
    draw: Callable[[Array], Array] | None = None


def correlated(rng: np.random.Generator, columns: int) -> Array:
    """Correlated normal covariates."""
    mixing = np.eye(columns) + 0.5 * rng.normal(size=(columns, columns)) / np.sqrt(columns)
    x = rng.normal(size=(POPULATION, columns)) @ mixing
    return np.asarray(x / x.std(0))


def index_of(rng: np.random.Generator, x: Array, most: int = 4) -> Array:
    """Linear index of a few covariates."""
    chosen = rng.choice(x.shape[1], min(most, x.shape[1]), replace=False)
    slopes = rng.normal(size=len(chosen))
    return np.asarray(x[:, chosen] @ (slopes / np.linalg.norm(slopes)))


def thresholds(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Steps of three covariates, one of them where two are positive; an effect above a median alone."""
    jumps = 1.5 * (x[:, 0] > 0.7) - 1.0 * (x[:, 1] < -0.5) + 1.0 * ((x[:, 2] > 0) & (x[:, 3] > 0))
    return Design(x, expit(1.2 * (jumps - jumps.mean())), 1.2 * jumps, 1.2 * jumps + 2 * effect * (x[:, 0] > 0))


def same_side(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Two covariates on the same side of zero."""
    drive = np.sign(x[:, 0] * x[:, 1])
    mean = drive + 0.3 * x[:, 2]
    return Design(x, expit(drive), mean, mean + effect)


def square(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Square of an index, which is smooth."""
    index = index_of(rng, x)
    mean = 0.8 * index**2 + 0.4 * index
    return Design(x, expit(0.7 * (index**2 - 1) + 0.4 * index), mean, mean + effect)


def instruments(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Covariates that drive the treatment alone."""
    index = index_of(rng, x[:, 3:], 20)
    mean = index + 0.3 * index**2
    return Design(x, expit(1.8 * x[:, :3].sum(1) / np.sqrt(3) + 0.8 * index), mean, mean + effect)


def unequal(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Noise that grows with the confounders."""
    index = index_of(rng, x)
    mean = index + 0.5 * np.abs(x[:, 0])
    noise = np.exp(0.7 * index)
    draw = lambda means: means + noise * rng.normal(size=POPULATION)  # noqa: E731
    return Design(x, expit(index), mean, mean + effect * (1 + x[:, 1]), draw)


def heavy(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Noise by Student's law with two degrees of freedom."""
    index = index_of(rng, x)
    draw = lambda means: means + rng.standard_t(2, size=POPULATION)  # noqa: E731
    return Design(x, expit(index), index, index + effect, draw)


def skewed(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Log-normal covariates."""
    index = x[:, :3].sum(1) / np.sqrt(3)
    return Design(np.exp(x), expit(index), index, index + effect)


def events(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Events with odds that are linear in the logarithm, rare in half of the tables."""
    index, level = index_of(rng, x), float(rng.choice([-0.3, -3.5]))
    draw = lambda means: (rng.random(POPULATION) < means).astype(np.float64)  # noqa: E731
    return Design(x, expit(index), expit(level + 1.3 * index), expit(level + 1.3 * index + 2 * effect), draw)


def counts(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Poisson counts."""
    index = index_of(rng, x)
    draw = lambda means: rng.poisson(means).astype(np.float64)  # noqa: E731
    return Design(x, expit(index), np.exp(0.3 + 0.7 * index), np.exp(0.3 + 0.7 * index + effect), draw)


def rare(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """A few treated in a hundred."""
    index = index_of(rng, x)
    mean = index + 0.5 * np.sin(2 * x[:, 0])
    return Design(x, expit(index - 3.6), mean, mean + effect + 0.3 * x[:, 1])


DESIGNS = (thresholds, same_side, square, instruments, unequal, heavy, skewed, events, counts, rare)


def designed(design: Callable[..., Design], count: int) -> Iterator[Problem]:
    """Tables of 300 to 3,000 rows and 5 to 19 columns of a design."""
    for index in range(count):
        rng = np.random.default_rng([SEED, DESIGNS.index(design), index])
        rows, columns = int(np.exp(rng.uniform(*np.log((300, 3000))))), int(rng.integers(5, 20))
        effect = float(rng.choice([0.0, 0.3, -0.3, 0.6]))
        found = design(rng, correlated(rng, columns), effect)
        t = (rng.random(POPULATION) < found.propensity).astype(np.int64)
        means = np.where(t > 0, found.treated, found.control)
        y = means + rng.normal(size=POPULATION) if found.draw is None else found.draw(means)
        yield Problem(found.x[:rows], t[:rows], y[:rows], float(np.mean(found.treated - found.control)), None)


def others(kind: str, count: int) -> Iterator[Problem]:
    """Foreign tables, real covariates, or the package's own families."""
    for index in range(count):
        if kind == "simulated":
            rng = np.random.default_rng([SEED, index])
            rows, columns = (int(np.exp(rng.uniform(*np.log(ends)))) for ends in ((150, 3000), (2, 60)))
            table = draw_table(rng, rows, columns)
            yield Problem(table.covariates, table.treatment, table.outcome, table.effect, None)
        else:
            found = (foreign_table if kind == "foreign" else real_table)(index, SEED)
            yield Problem(found.x, found.t, found.y, found.effect, None)


def estimated(problem: Problem, label: str) -> dict[str, float]:
    """Error, coverage, width and seconds with steps and without, and the boosted estimator's for a design."""
    found: dict[str, float] = {}
    scale = float(problem.y.std())
    for name, find in (("", search.find_steps), (" without", lambda *_: None)):
        with patch.object(search, "find_steps", find):
            start = time.process_time()
            analysis = analyse(problem.x, problem.t, problem.y)
            result = analysis.effect()
            found[f"seconds{name}"] = time.process_time() - start
        low, high = result.confidence_interval or (np.nan, np.nan)
        found[f"error{name}"] = abs(result.value - problem.effect) / scale
        found[f"coverage{name}"] = float(low <= problem.effect <= high)
        found[f"width{name}"] = (high - low) / scale
        steps = analysis._state.steps
        found.setdefault("steps", 0 if steps is None else steps.count)
    if label in {design.__name__ for design in DESIGNS}:
        value, error = aipw(problem.x, problem.t.astype(np.float64), problem.y)
        found["error of AIPW"] = abs(value - problem.effect) / scale
        found["coverage of AIPW"] = float(abs(value - problem.effect) < 1.96 * error)
        found["width of AIPW"] = 2 * 1.96 * error / scale
    return found


def measure(problems: Iterator[Problem], label: str, count: int | None) -> dict[str, Any]:
    """A row of the table."""
    found = pd.DataFrame([estimated(problem, label) for problem in tqdm(problems, label, count)])
    apart = found["error"] - found["error without"]
    middle = [name for name in found.columns if "width" in name or "seconds" in name]
    row = found.mean().to_dict() | found[middle].median().to_dict()
    return {"tables": label, "count": len(found), "difference": apart.mean(), "standard error": apart.sem(), **row}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=30, help="of each design; twice as many of other kinds")
    parser.add_argument("--data", type=Path, help="folder with load.py and the collections")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    count = arguments.tables
    rows = [measure(designed(design, count), design.__name__, count) for design in DESIGNS]
    rows += [measure(others(kind, 2 * count), kind, 2 * count) for kind in ("foreign", "real covariates", "simulated")]
    for name in COLLECTIONS if arguments.data else ():
        problems = (Problem(x, t, y, truth["ate"], None) for x, t, y, truth in realisations(arguments.data, name))
        rows.append(measure(problems, name, None))
    order = ["tables", "count", "steps", "error", "error without", "difference", "standard error", "error of AIPW"]
    order += [f"{what}{whose}" for what in ("coverage", "width") for whose in ("", " without", " of AIPW")]
    table = pd.DataFrame(rows)[[*order, "seconds", "seconds without"]].round(4)
    table["tables"] = table["tables"].str.replace("_", " ")
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
