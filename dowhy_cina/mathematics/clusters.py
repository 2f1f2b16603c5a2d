"""Rows that belong together: ridge regressions whose penalty and predictions leave whole clusters of rows out.

A table of N rows in G clusters counts as G independent rows: every row has the weight ``G / N``, its *share*, before
sampling weights. Each fit is that of one table.

Letters: B tables, N rows, n rows of a fit, G clusters, M features, S penalties.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dowhy_cina.mathematics.columns import RegressionFeatures
from dowhy_cina.mathematics.ridge import (
    GCV_FACTOR,
    LEAST_UNEXPLAINED,
    PENALTY_GRID,
    Gcv,
    GramStatistics,
    RidgeFit,
    best_penalty,
    fit_ridge,
    gram_statistics,
    inverse_share_left,
    ridge_coefficients,
)
from dowhy_cina.mathematics.rows import block_rows
from dowhy_cina.mathematics.scaling import Array


def sums_by_cluster(rows: Float[Tensor, "B N"], codes: Int[Tensor, "B N"] | None) -> Float[Tensor, "B U"]:
    """Sums of the units that are independent of each other: of clusters, where there are any, or single rows."""
    if codes is None:
        return rows
    return rows.new_zeros(rows.shape[0], int(codes.max()) + 1).scatter_add_(1, codes, rows)


@dataclass(frozen=True)
class Clusters:
    """Clusters of the rows of tables, or of some of their rows.

    Attributes
    ----------
    codes : Tensor of int, shape (B, N)
        From 0 to ``count - 1``.
    count : int
        Number G of clusters of the table.
    share : float
        Clusters of the table by its rows.
    """

    codes: Int[Tensor, "B N"]
    count: int
    share: float

    @classmethod
    def of(cls, codes: Int[Tensor, "B N"]) -> Clusters:
        """Clusters of whole tables, whose codes leave out no number."""
        count = int(codes.max()) + 1
        return cls(codes, count, count / codes.shape[1])

    def take(self, index: Int[Tensor, "B n"]) -> Clusters:
        """Those of some of the rows."""
        return Clusters(self.codes.gather(1, index), self.count, self.share)

    def alone(self) -> Clusters:
        """The same rows as a table of their own."""
        present = self.among(torch.ones_like(self.codes, dtype=torch.bool))
        return replace(self, share=float(present[0]) / self.codes.shape[1])

    def of_arms(self, treatment: Float[Tensor, "B N"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Count the clusters that control rows and treated rows are in."""
        return self.among(treatment <= 0), self.among(treatment > 0)

    def among(self, rows: Bool[Tensor, "B N"]) -> Float[Tensor, " B"]:
        """Count the clusters that some rows are in."""
        sums = rows.new_zeros(len(rows), self.count, dtype=torch.float64).scatter_add_(1, self.codes, rows.double())
        return (sums > 0).sum(1).double()

    @property
    def sizes(self) -> Int[Tensor, " G"]:
        """Rows of each cluster of the one table."""
        return torch.bincount(self.codes[0], minlength=self.count)


@dataclass(frozen=True)
class ClusterStatistics:
    """What the choice of a penalty asks of rows in clusters.

    Attributes
    ----------
    rows : GramStatistics
        Of the rows.
    between : GramStatistics
        Of the means of the clusters, with the sums of their rows' weights.
    sizes : tuple of int
        Number of rows and of clusters.
    """

    rows: GramStatistics
    between: GramStatistics
    sizes: tuple[int, int]


def cluster_statistics(
    features: RegressionFeatures, response: Float[Tensor, "1 n"], rows: Float[Tensor, "1 n"], clusters: Clusters
) -> ClusterStatistics:
    """Statistics of one table's rows, streamed in blocks.

    Parameters
    ----------
    features : RowFeatures or ColumnFeatures
    response, rows : Tensor, shape (1, n)
        Response, and positive weight of each row.
    clusters : Clusters
        Of the same rows.
    """
    found = gram_statistics(features, response, rows)
    codes, sizes = clusters.codes[0], clusters.sizes
    centred = response[0] - found.mean_response
    sums = response.new_zeros(clusters.count, features.size + 1)
    for part, block in features.blocks():
        values = torch.cat([block[0] - found.mean_features, centred[part, None]], 1)
        sums.index_add_(0, codes[part], values * rows[0, part, None])
    weights = rows.new_zeros(clusters.count).index_add_(0, codes, rows[0])
    moments = (sums / torch.where(sizes > 0, weights, 1)[:, None]).mT @ sums
    between = GramStatistics(
        found.count,
        torch.zeros_like(found.mean_features),
        torch.zeros_like(found.mean_response),
        moments[None, :-1, :-1],
        moments[None, :-1, -1],
        moments[-1:, -1],
    )
    return ClusterStatistics(found, between, (response.shape[1], int((sizes > 0).sum())))


@dataclass(frozen=True)
class Scores:
    """What ridge fits with each penalty of :data:`~dowhy_cina.mathematics.ridge.PENALTY_GRID` come to, shape (1, S).

    Attributes
    ----------
    score, freedom, explained : ndarray
        To be minimised; degrees of freedom without the intercept; part of the response's squares that is explained.
    """

    score: Array
    freedom: Array
    explained: Array


@torch.no_grad()
def clustered_scores(statistics: ClusterStatistics, factor: float = GCV_FACTOR) -> Scores:
    """Generalised cross-validation scores that leave out whole clusters.

    With n rows in G clusters, of which cluster g has m_g, residuals r and hat matrix H, the score is

        ``sum_g m_g mean_g(r)^2 / (1 - factor h_b)^2 + sum_g sum_i (r_i - mean_g(r))^2 / (1 - factor h_w)^2``

    with each row's share as its weight, where ``h_b = sum_g 1'H_gg 1 / m_g / G`` is the leverage of the clusters'
    means, and ``h_w = (tr H - G h_b) / (n - G)`` that of a direction inside them. It is generalised cross-validation of
    the rows where each is a cluster, of the distinct rows where clusters are copies, and of the clusters' means where
    the features are the clusters'. As there, it is infinite, but for the largest penalty, where either difference from
    one is at most :data:`~dowhy_cina.mathematics.ridge.LEAST_LEFT`.
    """
    rows, between, sizes = statistics.rows, statistics.between, statistics.sizes
    grid: Tensor = rows.gram.new_tensor(PENALTY_GRID)
    values, basis = torch.linalg.eigh(rows.gram)
    values = values.clamp_min(0)[:, None]
    inverse = 1 / (values + grid[:, None])
    cross, across = rows.cross[:, None] @ basis, between.cross[:, None] @ basis
    inside = basis.mT @ between.gram @ basis
    coefficients = cross * inverse
    explained = (cross * coefficients).sum(2) + grid * coefficients.square().sum(2)
    means = between.total[:, None] - 2 * (coefficients * across).sum(2)
    means = (means + ((coefficients @ inside) * coefficients).sum(2)).clamp_min(LEAST_UNEXPLAINED)
    freedom = (values * inverse).sum(2)
    shared = (inside.diagonal(dim1=1, dim2=2)[:, None] * inverse).sum(2)
    left = (rows.total[:, None] - explained - means).clamp_min(LEAST_UNEXPLAINED)
    squares = means.cpu().numpy(), left.cpu().numpy()
    return _scores(squares, freedom.cpu().numpy(), shared.cpu().numpy(), explained.cpu().numpy(), sizes, factor)


def _scores(
    squares: tuple[Array, Array],
    freedom: Array,
    shared: Array,
    explained: Array,
    sizes: tuple[int, int],
    factor: float,
) -> Scores:
    """Scores from squares of clusters' mean residuals and of those inside, and both kinds of degrees of freedom."""
    count, clusters = sizes
    score = np.square(inverse_share_left(factor * (1 + shared), clusters)) * squares[0]
    if count > clusters:
        score = score + np.square(inverse_share_left(factor * (freedom - shared), count - clusters)) * squares[1]
    return Scores(score, freedom, explained)


def clustered_cross_validation(statistics: ClusterStatistics, factor: float = GCV_FACTOR) -> Gcv:
    """Penalty of the smallest of the :func:`clustered_scores`, here by cluster, see :func:`best_penalty`."""
    found = clustered_scores(statistics, factor)
    return best_penalty(found.score / statistics.sizes[1], found.freedom, found.explained, statistics.rows)


def clustered_ridge(
    features: RegressionFeatures,
    response: Float[Tensor, "1 n"],
    rows: Float[Tensor, "1 n"],
    multiplier: Float[Tensor, " 1"],
    clusters: Clusters,
) -> RidgeFit:
    """Ridge regression with a multiple of the penalty of :func:`clustered_cross_validation`.

    The counterpart of :func:`~dowhy_cina.mathematics.ridge.cross_validated_ridge`, whose way with sampling weights it
    shares.

    Parameters
    ----------
    features : RowFeatures or ColumnFeatures
    response, rows : Tensor, shape (1, n)
        Response, and positive weights: sampling weights times the share.
    multiplier : Tensor, shape (1,)
    clusters : Clusters
    """
    share = torch.full_like(rows, clusters.share)
    plain = cluster_statistics(features, response, share, clusters)
    penalty = clustered_cross_validation(plain).penalty * multiplier
    if torch.equal(rows, share):
        return _fit(plain, penalty, plain.sizes[1])
    design_effect = rows.square().sum(1) / (rows.sum(1) * clusters.share)
    mean_weight = rows.mean(1) / clusters.share
    weighted = cluster_statistics(features, response, rows, clusters)
    return _fit(weighted, penalty * design_effect, plain.sizes[1] * mean_weight)


def _fit(statistics: ClusterStatistics, penalty: Float[Tensor, " 1"], clusters: Float[Tensor, " 1"] | int) -> RidgeFit:
    """Ridge regression of the rows whose process is the most likely one of the clusters' means.

    The penalty says how much noise these have, and nothing of the noise inside, which may be far more.
    """
    between = statistics.between
    unexplained = between.total - (between.cross * ridge_coefficients(between, penalty)[0]).sum(1)
    signal_variance = (unexplained.clamp_min(0) / penalty + 0.5) / (clusters + 1)
    return replace(fit_ridge(statistics.rows, penalty), signal_variance=signal_variance)


@dataclass(frozen=True)
class Pulls:
    """How each cluster of a table pulls a fit: what its predictions lose at features phi without the cluster's rows.

    That is ``level_g + slope_g . phi``; none for clusters of which the fit has no row.
    """

    slope: Float[Tensor, "1 G M"]
    level: Float[Tensor, "1 G"]

    def on(self, rows: RegressionFeatures, clusters: Clusters) -> Float[Tensor, "1 N"]:
        """Pull of its own cluster on each row."""
        return rows.times_each(self.slope, clusters.codes) + self.level.gather(1, clusters.codes)


def pulls_of_clusters(
    fit: RidgeFit,
    features: RegressionFeatures,
    residuals: Float[Tensor, "1 n"],
    rows: Float[Tensor, "1 n"],
    clusters: Clusters,
) -> Pulls:
    """What every cluster does to a ridge regression, in closed form, with the penalty held fixed.

    With z the features and the intercept in the coordinates where the normal equations are the identity, ``Z_g`` those
    of the cluster's rows and D their weights, the predictions lose ``z . q_g`` where
    ``q_g = Z_g' D (1 - Z_g Z_g' D)^-1 r_g``, which for a cluster longer than its features is
    ``(1 - Z_g' D Z_g)^-1 Z_g' D r_g``.

    Parameters
    ----------
    fit : RidgeFit
    features : RowFeatures or ColumnFeatures
        Of the rows of the fit.
    residuals, rows : Tensor, shape (1, n)
        In-sample, and the weights in the fit.
    clusters : Clusters
        Of the same rows.
    """
    centre = torch.linalg.solve_triangular(fit.factor, fit.centre[..., None], upper=False)
    root = rows.sqrt()
    moved = residuals.new_zeros(clusters.count, features.size + 1)
    for own, index, inside in _chunks(clusters, features):
        scale = (root[0, index] * inside).flatten()
        right = residuals[0, index].flatten() * scale
        parts = []
        for part, half in features.take(index.reshape(1, -1)).solved_blocks(fit.factor):
            level = fit.count.rsqrt().expand(1, half.shape[2])
            parts.append(torch.cat([half[0] - centre[0], level], 0).mT * scale[part, None])
        scaled, right = torch.cat(parts).reshape(*index.shape, -1), right.reshape(index.shape)
        if index.shape[1] > features.size:
            moved[own] = _without(scaled.mT @ scaled, (right[:, None] @ scaled)[:, 0])
        else:
            moved[own] = (_without(scaled @ scaled.mT, right)[:, None] @ scaled)[:, 0]
    slope = torch.linalg.solve_triangular(fit.factor.mT, moved[None, :, :-1].mT, upper=True).mT
    level = moved[None, :, -1] * fit.count.rsqrt()[:, None] - (slope @ fit.centre[..., None])[..., 0]
    return Pulls(slope, level)


def _chunks(
    clusters: Clusters, features: RegressionFeatures
) -> Iterator[tuple[Int[Tensor, " k"], Int[Tensor, "k m"], Float[Tensor, "k m"]]]:
    """Clusters of like sizes together, as many as make a block: their codes, their rows, and which of those are theirs.

    Sizes are rounded up by a fourth at most, so that there are few of them; rows that fill up are repeated ones.
    """
    sizes = clusters.sizes
    order, starts = clusters.codes[0].argsort(stable=True), sizes.cumsum(0) - sizes
    step = 2 ** (torch.log2(sizes.clamp_min(1).double()).floor().long() - 2).clamp_min(0)
    rounded = (sizes + step - 1) // step * step
    for size in torch.unique(rounded[sizes > 0]).tolist():
        alike = torch.nonzero(rounded == size)[:, 0]
        for own in torch.split(alike, max(1, block_rows(features.size, features.block_entries) // size)):
            place = torch.arange(size, device=own.device).expand(len(own), size)
            inside = place < sizes[own, None]
            index = order[starts[own, None] + torch.where(inside, place, 0)]
            yield own, index, inside.to(torch.float64)


def _without(gram: Float[Tensor, "k m m"], right: Float[Tensor, "k m"]) -> Float[Tensor, "k m"]:
    """``(1 - gram)^-1 right``, with no eigenvalue of ``1 - gram`` taken for less than a thousandth."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    system = eye - gram
    tight = torch.linalg.cholesky_ex(system - 1e-3 * eye)[1] != 0
    safe = torch.where(tight[:, None, None], eye, system)
    found: Tensor = torch.cholesky_solve(right[..., None], torch.linalg.cholesky(safe))[..., 0]
    if bool(tight.any()):
        values, basis = torch.linalg.eigh(system[tight])
        turned = (right[tight][:, None] @ basis) / values.clamp_min(1e-3)[:, None]
        found[tight] = (turned @ basis.mT)[:, 0]
    return found


def left_out(
    fit: RidgeFit,
    features: RegressionFeatures,
    own: tuple[RegressionFeatures, Int[Tensor, "1 n"]],
    response: Float[Tensor, "1 N"],
    rows: Float[Tensor, "1 N"],
    clusters: Clusters,
) -> tuple[Float[Tensor, "1 N"], Float[Tensor, "1 N"]]:
    """Fitted values of a table's rows, and what the fit without each row's cluster predicts for it.

    Exact with the penalty and the landmarks held fixed.

    Parameters
    ----------
    fit : RidgeFit
    features : RowFeatures or ColumnFeatures
        Of all rows.
    own : tuple of features and Tensor of int, shape (1, n)
        Features and places of the rows of the fit.
    response, rows : Tensor, shape (1, N)
        Response and weights in the fit.
    clusters : Clusters
        Of all rows.
    """
    fitted = fit.predict(features)
    inside, places = own
    residuals = (response - fitted).gather(1, places)
    pulls = pulls_of_clusters(fit, inside, residuals, rows.gather(1, places), clusters.take(places))
    return fitted, fitted - pulls.on(features, clusters)


def mean_left_out(
    mean: Float[Tensor, " B"], response: Float[Tensor, "B N"], rows: Float[Tensor, "B N"], clusters: Clusters
) -> Float[Tensor, "B N"]:
    """Mean of the weighted rows that are not in each row's cluster, given that of all."""
    weights, count = sums_by_cluster(rows, clusters.codes), rows.sum(1, keepdim=True)
    moved = sums_by_cluster(rows * (response - mean[:, None]), clusters.codes)
    # As for single rows, no cluster is taken for quite the whole of the fit.
    lost = moved / (count - weights).clamp_min(1e-3 * count)
    return mean[:, None] - lost.gather(1, clusters.codes)
