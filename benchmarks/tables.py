"""Mean absolute error of the average effect, in sd of the outcome, on published benchmark tables.

Ours stands beside classical methods on the same rows:

    python benchmarks/tables.py --data FOLDER [--collections ihdp acic2016 ...] [--csv FILE]

FOLDER holds a ``load.py`` with ``load(name, onehot=True)``, which yields ``(X, T, Y, truth)`` per realisation. The
tables are for measuring only and do not ship with the package.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from dowhy import CausalModel
from sklearn.svm import SVC
from tqdm import tqdm

import dowhy_cina
from dowhy_cina.learning.evaluation.published import COLLECTIONS, realisations
from dowhy_cina.mathematics.balancing import weights_from_alpha
from dowhy_cina.mathematics.scaling import standardise

Method = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def difference_in_means(x: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    """Mean outcome of treated minus that of control rows."""
    return float(y[t == 1].mean() - y[t == 0].mean())


def dowhy_method(name: str, **params: Any) -> Method:
    """Any of DoWhy's own backdoor estimators."""

    def estimate(x: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
        names = [f"x{k}" for k in range(x.shape[1])]
        frame = pd.DataFrame(x, columns=names).assign(t=t, y=y)
        graph = nx.DiGraph([("t", "y"), *((name, end) for name in names for end in ("t", "y"))])
        model = CausalModel(frame, "t", "y", graph=graph)
        # The default search for adjustment sets is exponential in the columns.
        estimand = model.identify_effect(proceed_when_unidentifiable=True, method_name="maximal-adjustment")
        return float(model.estimate_effect(estimand, method_name=name, method_params=params).value)

    return estimate


def exact_weights(x: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    """CInA dual solved to tolerance: Gaussian kernel of bandwidth sqrt(D), box 10, weights alone, arm against arm."""
    import torch

    z = standardise(np.ascontiguousarray(x.T))[0].T
    signs = 2.0 * t - 1
    solved = SVC(C=10.0, gamma=1 / (2 * z.shape[1]), cache_size=1000).fit(z, signs)
    alpha = np.zeros(len(t))
    alpha[solved.support_] = np.abs(solved.dual_coef_[0])
    weights = weights_from_alpha(torch.from_numpy(alpha)[None], torch.from_numpy(signs)[None])[0].numpy()
    return float((weights * signs) @ y)


def cina(**options: Any) -> Method:
    """Make a method of this package's estimator."""
    return lambda x, t, y: dowhy_cina.estimate_effect(x, t, y, **options).value


#: All methods, by the name of their row.
METHODS: dict[str, Method] = {
    "difference in means": difference_in_means,
    "DoWhy linear regression": dowhy_method("backdoor.linear_regression"),
    "DoWhy IPW": dowhy_method("backdoor.propensity_score_weighting"),
    "exact solver, weights alone": exact_weights,
}
for checkpoint in ("rule", "cina-selfsup", "cina-small"):
    METHODS[f"{checkpoint}, weights alone"] = cina(checkpoint=checkpoint, augmentation="none")
    METHODS[checkpoint] = cina(checkpoint=checkpoint)


def measure(folder: Path, collections: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Errors and median seconds, a row per method and a column per collection."""
    errors: dict[str, dict[str, float]] = {}
    seconds: dict[str, dict[str, float]] = {}
    for collection in collections:
        found: dict[str, list[tuple[float, float]]] = {}
        for x, t, y, truth in tqdm(list(realisations(folder, collection)), desc=collection):
            for name, method in METHODS.items():
                began = time.perf_counter()
                error = abs(method(x, t, y) - truth["ate"]) / y.std()
                found.setdefault(name, []).append((error, time.perf_counter() - began))
        for name, pairs in found.items():
            errors.setdefault(name, {})[collection] = float(np.mean([error for error, _ in pairs]))
            seconds.setdefault(name, {})[collection] = float(np.median([took for _, took in pairs]))
    table = pd.DataFrame(errors).T
    table["geometric mean"] = np.exp(np.log(table).mean(axis=1))
    return table, pd.DataFrame(seconds).T


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with load.py and the collections")
    parser.add_argument("--collections", nargs="+", default=list(COLLECTIONS))
    parser.add_argument("--csv", type=Path, help="write the errors here too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    errors, seconds = measure(arguments.data, arguments.collections)
    print("MAE / sd(Y) of the ATE\n" + errors.round(4).to_string())
    print("\nmedian seconds\n" + seconds.round(2).to_string())
    if arguments.csv:
        errors.round(5).to_csv(arguments.csv, index_label="method")


if __name__ == "__main__":
    main()
