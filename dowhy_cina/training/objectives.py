"""Training objectives: errors of the effect on simulated tables, and the duality gap that needs no outcome.

Letters: B tables, N rows.

References
----------
Zhang et al. (2024), arXiv:2310.00809: Algorithm 2 (the hinge loss of which the duality gap is the excess) and the
supervised variant ZS-S.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.config import TrainingConfig
from dowhy_cina.nn.model import CinaModel, TableBatch

#: Errors beyond this many attainable standard errors count linearly.
HUBER = 2.0
#: Added to the attainable standard error, in sd of the outcome: no table is worth an error below it.
FLOOR = 0.02


@dataclass(frozen=True)
class LabelledBatch:
    """Tables with a target population and its known effect.

    Attributes
    ----------
    table : TableBatch
    target : Tensor, shape (B, N)
        Weights of the target population, each row sums to one.
    label : Tensor, shape (B,)
        Low-variance label: effect in the target plus the oracle's augmentation noise, in sd of the outcome.
    effect : Tensor, shape (B,)
        Effect in the target, in sd of the outcome.
    attainable : Tensor, shape (B,)
        Standard error of the oracle estimate, in sd of the outcome.
    """

    table: TableBatch
    target: Float[Tensor, "B N"]
    label: Float[Tensor, " B"]
    effect: Float[Tensor, " B"]
    attainable: Float[Tensor, " B"]


def estimates(model: CinaModel, batch: LabelledBatch) -> dict[str, Float[Tensor, " B"]]:
    """Augmented, weights-only, regression-only and arm-against-arm effects, and the relative duality gap."""
    table, target = batch.table, batch.target
    state = model(table)
    weights = model.weights(table, state, torch.einsum("bnm,bn->bm", state.balance_features, target))
    signed = weights * table.signs
    regression = (target * (state.means[1] - state.means[0])).sum(1)
    values = model.values(table, state)
    return {
        "augmented": regression + (signed * state.residuals).sum(1),
        "weights_only": (signed * table.outcome).sum(1),
        "regression": regression,
        "paper": (values.weights * table.signs * table.outcome).sum(1),
        "gap": values.duality_gap,
    }


def huber(error: Float[Tensor, " B"], attainable: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Huber loss of an error in attainable standard errors: no family is traded for another with larger errors."""
    scaled = error / (attainable + FLOOR)
    return torch.nn.functional.huber_loss(scaled, torch.zeros_like(scaled), delta=HUBER, reduction="none")


def objective(model: CinaModel, batch: LabelledBatch, config: TrainingConfig) -> Float[Tensor, ""]:
    """Weighted sum of the objectives, averaged over tables."""
    result = estimates(model, batch)
    weights = {
        "augmented": config.augmented_weight,
        "weights_only": config.weights_only_weight,
        "regression": config.regression_weight,
        "paper": config.paper_weight,
    }
    terms = [weight * huber(result[name] - batch.label, batch.attainable) for name, weight in weights.items()]
    terms.append(config.gap_weight * result["gap"])
    return torch.stack(terms).sum(0).mean()
