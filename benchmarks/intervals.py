"""How often 95 % intervals hold the effect, how wide they are, and how often a null effect is called one.

    python benchmarks/intervals.py [--tables 2000] [--design-tables 400] [--data FOLDER] [--out docs/measured]

Simulated families: samples of 200 to 2,000 rows from populations whose effect (ATE, or ATT in a quarter) is known; the
interval is for the population. Designs: textbook simulations that no simulator of the package contains. Both stand
beside AIPW with kernel-ridge outcomes on the same tables, one in eight. FOLDER holds the published tables, whose truth
is that of the table.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process per core instead

import numpy as np
import pandas as pd
from dowhy_cina.simulators import draw_table
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, KFold
from tables import COLLECTIONS, realisations
from tqdm import tqdm

import dowhy_cina

AIPW_SHARE = 8  # AIPW, which is slow, on one table of so many


class Sample(NamedTuple):
    """Covariates (N, D), treatment and outcome (N,), and the effect that an interval should hold."""

    x: np.ndarray
    t: np.ndarray
    y: np.ndarray
    effect: float


def family_sample(index: int) -> dict[str, Any] | None:
    """Estimate one sample of a simulated population; none if an arm has fewer than five rows."""
    rng = np.random.default_rng([20_261_124, index])
    rows, columns = (int(np.exp(rng.uniform(*np.log(bounds)))) for bounds in ((200, 2000), (2, 40)))
    population = draw_table(rng, max(5 * rows, 4000), columns)
    chosen = rng.permutation(len(population.treatment))[:rows]
    t, y = population.treatment[chosen], population.outcome[chosen]
    if min(t.sum(), rows - t.sum()) < 5 or not y.std() > 0:
        return None
    target = "att" if rng.random() < 0.25 else "ate"
    members = population.propensity if target == "att" else np.ones_like(population.propensity)
    effects = population.mu1 - population.mu0
    sample = Sample(population.covariates[chosen], t, y, float(np.average(effects, weights=members)))
    comparable = target == "ate" and index % AIPW_SHARE == 0 and min(t.sum(), rows - t.sum()) > 20
    logit = np.log(population.propensity / (1 - population.propensity))
    return {
        **measured(sample, target),
        **(_aipw_row(sample) if comparable else {}),
        "family": population.family,
        "target": target,
        "rows": _class(rows, [400, 800], ["200-400", "400-800", "800-2000"]),
        "outcome": "binary" if len(np.unique(y)) == 2 else "other",
        "overlap": _class(logit.std(), [0.7, 1.5], ["good", "medium", "weak"]),
        "heterogeneity": _class(effects.std() / y.std(), [1e-9, 0.3], ["none", "weak", "strong"]),
        "null": bool(np.abs(effects).max() < 1e-12),
        "columns": "10 and more" if columns >= 10 else "below 10",
    }


def _class(value: float, bounds: list[float], names: list[str]) -> str:
    """Name of the class that a value falls into, its upper bound included."""
    return names[int(np.searchsorted(bounds, value))]


def measured(sample: Sample, target: str = "ate") -> dict[str, Any]:
    """Whether the interval holds the effect, its width in sd of the outcome, and whether zero is excluded."""
    found = dowhy_cina.estimate_effect(sample.x, sample.t, sample.y, target_units=target)
    low, high = found.confidence_interval
    return {
        "coverage": low <= sample.effect <= high,
        "width": (high - low) / sample.y.std(),
        "error": abs(found.value - sample.effect) / sample.y.std(),
        "significant": found.p_value < 0.05,
        "grade": found.overlap.grade,
    }


def _design(rng: np.random.Generator, rows: int, name: str) -> Sample:
    """Draw a textbook design; the effect is that of its population."""
    x = rng.normal(size=(rows, 5))
    index, base, effect, noise = 0.8 * x[:, 0] - 0.6 * x[:, 1], x[:, 0] + 0.5 * x[:, 2], np.ones(rows), 1.0
    truth = 1.0
    if name == "Kang and Schafer":
        z = rng.normal(size=(rows, 4))
        index = -z[:, 0] + 0.5 * z[:, 1] - 0.25 * z[:, 2] - 0.1 * z[:, 3]
        base, effect, truth = (27.4 * z[:, 0] + 13.7 * z[:, 1:].sum(1)) / 36, np.zeros(rows), 0.0
        first, second = np.exp(z[:, 0] / 2), z[:, 1] / (1 + np.exp(z[:, 0])) + 10
        x = np.column_stack([first, second, (z[:, 0] * z[:, 2] / 25 + 0.6) ** 3, (z[:, 1] + z[:, 3] + 20) ** 2])
        noise = 1 / 36
    elif name == "null":
        effect, truth = np.zeros(rows), 0.0
    elif name == "heteroskedastic":
        noise = 0.3 + np.abs(x[:, 0]) + 0.5 * (x[:, 1] > 0)
    elif name == "wiggly":
        base = np.sin(4 * x[:, 0]) + np.cos(3 * x[:, 1]) + 0.5 * x[:, 2]
        effect = 1 + np.sin(3 * x[:, 0])
    t = (rng.random(rows) < 1 / (1 + np.exp(-index))).astype(int)
    if name.startswith("rare"):
        level = {"rare, 3 %": -3.9, "rare, 5 %": -3.3}[name]
        t = (rng.random(rows) < 1 / (1 + np.exp(-level - index))).astype(int)
    if name == "binary":
        chance = 1 / (1 + np.exp(-(base - 0.5)))
        treated = 1 / (1 + np.exp(-(base + 0.5)))
        y = (rng.random(rows) < np.where(t == 1, treated, chance)).astype(float)
        return Sample(x, t, y, _binary_truth())
    return Sample(x, t, base + t * effect + noise * rng.normal(size=rows), truth)


def _binary_truth() -> float:
    """Average effect of the binary design: a mean over its one normal predictor by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    base = nodes * np.sqrt(1.25)
    difference = 1 / (1 + np.exp(-(base + 0.5))) - 1 / (1 + np.exp(-(base - 0.5)))
    return float(weights @ difference / weights.sum())


DESIGNS = ("Kang and Schafer", "null", "heteroskedastic", "binary", "wiggly", "rare, 3 %", "rare, 5 %")


def design_sample(task: tuple[str, int]) -> dict[str, Any] | None:
    """Estimate one table of a design, every so often beside AIPW."""
    name, index = task
    rng = np.random.default_rng([7, DESIGNS.index(name), index])
    sample = _design(rng, int(rng.integers(300, 1501)), name)
    if min(sample.t.sum(), len(sample.t) - sample.t.sum()) < 5:
        return None
    row = {**measured(sample), "design": name}
    return row | (_aipw_row(sample) if index % AIPW_SHARE == 0 else {})


def _aipw_row(sample: Sample) -> dict[str, Any]:
    value, error = aipw(sample)
    return {"aipw": abs(value - sample.effect) < 1.96 * error, "aipw_width": 2 * 1.96 * error / sample.y.std()}


def aipw(sample: Sample) -> tuple[float, float]:
    """Effect and standard error by AIPW: kernel ridge outcomes, logistic propensity, five folds."""
    x = sample.x[:, np.ptp(sample.x, axis=0) > 0]
    z = (x - x.mean(0)) / x.std(0)
    scores = np.empty(len(sample.t))
    for fit, rest in KFold(5, shuffle=True, random_state=0).split(z):
        propensity = LogisticRegressionCV(Cs=5, max_iter=500).fit(z[fit], sample.t[fit]).predict_proba(z[rest])[:, 1]
        propensity = propensity.clip(0.01, 0.99)
        means = []
        for arm in (0, 1):
            rows = fit[sample.t[fit] == arm]
            centre = sample.y[rows].mean()
            grid = {"alpha": np.logspace(-2, 1.5, 6), "gamma": np.array([0.1, 0.3, 1.0]) / z.shape[1]}
            search = GridSearchCV(KernelRidge(kernel="rbf"), grid, cv=min(3, len(rows)))
            means.append(centre + search.fit(z[rows], sample.y[rows] - centre).predict(z[rest]))
        t, y = sample.t[rest], sample.y[rest]
        weighted = t / propensity * (y - means[1]) - (1 - t) / (1 - propensity) * (y - means[0])
        scores[rest] = means[1] - means[0] + weighted
    return float(scores.mean()), float(scores.std() / np.sqrt(len(scores)))


def summarise(frame: pd.DataFrame, by: Iterable[str]) -> pd.DataFrame:
    """Coverage with its binomial error, median width and number of tables, for all and by the values of columns."""
    parts = {("all", ""): frame}
    for column in by:
        parts |= {(column, str(value)): part for value, part in frame.groupby(column, observed=True)}
    rows = []
    for (slice_by, value), part in parts.items():
        share = part.coverage.mean()
        error = np.sqrt(share * (1 - share) / len(part))
        rows.append((slice_by, value, share, error, part.width.median(), part.error.mean(), len(part)))
    names = ["by", "value", "coverage", "binomial error", "median width", "mean error", "tables"]
    return pd.DataFrame(rows, columns=names)


def published(folder: Path) -> pd.DataFrame:
    """Coverage of the truth of each published table, and the width that would just cover in nine of ten."""
    rows = []
    for name in COLLECTIONS:
        found = []
        for x, t, y, truth in realisations(folder, name):
            found.append(measured(Sample(x, t, y, truth["ate"])))
        part = pd.DataFrame(found)
        rows.append((name, part.coverage.mean(), part.width.median(), part.error.mean(), len(part)))
    return pd.DataFrame(rows, columns=["collection", "coverage", "median width", "mean error", "tables"])


def _map(function: Callable[[Any], dict[str, Any] | None], tasks: list[Any]) -> pd.DataFrame:
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = list(tqdm(pool.map(function, tasks, chunksize=8), total=len(tasks)))
    return pd.DataFrame([row for row in found if row is not None])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--design-tables", type=int, default=400)
    parser.add_argument("--data", type=Path, help="folder of the published tables")
    parser.add_argument("--out", type=Path, help="folder to write the tables to as CSV")
    arguments = parser.parse_args()
    families = _map(family_sample, list(range(arguments.tables)))
    slices = ["family", "target", "rows", "outcome", "overlap", "heterogeneity", "columns", "grade"]
    results = {"coverage": summarise(families, slices)}
    null = families[families.null]
    print(f"null effects called significant at 5 %: {null.significant.mean():.3f} of {len(null)}")
    beside = families.dropna(subset=["aipw"]).astype({"aipw": float})
    ratio = (beside.width / beside.aipw_width).median()
    print(f"beside AIPW on {len(beside)}: width {ratio:.2f} times, its coverage {beside.aipw.mean():.3f}")
    designs = _map(design_sample, [(name, k) for name in DESIGNS for k in range(arguments.design_tables)])
    beside = designs.dropna(subset=["aipw"]).astype({"aipw": float})
    ratio = (beside.width / beside.aipw_width).groupby(beside.design).median()
    by_design = summarise(designs, ["design"]).set_index("value")
    by_design["AIPW coverage"] = beside.groupby("design").aipw.mean()
    by_design["width / AIPW's"] = ratio
    results["coverage-designs"] = by_design.reset_index().drop(columns="by").iloc[1:]
    if arguments.data:
        results["coverage-published"] = published(arguments.data)
    for name, table in results.items():
        print(f"\n{name}\n{table.round(3).to_string(index=False)}")
        if arguments.out:
            table.round(3).to_csv(arguments.out / f"{name}.csv", index=False)


if __name__ == "__main__":
    main()
