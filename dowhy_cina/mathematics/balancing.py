"""Optimal covariate balancing: the CInA primal and dual, their gap, and target balancing.

Letters: B tables, N rows, M features. Everything is stated for a kernel given by features, ``kappa = phi phi'``;
``phi`` is the landmark map of :mod:`dowhy_cina.mathematics.kernels` or, for a given Gram, any of its factors. Signs are
``W = 2 T - 1``, and 0 for rows that only pad a table to a batch. How values and dual variables map to each other
depends on the side on which attention is normalised, see :class:`Convention`.

References
----------
Zhang et al. (2024), Towards Causal Foundation Model, ICML, arXiv:2310.00809: Eq. 3 (dual) and Eq. 6 (primal).
Tarr and Imai (2025), Estimating average treatment effects with support vector machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.dense import gram_of
from dowhy_cina.mathematics.passes import Places, gather_rows, row_products, sum_blocks
from dowhy_cina.mathematics.rows import RowFeatures

Result = TypeVar("Result")
Rows = Float[Tensor, "B N"]
Tables = Float[Tensor, " B"]


@dataclass(frozen=True)
class JoinedFeatures:
    """Features of a kernel and, beside them, columns times an amplitude.

    Attributes
    ----------
    kernel : Tensor of shape (B, N, M), or RowFeatures
        Joined ones are taken as a kernel of their own.
    columns : Tensor, shape (B, N, L)
    amplitude : Tensor, shape (B,)
    """

    kernel: Features
    columns: Float[Tensor, "B N L"]
    amplitude: Tables

    def means(self, weights: Float[Tensor, "B k N"]) -> Float[Tensor, "B k K"]:
        """``sum_i weights_i phi_i`` for several weights of each row."""
        beside = self.amplitude[:, None, None] * (weights @ self.columns)
        return torch.cat([means_of(self.kernel, weights), beside], 2)

    def times(self, direction: Float[Tensor, "B K"]) -> Rows:
        """``phi_i . direction`` for every row."""
        size = direction.shape[1] - self.columns.shape[2]
        beside = row_products(self.columns, self.amplitude[:, None] * direction[:, size:])
        return apply(self.kernel, direction[:, :size]) + beside

    def times_several(self, directions: Float[Tensor, "B k K"]) -> Float[Tensor, "B k N"]:
        """:meth:`times` for several directions, by one pass, of a kernel whose features are not a tensor."""
        assert isinstance(self.kernel, RowFeatures)
        size = directions.shape[2] - self.columns.shape[2]
        beside = (self.amplitude[:, None, None] * directions[..., size:]) @ self.columns.mT
        return self.kernel.times_several(directions[..., :size]) + beside

    def take(self, index: Int[Tensor, "B n"]) -> JoinedFeatures:
        """Features of some of the rows of each table."""
        return replace(self, kernel=take_rows(self.kernel, index), columns=gather_rows(self.columns, index))

    def scaled(self, factor: Rows) -> JoinedFeatures:
        """Multiply each row's features by a factor."""
        return replace(self, kernel=scale_rows(self.kernel, factor), columns=self.columns * factor[..., None])

    @property
    def is_streamed(self) -> bool:
        """Whether each pass computes kernels again."""
        return not isinstance(self.kernel, Tensor) and self.kernel.is_streamed

    def in_strips(self, work: Callable[[slice, JoinedFeatures], Result]) -> list[Result]:
        """What is made of strips of the rows, see :func:`~dowhy_cina.mathematics.passes.each_strip`."""
        if isinstance(self.kernel, Tensor):
            return [work(slice(0, self.columns.shape[1]), self)]
        return self.kernel.in_strips(
            lambda rows, own: work(rows, replace(self, kernel=own, columns=self.columns[:, rows]))
        )

    def gram(self) -> Float[Tensor, "B K K"]:
        """``sum_i phi_i phi_i'``."""
        return sum_blocks(self.in_strips(lambda _, strip: sum_blocks(gram_of(block) for _, block in strip.blocks())))

    def blocks(self, weights: Rows | None = None) -> Iterator[tuple[Places, Float[Tensor, "B n K"]]]:
        """Features of consecutive row blocks; where streamed, of rows that have a weight."""
        amplitude = self.amplitude[:, None, None]
        blocks = [(slice(None), self.kernel)] if isinstance(self.kernel, Tensor) else self.kernel.blocks(weights)
        for rows, block in blocks:
            yield rows, torch.cat([block, amplitude * self.columns[:, rows]], 2)


Kernel = Float[Tensor, "B N M"] | RowFeatures
Features = Kernel | JoinedFeatures


def combine(features: Features, coefficients: Rows) -> Float[Tensor, "B M"]:
    """``phi' c``: a weighted sum of feature rows."""
    return means_of(features, coefficients[:, None])[:, 0]


def means_of(features: Features, weights: Float[Tensor, "B k N"]) -> Float[Tensor, "B k M"]:
    """:func:`combine` for several weights of each row, by one pass over the rows."""
    return weights @ features if isinstance(features, Tensor) else features.means(weights)


def apply(features: Features, direction: Float[Tensor, "B M"]) -> Rows:
    """``phi d``: one value per row."""
    if not isinstance(features, Tensor):
        return features.times(direction)
    return row_products(features, direction)


def scale_rows(features: Features, factor: Rows) -> Features:
    """Multiply each feature row by a factor; features whose factors are all one are not copied."""
    if not torch.is_grad_enabled() and bool((factor == 1).all()):
        return features
    return features * factor[..., None] if isinstance(features, Tensor) else features.scaled(factor)


def take_rows(features: Features, index: Int[Tensor, "B n"]) -> Features:
    """Features of some of the rows of each table."""
    return gather_rows(features, index) if isinstance(features, Tensor) else features.take(index)


def features_gram(features: Features) -> Float[Tensor, "B M M"]:
    """``phi' phi``."""
    if not isinstance(features, Tensor):
        return features.gram()
    return gram_of(features)


def weighted_moments(
    features: RowFeatures | JoinedFeatures, weights: Rows
) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M M"]]:
    """``sum_i weights_i phi_i`` and ``sum_i weights_i phi_i phi_i'`` by one pass; weights are not negative."""

    def moments(strip: slice, rows: RowFeatures | JoinedFeatures) -> Float[Tensor, "B k M"]:
        own, parts = weights[:, strip], []
        for part, block in rows.blocks(own):
            inside = own[:, part]
            scaled = block if bool((inside == 1).all()) else block * inside[..., None].sqrt()
            parts.append(torch.cat([gram_of(scaled), inside[:, None] @ block], 1))
        return sum_blocks(parts)

    sums = sum_blocks(features.in_strips(moments))
    return sums[:, -1], sums[:, :-1]


def weights_from_alpha(alpha: Rows, signs: Rows) -> Rows:
    """Normalise ``alpha`` to sum to one in each arm; an arm whose ``alpha`` is all zero stays zero."""
    tiny = torch.finfo(alpha.dtype).tiny
    treated, control = alpha * (signs > 0), alpha * (signs < 0)
    totals = [arm.sum(1, keepdim=True).clamp_min(tiny) for arm in (treated, control)]
    return treated / totals[0] + control / totals[1]


def key_normaliser(features: Kernel) -> Rows:
    """``h_j = sum_l kappa_lj``, the attention normaliser of each key."""
    whole = features.sum(1) if isinstance(features, Tensor) else features.mean(torch.ones_like(features.keys[..., 0]))
    return apply(features, whole)


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


def imbalance(features: Features, weights: Rows, target: Float[Tensor, "B M"] | float) -> Tables:
    """Largest imbalance over functions of unit norm: ``|sum_i weights_i phi(x_i) - target|``.

    A function of norm at most ``B`` shifts the weighted mean by at most ``B`` times this.
    """
    difference: Tensor = torch.linalg.vector_norm(combine(features, weights) - target, dim=1)
    return difference


def relative_weights(weights: Rows, arm: Rows) -> Rows:
    """``weights / arm``, zero outside the arm."""
    return weights / arm.clamp_min(torch.finfo(arm.dtype).tiny)


def target_objective(
    features: Features, weights: Rows, arm: Rows, target: Float[Tensor, "B M"], ridge: Tables
) -> Tables:
    """``|phi' a - target|^2 / 2 + ridge sum_i a_i^2 / (2 r_i)``, the target-balancing problem of one arm.

    ``r_i`` are the sampling weights of the arm's rows, one without.
    """
    spread = (weights * relative_weights(weights, arm)).sum(1)
    return objective_from_sums(imbalance(features, weights, target), spread, ridge)


def objective_from_sums(size: Tables, spread: Tables, ridge: Tables) -> Tables:
    """:func:`target_objective` from an imbalance and the sum ``sum_i a_i^2 / r_i``."""
    return (size.square() + ridge * spread) / 2


@dataclass(frozen=True)
class TargetCertificate:
    """What is known of weights on an arm's simplex as a solution of target balancing, shape (B,).

    Attributes
    ----------
    gap : Tensor
        Duality gap, relative to the objective at uniform weights: never negative; it bounds how far the weights'
        objective is above the smallest one.
    imbalance, lowest : Tensor
        Imbalance to the target, and the least of any weights with as large an effective sample size ``1 / |a|^2``,
        which is what the ridge rewards.
    """

    gap: Tables
    imbalance: Tables
    lowest: Tables

    @classmethod
    def of_excess(cls, excess: Tables, reference: Tables, size: Tables) -> TargetCertificate:
        """From a bound on the objective's excess, the objective at uniform weights, and the imbalance."""
        excess = excess.clamp_min(0)
        gap = excess / reference.clamp_min(torch.finfo(excess.dtype).tiny)
        return cls(gap, size, lowest_imbalance(size, excess))


def certify_target(
    features: Features, weights: Rows, arm: Rows, target: Float[Tensor, "B M"], ridge: Tables
) -> TargetCertificate:
    """Certificate of any weights, whose gap is that of Frank and Wolfe, by two passes over the rows.

    Parameters
    ----------
    features : Tensor, shape (B, N, M)
    weights : Tensor, shape (B, N)
        On the simplex of the arm.
    arm : Tensor, shape (B, N)
        Sampling weights of the arm's rows, 1 without; 0 for all others.
    target : Tensor, shape (B, M)
        Mean features to match.
    ridge : Tensor, shape (B,)
    """
    uniform = arm / arm.sum(1, keepdim=True)
    means = means_of(features, torch.stack([weights, uniform], 1))
    apart = means - target[:, None]
    size, size_before = torch.linalg.vector_norm(apart, dim=2).unbind(1)
    gradient = apply(features, apart[:, 0]) + ridge[:, None] * relative_weights(weights, arm)
    best = gradient.masked_fill(arm == 0, torch.inf).amin(1)
    reference = objective_from_sums(size_before, (uniform * relative_weights(uniform, arm)).sum(1), ridge)
    return TargetCertificate.of_excess((gradient * weights).sum(1) - best, reference, size)


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

    """
    feasible = make_feasible(alpha, signs)
    scores = margin_scores(features, feasible, signs, regularisation)
    total = (feasible.sum(1) / 2).clamp_min(torch.finfo(alpha.dtype).tiny)
    size = imbalance(features, feasible * signs / total[:, None], 0.0)
    gap = gap_from_scores(scores, feasible, signs) * primal_from_scores(scores, feasible, signs)
    return size, lowest_imbalance(size, regularisation * gap.clamp_min(0) / total.square())
