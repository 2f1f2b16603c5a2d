"""Who gains: policies, uplift, the distribution of effects and groups that a search found, each figure beside its goal.

    python benchmarks/effects.py [--tables 200] [--quick] [--checkpoint cina-small] [--csv docs/measured/effects.csv]

Samples of 400 to 1,000 rows and 3 to 12 columns from populations of 8,000: the package's families (``own``), and random
functions and published designs that no simulator of the package contains (``foreign``). In the null tables the effect
is taken out of the outcomes, the confounding stays. Every truth is the population's; that of a learned rule is the mean
value of the folds' rules in the population.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process per core instead

import numpy as np
import pandas as pd
from dowhy_cina.simulators import REGISTRY, draw_table
from foreign import random_population
from foreign_designs import published_population
from intervals import _map

import dowhy_cina

SOURCES = ("own", "foreign")
POPULATION, FEWEST, QUICK = 8000, 20, 40
#: Spread of the effects, in sd of the outcome, from which a table counts as heterogeneous.
HETEROGENEOUS = 0.05
SHARE = 0.5


class Drawn(NamedTuple):
    """Sample (N, D), (N,), (N,) and the population that it is from."""

    x: np.ndarray
    t: np.ndarray
    y: np.ndarray
    everyone: np.ndarray
    base: np.ndarray
    effects: np.ndarray


def draw(source: str, index: int, null: bool) -> Drawn:
    """Draw a sample; null tables have their effect taken out of the outcome."""
    rng = np.random.default_rng([41, SOURCES.index(source), index, null])
    while True:
        rows, columns = int(rng.integers(400, 1001)), int(rng.integers(3, 13))
        if source == "own":
            table = draw_table(rng, POPULATION, columns, families=list(REGISTRY))
            x, t, y, base, effects = table.covariates, table.treatment, table.outcome, table.mu0, table.mu1 - table.mu0
        else:
            population, _ = (published_population if rng.random() < 0.5 else random_population)(rng, columns)
            x, t, y = population.sample(rng, POPULATION)
            base, effects = population.base(x), population.effect(x)
        if null:
            y, effects = y - t * effects, np.zeros_like(effects)
        one, spread = rng.permutation(len(t))[:rows], y.std()
        enough = min(t[one].sum(), rows - t[one].sum()) >= FEWEST and len(np.unique(y[one])) > 1
        if enough and (null or effects.std() >= HETEROGENEOUS * spread):
            return Drawn(x[one], t[one], y[one], x, base, effects)


def null_table(task: tuple[str, str, int]) -> dict[str, Any]:
    """What is found where there is nothing."""
    checkpoint, source, index = task
    drawn = draw(source, index, True)
    found = dowhy_cina.estimate_effect(drawn.x, drawn.t, drawn.y, checkpoint=checkpoint)
    areas = {name: found.uplift(weighting=name) for name in ("qini", "autoc")}
    return {
        "of": source,
        **{f"{name} holds zero": bool(area.lower <= 0 <= area.upper) for name, area in areas.items()},
        "called heterogeneous": found.effect_distribution().reason is None,
        "groups called different": found.search_groups().differ,
    }


def heterogeneous_table(task: tuple[str, str, int]) -> dict[str, Any]:
    """Values of policies and the distribution of effects where they vary."""
    checkpoint, source, index = task
    drawn = draw(source, index, False)
    found = dowhy_cina.estimate_effect(drawn.x, drawn.t, drawn.y, checkpoint=checkpoint)
    few = np.random.default_rng(index).permutation(len(drawn.effects))[:2000]
    row: dict[str, Any] = {"of": source}
    cut = float(np.median(drawn.x[:, 0]))
    held = [function.at(drawn.everyone[few])[0] for _, function in found.refits.functions()]
    rules = {
        "fixed": (lambda frame: frame["x0"] > cut, [drawn.everyone[few, 0] > cut]),
        "best half": (SHARE, [effects >= np.quantile(effects, 1 - SHARE) for effects in held]),
        "gainers": ("gainers", [effects > 0 for effects in held]),
    }
    for name, (rule, treated) in rules.items():
        # The rest of the population tells the base, so that the draw of 2,000 adds little noise to the truth.
        truth = drawn.base.mean() + np.mean([(treat * drawn.effects[few]).mean() for treat in treated])
        got = found.policy_value(rule).loc["rule"]
        row[f"{name} covered"] = got["lower"] <= truth <= got["upper"]
        row[f"{name} error"] = (got["value"] - truth) / got["standard_error"]
    distribution, share = found.effect_distribution(), (drawn.effects > 0).mean()
    row["detected"] = distribution.reason is None
    if distribution.reason is None:
        modelled = found.conditional_effects(drawn.x)["effect"]
        row |= {
            "share": abs(distribution.share_positive - share),
            "counted": abs((modelled > 0).mean() - share),
            "share covered": distribution.lower <= share <= distribution.upper,
        }
    return row


def figures(null: pd.DataFrame, varying: pd.DataFrame) -> pd.DataFrame:
    """Each figure of each source, with its goal."""
    rows = []
    for source in (*SOURCES, "all"):
        none, some = (frame if source == "all" else frame[frame["of"] == source] for frame in (null, varying))

        def add(what: str, figure: float, goal: str, frame: pd.DataFrame, of: str = source) -> None:
            rows.append({"what": what, "tables of": of, "tables": len(frame), "figure": figure, "goal": goal})

        for name in ("fixed", "best half", "gainers"):
            add(f"policy value, {name}: coverage", some[f"{name} covered"].mean(), ".92 to .98", some)
            add(f"policy value, {name}: bias / standard error", some[f"{name} error"].mean(), "at most .2", some)
        for name in ("qini", "autoc"):
            add(f"area, null effects ({name}): holds zero", none[f"{name} holds zero"].mean(), ".92 to .98", none)
        known = some[some["detected"]].astype({"share covered": bool})
        ratio = known["share"].mean() / known["counted"].mean()
        add("share that benefits: mean absolute error", known["share"].mean(), "", known)
        add("share that benefits: error / that of counting", ratio, "at most .7", known)
        add("share that benefits: coverage", known["share covered"].mean(), "", known)
        add("heterogeneity detected", some["detected"].mean(), "", some)
        add("heterogeneity detected, null tables", none["called heterogeneous"].mean(), "", none)
        add("groups of the tree called different, null", none["groups called different"].mean(), "at most .07", none)
    return pd.DataFrame(rows)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=200, help="of each kind, half of either source")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} tables of each")
    parser.add_argument("--checkpoint", default="cina-small")
    parser.add_argument("--csv", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    count = QUICK if arguments.quick else arguments.tables
    # In turns, so that no process has all of the slow ones.
    tasks = [(arguments.checkpoint, source, index) for index in range(count // 2) for source in SOURCES]
    table = figures(_map(null_table, tasks), _map(heterogeneous_table, tasks)).round(3)
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
