"""One batched solver for both balancing problems: a quadratic program on a box with one equality.

Letters: B tables, N rows, M features.

References
----------
Stellato et al. (2020), OSQP: an operator splitting solver for quadratic programs.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.mathematics.balancing import Features, Rows, Tables, apply, combine, features_gram, scale_rows
from dowhy_cina.mathematics.passes import row_products

#: Iterations of the solver that gradients flow through.
GRADIENT_ITERATIONS = 3
#: Penalty of the splitting for the dual: 4 to 8 is fastest to a gap of 1e-2, from 250 rows to 8,000.
DUAL_STEP = 6.0
#: Over-relaxation; it takes about a third off the iterations to a gap.
RELAXATION = 1.6
#: Factor by which the step of the solver changes at once.
LARGEST_STEP_CHANGE = 5.0


@dataclass(frozen=True)
class QuadraticProgram:
    """``min |phi' x|^2 / 2 + ridge |x|^2 / 2 - linear' x`` subject to ``equality' x = level`` and ``0 <= x <= upper``.

    Both balancing problems are of this form. Rows outside a problem have ``mask`` 0 and stay at zero.
    """

    features: Features
    ridge: Tables
    linear: Rows
    equality: Rows
    level: Tables
    upper: float
    mask: Rows


class Splitting:
    """Alternating direction method of multipliers; each iteration is two attention products and a clip.

    It begins at zero, from which the first iteration is the clipped least-squares solution, and can be continued.

    Parameters
    ----------
    problem : QuadraticProgram
    step : Tensor, shape (B,)
        Penalty of the splitting; it changes the speed, never the solution.

    Attributes
    ----------
    solution : Tensor, shape (B, N)
        Non-negative, at most ``upper``; the equality holds in the limit.
    """

    def __init__(self, problem: QuadraticProgram, step: Tables) -> None:
        self.problem, self.step = problem, step
        self._features = scale_rows(problem.features, problem.mask)
        # The smaller of rows x rows and features x features is factorised.
        self._by_rows = False
        if isinstance(self._features, Tensor) and self._features.shape[2] >= self._features.shape[1]:
            self._by_rows = True
            self._gram = features_gram(self._features.transpose(-1, -2))
        else:
            self._gram = features_gram(self._features)
        self._equality = problem.equality * problem.mask
        self._linear = problem.linear * problem.mask
        self.solution = torch.zeros_like(self._linear)
        self._multiplier = torch.zeros_like(self._linear)
        self._factorise()

    def _factorise(self) -> None:
        self._total = (self.problem.ridge + self.step)[:, None]
        eye = torch.eye(self._gram.shape[-1], dtype=self._gram.dtype, device=self._gram.device)
        factor = torch.linalg.cholesky(self._gram + self._total[..., None] * eye)
        self._operator: Tensor = torch.cholesky_inverse(factor) if self._by_rows else factor
        self._response = self._solve(self._equality)
        self._curvature = (self._equality * self._response).sum(1)

    def _solve(self, right: Rows) -> Rows:
        if self._by_rows:
            return row_products(self._operator, right)
        inner = torch.cholesky_solve(combine(self._features, right)[..., None], self._operator)[..., 0]
        return (right - apply(self._features, inner)) / self._total

    def with_step(self, step: Tables) -> Splitting:
        """Continue from the same point with another step."""
        other = copy.copy(self)
        other.step = step
        # The multiplier of the constraint is this one times the step; it stays what it is.
        other._multiplier = self._multiplier * (self.step / step)[:, None]
        other._factorise()
        return other

    def rebalanced(self, relaxation: float = 1.0) -> Splitting:
        """Iterate once and continue with a step that makes both residuals, relative to their variables, alike.

        A large step is quick at first and slow near the solution.
        """
        solution, multiplier = self.solution, self._multiplier
        self.run(1, relaxation)
        moved, violated = self.solution - solution, self._multiplier - multiplier
        ratio = violated.norm(dim=1) * self._multiplier.norm(dim=1) / (moved.norm(dim=1) * self.solution.norm(dim=1))
        factor = ratio.sqrt().clamp(1 / LARGEST_STEP_CHANGE, LARGEST_STEP_CHANGE)
        return self.with_step(self.step * torch.where(torch.isfinite(factor), factor, torch.ones_like(factor)))

    def run(self, iterations: int, relaxation: float = 1.0) -> Rows:
        """Iterate on and return the solution so far.

        A ``relaxation`` in (1, 2) steps beyond each least-squares solution, which saves iterations of a long run.
        Gradients flow through the last :data:`GRADIENT_ITERATIONS` only: near the fixed point the earlier ones add cost
        and no direction.
        """
        step, solution, multiplier = self.step[:, None], self.solution, self._multiplier
        for iteration in range(iterations):
            with torch.set_grad_enabled(torch.is_grad_enabled() and iteration >= iterations - GRADIENT_ITERATIONS):
                free = self._solve(self._linear + step * (solution - multiplier))
                shift = ((self._equality * free).sum(1) - self.problem.level) / self._curvature
                free = free - shift[:, None] * self._response
                free = torch.lerp(solution, free, relaxation)
                solution = (free + multiplier).clamp(0, self.problem.upper) * self.problem.mask
                multiplier = multiplier + free - solution
        self.solution, self._multiplier = solution, multiplier
        return solution


def dual_program(features: Features, signs: Rows, regularisation: Tables) -> QuadraticProgram:
    """Eq. 3 as a minimisation over ``alpha``."""
    scaled = scale_rows(features, signs / regularisation.sqrt()[:, None])
    rows = signs.abs()
    zero = torch.zeros_like(regularisation)
    return QuadraticProgram(scaled, zero, rows, signs, zero, 1.0, rows)


def target_program(features: Features, arm: Rows, target: Float[Tensor, "B M"], ridge: Tables) -> QuadraticProgram:
    """Balance one arm to a target on the simplex; the solution is ``count x weights / sqrt(arm)``, of order one.

    Dividing by the root of the sampling weights makes the ridge of :func:`target_objective` a plain one.
    """
    count, root = arm.sum(1), arm.sqrt()
    scaled = scale_rows(features, root)
    linear = apply(scaled, target) * count[:, None]
    return QuadraticProgram(scaled, ridge, linear, root, count, float("inf"), (arm > 0).to(arm.dtype))


def simplex_weights(solution: Rows, arm: Rows) -> Rows:
    """Weights that a solution of :func:`target_program` stands for; uniform where nothing is positive."""
    weights = solution * arm.sqrt()
    total = weights.sum(1, keepdim=True)
    scaled = weights / total.clamp_min(torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, scaled, arm / arm.sum(1, keepdim=True))
