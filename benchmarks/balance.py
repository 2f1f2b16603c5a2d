"""Balance that weights reach, and its price: ours beside entropy balancing, stable balancing weights and logistic IPW.

    python benchmarks/balance.py [--tables 60] [--data FOLDER] [--csv FILE]

On the bundled NSW tables (ATT), on simulated tables and, with a folder of the published ones, on those: largest and
mean standardised difference of any covariate from the target, smaller effective sample size of the arms that are
weighted, error of the difference of weighted means in sd of the outcome, and seconds. Ours also with its outcome
regressions. Entropy balancing counts as possible where it leaves no difference above .02.

References
----------
Hainmueller (2012), Entropy balancing for causal effects, Political Analysis 20; Zubizarreta (2015), Stable weights that
balance covariates for estimation with incomplete outcome data, JASA 110.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cvxpy
import numpy as np
import pandas as pd
from dowhy_cina.data import COVARIATES, OUTCOME, TREATMENT, load_nsw
from dowhy_cina.simulators import draw_table
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tables import realisations
from tqdm import tqdm

import dowhy_cina

#: Difference of means that stable balancing weights allow, in sd of a covariate.
ALLOWED = 0.02
#: Rows up to which the slow methods are tried.
LONGEST = {"cina, exact": 1000, "stable balancing weights": 3000}
COLLECTIONS = ("ihdp", "lalonde_psid_realcause", "acic2016", "acic2017")
Table = tuple[str, np.ndarray, np.ndarray, np.ndarray, dict[str, float]]
#: Weights of one arm (n,), from its standardised covariates (n, D) and the target's means (D,).
ToTarget = Callable[[np.ndarray, np.ndarray], np.ndarray]


def entropy_balancing(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights closest to equal ones in relative entropy whose means are the target's; equal ones where none are."""
    apart = x - target
    found = minimize(lambda u: logsumexp(apart @ u), np.zeros(x.shape[1]), jac=lambda u: softmax(apart @ u) @ apart)
    weights = softmax(apart @ found.x)
    return weights if np.isfinite(weights).all() else np.full(len(x), 1 / len(x))


def stable_weights(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights of least variance whose means are within :data:`ALLOWED` of the target's; equal ones where none are."""
    variable = cvxpy.Variable(len(x))
    near = cvxpy.abs((x - target).T @ variable) <= ALLOWED
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum_squares(variable)), [variable >= 0, cvxpy.sum(variable) == 1, near]
    )
    try:
        problem.solve(solver="CLARABEL")
    except cvxpy.SolverError:
        return np.full(len(x), 1 / len(x))
    return np.full(len(x), 1 / len(x)) if variable.value is None else variable.value.clip(0)


def by_arm(rule: ToTarget) -> Callable[..., np.ndarray]:
    """Weights (N,) of both arms; for the ATT the treated keep theirs."""

    def weights(x: np.ndarray, t: np.ndarray, y: np.ndarray, target: str) -> np.ndarray:
        z = StandardScaler().fit_transform(x)
        z = z[:, z.std(axis=0) > 0]
        goal = z[t == 1].mean(axis=0) if target == "att" else z.mean(axis=0)
        found = np.where(t == 1, 1 / t.sum(), 0.0)
        for arm in (0,) if target == "att" else (0, 1):
            found[t == arm] = rule(z[t == arm], goal)
        return found

    return weights


def logistic(x: np.ndarray, t: np.ndarray, y: np.ndarray, target: str) -> np.ndarray:
    """Normalised inverse propensity weights, clipped at 0.001."""
    z = StandardScaler().fit_transform(x)
    e = LogisticRegression(max_iter=1000).fit(z, t).predict_proba(z)[:, 1].clip(1e-3, 1 - 1e-3)
    found = np.where(t == 1, 1.0, e / (1 - e)) if target == "att" else np.where(t == 1, 1 / e, 1 / (1 - e))
    for arm in (0, 1):
        found[t == arm] /= found[t == arm].sum()
    return found


def ours(**options: object) -> Callable[..., dowhy_cina.EffectResult]:
    """Estimate whose weights are looked at."""

    def estimate(x: np.ndarray, t: np.ndarray, y: np.ndarray, target: str) -> dowhy_cina.EffectResult:
        return dowhy_cina.estimate_effect(x, t, y, target_units=target, **options)

    return estimate


METHODS: dict[str, Callable[..., object]] = {
    "cina": ours(),
    "cina, exact": ours(checkpoint="exact"),
    "entropy balancing": by_arm(entropy_balancing),
    "stable balancing weights": by_arm(stable_weights),
    "IPW, logistic": logistic,
}


def measure(table: Table, target: str, method: Callable[..., object]) -> dict[str, float]:
    """Figures of one method on one table."""
    _, x, t, y, truth = table
    began = time.perf_counter()
    found = method(x, t, y, target)
    figures = {"seconds": time.perf_counter() - began}
    weights = found.weights if isinstance(found, dowhy_cina.EffectResult) else found
    goal = x[t == 1].mean(axis=0) if target == "att" else x.mean(axis=0)
    unit = np.sqrt((x[t == 1].var(axis=0, ddof=1) + x[t == 0].var(axis=0, ddof=1)) / 2)
    arms = (0,) if target == "att" else (0, 1)
    apart = np.concatenate([np.abs(weights[t == a] @ x[t == a] - goal)[unit > 0] / unit[unit > 0] for a in arms])
    alone = weights[t == 1] @ y[t == 1] - weights[t == 0] @ y[t == 0]
    figures |= {
        "largest SMD": apart.max(),
        "mean SMD": apart.mean(),
        "effective size": min(1 / np.sum(weights[t == a] ** 2) for a in arms),
        "weights alone": alone,
        "error alone": abs(alone - truth.get(target, np.nan)) / y.std(),
    }
    if isinstance(found, dowhy_cina.EffectResult):
        figures |= {"gap": found.duality_gap, "value": found.value, "standard error": found.standard_error}
        figures["error"] = abs(found.value - truth.get(target, np.nan)) / y.std()
    return figures


def nsw() -> Iterator[Table]:
    """The bundled tables; the experiment's figure is no truth of theirs, and none is given."""
    for name in ("psid", "cps"):
        table = load_nsw(name)
        columns = table[COVARIATES].to_numpy(float), table[TREATMENT].to_numpy(), table[OUTCOME].to_numpy(float)
        yield f"NSW, {name.upper()}", *columns, {}


def simulated(count: int) -> Iterator[Table]:
    """Tables of all families, 150 to 3,000 rows, 2 to 40 columns."""
    for index in range(count):
        rng = np.random.default_rng([14, index])
        rows, columns = (int(np.exp(rng.uniform(*np.log(ends)))) for ends in ((150, 3000), (2, 40)))
        table = draw_table(rng, rows, columns)
        effects, t = table.mu1 - table.mu0, table.treatment
        if min(t.sum(), rows - t.sum()) >= 8:
            truth = {"ate": effects.mean(), "att": effects[t > 0].mean()}
            yield "simulated", table.covariates, t.astype(int), table.outcome, truth


def published(folder: Path) -> Iterator[Table]:
    """Development tables."""
    for name in COLLECTIONS:
        for x, t, y, truth in realisations(folder, name):
            yield name, x, t, y, {target: truth[target] for target in ("ate", "att")}


def main() -> None:
    """Print the figures, and how often balance that is there to be had is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=60, help="simulated tables")
    parser.add_argument("--data", type=Path, help="folder with load.py and the collections")
    parser.add_argument("--csv", type=Path, help="write the medians here too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    tables = [*nsw(), *simulated(arguments.tables), *(published(arguments.data) if arguments.data else ())]
    rows = []
    for number, table in enumerate(tqdm(tables)):
        for target in ("att",) if table[0].startswith("NSW") else ("att", "ate"):
            for name, method in METHODS.items():
                if len(table[1]) <= LONGEST.get(name, np.inf):
                    figures = measure(table, target, method)
                    rows.append({"table": number, "collection": table[0], "target": target, "method": name, **figures})
    found = pd.DataFrame(rows)
    medians = found.drop(columns="table").groupby(["collection", "target", "method"], sort=False).median()
    means = found.groupby(["collection", "target", "method"], sort=False)[["error alone", "error"]].mean()
    medians[["error alone", "error"]] = means
    print(medians.round(4).to_string(na_rep=""))
    att = found[found.target == "att"].set_index(["table", "method"])
    smd, size = (att[name].unstack() for name in ("largest SMD", "effective size"))  # noqa: PD010
    possible = (smd["entropy balancing"] <= 0.02) & (size["entropy balancing"] >= size["cina"] / 2)
    missed, gap = (smd["cina"] > 0.1) & possible, found.loc[found.method == "cina", "gap"]
    print(
        f"{missed.sum()} of {possible.sum()} tables (ATT) keep a difference above .1 that entropy balancing takes away,"
        f" relative gap {gap.median():.1e} (median), {gap.quantile(0.95):.1e} (95th percentile)"
    )
    if arguments.csv:
        medians.reset_index().round(4).to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
