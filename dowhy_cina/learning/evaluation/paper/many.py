"""Many tables: models trained on a family of tables, tested on new ones of the same family and of others.

Letters: N rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from dowhy_cina.calls.direct import estimate_effect
from dowhy_cina.calls.per_dataset import CinaPerDataset
from dowhy_cina.config import ModelConfig, TrainingConfig
from dowhy_cina.learning.evaluation.paper.designs import DESIGNS, GRAPHS, LINEAR, Design, DesignTables
from dowhy_cina.learning.evaluation.paper.methods import EXACT, summarise
from dowhy_cina.learning.evaluation.paper.scale import Scale
from dowhy_cina.learning.evaluation.paper.single import distance
from dowhy_cina.learning.training import pretrain
from dowhy_cina.model import checkpoint
from dowhy_cina.model.network import CinaModel

TABLES_PER_STEP = 8
#: Landmarks of a training table: half of what an estimate takes, for a third of the time.
LANDMARKS = 64
UNTRAINED = "untrained"
SELF_SUPERVISED, SUPERVISED = "self-supervised", "supervised"


@dataclass(frozen=True)
class Trained:
    """A model and what it took.

    Attributes
    ----------
    design : str
        What it was trained on.
    supervision : str
        "untrained", "self-supervised" (no outcome is read) or "supervised" (known effects).
    tables : int
        Training tables, each seen once.
    seconds : float
        Processor seconds of the training, its validation included.
    path : str
        Its checkpoint.
    """

    design: str
    supervision: str
    tables: int
    seconds: float
    path: str


def train(design: Design, supervision: str, tables: int, scale: Scale, folder: Path) -> Trained:
    """Train a model from the fixed rule on as many tables of a design."""
    steps = tables // TABLES_PER_STEP
    config = TrainingConfig(
        seed=scale.seed,
        steps=steps,
        tables_per_batch=TABLES_PER_STEP,
        batches_per_step=1,
        min_rows=scale.training_rows,
        max_rows=scale.training_rows,
        max_columns=design.columns,
        landmarks=LANDMARKS,
        outcomes=supervision == SUPERVISED,
        gap_weight=TrainingConfig.gap_weight if supervision == SUPERVISED else 1.0,
        average_decay=0.9,
        warmup_steps=5,
        validation_every=max(1, steps // 5),
        validation_tables=8,
        workers=0,
    )
    output = folder / f"{design.name}-{supervision}-{tables}.safetensors"
    began = time.process_time()
    pretrain(config, DesignTables(design), output=output, progress=False)
    return Trained(design.name, supervision, tables, time.process_time() - began, str(output))


def train_all(scale: Scale, folder: Path) -> list[Trained]:
    """The untrained rule, and every model of the experiments."""
    untrained = CinaModel(ModelConfig())
    rule = folder / "untrained.safetensors"
    checkpoint.write(rule, untrained, {"model": vars(untrained.config)})
    plan = [(LINEAR, SELF_SUPERVISED, tables) for tables in scale.self_supervised]
    plan += [(LINEAR, SUPERVISED, tables) for tables in scale.supervised]
    plan += [(GRAPHS[10], supervision, scale.transfer) for supervision in (SELF_SUPERVISED, SUPERVISED)]
    models = [Trained("", UNTRAINED, 0, 0.0, str(rule))]
    for design, supervision, tables in tqdm(plan, desc="training"):
        models.append(train(design, supervision, tables, scale, folder))
    return models


def compare(design: Design, models: Mapping[str, str], scale: Scale) -> list[dict[str, Any]]:
    """Weights alone of each checkpoint, and the exact ones, on new tables of a design; errors in sd of the outcome."""
    records = []
    for number, table in enumerate(design.tables(scale.test_tables, scale.seed + 1, scale.training_rows)):
        x, t, y, unit = table.covariates, table.treatment, table.outcome, float(table.outcome.std())
        exact = CinaPerDataset().fit(x, t)
        value = exact.effect(y)
        place = {"table": number, "method": EXACT}
        records.append({**place, "error": abs(value - table.effect) / unit, "departure": 0.0, "distance": 0.0})
        for name, path in models.items():
            result = estimate_effect(x, t, y, checkpoint=path, augmentation="none", device="cpu")
            figures = {
                "error": abs(result.value - table.effect) / unit,
                "departure": abs(result.value - value) / unit,
                "distance": distance(result.weights, exact.weights_),
            }
            records.append({"table": number, "method": name, **figures})
    return records


def training_curve(models: list[Trained], scale: Scale) -> pd.DataFrame:
    """Errors of weights alone on new tables of the family trained on, over the number of training tables.

    Returns
    -------
    DataFrame
        A row for each model and one for the exact solution: supervision, ``training_tables``, ``training_seconds``,
        then means and standard errors over test tables of ``error`` against the effect, ``departure`` from the effect
        by exact weights (both in sd of the outcome) and ``distance`` of the weights.
    """
    own = {model.path: model for model in models if model.design in ("", LINEAR.name)}
    found = summarise(
        compare(LINEAR, {path: path for path in own}, scale), ["method"], ("error", "departure", "distance")
    )
    supervision = [own[path].supervision if path in own else path for path in found["method"]]
    tables = [own[path].tables if path in own else pd.NA for path in found["method"]]
    seconds = [own[path].seconds if path in own else float("nan") for path in found.pop("method")]
    found.insert(0, "supervision", supervision)
    found.insert(1, "training_tables", pd.Series(tables, dtype="Int64"))
    found.insert(2, "training_seconds", seconds)
    return found


def transfer(models: list[Trained], scale: Scale) -> pd.DataFrame:
    """Errors of weights alone on tables of the family trained on and of others.

    Returns
    -------
    DataFrame
        A row for each design to test on and model: the largest run of each training design and supervision, the
        untrained rule, the bundled checkpoints, and the exact solution.
    """
    named = {UNTRAINED: models[0].path}
    for model in models[1:]:  # in the order of their tables: the largest run of each kind stays
        named[f"{model.design}, {model.supervision}"] = model.path
    named |= {name: name for name in ("cina-selfsup", "cina-small")}
    records = []
    for name, design in tqdm(DESIGNS.items(), desc="transfer"):
        records += [{"tested on": name, **figures} for figures in compare(design, named, scale)]
    return summarise(records, ["tested on", "method"])
