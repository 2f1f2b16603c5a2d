"""Speed of the exact solvers, steps of a refinement, and arm-against-arm beside target balancing.

    python benchmarks/solver.py [--data FOLDER] [--tables 12] [--csv FILE]

Every ratio is taken within this run: median over ``--repeats`` of both sides in turn. FOLDER is that of
``benchmarks/tables.py``; with it the steps are counted on its tables too. The CSV file gets the comparison of the two
balancing problems.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from dowhy_cina.simulators import REGISTRY, draw_table
from dowhy_cina.training import Simulators
from dowhy_cina.training.collections import draw_batch
from dowhy_cina.training.objectives import TrainingBatch
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC
from tables import COLLECTIONS, realisations
from tqdm import tqdm

from dowhy_cina.calls.direct import analyse
from dowhy_cina.config import EstimatorOptions, TrainingConfig
from dowhy_cina.estimating.weighting import (
    EXACT_REGULARISATION,
    Balancing,
    arm_against_arm,
    balance_arms,
    with_kernel_of_all_rows,
)
from dowhy_cina.mathematics.means import MeansTarget
from dowhy_cina.mathematics.solvers import factorise, solve_dual, solve_dual_svc

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def medians(repeats: int, *actions: Callable[[], object]) -> list[float]:
    """Median seconds of actions that take turns."""
    seconds = np.zeros((repeats, len(actions)))
    for turn in seconds:
        for k, action in enumerate(actions):
            start = time.perf_counter()
            action()
            turn[k] = time.perf_counter() - start
    return [float(value) for value in np.median(seconds, axis=0)]


def gram_and_signs(rows: int, columns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian Gram at the median distance of a confounded table."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    signs = np.where(rng.random(rows) < 1 / (1 + np.exp(-x[:, 0])), 1.0, -1.0)
    distances = np.linalg.norm(x[:200, None] - x[None, :200], axis=2)
    return rbf_kernel(x, gamma=1 / (2 * np.median(distances[np.triu_indices(len(distances), 1)]) ** 2)), signs


def speed(repeats: int) -> None:
    """Compare with scikit-learn's SVC on the same Gram and lambda, at its default tolerance."""
    penalty = EXACT_REGULARISATION
    for columns in (5, 10, 20):
        gram, signs = gram_and_signs(1000, columns, 0)
        scaled = gram / penalty
        ours = [torch.from_numpy(part)[None] for part in (gram, signs, np.asarray(penalty))]
        theirs, seconds = medians(
            repeats,
            lambda k=scaled, w=signs: SVC(C=1.0, kernel="precomputed").fit(k, w),
            lambda o=ours: solve_dual_svc(*o, tolerance=1e-6),
        )
        gap = float(solve_dual_svc(*ours).gap)
        print(
            f"one table, 1000 x {columns}: SVC {1e3 * theirs:.1f} ms, ours {1e3 * seconds:.1f} ms, "
            f"ratio {seconds / theirs:.2f}, relative gap {gap:.0e}"
        )
    tables = [gram_and_signs(256, 5, seed) for seed in range(64)]
    grams, signs = (torch.from_numpy(np.stack(part)) for part in zip(*tables, strict=True))
    penalties = torch.full((64,), penalty, dtype=torch.float64)
    features = factorise(grams)
    theirs, machines, splitting = medians(
        repeats,
        lambda: [SVC(C=1.0, kernel="precomputed").fit(k / penalty, w) for k, w in tables],
        lambda: solve_dual_svc(grams, signs, penalties, tolerance=1e-3),
        lambda: solve_dual(features, signs, penalties, tolerance=1e-3),
    )
    print(
        f"64 tables, 256 x 5, gap 1e-3: loop over SVC {1e3 * theirs:.0f} ms, solve_dual_svc {1e3 * machines:.0f} ms "
        f"(ratio {machines / theirs:.2f}), splitting in batch {1e3 * splitting:.0f} ms ({splitting / theirs:.2f})"
    )


def refinement_steps(x: np.ndarray, t: np.ndarray, y: np.ndarray, gap: float = 1e-2) -> tuple[int, int]:
    """Steps to a gap of the arm-against-arm problem, from the zero-shot values and from zero."""
    analysis = analyse(x, t, y, options=EstimatorOptions(augmentation="none"))
    model, table, state = analysis._model, analysis._table, analysis._state
    with torch.no_grad():
        values, penalty = model.values(table, state), model.regularisation(state)
        problem = state.balance_features, table.signs, penalty
        warm = 0
        if float(values.duality_gap) > gap:
            warm = solve_dual(*problem, tolerance=gap, solver=values.solver).iterations
        return warm, solve_dual(*problem, tolerance=gap).iterations


def report_steps(name: str, tables: Iterable[Table]) -> list[tuple[int, int]]:
    """Print the median steps over some tables."""
    steps = [refinement_steps(*table) for table in tables]
    warm, cold = np.median(steps, axis=0)
    print(
        f"steps to a gap of 1e-2, {name}: {warm:g} from the zero-shot start, {cold:g} from zero ({len(steps)} tables)"
    )
    return steps


def balancing_errors(batch: TrainingBatch) -> dict[tuple[str, str], float]:
    """Errors of the ATE in sd of the outcome; both kernels, both problems solved to 1e-6, with and without models."""
    analysis = analyse(
        *(part[0].numpy() for part in (batch.table.covariates, batch.table.treatment, batch.table.outcome))
    )
    table, model, found = analysis._table, analysis._model, {}
    truth = float(batch.labels.effect) / float(batch.table.outcome.std(unbiased=False))
    with torch.no_grad():
        gaussian, bandwidth = with_kernel_of_all_rows(table, analysis._state)
        for kernel, state in (("predicted kernel", analysis._state), ("Gaussian, median", gaussian)):
            columns = model.balance_columns(table.covariates, state.coordinate)
            target = MeansTarget(state.balance_features.mean(1), columns.mean(1))
            how = Balancing(1e-6, bandwidth if state is gaussian else None)
            modelled = float((state.means[1] - state.means[0]).mean())
            for problem, weights in (
                ("arm against arm", arm_against_arm(model, table, state, how).weights),
                ("to the target", balance_arms(model, table, state, target, how).weights),
            ):
                signed = weights * table.signs
                found[kernel, problem, "alone"] = abs(float((signed * table.outcome).sum()) - truth)
                augmented = modelled + float((signed * state.residuals).sum())
                found[kernel, problem, "augmented"] = abs(augmented - truth)
    return found


def compare_balancing(count: int) -> pd.DataFrame:
    """Mean absolute error of the ATE in sd of the outcome, a row per way to balance and a column per family."""
    config = TrainingConfig(min_rows=200, max_rows=1000, max_columns=20, tables_per_batch=1)
    columns = {}
    for family in tqdm(REGISTRY, desc="families"):
        errors, index = [], 0
        while len(errors) < count:
            batch, index = draw_batch(77, index, config, Simulators((family,))), index + 1
            if bool((batch.target == batch.target[0, 0]).all()):  # the draws for the ATE
                errors.append(balancing_errors(batch))
        columns[family] = pd.DataFrame(errors).mean()
    frame = pd.DataFrame(columns)
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["kernel", "balanced", "weights"])
    return frame.assign(mean=frame.mean(axis=1))


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with load.py and the collections")
    parser.add_argument("--tables", type=int, default=12, help="simulated tables per family")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--csv", type=Path, help="write the comparison here too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    speed(arguments.repeats)
    rng = np.random.default_rng(0)
    drawn = [draw_table(rng, int(rng.integers(200, 2000)), int(rng.integers(2, 30))) for _ in range(40)]
    report_steps("simulated tables", [(table.covariates, table.treatment, table.outcome) for table in drawn])
    if arguments.data:
        every = []
        for name in COLLECTIONS:
            found = [(x, t, y) for x, t, y, _ in realisations(arguments.data, name)]
            every += report_steps(name, tqdm(found, desc=name, leave=False))
        warm, cold = np.median(every, axis=0)
        print(f"steps to a gap of 1e-2, all published tables: {warm:g} from the zero-shot start, {cold:g} from zero")
    errors = compare_balancing(arguments.tables)
    print("\nMAE / sd(Y) of the ATE, balancing problems solved to a gap of 1e-6\n" + errors.round(3).to_string())
    if arguments.csv:
        errors.round(3).to_csv(arguments.csv)


if __name__ == "__main__":
    main()
