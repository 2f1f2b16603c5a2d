"""Columns that are not what they seem, and kinds of rows that an arm lacks: as numbers, and as the package reads them.

    python benchmarks/columns.py [--tables N] [--csv FILE]

Designs of applied work in which the treatment goes by what such a column stands for. Errors and widths are in sd of the
outcome. A linear regression takes all columns as numbers, texts as indicators; boosted trees (AIPW) too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from statsmodels.api import OLS, add_constant
from tqdm import tqdm

import dowhy_cina
from dowhy_cina.learning.evaluation.classical import aipw
from dowhy_cina.mathematics import scaling
from dowhy_cina.model import lacking
from dowhy_cina.tables import covariates, encoding

Array = np.ndarray[Any, Any]
SEED, ROWS = 20_261_201, (500, 3000)


class Drawn(NamedTuple):
    """Covariates, logits of the treatment and mean outcomes under control; the effect is one."""

    x: pd.DataFrame
    logit: Array
    control: Array


def _noise(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    return pd.DataFrame(rng.normal(size=(rows, 4)), columns=list("abcd"))


def postal_codes(rng: np.random.Generator, rows: int) -> Drawn:
    """Eighty places, by numbers that mean nothing."""
    place, (level, own) = rng.integers(0, 80, rows), rng.normal(size=(2, 80))
    x = _noise(rng, rows).assign(zip=rng.choice(90_000, 80, replace=False)[place])
    return Drawn(x, level[place] + 0.5 * x["a"].to_numpy(), 1.5 * level[place] + 0.5 * own[place])


def nominal_answers(rng: np.random.Generator, rows: int) -> Drawn:
    """Eight answers from 1 to 6 that have no order."""
    answers, moved = rng.integers(0, 6, (rows, 8)), rng.normal(size=(8, 6))
    drive = (moved - moved.mean(1, keepdims=True))[np.arange(8), answers].sum(1) / np.sqrt(8)
    return Drawn(_noise(rng, rows).join(pd.DataFrame(answers + 1).add_prefix("q")), 1.2 * drive, 1.2 * drive)


def sentinels(rng: np.random.Generator, rows: int) -> Drawn:
    """An income, and 99999999 in a tenth of the rows, who are treated more often."""
    x, missing = _noise(rng, rows), rng.random(rows) < 0.1
    drive = np.where(missing, 0.8, x["a"])
    return Drawn(x.assign(a=np.where(missing, 99_999_999, 40 + 12 * x["a"])), drive, drive)


def corrupt_number(rng: np.random.Generator, rows: int) -> Drawn:
    """A confounder, of which one row says 1e9."""
    x = _noise(rng, rows)
    drive = x["a"].to_numpy().copy()
    x.loc[0, "a"] = 1e9
    return Drawn(x, 1.2 * drive, drive)


def packs(rng: np.random.Generator, rows: int) -> Drawn:
    """Packs of 1, 2, 50 and 100, of which 50 and 100 are no sentinels."""
    kind = rng.choice(4, rows, p=[0.35, 0.2, 0.25, 0.2])
    drive = np.array([0.0, 0.0, -1.3, 1.3])[kind]
    return Drawn(_noise(rng, rows).assign(pack=np.array([1, 2, 50, 100])[kind]), drive, drive)


def contraindications(rng: np.random.Generator, rows: int) -> Drawn:
    """Three conditions, each of three rows in a hundred, with which nobody is treated, and outcomes are higher by 2."""
    x, ill = _noise(rng, rows), rng.random((rows, 3)) < 0.03
    logit = np.where(ill.any(1), -np.inf, 0.8 * x["a"])
    x = x.join(pd.DataFrame(ill.astype(int)).add_prefix("ill"))
    return Drawn(x, logit, x["a"].to_numpy() + 2 * ill.any(1))


def sites(rng: np.random.Generator, rows: int) -> Drawn:
    """Forty sites, four of which never treat, and have outcomes that are higher by 2."""
    x, site = _noise(rng, rows), rng.integers(0, 40, rows)
    logit = np.where(site < 4, -np.inf, 0.5 * x["a"])
    return Drawn(x.assign(site=[f"s{place:02}" for place in site]), logit, 0.5 * x["a"].to_numpy() + 2 * (site < 4))


def spending(rng: np.random.Generator, rows: int) -> Drawn:
    """Earlier spending, whose logarithm has a standard deviation of 1.5, goes on by itself: a long tail."""
    logs = 1.5 * rng.normal(size=rows)
    return Drawn(_noise(rng, rows).assign(spent=np.exp(3 + logs)), 0.6 * logs, 0.9 * np.exp(logs))


DESIGNS: tuple[Callable[[np.random.Generator, int], Drawn], ...] = (
    postal_codes,
    nominal_answers,
    sentinels,
    corrupt_number,
    packs,
    contraindications,
    sites,
    spending,
)


def as_numbers() -> ExitStack:
    """Read columns as numbers up to six standard deviations, and kinds of rows that an arm lacks as its others."""
    stack = ExitStack()
    stack.enter_context(patch.object(covariates, "find_codes", lambda *_: []))
    stack.enter_context(patch.object(encoding, "sentinels_of", lambda _: []))
    stack.enter_context(patch.object(scaling.fit_scaling, "__defaults__", (np.inf,)))
    stack.enter_context(patch.object(scaling.Scaling.apply, "__defaults__", (6.0,)))
    stack.enter_context(patch.object(lacking, "lacking_rows", lambda columns, *_: torch.zeros_like(columns[:, 0])))
    return stack


def tables(design: Callable[..., Drawn], count: int) -> Iterator[tuple[pd.DataFrame, Array, Array]]:
    """Tables of 500 to 3,000 rows of a design."""
    for index in range(count):
        rng = np.random.default_rng([SEED, DESIGNS.index(design), index])
        drawn = design(rng, int(np.exp(rng.uniform(*np.log(ROWS)))))
        t = (rng.random(len(drawn.x)) < expit(drawn.logit)).astype(np.int64)
        yield drawn.x, t, drawn.control + t + rng.normal(size=len(t))


def measured(x: pd.DataFrame, t: Array, y: Array) -> dict[str, float]:
    """Errors, whether intervals hold the effect, and widths of each way to estimate it."""
    scale, found = float(y.std()), {}
    intervals = {"": dowhy_cina.estimate_effect(x, t, y)}
    with as_numbers():
        intervals[" as numbers"] = dowhy_cina.estimate_effect(x, t, y)
    ends = {name: (result.value, *(result.confidence_interval or ())) for name, result in intervals.items()}
    columns = pd.get_dummies(x, drop_first=True).to_numpy(np.float64)
    linear = OLS(y, add_constant(np.column_stack([t, columns]))).fit(cov_type="HC1")
    value, error = aipw(columns, t.astype(np.float64), y)
    ends[" of OLS"] = (linear.params[1], *linear.conf_int()[1])
    ends[" of AIPW"] = (value, value - 1.96 * error, value + 1.96 * error)
    for name, (estimate, low, high) in ends.items():
        found[f"error{name}"] = abs(estimate - 1) / scale
        found[f"coverage{name}"] = float(low <= 1 <= high)
        found[f"width{name}"] = (high - low) / scale
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=30, help="of each design")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    rows = []
    for design in DESIGNS:
        drawn = tqdm(tables(design, arguments.tables), design.__name__, arguments.tables)
        found = pd.DataFrame([measured(*table) for table in drawn])
        means = found.mean().to_dict() | found[[name for name in found if "width" in name]].median().to_dict()
        rows.append({"tables": design.__name__.replace("_", " "), "count": len(found), **means})
    names = [
        f"{what}{how}" for what in ("error", "coverage", "width") for how in ("", " as numbers", " of OLS", " of AIPW")
    ]
    table = pd.DataFrame(rows)[["tables", "count", *names]].round(4)
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
