"""Differences of two covariates that nearly agree: a measurement before and after, or two on much the same scale.

Wide kernels take rows with nearly the same covariates for alike, and do not see what outcomes do along a difference
that is a tenth of either covariate. So the pilot's residuals are searched along the differences of correlated pairs,
and those that outcomes go with beyond doubt become columns of the table, like covariates of their own: steps and waves
are then looked for along them, too. The treatment has no say in the search.

Letters: B tables, P pilot rows, n of any rows, D covariates, K differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.design_effects import independent_share
from dowhy_cina.searches.steps import ALIKE
from dowhy_cina.searches.wave_search import (
    FALSE_ALARMS,
    LEAST_INTERVALS,
    ROWS_OF_A_WAVE,
    cosines,
    least_squares,
    score_test,
)
from dowhy_cina.searches.waves import knots_of, ranks_of

#: Correlation from which two covariates nearly agree, most covariates that are looked at, those first along which the
#: pilot's regressions change most, most pairs of them, the closest first, and most differences that are taken.
LEAST_CORRELATION, MOST_COLUMNS, MOST_PAIRS, MOST_DIFFERENCES = 0.8, 300, 60, 4
#: Half waves of the groups that are looked for along a difference: all up to one of these.
ORDERS = (2, 4)


@dataclass(frozen=True)
class Differences:
    """Differences as columns: the first covariate less the second one, or plus it, standardised on the pilot rows.

    Attributes
    ----------
    columns : Tensor of int, shape (B, K, 2)
        Covariates.
    signs : Tensor, shape (B, K)
        1 where the second one is subtracted, -1 where it is added.
    centre, unit : Tensor, shape (B, K)
        Subtracted, and divided by.
    """

    columns: Int[Tensor, "B K 2"]
    signs: Float[Tensor, "B K"]
    centre: Float[Tensor, "B K"]
    unit: Float[Tensor, "B K"]

    @property
    def count(self) -> int:
        """Number K of differences."""
        return self.columns.shape[1]

    def columns_of(self, covariates: Float[Tensor, "B n D"]) -> Float[Tensor, "B n K"]:
        """Differences of rows."""
        rows = covariates.shape[1]
        first, second = (covariates.gather(2, self.columns[:, None, :, side].expand(-1, rows, -1)) for side in (0, 1))
        return (first - self.signs[:, None] * second - self.centre[:, None]) / self.unit[:, None]

    def reordered(self, places: Int[Tensor, " D"]) -> Differences:
        """The same where each covariate is in another place."""
        return replace(self, columns=places[self.columns])


def find_differences(
    covariates: Float[Tensor, "P D"],
    residual: Float[Tensor, " P"],
    gradient_shares: Float[Tensor, " D"],
    cluster: Int[Tensor, " P"] | None = None,
) -> Differences | None:
    """Look for differences that outcomes go with in what smooth regressions leave of them.

    Parameters
    ----------
    covariates : Tensor, shape (P, D)
        Standardised.
    residual : Tensor, shape (P,)
        What the regression of the row's arm leaves of its outcome.
    gradient_shares : Tensor, shape (D,)
        How much the regressions change along each covariate.
    cluster : Tensor of int, shape (P,), optional
        Codes of clusters.

    Returns
    -------
    Differences of one table, or None
        The clearest first; each has a covariate that none before it has.
    """
    leading = gradient_shares.argsort(descending=True, stable=True)[:MOST_COLUMNS].sort().values
    pairs = _close_pairs(covariates, leading)
    if not pairs:
        return None
    critical = NormalDist().inv_cdf(1 - FALSE_ALARMS / (len(pairs) * len(ORDERS)))
    residual = residual - residual.mean()
    share = independent_share(residual.cpu().numpy(), None if cluster is None else cluster.cpu().numpy())
    first, second, sign = (residual.new_tensor(part) for part in zip(*pairs, strict=True))
    values = covariates[:, first.long()].T - sign[:, None] * covariates[:, second.long()].T
    knots = knots_of(values.T)
    waves = cosines(ranks_of(values, knots), max(ORDERS))
    squares = (waves @ residual).square() / (waves.square() @ residual.square())
    usable = (knots.diff(dim=1) > ALIKE).sum(1) >= LEAST_INTERVALS
    found: dict[int, float] = {}
    for order in ORDERS:
        if order <= share * len(residual) / ROWS_OF_A_WAVE:
            # Rows of a cluster may say the same: what they say together is counted once, and closely below.
            screened = share * squares[:, :order].sum(1) > least_squares(critical, order)
            for place in (screened & usable).nonzero()[:, 0].tolist():
                score = score_test(waves[place, :order], residual, cluster)
                if score > critical:
                    found[place] = max(score, found.get(place, score))
    return _taken(covariates, [pairs[place] for place in sorted(found, key=lambda place: (-found[place], place))])


def _close_pairs(covariates: Float[Tensor, "P D"], places: Int[Tensor, " C"]) -> list[tuple[int, int, float]]:
    """Pairs of some covariates that nearly agree, the closest first, and whether they do so with the same sign."""
    centred = covariates[:, places] - covariates[:, places].mean(0)
    length = torch.linalg.vector_norm(centred, dim=0)
    correlations = centred.T @ centred / (length[:, None] * length).clamp_min(torch.finfo(length.dtype).tiny)
    first, second = torch.triu_indices(len(length), len(length), 1, device=length.device)
    signed = correlations[first, second]
    order = (-signed.abs()).argsort(stable=True)[: int((signed.abs() >= LEAST_CORRELATION).sum())][:MOST_PAIRS]
    parts = places[first[order]], places[second[order]], signed[order].sign()
    return list(zip(*(part.tolist() for part in parts), strict=True))


def _taken(covariates: Float[Tensor, "P D"], found: Sequence[tuple[int, int, float]]) -> Differences | None:
    """Differences of the first pairs that have a covariate that none before them has; None without any."""
    used: set[int] = set()
    kept: list[tuple[int, int, float]] = []
    for first, second, sign in found:
        if len(kept) < MOST_DIFFERENCES and not {first, second} <= used:
            used |= {first, second}
            kept.append((first, second, sign))
    if not kept:
        return None
    columns = torch.tensor([[pair[:2] for pair in kept]], device=covariates.device)
    signs = covariates.new_tensor([[pair[2] for pair in kept]])
    plain = Differences(columns, signs, torch.zeros_like(signs), torch.ones_like(signs))
    values = plain.columns_of(covariates[None])
    return replace(plain, centre=values.mean(1), unit=values.std(1, unbiased=False))
