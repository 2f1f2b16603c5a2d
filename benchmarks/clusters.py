"""Rows in clusters: errors and coverage with ``cluster=``, without it, and of an estimate on the clusters' means.

    python benchmarks/clusters.py [--draws 200] [--csv FILE]

The effect is 1 in the population. Where treatment and covariates are the clusters', the clusters' means are what is
independent, and an estimate that is told of the clusters should do as well as one on the means.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import trange

import dowhy_cina

Array = npt.NDArray[np.float64]

#: Columns, standard deviation of the clusters' and of the rows' own noise, and the effect.
COLUMNS, SHARED_NOISE, NOISE, EFFECT = 5, 0.7, 0.7, 1.0


@dataclass(frozen=True)
class Design:
    """Clusters of one size.

    Attributes
    ----------
    name : str
    clusters, size : int
    inside : float, optional
        Standard deviation of the covariates inside a cluster, beside one between clusters; None for independent rows.
    own : bool
        Whether each row has a treatment of its own.
    """

    name: str
    clusters: int = 100
    size: int = 4
    inside: float | None = 0.0
    own: bool = False


DESIGNS = (
    Design("treatment and covariates of the cluster"),
    Design("covariates .1 sd apart inside", inside=0.1),
    Design("covariates .3 sd apart inside", inside=0.3),
    Design("covariates of the cluster, treatment of the row", own=True),
    Design("independent rows, clusters at random", inside=None, own=True),
    Design("40 clusters of 10", 40, 10),
    Design("20 clusters of 20", 20, 20),
    Design("10 clusters of 40", 10, 40),
)


def draw(design: Design, rng: np.random.Generator) -> tuple[Array, Array, Array, npt.NDArray[np.int64]]:
    """Covariates, treatment, outcome and cluster, with both arms in at least two clusters."""
    code = np.repeat(np.arange(design.clusters), design.size)
    rows = len(code)
    while True:
        if design.inside is None:
            x, shared = rng.normal(size=(rows, COLUMNS)), np.zeros(rows)
        else:
            x = rng.normal(size=(design.clusters, COLUMNS))[code] + design.inside * rng.normal(size=(rows, COLUMNS))
            shared = SHARED_NOISE * rng.normal(size=design.clusters)[code]
        first = x if design.own else x.reshape(design.clusters, design.size, -1).mean(1)
        t = (rng.random(len(first)) < 1 / (1 + np.exp(-first[:, 0]))).astype(float)
        t = t if design.own else t[code]
        if min(len(np.unique(code[t == arm])) for arm in (0, 1)) > 1:
            break
    y = (
        np.sin(x[:, 0])
        + x[:, 1] ** 2 / 2
        + x[:, 2]
        + t * (EFFECT + x[:, 0] / 2)
        + shared
        + NOISE * rng.normal(size=rows)
    )
    return x, t, y, code


def estimates(design: Design, draws: int, seed: int) -> pd.DataFrame:
    """Value, standard error and interval of each estimate of each draw."""
    found = []
    for index in trange(draws, desc=design.name):
        x, t, y, code = draw(design, np.random.default_rng([seed, index]))
        results = {
            "cluster=": dowhy_cina.estimate_effect(x, t, y, cluster=code),
            "no clusters": dowhy_cina.estimate_effect(x, t, y),
        }
        if not design.own:
            means = pd.DataFrame(x).assign(t=t, y=y).groupby(code).mean()
            results["clusters' means"] = dowhy_cina.estimate_effect(means.drop(columns=["t", "y"]), means.t, means.y)
        for name, result in results.items():
            low, high = result.confidence_interval or (-np.inf, np.inf)
            found.append((name, result.value, result.standard_error, low, high))
    return pd.DataFrame(found, columns=["estimate", "value", "error", "low", "high"])


def summarise(design: Design, found: pd.DataFrame) -> pd.DataFrame:
    """A line per estimate: root mean square error (RMSE), mean standard error by RMSE, coverage, median width."""
    rows = []
    for name, own in found.groupby("estimate", sort=False):
        rmse = float(np.sqrt(np.square(own.value - EFFECT).mean()))
        rows.append(
            {
                "design": design.name,
                "estimate": name,
                "RMSE": f"{rmse:.3f}",
                "standard error / RMSE": f"{own.error.mean() / rmse:.2f}",
                "coverage, %": f"{100 * ((own.low <= EFFECT) & (own.high >= EFFECT)).mean():.1f}",
                "median width": f"{(own.high - own.low).median():.2f}",
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    table = pd.concat([summarise(design, estimates(design, arguments.draws, arguments.seed)) for design in DESIGNS])
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
