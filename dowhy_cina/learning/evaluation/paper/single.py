"""One table at a time: Algorithm 1 by gradient descent, and errors and seconds of every method.

Letters: B tables, N rows.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from sklearn.svm import SVC
from torch import Tensor
from tqdm import tqdm

from dowhy_cina.calls.per_dataset import CinaPerDataset
from dowhy_cina.learning.evaluation.paper.designs import GRAPHS, LINEAR, NONLINEAR
from dowhy_cina.learning.evaluation.paper.methods import measure, summarise
from dowhy_cina.learning.evaluation.paper.scale import Scale
from dowhy_cina.learning.simulators.table import SimulatedTable
from dowhy_cina.mathematics.balancing import (
    alpha_from_values,
    exact_intercept,
    relative_duality_gap,
    weights_from_alpha,
)
from dowhy_cina.mathematics.kernels import gaussian_gram
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.mathematics.solvers import factorise
from dowhy_cina.tables import Preprocessor

#: Rows of the tables on which the values are trained by gradient descent.
DESCENT_ROWS = 200
#: Gradient steps after which it is looked at.
LOOKS = (0, 10, 30, 100, 300, 1000, 3000, 6000)
MACHINE = "scikit-learn's SVM"


def duality(scale: Scale) -> pd.DataFrame:
    """How near the values of an attention layer, trained by gradient descent, come to a support vector machine.

    Returns
    -------
    DataFrame
        A row for each number of gradient steps, and one for scikit-learn's machine: means over tables and standard
        errors of ``gap``, relative duality gap, and ``distance``, half the sum of absolute differences of weights from
        the solution, over both arms and divided by two: 0 the same, 1 none in common; and the mean processor seconds
        up to there.
    """
    records = []
    for design in (LINEAR, GRAPHS[10]):
        for table in tqdm(list(design.tables(scale.descent_tables // 2, scale.seed, DESCENT_ROWS)), desc="duality"):
            records += [{"steps": str(step), **figures} for step, figures in _descend(table)]
    frame = pd.DataFrame(records)
    groups = frame.groupby("steps", sort=False)
    means, errors = groups.mean(), groups.std().div(np.sqrt(groups.size()), axis=0).add_suffix("_se")
    result = pd.concat([groups.size().rename("tables"), means, errors], axis=1)
    return result[["tables", "gap", "gap_se", "distance", "distance_se", "seconds"]].reset_index()


def _descend(table: SimulatedTable) -> list[tuple[str | int, dict[str, float]]]:
    """Train the values on one table, by the gradient in the norm of the penalty; figures at :data:`LOOKS`."""
    exact = CinaPerDataset().fit(table.covariates, table.treatment)
    keys = torch.from_numpy(Preprocessor().fit_transform(table.covariates))[None]
    signs = torch.from_numpy(2 * table.treatment - 1)[None]
    gram = gaussian_gram(keys, exact.bandwidth_)
    features, lam = factorise(gram), float(exact.regularisation)
    penalty = torch.tensor([lam], dtype=torch.float64)

    def figures(alpha: Float[Tensor, "B N"]) -> dict[str, float]:
        weights = weights_from_alpha(alpha, signs)[0].numpy()
        gap = float(relative_duality_gap(features, alpha, signs, penalty))
        return {"gap": gap, "distance": distance(weights, exact.weights_)}

    normaliser = gram.sum(1)
    attention, values, found = gram / normaliser[:, None, :], torch.zeros_like(signs), []
    began = time.process_time()
    for step in range(LOOKS[-1] + 1):
        if step in LOOKS:
            alpha = alpha_from_values(values, signs, normaliser, penalty).clamp(0, 1)
            # Before the first step no row has a weight: both arms' are taken to be equal.
            seconds = time.process_time() - began
            found.append((step, figures(alpha if step else torch.ones_like(alpha)) | {"seconds": seconds}))
        scores = torch.einsum("bij,bj->bi", attention, values)
        margin = scores + exact_intercept(scores, signs)[:, None]
        hinge = -signs * (signs * margin < 1)
        values = values - 2 / (lam * (step + 21)) * (lam * values + normaliser * hinge)
    began = time.process_time()
    machine = SVC(C=1.0, kernel="precomputed", tol=1e-8).fit(gram[0].numpy() / lam, signs[0].numpy())
    seconds, dual = time.process_time() - began, torch.zeros_like(signs)
    dual[0, machine.support_] = torch.from_numpy(np.abs(machine.dual_coef_[0]))
    return [*found, (MACHINE, figures(dual) | {"seconds": seconds})]


def distance(weights: Array, others: Array) -> float:
    """Share of the weights (N,) that lies elsewhere: 0 the same, 1 none in common in either arm."""
    return float(np.abs(weights - others).sum() / 4)


def single_tables(scale: Scale) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Errors of every method on single tables of the paper's designs, and seconds, over the number of rows.

    Returns
    -------
    DataFrame
        Errors: a row for each design, number of rows and method.
    DataFrame
        Median processor seconds of a table: a row for each number of rows, a column for each method.
    """
    records: list[dict[str, Any]] = []
    for design in (NONLINEAR, GRAPHS[20]):
        for rows in scale.rows:
            for number, table in enumerate(
                tqdm(list(design.tables(scale.tables, scale.seed, rows)), desc=f"{design.name}, {rows} rows")
            ):
                place = {"design": design.name, "rows": rows, "table": number}
                found = measure(table.covariates, table.treatment, table.outcome, table.effect)
                records += [{**place, **figures} for figures in found]
    errors = summarise(records, ["design", "rows", "method"]).drop(columns="seconds")
    groups = pd.DataFrame(records).groupby(["rows", "method"], sort=False)["seconds"]
    return errors, groups.agg(seconds="median", tables="size").reset_index()
