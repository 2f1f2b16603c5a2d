"""Training objectives: the balancing loss, which needs no outcome, and errors of effects that are known.

Those of simulated tables and of experiments are, and those of random outcomes on any table, see
:mod:`dowhy_cina.learning.simulators.outcomes`.

Letters: B tables, N rows.

References
----------
Zhang et al. (2024), arXiv:2310.00809: Algorithm 2 (the hinge loss of Eq. 6, of which the duality gap is the excess) and
the supervised variant ZS-S.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dowhy_cina.config import TrainingConfig
from dowhy_cina.errors import InputError
from dowhy_cina.estimating.estimation import weighted_effect
from dowhy_cina.estimating.pipeline import Estimation
from dowhy_cina.estimating.targets import Target
from dowhy_cina.mathematics.balancing import primal_objective
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.search import Searched, with_additions
from dowhy_cina.model.state import TableBatch, each_tensor

logger = logging.getLogger(__name__)

#: Errors beyond this many attainable standard errors count linearly.
HUBER = 2.0
#: Added to the attainable standard error, in sd of the outcome: no table is worth an error below it.
FLOOR = 0.02
#: Estimates that an objective can compare with a known effect.
ESTIMATES = ("augmented", "weights_only", "regression", "paper")


@dataclass(frozen=True)
class Labels:
    """Known effects of a batch of tables, in sd of the outcome.

    Attributes
    ----------
    label : Tensor, shape (B,)
        Low-variance label: effect in the target plus the oracle's augmentation noise.
    effect : Tensor, shape (B,)
        Effect in the target.
    attainable : Tensor, shape (B,)
        Standard error of the oracle estimate.
    """

    label: Float[Tensor, " B"]
    effect: Float[Tensor, " B"]
    attainable: Float[Tensor, " B"]


@dataclass(frozen=True)
class TrainingBatch:
    """Tables of one shape with a target population each and, where they are known, their effects.

    Attributes
    ----------
    table : TableBatch
        Its outcome is zero throughout where there are no labels: nothing of an outcome was read.
    target : Tensor, shape (B, N)
        Weights of the target population, each row sums to one.
    labels : Labels or None
    """

    table: TableBatch
    target: Float[Tensor, "B N"]
    labels: Labels | None = None

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the batch on a device."""
        return each_tensor([self], lambda tensors: tensors[0].to(device))


def estimates(model: CinaModel, batch: TrainingBatch) -> dict[str, Float[Tensor, " B"]]:
    """All that the objectives are made of, of tables with what a search adds to them.

    Returns
    -------
    dict
        ``gap``, the relative duality gap of the CInA layer's values; ``hinge``, the loss of Eq. 6 at these values, per
        row; and, where effects are known, the estimates: ``augmented``, ``weights_only``, ``regression``, and ``paper``
        (arm against arm).
    """
    # Without labels outcomes are zero: there is nothing to search.
    whole = [Searched(list(range(len(batch))), batch.table, None)]
    searched = whole if batch.labels is None else with_additions(model, batch.table)
    found = [_of_company(model, part, batch.target[part.places], batch.labels is not None) for part in searched]
    places = torch.tensor([place for part in searched for place in part.places]).argsort().to(batch.target.device)
    return {name: torch.cat([part[name] for part in found])[places] for name in found[0]}


def _of_company(
    model: CinaModel, searched: Searched, target: Float[Tensor, "B N"], known: bool
) -> dict[str, Float[Tensor, " B"]]:
    """:func:`estimates` of tables with additions of one shape."""
    table = searched.table
    state = model(table, pilot=searched.pilot)
    values = model.values(table, state)
    hinge = primal_objective(state.balance_features, values.alpha, table.signs, model.regularisation(state))
    figures = {"gap": values.duality_gap, "hinge": hinge / table.signs.shape[1]}
    if not known:
        return figures
    found = Estimation(model, table, state, Target("rows", target))
    return {
        "augmented": found.effect.value,
        "weights_only": weighted_effect(table, found.weighting.weights).value,
        "regression": found.effect.plug_in,
        "paper": weighted_effect(table, values.weights).value,
        **figures,
    }


def huber(error: Float[Tensor, " B"], attainable: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Huber loss of an error in attainable standard errors: no family is traded for another with larger errors."""
    scaled = error / (attainable + FLOOR)
    return torch.nn.functional.huber_loss(scaled, torch.zeros_like(scaled), delta=HUBER, reduction="none")


def losses(model: CinaModel, batch: TrainingBatch, config: TrainingConfig) -> Float[Tensor, " B"]:
    """Weighted sum of the objectives of each table."""
    result, labels = estimates(model, batch), batch.labels
    total = config.gap_weight * result["gap"] + config.hinge_weight * result["hinge"]
    if labels is not None:
        for name in ESTIMATES:
            weight = getattr(config, f"{name}_weight")
            total = total + weight * huber(result[name] - labels.label, labels.attainable)
    return total


def check_objectives(config: TrainingConfig, labelled: bool) -> None:
    """Raise unless tables, with known effects or without any, have something to teach.

    Raises
    ------
    InputError
        If no objective that applies has a weight.
    """
    names = [f"{name}_weight" for name in ("gap", "hinge", *(ESTIMATES if labelled else ()))]
    if not any(getattr(config, name) for name in names):
        without = "" if labelled else "no effect is known to training; "
        raise InputError(f"{without}expected a positive number in at least one of {', '.join(names)}.")


class Objective(nn.Module):
    """Sum of the losses of a batch, as a module whose gradients can be shared by several processes."""

    def __init__(self, model: CinaModel, config: TrainingConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: TrainingBatch) -> Float[Tensor, ""]:
        """Sum over the batch's tables; zero, with zero gradients, where a factorisation fails.

        One degenerate table must not end a run of hours.
        """
        try:
            return losses(self.model, batch, self.config).sum()
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            logger.warning("a batch was left out: %s", error)
            return torch.stack([parameter.sum() for parameter in self.model.parameters()]).sum() * 0.0
