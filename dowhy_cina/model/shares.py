"""Shares of a regression's members, as far as left-out rows bear them out, see :mod:`dowhy_cina.model.fitting`.

Letters: B tables, N rows of a table.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dowhy_cina.mathematics.balancing import Rows, Tables
from dowhy_cina.model.agreement import Agreement

#: Least chance of either arm that a row is taken to have where it stands for rows of the other.
LEAST_CHANCE = 0.02


def member_shares(
    outcome: Rows,
    mean: Float[Tensor, "B 1"],
    clean: list[Rows],
    weights: tuple[Rows, Rows],
    used: list[Bool[Tensor, " B"]],
    cluster: Int[Tensor, "B N"] | None = None,
) -> list[Tables]:
    """Share of each member's departure from the arm's mean, given predictions of the arm's rows by the others.

    ``weights`` are those of the arm's rows, and those with which they stand for the other arm's; ``used`` says which
    tables have each of the logarithms.
    """
    found, shares = clean[0], [torch.ones_like(mean[:, 0])]
    for place, other in enumerate(clean[1:]):
        share = borne_out(outcome - found, other - found, weights, cluster)
        shares = with_share(shares, share * used[place - 1] if place else share)
        found = found + shares[-1][:, None] * (other - found)
    trust = Agreement.of(outcome - mean, found - mean, weights[0], cluster).trust
    return [trust * share for share in shares]


def borne_out(
    wanted: Rows, offered: Rows, weights: tuple[Rows, Rows], cluster: Int[Tensor, "B N"] | None = None
) -> Tables:
    """Share of what is offered that the arm's rows bear out, as they are and as they stand for the other arm's."""
    wanted, offered = wanted.repeat(2, 1), offered.repeat(2, 1)
    codes = None if cluster is None else cluster.repeat(2, 1)
    return torch.minimum(*Agreement.of(wanted, offered, torch.cat(weights), codes).trust.chunk(2))


def likeness(arm: Rows, propensity: Rows, treated: int) -> Rows:
    """Weights with which an arm's rows stand for the other arm's: sampling weights times the odds of being there.

    Propensities are kept :data:`LEAST_CHANCE` away from 0 and 1.
    """
    chance = propensity.clamp(LEAST_CHANCE, 1 - LEAST_CHANCE)
    return arm * ((1 - chance) / chance if treated else chance / (1 - chance))


def with_share(shares: list[Tables], share: Tables) -> list[Tables]:
    """Shares of members, of which another one takes a share."""
    return [*(own * (1 - share) for own in shares), share]
