"""Target balancing solved through its dual: a Newton method on as many variables as there are features.

On the simplex, the weights ``a`` of an arm with sampling weights ``r`` minimise
``|phi' a - target|^2 / 2 + ridge sum_i a_i^2 / (2 r_i)``. The dual is a function of a slope ``u`` and a level ``v``,

    minimise  |u|^2 / 2 + u' target - v + sum_i r_i max(0, v - phi_i' u)^2 / (2 ridge)

whose solution gives the weights, ``a_i = r_i max(0, v - phi_i' u) / ridge``, and ``u = phi' a - target``: the rows
attend to one query. It is convex and once differentiable, quadratic as long as the same rows carry weight, and a Newton
step goes to the minimum over those. So the last step ends at the solution, to rounding, wherever the first one began.
A point takes one pass over the rows; the curvature that the next step needs is of those that carry weight, or of those
that began and ceased to since the last step.

Letters: B tables, N rows, M features.

References
----------
Qi and Sun (1993), A nonsmooth version of Newton's method, Mathematical Programming 58.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.balancing import (
    Features,
    Rows,
    Tables,
    combine,
    features_gram,
    scale_rows,
    take_rows,
    weighted_moments,
)
from dowhy_cina.mathematics.dense import lower_factor, solve_by_factor
from dowhy_cina.mathematics.dual import ArmProblem, Curvature, DualPoint, Evaluate, Evaluated, Sums
from dowhy_cina.mathematics.passes import places_of

#: Largest entry of the dual's gradient at which a table is solved; the weights then sum to one within it.
TOLERANCE = 1e-10
#: Steps after which a table is left as it is; rare arms far from their target take some twenty.
MOST_STEPS = 100
#: Halvings of a step, and the share of its slope's promise that a step has to keep.
HALVINGS, SUFFICIENT = 30, 1e-4
#: Rows that count as carrying weight in the level's curvature, as a share of all, where none does.
LEAST_CARRYING = 1e-3


class ArmRows:
    """Rows of an arm in memory, and their curvature where it was last asked for.

    Parameters
    ----------
    features : Tensor of shape (B, N, M), RowFeatures or JoinedFeatures
    arm : Tensor, shape (B, N)
        Sampling weights, 0 for rows that are not in it.
    known : Curvature, optional
        Of the whole arm.
    """

    def __init__(self, features: Features, arm: Rows, known: Curvature | None = None) -> None:
        self._features, self._arm = features, arm
        self._last = None if known is None else (arm, known)

    def settle(self, points: Sequence[DualPoint]) -> int:
        """How many points, the first ones, were evaluated as they are."""
        return len(points)

    def margins(self, point: DualPoint) -> Rows:
        """``v - phi_i' u`` of every row."""
        return point.margins(self._features)

    def evaluate(self, point: DualPoint) -> Evaluated:
        """Evaluate a point of the dual."""
        margins = point.margins(self._features)
        shares = margins.clamp_min(0) * self._arm
        sums = Sums(shares.sum(1), (shares * margins).sum(1), combine(self._features, shares))
        return Evaluated(point, sums, lambda: self.curvature_of(self._arm * (margins > 0)))

    def curvature_of(self, carrying: Rows) -> Curvature:
        """From the rows that carry weight, or from those that began and ceased to since the last time, if fewer."""
        if torch.is_grad_enabled():
            return self._of(carrying)
        if self._last is None:
            found = self._of(carrying)
        else:
            before, found = self._last
            begun, ceased = (carrying - before).clamp_min(0), (before - carrying).clamp_min(0)
            changed = _most(begun + ceased)
            if changed >= _most(carrying):
                found = self._of(carrying)
            elif changed:
                found = found + (self._of(begun) - self._of(ceased))
        self._last = carrying, replace(found, carrying=carrying.sum(1))
        return self._last[1]

    def _of(self, arm: Rows) -> Curvature:
        features = self._features
        if not isinstance(features, Tensor) and features.is_streamed:
            return Curvature(arm.sum(1), *weighted_moments(features, arm))
        places = places_of(arm)
        if places.shape != arm.shape:
            features, arm = take_rows(features, places), arm.gather(1, places)
        return Curvature(arm.sum(1), combine(features, arm), features_gram(scale_rows(features, arm.sqrt())))


def _most(weights: Rows) -> int:
    """Most rows with a weight in any table."""
    return int((weights > 0).sum(1).max())


@dataclass(frozen=True)
class Dual:
    """The dual of every table, but for what its rows add up to.

    Attributes
    ----------
    target : Tensor, shape (B, M)
    ridge, count : Tensor, shape (B,)
        The latter the arm's sum of sampling weights.
    scale : Tensor, shape (B, M)
        Factors of the features; points are those of the features without. A feature times zero is left out.
    """

    target: Float[Tensor, "B M"]
    ridge: Tables
    count: Tables
    scale: Float[Tensor, "B M"]

    @classmethod
    def of_problem(cls, problem: ArmProblem) -> Dual:
        """The dual of a problem, whose features have no further factors."""
        return cls(problem.target, problem.ridge, problem.arm.sum(1), torch.ones_like(problem.target))

    @cached_property
    def _unscale(self) -> Float[Tensor, "B M"]:
        """Inverse factors; zero for features that are left out."""
        return torch.where(self.scale > 0, 1 / self.scale, 0.0)

    @cached_property
    def _half_unscale(self) -> Float[Tensor, "B M"]:
        """Half of the squared inverse factors."""
        return self._unscale * self._unscale / 2

    def scaled(self, point: DualPoint) -> DualPoint:
        """Point of the features times their factors."""
        return DualPoint(point.slope * self._unscale, point.level)

    def value(self, point: DualPoint, sums: Sums) -> Tables:
        """Dual objective, to be minimised, at a point at which the rows add up to these sums."""
        slope = point.slope
        linear = (slope * torch.addcmul(self.target, slope, self._half_unscale)).sum(1) - point.level
        return linear + sums.squares / (2 * self.ridge)

    def gradient(self, at: Evaluated) -> Float[Tensor, "B K"]:
        """Gradient in the slope and level of the features times their factors, side by side."""
        moment = at.sums.moment / self.ridge[:, None]
        slope = torch.addcmul(at.point.slope * self._unscale, self.scale, self.target - moment)
        return torch.cat([slope, (at.sums.margins / self.ridge - 1)[:, None]], 1)

    def solve(self, curvature: Curvature, right: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Solution of the Newton system, which is the Hessian times the ridge."""
        size, scale = self.scale.shape[1], self.scale
        system = right.new_empty(len(right), size + 1, size + 1)
        system[:, :size, :size] = curvature.gram * scale[:, :, None] * scale[:, None]
        system[:, :size, size] = system[:, size, :size] = -curvature.carried * scale
        carrying = torch.where(curvature.carrying > 0, curvature.carrying, LEAST_CARRYING * self.count)
        system[:, size, size] = carrying * (1 + 1e-12)
        # Times the ridge, so that a small one does not drive the entries apart.
        system.diagonal(dim1=1, dim2=2)[:, :size] += self.ridge[:, None]
        return solve_by_factor(lower_factor(system), right)

    def direction(self, at: Evaluated, gradient: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Step to the minimum over the rows that carry weight, from where the gradient is this."""
        return self.solve(at.curvature, gradient * -self.ridge[:, None])

    def moved(self, point: DualPoint, step: Float[Tensor, "B K"]) -> DualPoint:
        """Point that lies a step away."""
        return DualPoint(point.slope + self.scale * step[:, :-1], point.level + step[:, -1])


def line_search(
    dual: Dual,
    at: Evaluated,
    value: Tables,
    gradient: Float[Tensor, "B K"],
    moving: Bool[Tensor, " B"],
    evaluate: Evaluate,
) -> tuple[Evaluated, Tables]:
    """Step of the moving tables from a point of this value and gradient, halved until the dual falls as promised.

    Returns
    -------
    Evaluated, Tensor of shape (B,)
        Where it leads, and the value there.
    """
    direction = dual.direction(at, gradient)
    promise, length = SUFFICIENT * (gradient * direction).sum(1), moving.to(value.dtype)
    for _ in range(HALVINGS):
        found = evaluate(dual.moved(at.point, length[:, None] * direction))
        new = dual.value(found.point, found.sums)
        short = new > value + length * promise
        if not bool(short.any()):
            break
        # Below the rounding of the value nothing can be promised.
        short = short & (new - value > 1e-13 * value.abs())
        if not bool(short.any()):
            break
        length = torch.where(short, length / 2, length)
    return found, new


def solve_dual_of_target(
    dual: Dual, evaluate: Evaluate, start: Evaluated, tolerance: Tables | float = TOLERANCE
) -> tuple[Evaluated, int]:
    """Solution of the dual, and the steps it took, each of which takes one pass over the rows or a few.

    A table that is solved stays, so that its solution does not depend on its company in the batch.

    Parameters
    ----------
    dual : Dual
    evaluate : callable
    start : Evaluated
        Where to begin.
    tolerance : Tensor of shape (B,), or float
        Largest entry of the gradient at which a table is solved.
    """
    at, steps = start, 0
    lowest = smallest = torch.full_like(dual.ridge, torch.inf)
    value = dual.value(at.point, at.sums)
    while steps < MOST_STEPS:
        gradient = dual.gradient(at)
        size = gradient.abs().amax(1)
        moving = size > tolerance
        if steps:
            # A table that neither falls nor levels out any more has come as far as its rounding lets it.
            moving = moving & ((value < lowest) | (size < smallest))
        if not bool(moving.any()):
            break
        steps, lowest, smallest = steps + 1, torch.minimum(value, lowest), torch.minimum(size, smallest)
        at, value = line_search(dual, at, value, gradient, moving, evaluate)
    return at, steps


def balance_to_target(problem: ArmProblem) -> tuple[Rows, int]:
    """Weights of an arm that minimise target balancing, to rounding, and the steps to them; they sum to one."""
    with torch.no_grad():
        dual, rows = Dual.of_problem(problem), ArmRows(problem.features, problem.arm)
        start = rows.evaluate(DualPoint.start(dual.ridge, dual.count, dual.target.shape[1]))
        found, steps = solve_dual_of_target(dual, rows.evaluate, start)
    return weights_at(problem, found.point), steps


def weights_at(problem: ArmProblem, point: DualPoint) -> Rows:
    """Weights at the solution of the dual.

    Gradients flow through one more step, which at the solution has the solution's derivatives.
    """
    if torch.is_grad_enabled():
        dual, at = Dual.of_problem(problem), ArmRows(problem.features, problem.arm).evaluate(point)
        point = dual.moved(point, dual.direction(at, dual.gradient(at)))
    return simplex(point.weights(problem), problem.arm)


def simplex(weights: Rows, arm: Rows) -> Rows:
    """Weights that sum to one; uniform where none is positive."""
    total = weights.sum(1, keepdim=True)
    scaled = weights / total.clamp_min(torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, scaled, arm / arm.sum(1, keepdim=True))
