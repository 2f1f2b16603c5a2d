"""How far to trust what is said of single rows and of groups.

    python benchmarks/varying.py [--tables 600] [--null-tables 400] [--data FOLDER] [--checkpoint cina-small]

Rows: how often 95 % intervals of conditional effects hold a row's effect, in samples of simulated populations and, with
FOLDER, in published tables. Beside all rows stand two tenths of each table: those with the largest standard errors and
those whose effects are furthest from the average. ``elsewhere`` are rows of the population that are not in the sample,
the fiftieth with the most unusual covariates.

Groups: tables without any effect whose groups have 5 to 15 rows of one arm, and how often the test of equality finds
one at 5 %, one interval holds zero, and all intervals of a table do.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process per core instead

import numpy as np
import pandas as pd
from dowhy_cina.simulators import REGISTRY, draw_table
from intervals import _map
from tables import realisations

import dowhy_cina
from dowhy_cina.results.effect import EffectResult

#: Null tables: outcome models of covariates and group, and their noise.
DESIGNS = ("groups differ", "random groups", "skewed", "binary", "clustered")


def of_rows(found: EffectResult, covariates: Any, effects: np.ndarray) -> dict[str, float]:
    """Coverage of the effects of rows, of those with the largest errors, of the most unusual effects; median width."""
    table = found.conditional_effects(covariates)
    held = ((table["lower"] <= effects) & (effects <= table["upper"])).to_numpy()
    tenth = max(len(held) // 10, 1)
    error, apart = table["standard_error"].to_numpy(), np.abs(effects - effects.mean())
    return {
        "coverage": held.mean(),
        "largest errors": held[np.argsort(error)[-tenth:]].mean(),
        "unusual effects": held[np.argsort(apart, kind="stable")[-tenth:]].mean(),
        "median width": float((table["upper"] - table["lower"]).median()) / found.outcome_scale,
    }


def family_sample(task: tuple[str, int]) -> dict[str, Any] | None:
    """Conditional effects in one sample of a simulated population; none if an arm has fewer than five rows."""
    checkpoint, index = task
    rng = np.random.default_rng([31, index])
    rows, columns = (int(np.exp(rng.uniform(*np.log(bounds)))) for bounds in ((200, 2000), (2, 40)))
    population = draw_table(rng, max(5 * rows, 4000), columns, families=list(REGISTRY))
    order = rng.permutation(len(population.treatment))
    chosen, rest = order[:rows], order[rows:]
    t, y, x = population.treatment[chosen], population.outcome[chosen], population.covariates
    if min(t.sum(), rows - t.sum()) < 5 or not y.std() > 0:
        return None
    effects = population.mu1 - population.mu0
    found = dowhy_cina.estimate_effect(x[chosen], t, y, checkpoint=checkpoint)
    unusual = (((x[rest] - x.mean(0)) / np.maximum(x.std(0), 1e-12)) ** 2).sum(1)
    far = rest[np.argsort(unusual)[-(len(rest) // 50) :]]
    elsewhere = of_rows(found, x[far], effects[far])["coverage"]
    return {"of": population.family, **of_rows(found, x[chosen], effects[chosen]), "elsewhere": elsewhere}


def published(folder: Path, checkpoint: str) -> pd.DataFrame:
    """Conditional effects in published tables that know each row's."""
    rows = []
    for name in ("ihdp", "acic2016"):
        for x, t, y, truth in realisations(folder, name):
            found = dowhy_cina.estimate_effect(x, t, y, checkpoint=checkpoint)
            rows.append({"of": name, **of_rows(found, x, truth["mu1"] - truth["mu0"])})
    return pd.DataFrame(rows)


def null_table(task: tuple[str, str, int]) -> dict[str, Any]:
    """Groups in one table without any effect."""
    checkpoint, design, index = task
    rng = np.random.default_rng([5, DESIGNS.index(design), index])
    count = int(rng.integers(3, 8))
    sizes = [(int(rng.integers(5, 16)), int(rng.integers(20, 60)))[:: rng.choice([-1, 1])] for _ in range(count)]
    groups = np.repeat(np.arange(count), [sum(pair) for pair in sizes])
    t = np.concatenate([np.repeat([0, 1], pair) for pair in sizes])
    rows = len(t)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)) + 0.3 * t[:, None], columns=list("abc"))
    mean = frame["a"].to_numpy() + np.sin(1.5 * frame["b"].to_numpy())
    cluster = rng.integers(0, rows // 4, rows) if design == "clustered" else None
    if design != "random groups":
        mean = mean + 0.7 * rng.normal(size=count)[groups]
        frame["group"] = pd.Categorical(groups.astype(str))
    if cluster is not None:
        mean = mean + 0.6 * rng.normal(size=rows // 4)[cluster]
    noise = 1.3 * (rng.exponential(size=rows) - 1) if design == "skewed" else rng.normal(size=rows)
    y = (mean + rng.logistic(size=rows) > 0) * 1.0 if design == "binary" else mean + noise
    target = "ate" if index % 2 else "att"
    options = {"target_units": target, "checkpoint": checkpoint}
    found = dowhy_cina.estimate_effect(frame, t, y, **options, **({} if cluster is None else {"cluster": cluster}))
    single, together = (found.group_effects(groups, simultaneous=both) for both in (False, True))
    holds = [((one.table["lower"] <= 0) & (one.table["upper"] >= 0)) for one in (single, together)]
    rejected = single.p_value is not None and single.p_value < 0.05
    return {"of": design, "target": target, "rejected": rejected, "one": holds[0].mean(), "all": holds[1].all()}


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over tables by what they are of, widths by their medians, and the number of tables."""
    parts = {name: part.drop(columns="of") for name, part in frame.groupby("of")}
    parts["all"] = frame.drop(columns="of")
    rows = {
        name: {**part.select_dtypes(["number", "bool"]).mean(), "tables": len(part)} for name, part in parts.items()
    }
    table = pd.DataFrame(rows).T
    if "median width" in table:
        table["median width"] = [part["median width"].median() for part in parts.values()]
    return table.astype({"tables": int}).rename_axis("of")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=600)
    parser.add_argument("--null-tables", type=int, default=400)
    parser.add_argument("--data", type=Path, help="folder of the published tables")
    parser.add_argument("--checkpoint", default="cina-small")
    parser.add_argument("--out", type=Path, help="folder to write the tables to as CSV")
    arguments = parser.parse_args()
    own = arguments.checkpoint
    results = {"rows": summarise(_map(family_sample, [(own, k) for k in range(arguments.tables)]))}
    if arguments.data:
        results["rows-published"] = summarise(published(arguments.data, own)).drop(index="all")
    null = _map(null_table, [(own, name, k) for name in DESIGNS for k in range(arguments.null_tables)])
    results["groups"] = summarise(null)
    for name, table in results.items():
        print(f"\n{name}\n{table.round(3).to_string()}")
        if arguments.out:
            table.round(3).to_csv(arguments.out / f"{name}.csv")


if __name__ == "__main__":
    main()
