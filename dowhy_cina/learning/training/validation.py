"""Validation: errors and gaps on fixed tables that training never draws.

Letters: B tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from dowhy_cina.config import TrainingConfig
from dowhy_cina.learning.training.collections import Collection, Simulators, draw_batch
from dowhy_cina.learning.training.objectives import FLOOR, TrainingBatch, estimates
from dowhy_cina.model.network import CinaModel

#: Added to the seed of training: validation tables come from another stream.
SEED_OFFSET = 1_000_003


def validation_batches(
    config: TrainingConfig, collection: Collection | Sequence[str], count: int
) -> list[TrainingBatch]:
    """Fixed single-table batches of a collection, or of simulators by name, from a seed that training never uses."""
    if isinstance(collection, Sequence):
        collection = Simulators(tuple(collection))
    single = dataclasses.replace(config, tables_per_batch=1)
    return [draw_batch(config.seed + SEED_OFFSET, index, single, collection) for index in range(count)]


def validation_parts(
    config: TrainingConfig, collection: Collection, inside: Collection | None = None
) -> dict[str, list[TrainingBatch]]:
    """Tables like those trained on ("inside") and of families kept from training ("outside").

    The former are other draws of the collection, or draws of another one that was kept apart; the latter only ever
    report: where training reads no outcome, neither do the tables that choose the checkpoint.
    """
    outside = dataclasses.replace(config, outcomes=True)
    return {
        "inside": validation_batches(config, inside or collection, config.validation_tables),
        "outside": validation_batches(outside, config.validation_families, config.validation_tables // 2),
    }


@torch.no_grad()
def validate(model: CinaModel, batches: list[TrainingBatch]) -> dict[str, float]:
    """Mean absolute errors of each estimate, and the duality gap; the batches are taken to the model's device.

    Returns
    -------
    dict
        For each estimate ``name`` (error against the effect, in sd of the outcome) and ``name_scaled`` (against the
        label, in attainable standard errors, at most 10), over the tables with a known effect, none without; the median
        ``gap`` and the mean ``hinge`` over all.
    """
    results: dict[str, list[torch.Tensor]] = {}
    device = next(model.parameters()).device
    for batch in (batch.to(device) for batch in batches):
        for name, value in estimates(model, batch).items():
            if batch.labels is None or name in ("gap", "hinge"):
                results.setdefault(name, []).append(value)
                continue
            results.setdefault(name, []).append((value - batch.labels.effect).abs())
            scaled = (value - batch.labels.label).abs() / (batch.labels.attainable + FLOOR)
            results.setdefault(f"{name}_scaled", []).append(scaled.clamp_max(10))
    figures = {name: float(torch.cat(parts).mean()) for name, parts in results.items()}
    figures["gap"] = float(torch.cat(results["gap"]).median())
    return figures


def score(figures: dict[str, float], config: TrainingConfig) -> float:
    """What the kept checkpoint has least of: scaled errors where effects are known, the objective's terms otherwise."""
    if "augmented_scaled" in figures:
        return figures["augmented_scaled"] + 0.3 * figures["weights_only_scaled"]
    return config.gap_weight * figures["gap"] + config.hinge_weight * figures["hinge"]
