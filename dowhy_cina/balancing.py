"""Optimal covariate balancing: the CInA primal and dual, their gap, target balancing, and one batched solver for both.

Letters: B tables, N rows, M features. Everything is stated for a kernel given by features, ``kappa = phi phi'``;
``phi`` is the landmark map of :mod:`dowhy_cina.kernels` or, for a given Gram, any of its factors. Signs are
``W = 2 T - 1``, and 0 for rows that only pad a table to a batch. How values and dual variables map to each other
depends on the side on which attention is normalised, see :class:`Convention`.

References
----------
Zhang et al. (2024), Towards Causal Foundation Model, ICML, arXiv:2310.00809: Eq. 3 (dual) and Eq. 6 (primal).
Tarr and Imai (2025), Estimating average treatment effects with support vector machines.
Stellato et al. (2020), OSQP, for the splitting of :class:`Splitting`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

Features = Float[Tensor, "B N M"]
Rows = Float[Tensor, "B N"]
Tables = Float[Tensor, " B"]

#: Iterations of the solver that gradients flow through.
GRADIENT_ITERATIONS = 3
#: Factor by which the step of the solver changes at once.
LARGEST_STEP_CHANGE = 5.0


def combine(features: Features, coefficients: Rows) -> Float[Tensor, "B M"]:
    """``phi' c``: a weighted sum of feature rows."""
    return torch.einsum("bnm,bn->bm", features, coefficients)


def apply(features: Features, direction: Float[Tensor, "B M"]) -> Rows:
    """``phi d``: one value per row."""
    return torch.einsum("bnm,bm->bn", features, direction)


def weights_from_alpha(alpha: Rows, signs: Rows) -> Rows:
    """Normalise ``alpha`` to sum to one in each arm; an arm whose ``alpha`` is all zero stays zero."""
    tiny = torch.finfo(alpha.dtype).tiny
    treated, control = alpha * (signs > 0), alpha * (signs < 0)
    totals = [arm.sum(1, keepdim=True).clamp_min(tiny) for arm in (treated, control)]
    return treated / totals[0] + control / totals[1]


def key_normaliser(features: Features) -> Rows:
    """``h_j = sum_l kappa_lj``, the attention normaliser of each key."""
    return apply(features, features.sum(1))


class Convention(Enum):
    """Side on which attention is normalised by ``h``; each has its own Gram, and only its own values are dual to it.

    ``QUERIES``, the default: the layer is ``f_i = sum_j kappa_ij v_j / h_j``, its penalty
    ``lambda / 2 (v / h)' kappa (v / h)``, its values carry ``alpha_j = lambda v_j / (h_j W_j)``, and the Gram that is
    balanced is ``kappa_ij``.

    ``ROWS``, torch's softmax over keys: ``f_i = sum_j kappa_ij v_j / h_i``, penalty ``lambda / 2 v' kappa v``,
    ``alpha_j = lambda v_j h_j / W_j``, Gram ``kappa_ij / (h_i h_j)``.
    """

    QUERIES = "queries"
    ROWS = "rows"

    def key_scale(self, normaliser: Rows) -> Rows:
        """Factor of ``W alpha / lambda`` in the values."""
        return normaliser if self is Convention.QUERIES else 1 / normaliser


#: Convention of the package's own layer.
DEFAULT_CONVENTION = Convention.QUERIES


def balanced_features(features: Features, normaliser: Rows, convention: Convention = DEFAULT_CONVENTION) -> Features:
    """Features of the Gram that the layer balances."""
    return features if convention is Convention.QUERIES else features / normaliser[..., None]


def values_from_alpha(
    alpha: Rows,
    signs: Rows,
    normaliser: Rows,
    regularisation: Tables,
    convention: Convention = DEFAULT_CONVENTION,
) -> Rows:
    """Value vector of the attention layer that carries the dual variables ``alpha``."""
    return signs * convention.key_scale(normaliser) * alpha / regularisation[:, None]


def alpha_from_values(
    values: Rows,
    signs: Rows,
    normaliser: Rows,
    regularisation: Tables,
    convention: Convention = DEFAULT_CONVENTION,
) -> Rows:
    """Dual variables carried by the values of an attention layer."""
    return regularisation[:, None] * values / (convention.key_scale(normaliser) * signs)


def make_feasible(alpha: Rows, signs: Rows) -> Rows:
    """Clip to [0, 1] and scale the heavier arm down until ``W' alpha = 0``.

    The weights of :func:`weights_from_alpha` change by the clip only.
    """
    alpha = alpha.clamp(0, 1) * (signs != 0)
    treated = (alpha * (signs > 0)).sum(1, keepdim=True)
    control = (alpha * (signs < 0)).sum(1, keepdim=True)
    lighter = torch.minimum(treated, control)
    tiny = torch.finfo(alpha.dtype).tiny
    return alpha * torch.where(signs > 0, lighter / treated.clamp_min(tiny), lighter / control.clamp_min(tiny))


def margin_scores(features: Features, alpha: Rows, signs: Rows, regularisation: Tables) -> Rows:
    """``f_i - b0``: the function that ``alpha`` represents, ``kappa (alpha W) / lambda``, at each row."""
    return apply(features, combine(features, alpha * signs)) / regularisation[:, None]


def gram_scores(gram: Float[Tensor, "B N N"], alpha: Rows, signs: Rows, regularisation: Tables) -> Rows:
    """:func:`margin_scores` for a kernel that is given by its Gram."""
    return torch.einsum("bij,bj->bi", gram, alpha * signs) / regularisation[:, None]


def dual_from_scores(scores: Rows, alpha: Rows, signs: Rows) -> Tables:
    """Eq. 3, ``1' alpha - (alpha W)' kappa (alpha W) / (2 lambda)``, given the scores of ``alpha``."""
    return alpha.sum(1) - (alpha * signs * scores).sum(1) / 2


def exact_intercept(scores: Rows, signs: Rows) -> Tables:
    """Intercept ``b`` that minimises ``sum_i max(0, 1 - W_i (scores_i + b))``.

    The loss is piecewise linear and convex in ``b`` with a unit change of slope at each breakpoint ``W_i - scores_i``.
    Its slope far to the left is minus the number of treated rows, so that it is flat between the sorted breakpoints of
    that rank and of the next; the middle is returned.
    """
    breakpoints = (signs - scores).masked_fill(signs == 0, torch.inf).sort(1).values
    treated = (signs > 0).sum(1)
    upper = breakpoints.gather(1, treated.clamp_max(scores.shape[1] - 1)[:, None])[:, 0]
    lower = breakpoints.gather(1, (treated - 1).clamp_min(0)[:, None])[:, 0]
    return (lower + upper) / 2


def primal_from_scores(scores: Rows, alpha: Rows, signs: Rows) -> Tables:
    """Eq. 6 at the function that ``alpha`` represents, with the best intercept."""
    margins = signs * (scores + exact_intercept(scores, signs)[:, None])
    hinge = ((1 - margins).clamp_min(0) * (signs != 0)).sum(1)
    return (alpha * signs * scores).sum(1) / 2 + hinge


def gap_from_scores(scores: Rows, alpha: Rows, signs: Rows) -> Tables:
    """``(primal - dual) / primal`` at a feasible ``alpha``: never negative, zero only at the optimum."""
    primal = primal_from_scores(scores, alpha, signs)
    gap = primal - dual_from_scores(scores, alpha, signs)
    return gap / primal.clamp_min(torch.finfo(primal.dtype).tiny)


def dual_objective(features: Features, alpha: Rows, signs: Rows, regularisation: Tables) -> Tables:
    """Eq. 3 from features."""
    return dual_from_scores(margin_scores(features, alpha, signs, regularisation), alpha, signs)


def primal_objective(features: Features, alpha: Rows, signs: Rows, regularisation: Tables) -> Tables:
    """Eq. 6 from features."""
    return primal_from_scores(margin_scores(features, alpha, signs, regularisation), alpha, signs)


def relative_duality_gap(features: Features, alpha: Rows, signs: Rows, regularisation: Tables) -> Tables:
    """``(primal - dual) / primal`` at a feasible point made of ``alpha``: never negative, zero only at the optimum."""
    feasible = make_feasible(alpha, signs)
    return gap_from_scores(margin_scores(features, feasible, signs, regularisation), feasible, signs)


def imbalance(features: Features, weights: Rows, target: Float[Tensor, "B M"]) -> Tables:
    """Largest imbalance over functions of unit norm: ``|sum_i weights_i phi(x_i) - target|``.

    A function of norm at most ``B`` shifts the weighted mean by at most ``B`` times this.
    """
    difference: Tensor = torch.linalg.vector_norm(combine(features, weights) - target, dim=1)
    return difference


def target_objective(features: Features, weights: Rows, target: Float[Tensor, "B M"], ridge: Tables) -> Tables:
    """``|phi' a - target|^2 / 2 + ridge |a|^2 / 2``, the target-balancing problem of one arm."""
    return (imbalance(features, weights, target).square() + ridge * weights.square().sum(1)) / 2


def relative_target_gap(
    features: Features, weights: Rows, arm: Rows, target: Float[Tensor, "B M"], ridge: Tables
) -> Tables:
    """Frank-Wolfe duality gap of target balancing on one arm's simplex, relative to the objective at uniform weights.

    Never negative; for weights on the simplex it bounds how far their objective is above the smallest one.

    Parameters
    ----------
    features : Tensor, shape (B, N, M)
    weights : Tensor, shape (B, N)
        On the simplex of the arm.
    arm : Tensor, shape (B, N)
        1 for the arm's rows, 0 for all others.
    target : Tensor, shape (B, M)
        Mean features to match.
    ridge : Tensor, shape (B,)

    Returns
    -------
    Tensor, shape (B,)
    """
    gradient = apply(features, combine(features, weights) - target) + ridge[:, None] * weights
    best = gradient.masked_fill(arm == 0, torch.inf).amin(1)
    gap = (gradient * weights).sum(1) - best
    uniform = arm / arm.sum(1, keepdim=True)
    reference = target_objective(features, uniform, target, ridge)
    return gap.clamp_min(0) / reference.clamp_min(torch.finfo(gap.dtype).tiny)


def lowest_imbalance(size: Tables, excess: Tables) -> Tables:
    """Least imbalance that a duality gap leaves open.

    For an objective ``size^2 / 2 + rest`` that is at most ``excess`` above its minimum, no point with the same or a
    smaller ``rest`` has a size below ``sqrt(size^2 - 2 excess)``.
    """
    return (size.square() - 2 * excess).clamp_min(0).sqrt()


def arms_imbalance(features: Features, alpha: Rows, signs: Rows, regularisation: Tables) -> tuple[Tables, Tables]:
    """Imbalance of the arms under the weights of ``alpha``, and the least of any weights as spread out.

    With ``s`` the sum of ``alpha`` in each arm, the dual is ``2 s - (s size)^2 / (2 lambda)``. All weights of at most
    ``1 / s`` are feasible at the same ``s``, so that the gap bounds how much smaller their imbalance can be.

    Parameters
    ----------
    features : Tensor, shape (B, N, M)
    alpha, signs : Tensor, shape (B, N)
    regularisation : Tensor, shape (B,)

    Returns
    -------
    size, lowest : Tensor, shape (B,)
    """
    feasible = make_feasible(alpha, signs)
    scores = margin_scores(features, feasible, signs, regularisation)
    total = (feasible.sum(1) / 2).clamp_min(torch.finfo(alpha.dtype).tiny)
    size = imbalance(features, feasible * signs / total[:, None], torch.zeros_like(features[:, 0]))
    gap = gap_from_scores(scores, feasible, signs) * primal_from_scores(scores, feasible, signs)
    return size, lowest_imbalance(size, regularisation * gap.clamp_min(0) / total.square())


def target_imbalance(
    features: Features, weights: Rows, arm: Rows, target: Float[Tensor, "B M"], ridge: Tables
) -> tuple[Tables, Tables]:
    """Imbalance of one arm to a target, and the least of any weights with as large an effective sample size.

    Parameters as in :func:`relative_target_gap`; the effective sample size ``1 / |a|^2`` is what the ridge rewards.
    """
    size = imbalance(features, weights, target)
    uniform = arm / arm.sum(1, keepdim=True)
    reference = target_objective(features, uniform, target, ridge)
    excess = relative_target_gap(features, weights, arm, target, ridge) * reference
    return size, lowest_imbalance(size, excess)


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
        self._features = problem.features * problem.mask[..., None]
        # The smaller of rows x rows and features x features is factorised.
        self._by_rows = self._features.shape[2] >= self._features.shape[1]
        left = self._features if self._by_rows else self._features.transpose(-1, -2)
        self._gram = left @ left.transpose(-1, -2)
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
            return torch.einsum("bij,bj->bi", self._operator, right)
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
    scaled = features * signs[..., None] / regularisation.sqrt()[:, None, None]
    rows = signs.abs()
    zero = torch.zeros_like(regularisation)
    return QuadraticProgram(scaled, zero, rows, signs, zero, 1.0, rows)


def target_program(features: Features, arm: Rows, target: Float[Tensor, "B M"], ridge: Tables) -> QuadraticProgram:
    """Balance one arm to a target on the simplex; the solution is ``count x weights``, of order one."""
    count = arm.sum(1)
    linear = apply(features, target) * count[:, None]
    return QuadraticProgram(features, ridge, linear, torch.ones_like(arm), count, float("inf"), arm)


def simplex_weights(solution: Rows, arm: Rows) -> Rows:
    """Scale a solution of :func:`target_program` to sum to one; uniform over an arm in which nothing is positive."""
    total = solution.sum(1, keepdim=True)
    scaled = solution / total.clamp_min(torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, scaled, arm / arm.sum(1, keepdim=True))
