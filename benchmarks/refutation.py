"""Seconds of a refutation battery: DoWhy's own loop, with linear regression and with cina, against dowhy_cina.refute.

    python benchmarks/refutation.py [--rows 1000] [--covariates 10] [--simulations 100] [--repeats 5] [--csv FILE]

Five refuters: random common cause, placebo (permuted), subset, bootstrap, dummy outcome. DoWhy's loops have one thread,
as its refuters run by default, the battery has one and one per core. All ways take turns, and figures are medians over
the turns of ratios within one: against DoWhy's loop with linear regression and against a product of matrices. Of
DoWhy's loop with cina a fifth of the refits is run. Nothing is written while others keep the machine busy.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from dowhy import CausalModel
from measuring import REPEATS, Idleness, yardstick

import dowhy_cina

REFUTERS = {
    "random_common_cause": {},
    "placebo_treatment_refuter": {"placebo_type": "permute"},
    "data_subset_refuter": {},
    "bootstrap_refuter": {},
    "dummy_outcome_refuter": {},
}


def draw(rows: int, covariates: int, seed: int) -> tuple[CausalModel, object]:
    """Model and estimand of a table with confounding by two of the covariates."""
    rng = np.random.default_rng(seed)
    names = [f"x{place}" for place in range(covariates)]
    table = pd.DataFrame(rng.normal(size=(rows, covariates)), columns=names)
    table["treatment"] = (rng.random(rows) < 1 / (1 + np.exp(-table[names[:2]].sum(axis=1)))).astype(int)
    table["outcome"] = table[names].sum(axis=1) + 2 * table.treatment + rng.normal(size=rows)
    model = CausalModel(table, "treatment", "outcome", common_causes=names)
    return model, model.identify_effect()


def timed(what: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def loop(model: CausalModel, estimand: object, method: str, simulations: int) -> float:
    """Seconds per refit of DoWhy's refuters, unmodified."""
    estimate = model.estimate_effect(estimand, method_name=method)
    seconds = [
        timed(
            lambda name=name, options=options: model.refute_estimate(
                estimand, estimate, method_name=name, num_simulations=simulations, **options
            )
        )
        for name, options in REFUTERS.items()
    ]
    return sum(seconds) / simulations / len(REFUTERS)


def battery(
    model: CausalModel, estimand: object, simulations: int, n_jobs: int, refuters: tuple[str, ...] = tuple(REFUTERS)
) -> float:
    """Seconds per refit of some refuters in the battery."""
    estimate = model.estimate_effect(estimand, method_name="backdoor.cina")
    options = {"refuters": refuters, "random_state": 0, "progress": False, "n_jobs": n_jobs}
    dowhy_cina.refute(model, estimand, estimate, simulations=2, **options)  # the first call loads the model
    refute = timed(lambda: dowhy_cina.refute(model, estimand, estimate, simulations=simulations, **options))
    return refute / simulations / len(refuters)


def measure(rows: int, covariates: int, simulations: int, repeats: int) -> pd.DataFrame:
    """A row per way: milliseconds per refit, and medians of ratios."""
    model, estimand = draw(rows, covariates, seed=0)
    few = max(2, simulations // 5)
    ways: dict[str, Callable[[], float]] = {
        "DoWhy's loop, linear regression": lambda: loop(model, estimand, "backdoor.linear_regression", simulations),
        "DoWhy's loop, cina": lambda: loop(model, estimand, "backdoor.cina", few),
        "refute, 1 thread": lambda: battery(model, estimand, simulations, 1),
    }
    if (cores := os.cpu_count() or 1) > 1:
        ways[f"refute, {cores} threads"] = lambda: battery(model, estimand, simulations, cores)
    for name in REFUTERS:
        ways[f"refute, 1 thread: {name}"] = lambda name=name: battery(model, estimand, simulations, 1, (name,))
    turns = pd.DataFrame(
        [{"yardstick": yardstick(), **{name: way() for name, way in ways.items()}} for _ in range(repeats)]
    )
    own = turns[list(ways)]
    return pd.DataFrame(
        {
            "ms a refit": 1000 * own.median(),
            "times DoWhy's loop with linear regression": own.div(own.iloc[:, 0], axis=0).median(),
            "times a product of matrices": own.div(turns.yardstick, axis=0).median(),
        }
    )


def main() -> None:
    """Print milliseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--covariates", type=int, default=10)
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    idleness = Idleness(arguments.csv)
    table = measure(arguments.rows, arguments.covariates, arguments.simulations, arguments.repeats)
    idleness.look()
    print(table.round(3).to_string())
    idleness.refuse()
    if arguments.csv:
        table.round(3).to_csv(arguments.csv, index_label="five refuters")


if __name__ == "__main__":
    main()
