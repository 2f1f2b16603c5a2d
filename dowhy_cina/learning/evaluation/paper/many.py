"""Many tables: Algorithm 2 trained on a family of tables, tested on new ones of the same family and of others.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from tqdm import tqdm

from dowhy_cina.calls.direct import estimate_effect
from dowhy_cina.calls.per_dataset import CinaPerDataset
from dowhy_cina.learning.evaluation.paper import amortised
from dowhy_cina.learning.evaluation.paper.designs import DESIGNS, GRAPHS, LINEAR, Design
from dowhy_cina.learning.evaluation.paper.methods import EXACT, summarise
from dowhy_cina.learning.evaluation.paper.scale import Scale
from dowhy_cina.learning.evaluation.paper.single import distance
from dowhy_cina.mathematics.scaling import Array

SELF_SUPERVISED, SUPERVISED = "self-supervised", "supervised"
EQUAL = "equal weights"
BUNDLED = ("cina-selfsup", "cina-small")

#: From covariates (N, D), treatment (N,) and outcome (N,) to weights (N,) that sum to one in each arm.
Weigh = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class Trained:
    """A network and what it took.

    Attributes
    ----------
    design : str
        What it was trained on.
    supervision : str
        "self-supervised" (no outcome is read) or "supervised" (known effects too).
    tables : int
        Training tables, each seen once.
    seconds : float
        Processor seconds of the training.
    weigh : callable
        Weights of a new table by one forward pass; the outcome is not looked at.
    """

    design: str
    supervision: str
    tables: int
    seconds: float
    weigh: Weigh


def train_all(scale: Scale) -> list[Trained]:
    """Every network of the experiments."""
    plan = [(LINEAR, how, tables) for how in (SELF_SUPERVISED, SUPERVISED) for tables in scale.training]
    plan += [(GRAPHS[10], how, scale.transfer) for how in (SELF_SUPERVISED, SUPERVISED)]
    models = []
    for design, how, tables in tqdm(plan, desc="training"):
        network, seconds = amortised.train(design, tables, scale, supervised=how == SUPERVISED)
        weigh = partial(amortised.zero_shot_weights, network)
        models.append(Trained(design.name, how, tables, seconds, weigh))
    return models


def bundled(checkpoint: str) -> Weigh:
    """Weights alone of a bundled model, which reads outcomes in context."""

    def weigh(x: Array, t: Array, y: Array) -> Array:
        result = estimate_effect(x, t, y, checkpoint=checkpoint, augmentation="none", device="cpu")
        return result.weights

    return weigh


def compare(design: Design, models: Mapping[str, Weigh], scale: Scale) -> list[dict[str, Any]]:
    """Weights alone of each model, and the exact ones, on new tables of a design; errors in sd of the outcome."""
    records = []
    for number, table in enumerate(design.tables(scale.test_tables, scale.seed + 1, scale.training_rows)):
        x, t, y, unit = table.covariates, table.treatment, table.outcome, float(table.outcome.std())
        exact = CinaPerDataset().fit(x, t).weights_
        for name, weights in {EXACT: exact, **{name: weigh(x, t, y) for name, weigh in models.items()}}.items():
            value, departure = (float((part * (2 * t - 1)) @ y) for part in (weights, weights - exact))
            figures = {"error": abs(value - table.effect) / unit, "departure": abs(departure) / unit}
            records.append({"table": number, "method": name, **figures, "distance": distance(weights, exact)})
    return records


def training_curve(models: list[Trained], scale: Scale) -> pd.DataFrame:
    """Errors of weights alone on new tables of the family trained on, over the number of training tables.

    Returns
    -------
    DataFrame
        A row for the exact solution, for equal weights and for each network: ``method``, ``training_tables``,
        ``training_seconds``, then means and standard errors over test tables of ``error`` against the effect,
        ``departure`` from the effect by exact weights (both in sd of the outcome) and ``distance`` of the weights.
    """
    own = {f"{model.supervision} {model.tables}": model for model in models if model.design == LINEAR.name}
    weigh = {EQUAL: equal_weights, **{name: model.weigh for name, model in own.items()}}
    found = summarise(compare(LINEAR, weigh, scale), ["method"], ("error", "departure", "distance"))
    tables = [own[name].tables if name in own else 0 for name in found["method"]]
    seconds = [own[name].seconds if name in own else 0.0 for name in found["method"]]
    found["method"] = [own[name].supervision if name in own else name for name in found["method"]]
    found.insert(1, "training_tables", tables)
    found.insert(2, "training_seconds", seconds)
    return found


def equal_weights(x: Array, t: Array, y: Array) -> Array:
    """Weights of the difference in means."""
    weights: Array = t / t.sum() + (1 - t) / (1 - t).sum()
    return weights


def transfer(models: list[Trained], scale: Scale) -> pd.DataFrame:
    """Errors of weights alone on tables of the family trained on and of others.

    Returns
    -------
    DataFrame
        A row for each design to test on and model: the largest run on each training design, the bundled checkpoints,
        equal weights, and the exact solution.
    """
    named: dict[str, Weigh] = {EQUAL: equal_weights}
    for model in models:  # in the order of their tables: the largest run of each kind stays
        named[f"{model.design}, {model.supervision}"] = model.weigh
    named |= {name: bundled(name) for name in BUNDLED}
    records = []
    for name, design in tqdm(DESIGNS.items(), desc="transfer"):
        records += [{"tested on": name, **figures} for figures in compare(design, named, scale)]
    return summarise(records, ["tested on", "method"], ("error", "departure", "distance"))
