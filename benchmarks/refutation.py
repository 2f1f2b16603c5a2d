"""Seconds of a refutation battery: DoWhy's own loop, with linear regression and with cina, against dowhy_cina.refute.

    python benchmarks/refutation.py [--rows 1000] [--covariates 10] [--simulations 100] [--csv FILE]

Five refuters: random common cause, placebo (permuted), subset, bootstrap, dummy outcome. One thread in each of DoWhy's
loops, as its refuters run by default; the battery with one thread and with one per core.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from dowhy import CausalModel

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


def loop(model: CausalModel, estimand: object, method: str, simulations: int) -> dict[str, float]:
    """Seconds of each of DoWhy's refuters, unmodified."""
    estimate = model.estimate_effect(estimand, method_name=method)
    return {
        name: timed(
            lambda name=name, options=options: model.refute_estimate(
                estimand, estimate, method_name=name, num_simulations=simulations, **options
            )
        )
        for name, options in REFUTERS.items()
    }


def battery(model: CausalModel, estimand: object, simulations: int, n_jobs: int) -> tuple[dict[str, float], float]:
    """Seconds of each refuter in the battery, summed over threads, and of the whole call."""
    estimate = model.estimate_effect(estimand, method_name="backdoor.cina")
    options = {"refuters": list(REFUTERS), "random_state": 0, "progress": False}
    dowhy_cina.refute(model, estimand, estimate, simulations=2, **options)  # the first call loads the model
    started = time.perf_counter()
    report = dowhy_cina.refute(model, estimand, estimate, simulations=simulations, n_jobs=n_jobs, **options)
    total = time.perf_counter() - started
    return report.to_frame().set_index("refuter").seconds.to_dict(), total


def measure(rows: int, covariates: int, simulations: int) -> pd.DataFrame:
    """Seconds per refuter and in all, a column per way to run them."""
    model, estimand = draw(rows, covariates, seed=0)
    columns = {}
    for method in ("backdoor.linear_regression", "backdoor.cina"):
        seconds = loop(model, estimand, method, simulations)
        columns[f"DoWhy, {method.removeprefix('backdoor.')}"] = {**seconds, "all": sum(seconds.values())}
    for n_jobs, name in ((1, "refute"), (-1, "refute, n_jobs=-1")):
        seconds, total = battery(model, estimand, simulations, n_jobs)
        columns[name] = {**seconds, "all": total}
    return pd.DataFrame(columns)


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--covariates", type=int, default=10)
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--csv", type=Path, help="write the seconds here too")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    table = measure(arguments.rows, arguments.covariates, arguments.simulations)
    print(table.round(2).to_string())
    linear, cina, one, every = table.loc["all"]
    print(f"\nDoWhy's loop: cina takes {cina / linear:.2f} times as long as linear regression")
    print(f"refute takes {one / linear:.2f} times as long as that loop with linear regression on one thread,")
    print(
        f"{every / linear:.2f} times on all cores; against the loop with cina {one / cina:.2f} and {every / cina:.2f}"
    )
    if arguments.csv:
        table.round(2).to_csv(arguments.csv, index_label="refuter")


if __name__ == "__main__":
    main()
