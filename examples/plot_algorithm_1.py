r"""
Algorithm 1 by gradient descent
===============================

The paper trains the value vector of one attention layer on one table, by gradient descent on the hinge loss, and reads
the balancing weights from it. This page does so literally, and watches it arrive at the exact solution that
:class:`dowhy_cina.CinaPerDataset` computes directly.
"""

import numpy as np
import torch
from dowhy_cina.simulators import draw_table
from matplotlib import pyplot

from dowhy_cina import CinaPerDataset
from dowhy_cina.mathematics.balancing import (
    alpha_from_values,
    exact_intercept,
    relative_duality_gap,
    weights_from_alpha,
)
from dowhy_cina.mathematics.kernels import gaussian_gram, median_bandwidth
from dowhy_cina.mathematics.solvers import factorise
from dowhy_cina.tables import Preprocessor

table = draw_table(np.random.default_rng(1), 200, 10, families=["mixed"])
keys = torch.from_numpy(Preprocessor().fit_transform(table.covariates))[None]
signs = torch.from_numpy(2 * table.treatment - 1)[None]
outcome = torch.from_numpy(table.outcome)[None]
print(f"{len(table.treatment)} rows, {int(table.treatment.sum())} treated; true effect {table.effect:.3f}")

# %%
# The layer
# ---------
# Self-attention with a Gaussian kernel :math:`\kappa`, normalised over queries by :math:`h_j = \sum_l \kappa_{lj}`. Its
# only parameters are the values, one for each row; the intercept is the best one for them. The loss is Eq. 6, and no
# outcome is in it.

lam = 0.1
gram = gaussian_gram(keys, median_bandwidth(keys[0]))
normaliser = gram.sum(1)
attention = gram / normaliser[:, None, :]


def layer(values):
    """Margin of each row: attention plus the best intercept."""
    scores = torch.einsum("bij,bj->bi", attention, values)
    return scores + exact_intercept(scores, signs)[:, None]


def hinge_loss(values, margin):
    """Eq. 6: a penalty on the function that the values represent, plus the hinge loss of the margin."""
    scaled = values / normaliser
    penalty = lam / 2 * torch.einsum("bi,bij,bj->b", scaled, gram, scaled)
    return penalty + (1 - signs * margin).clamp_min(0).sum(1)


# %%
# What is recorded: the relative duality gap of the values reached, how far their weights are from the exact ones (half
# the sum of absolute differences, at most 2), and the effect.

exact = CinaPerDataset(regularisation=lam).fit(table.covariates, table.treatment)
features, penalty = factorise(gram), torch.tensor([lam], dtype=torch.float64)


def record(values):
    """Gap, distance and effect of the weights that some values carry."""
    alpha = alpha_from_values(values, signs, normaliser, penalty).clamp(0, 1)
    weights = weights_from_alpha(alpha, signs)
    distance = float((weights[0] - torch.from_numpy(exact.weights_)).abs().sum() / 2)
    effect = float((weights * signs * outcome).sum())
    return float(relative_duality_gap(features, alpha, signs, penalty)), distance, effect, weights


# %%
# Training
# --------
# The gradient is taken in the norm of the penalty. That is :math:`h_j (\lambda v_j / h_j + \partial_j)`, with
# :math:`\partial_j` the derivative of the hinge loss in the margin of row :math:`j`, which autograd gives. The ordinary
# gradient is this one multiplied by the kernel once more, so that it hardly moves where the kernel is flat.

steps, learning_rate = 6000, lambda step: 2 / (lam * (step + 20))
values, history = torch.zeros_like(signs), []
for step in range(steps + 1):
    margin = layer(values).requires_grad_()
    loss = hinge_loss(values, margin).sum()
    (derivative,) = torch.autograd.grad(loss, margin)
    if step % 100 == 0:
        gap, distance, effect, weights = record(values)
        history.append((step, gap, distance))
        if step % 1000 == 0:
            print(f"step {step:4d}  loss {float(loss.detach()):8.4f}  relative gap {gap:.1e}  effect {effect:.4f}")
    values = values - learning_rate(step + 1) * normaliser * (lam * values / normaliser + derivative)
print(f"exact solution: relative gap {exact.duality_gap_:.0e}, effect {exact.effect(table.outcome):.4f}")

# %%
# With the ordinary gradient and Adam, for comparison: the loss falls, but the values stay far from dual variables.

plain = torch.zeros_like(signs, requires_grad=True)
optimiser, plain_history = torch.optim.Adam([plain], lr=1.0), []
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 3000)
for step in range(3001):
    if step % 100 == 0:
        plain_history.append((step, *record(plain.detach())[:2]))
    optimiser.zero_grad()
    loss = hinge_loss(plain, layer(plain)).sum()
    loss.backward()
    optimiser.step()
    schedule.step()
print(f"Adam: loss {float(loss.detach()):.4f}, relative gap {plain_history[-1][1]:.2f}")

# %%
# The same weights
# ----------------

figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
at, gaps, distances = zip(*history, strict=True)
left.semilogy(at, gaps, label="relative duality gap")
left.semilogy(at, distances, label="distance from the exact weights")
at, gaps, _ = zip(*plain_history, strict=True)
left.semilogy(at, gaps, label="relative duality gap, ordinary gradient", linestyle="--")
left.set(xlabel="gradient steps", title="Training the values")
left.legend(loc="upper right", bbox_to_anchor=(1, 0.93))
right.scatter(exact.weights_, weights[0], s=12)
right.axline((0, 0), slope=1, color="grey", linewidth=0.8)
right.set(xlabel="exact weights", ylabel="weights after training", title="One point for each row")
