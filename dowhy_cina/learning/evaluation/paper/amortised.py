"""Algorithm 2 to the letter: a network from random weights gives the values of the attention layer of Algorithm 1.

Every layer of it attends with the kernel of the covariates that balances, each arm's keys apart; its last layer is the
CInA layer itself, and the loss is Eq. 6 on that layer, without any outcome. Letters: B tables, N rows, E width.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dowhy_cina.learning.evaluation.paper.designs import Design
from dowhy_cina.learning.evaluation.paper.scale import Scale
from dowhy_cina.learning.simulators.table import SimulatedTable
from dowhy_cina.mathematics.balancing import (
    exact_intercept,
    gram_scores,
    make_feasible,
    primal_from_scores,
    weights_from_alpha,
)
from dowhy_cina.mathematics.kernels import gaussian_gram, median_bandwidth
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.tables import Preprocessor

#: Lambda of the exact solution, which this approximates.
REGULARISATION = 0.1
TABLES_PER_STEP = 8
LEARNING_RATE = 3e-3


class Amortised(nn.Module):
    """Values of the attention layer of a table, from its covariates and treatment.

    Parameters
    ----------
    width : int
        Of a row's state.
    layers : int
        Attention layers before the last.
    """

    def __init__(self, width: int = 32, layers: int = 6) -> None:
        super().__init__()
        self.start = nn.Linear(3, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(4 * width + 2, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, 1)

    def forward(self, gram: Float[Tensor, "B N N"], signs: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Dual variables that the values carry, feasible; the same when the arms change places."""
        same = gram * (signs[:, :, None] == signs[:, None, :])
        normaliser = gram.sum(2, keepdim=True)
        attention = torch.cat([same, gram - same], 1) / normaliser.repeat(1, 2, 1)
        own = (1 + signs * signs.mean(1, keepdim=True)) / 2
        alike = same.sum(2, keepdim=True) / normaliser
        hidden = self.start(torch.cat([alike, torch.log(normaliser / gram.shape[1]), own[..., None]], 2))
        for layer in self.layers:
            margin = self._margin(gram, signs, hidden)
            seen = (attention @ hidden).chunk(2, 1)
            everyone = hidden.mean(1, keepdim=True).expand_as(hidden)
            features = [hidden, *seen, everyone, torch.tanh(margin), torch.tanh(margin / 5)]
            hidden = hidden + layer(torch.cat(features, 2))
        return self._alpha(signs, hidden)

    def _alpha(self, signs: Float[Tensor, "B N"], hidden: Float[Tensor, "B N E"]) -> Float[Tensor, "B N"]:
        return make_feasible(torch.sigmoid(self.output(self.norm(hidden))[..., 0]), signs)

    def _margin(
        self, gram: Float[Tensor, "B N N"], signs: Float[Tensor, "B N"], hidden: Float[Tensor, "B N E"]
    ) -> Float[Tensor, "B N 1"]:
        """How far each row is from the margin of the present values: what the CInA layer would say now."""
        scores = gram_scores(gram, self._alpha(signs, hidden), signs, _penalty(gram))
        return (1 - signs * (scores + exact_intercept(scores, signs)[:, None]))[..., None]


def _penalty(gram: Float[Tensor, "B N N"]) -> Float[Tensor, " B"]:
    return gram.new_full(gram.shape[:1], REGULARISATION)


def balancing_loss(
    gram: Float[Tensor, "B N N"], signs: Float[Tensor, "B N"], alpha: Float[Tensor, "B N"]
) -> Float[Tensor, " B"]:
    """Eq. 6 at the values that carry ``alpha``, for each row."""
    return primal_from_scores(gram_scores(gram, alpha, signs, _penalty(gram)), alpha, signs) / gram.shape[1]


def effect_error(
    signs: Float[Tensor, "B N"], alpha: Float[Tensor, "B N"], tables: Sequence[SimulatedTable]
) -> Float[Tensor, " B"]:
    """Absolute error of the weighted difference of the arms, in sd of the outcome: what ZS-S adds to the loss."""
    outcome = alpha.new_tensor(np.stack([table.outcome / table.outcome.std() for table in tables]))
    effect = alpha.new_tensor([table.effect / table.outcome.std() for table in tables])
    return ((weights_from_alpha(alpha, signs) * signs * outcome).sum(1) - effect).abs()


def problem(covariates: Array, treatment: Array) -> tuple[Float[Tensor, "1 N N"], Float[Tensor, "1 N"]]:
    """Gram and signs of the problem that Algorithm 1 solves on the table."""
    keys = torch.from_numpy(Preprocessor().fit_transform(covariates))[None]
    return gaussian_gram(keys, median_bandwidth(keys[0])), torch.from_numpy(2.0 * treatment - 1)[None]


def train(design: Design, tables: int, scale: Scale, supervised: bool = False) -> tuple[Amortised, float]:
    """Train a network on tables of a design, each seen once; their outcomes are read only if it is supervised.

    It computes in single precision, in 40 % of the time.

    Returns
    -------
    Amortised
    float
        Processor seconds that it took.
    """
    began = time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(scale.seed)
        model = Amortised()
    steps = max(1, tables // TABLES_PER_STEP)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps + 1, pct_start=0.1)
    rng = np.random.default_rng([scale.seed, 80])
    for _ in range(steps):
        batch = [design.draw(rng, scale.training_rows) for _ in range(TABLES_PER_STEP)]
        problems = [problem(table.covariates, table.treatment) for table in batch]
        gram, signs = (torch.cat(parts).float() for parts in zip(*problems, strict=True))
        alpha = model(gram, signs)
        loss = balancing_loss(gram, signs, alpha)
        if supervised:
            loss = loss + effect_error(signs, alpha, batch)
        optimiser.zero_grad()
        torch.autograd.backward(loss.mean())
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval(), time.process_time() - began


@torch.no_grad()
def zero_shot_weights(model: Amortised, covariates: Array, treatment: Array, outcome: Array | None = None) -> Array:
    """Weights (N,) of a new table by one forward pass; its outcome is not looked at."""
    gram, signs = problem(covariates, treatment)
    weights: Array = weights_from_alpha(model(gram.float(), signs.float()).double(), signs)[0].numpy()
    return weights
