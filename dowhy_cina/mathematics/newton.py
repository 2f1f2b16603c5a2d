"""Target balancing solved through its dual: a Newton method on as many variables as there are features.

On the simplex, the weights ``a`` of an arm with sampling weights ``r`` minimise
``|phi' a - target|^2 / 2 + ridge sum_i a_i^2 / (2 r_i)``. The dual is a function of a slope ``u`` and a level ``v``,

    minimise  |u|^2 / 2 + u' target - v + sum_i r_i max(0, v - phi_i' u)^2 / (2 ridge)

whose solution gives the weights, ``a_i = r_i max(0, v - phi_i' u) / ridge``, and ``u = phi' a - target``: the rows
attend to one query. It is convex and once differentiable, quadratic as long as the same rows carry weight, and a Newton
step goes to the minimum over those. So the last step ends at the solution, to rounding, wherever the first one began.

Letters: B tables, N rows, M features.

References
----------
Qi and Sun (1993), A nonsmooth version of Newton's method, Mathematical Programming 58.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.mathematics.balancing import (
    Features,
    Rows,
    Tables,
    apply,
    combine,
    features_gram,
    relative_target_gap,
    scale_rows,
)

#: Largest entry of the dual's gradient at which a table is solved; the weights then sum to one within it.
TOLERANCE = 1e-10
#: Steps after which a table is left as it is; rare arms far from their target take some twenty.
MOST_STEPS = 100
#: Halvings of a step, and the share of its slope's promise that a step has to keep.
HALVINGS, SUFFICIENT = 30, 1e-4
#: Rows that count as carrying weight in the level's curvature, as a share of all, where none does.
LEAST_CARRYING = 1e-3


@dataclass(frozen=True)
class ArmProblem:
    """Balancing of one arm of every table to a target.

    Attributes
    ----------
    features : Tensor of shape (B, N, M), or RowFeatures
    arm : Tensor, shape (B, N)
        Sampling weights of the arm's rows, 1 without; 0 for all others.
    target : Tensor, shape (B, M)
    ridge : Tensor, shape (B,)
        Positive.
    """

    features: Features
    arm: Rows
    target: Float[Tensor, "B M"]
    ridge: Tables

    def gap(self, weights: Rows) -> Tables:
        """Relative duality gap of weights on the simplex."""
        return relative_target_gap(self.features, weights, self.arm, self.target, self.ridge)


@dataclass(frozen=True)
class Sums:
    """What the rows of an arm add up to at a point of the dual; those of parts of a table can be added.

    Attributes
    ----------
    weights, quadratic, carrying : Tensor, shape (B,)
        Sums of ``a_i``, of ``a_i (v - phi_i' u)``, and of ``r_i`` over the rows that carry weight.
    moment, carried : Tensor, shape (B, M)
        Sums of ``a_i phi_i``, and of ``r_i phi_i`` over the rows that carry weight.
    gram : Tensor, shape (B, M, M)
        Sum of ``r_i phi_i phi_i'`` over the rows that carry weight.
    """

    weights: Tables
    quadratic: Tables
    carrying: Tables
    moment: Float[Tensor, "B M"]
    carried: Float[Tensor, "B M"]
    gram: Float[Tensor, "B M M"]

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(one + two for one, two in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class DualPoint:
    """Slope, shape (B, M), and level, shape (B,), of every table."""

    slope: Float[Tensor, "B M"]
    level: Tables

    @classmethod
    def start(cls, ridge: Tables, count: Tables, features: int) -> DualPoint:
        """Uniform weights, of arms with this sum of sampling weights."""
        return cls(ridge.new_zeros(len(ridge), features), ridge / count)

    def weights(self, problem: ArmProblem) -> tuple[Rows, Rows]:
        """Weights before they sum to one, and the margins ``v - phi_i' u``."""
        margins = self.level[:, None] - apply(problem.features, self.slope)
        return margins.clamp_min(0) * problem.arm / problem.ridge[:, None], margins

    def sums(self, problem: ArmProblem) -> Sums:
        """Sums over the rows of tables in memory."""
        weights, margins = self.weights(problem)
        carrying = problem.arm * (margins > 0)
        return Sums(
            weights.sum(1),
            (weights * margins).sum(1),
            carrying.sum(1),
            combine(problem.features, weights),
            combine(problem.features, carrying),
            features_gram(scale_rows(problem.features, carrying.sqrt())),
        )

    def value(self, sums: Sums, target: Float[Tensor, "B M"]) -> Tables:
        """Dual objective, to be minimised."""
        return self.slope.square().sum(1) / 2 + (self.slope * target).sum(1) - self.level + sums.quadratic / 2

    def gradient(self, sums: Sums, target: Float[Tensor, "B M"]) -> Float[Tensor, "B K"]:
        """Gradient in slope and level, side by side."""
        return torch.cat([self.slope + target - sums.moment, sums.weights[:, None] - 1], 1)

    def moved(self, step: Float[Tensor, "B K"]) -> DualPoint:
        """Point that lies a step away."""
        return DualPoint(self.slope + step[:, :-1], self.level + step[:, -1])


def newton_direction(gradient: Float[Tensor, "B K"], sums: Sums, ridge: Tables, count: Tables) -> Float[Tensor, "B K"]:
    """Step to the minimum over the rows that carry weight."""
    size = sums.gram.shape[-1]
    system = sums.gram.new_empty(len(ridge), size + 1, size + 1)
    system[:, :size, :size] = sums.gram
    system[:, :size, size] = system[:, size, :size] = -sums.carried
    system[:, size, size] = torch.where(sums.carrying > 0, sums.carrying, LEAST_CARRYING * count)
    # Times the ridge, so that a small one does not drive the entries apart.
    identity = torch.eye(size + 1, dtype=gradient.dtype, device=gradient.device) * ridge[:, None, None]
    identity[:, size, size] = 1e-12 * system[:, size, size]
    factor = torch.linalg.cholesky(system + identity)
    return -torch.cholesky_solve((gradient * ridge[:, None])[..., None], factor)[..., 0]


def line_search(
    point: DualPoint,
    direction: Float[Tensor, "B K"],
    target: Float[Tensor, "B M"],
    state: tuple[Tables, Float[Tensor, "B K"], Tensor],
    sums_at: Callable[[DualPoint], Sums],
) -> tuple[DualPoint, Sums]:
    """Step of the moving tables, halved until the dual falls as its slope promises.

    ``state`` holds the value and gradient at the point, and which tables move.
    """
    value, gradient, moving = state
    promise, length = SUFFICIENT * (gradient * direction).sum(1), moving.to(value.dtype)
    for _ in range(HALVINGS):
        found = point.moved(length[:, None] * direction)
        sums = sums_at(found)
        new = found.value(sums, target)
        # Below the rounding of the value nothing can be promised.
        short = (new > value + length * promise) & (new - value > 1e-13 * value.abs())
        if not bool(short.any()):
            break
        length = torch.where(short, length / 2, length)
    return found, sums


def solve_dual_of_target(
    target: Float[Tensor, "B M"],
    ridge: Tables,
    count: Tables,
    sums_at: Callable[[DualPoint], Sums],
    start: DualPoint | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[DualPoint, Sums, int]:
    """Solution of the dual, the sums there and the steps it took, given what the rows of an arm add up to at a point.

    A table that is solved stays, so that its solution does not depend on its company in the batch.

    Parameters
    ----------
    target : Tensor, shape (B, M)
    ridge, count : Tensor, shape (B,)
        The latter the arm's sum of sampling weights.
    sums_at : callable
    start : DualPoint, optional
        Where to begin; at uniform weights by default.
    tolerance : float
        Largest entry of the gradient at which a table is solved.
    """
    point, steps = start or DualPoint.start(ridge, count, target.shape[1]), 0
    sums, lowest, smallest = sums_at(point), torch.full_like(ridge, torch.inf), torch.full_like(ridge, torch.inf)
    while steps < MOST_STEPS:
        gradient, value = point.gradient(sums, target), point.value(sums, target)
        size = gradient.abs().amax(1)
        # A table that neither falls nor levels out any more has come as far as its rounding lets it.
        moving = (size > tolerance) & ((value < lowest) | (size < smallest))
        if not bool(moving.any()):
            break
        steps, lowest, smallest = steps + 1, torch.minimum(value, lowest), torch.minimum(size, smallest)
        direction = newton_direction(gradient, sums, ridge, count)
        point, sums = line_search(point, direction, target, (value, gradient, moving), sums_at)
    return point, sums, steps


def balance_to_target(problem: ArmProblem) -> tuple[Rows, int]:
    """Weights of an arm that minimise target balancing, to rounding, and the steps to them; they sum to one."""
    count = problem.arm.sum(1)
    with torch.no_grad():
        point, _, steps = solve_dual_of_target(problem.target, problem.ridge, count, lambda at: at.sums(problem))
    return weights_at(problem, point), steps


def weights_at(problem: ArmProblem, point: DualPoint) -> Rows:
    """Weights at the solution of the dual.

    Gradients flow through one more step, which at the solution has the solution's derivatives.
    """
    if torch.is_grad_enabled():
        sums, count = point.sums(problem), problem.arm.sum(1)
        point = point.moved(newton_direction(point.gradient(sums, problem.target), sums, problem.ridge, count))
    return simplex(point.weights(problem)[0], problem.arm)


def simplex(weights: Rows, arm: Rows) -> Rows:
    """Weights that sum to one; uniform where none is positive."""
    total = weights.sum(1, keepdim=True)
    scaled = weights / total.clamp_min(torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, scaled, arm / arm.sum(1, keepdim=True))
