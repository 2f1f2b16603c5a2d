"""Target populations: whose average effect is wanted.

Letters: B tables, N rows, n target rows, D covariates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.errors import InputError
from dowhy_cina.model.state import TableBatch, ZeroShot

#: Populations made of whole arms: whether the controls and the treated belong to them.
ARMS_OF = {"ate": (1.0, 1.0), "att": (0.0, 1.0), "atc": (1.0, 0.0)}
#: All populations with a name.
NAMED = (*ARMS_OF, "overlap")


@dataclass(frozen=True)
class Target:
    """A target population of every table of a batch.

    Attributes
    ----------
    name : str
        One of :data:`NAMED`, or "rows".
    weights : Tensor, shape (B, N)
        Weight of each of the table's rows, summing to one; zero throughout for a population of other rows.
    foreign : Tensor of shape (B, n, D), optional
        Standardised covariates of rows that are not in the table, each counting the same.
    """

    name: str
    weights: Float[Tensor, "B N"]
    foreign: Float[Tensor, "B n D"] | None = None

    @classmethod
    def named(cls, name: str, table: TableBatch, state: ZeroShot) -> Target:
        """Population of one of :data:`NAMED`; the overlap population weighs rows by ``e (1 - e)``.

        Raises
        ------
        InputError
            If no row of a table could have got either treatment, and the overlap population is asked for.
        """
        if name != "overlap":
            control, treated = ARMS_OF[name]
            return cls.rows(torch.where(table.treatment > 0, treated, control), table, name)
        propensity = state.propensity.clamp(0, 1)
        members = propensity * (1 - propensity)
        if not bool(((members * table.rows).sum(1) > 0).all()):
            raise InputError(
                "target_units='overlap': no row could have got either treatment; the arms have no common population."
            )
        return cls.rows(members, table, name)

    @classmethod
    def rows(cls, members: Float[Tensor, "B N"], table: TableBatch, name: str = "rows") -> Target:
        """Population of the table's own rows, in proportion to their membership and sampling weights."""
        weights = members * table.rows
        # Summed by numpy: in pairs, and to the same last bit on every device and with any number of threads.
        total = torch.from_numpy(weights.cpu().numpy().sum(1, keepdims=True)).to(weights.device)
        return cls(name, weights / total)

    @classmethod
    def counted(cls, members: Float[Tensor, "B N"], name: str = "rows") -> Target:
        """Population of the table's own rows, each of which counts as often as it is a member."""
        return cls(name, members / members.sum(1, keepdim=True))

    @classmethod
    def elsewhere(cls, covariates: Float[Tensor, "B n D"], table: TableBatch) -> Target:
        """Population of other rows."""
        return cls("rows", torch.zeros_like(table.outcome), covariates)


def arm_shares(name: str, counts: tuple[float, float]) -> tuple[float, float]:
    """Weight in a population of whole arms of each row of the control and of the treated arm, of these sizes."""
    members = ARMS_OF[name]
    total = members[0] * counts[0] + members[1] * counts[1]
    return members[0] / total, members[1] / total
