"""Tables with their steps: what a pilot's smooth regressions leave is searched before a forward pass.

Letters: B tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from dowhy_cina.mathematics.passes import gather_rows
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import Part, Pilot, TableBatch, each_tensor
from dowhy_cina.model.steps import Steps, find_steps

#: Rows, and landmarks of the smooth regressions, that a search takes: what needs more to be seen is small.
SEARCHED_ROWS, SEARCHED_LANDMARKS = 4096, 128


@dataclass(frozen=True)
class Searched:
    """Tables of a batch that have as many steps.

    Attributes
    ----------
    places : list of int
        Where they are in the batch.
    table : TableBatch
        With their steps.
    pilot : Pilot, optional
        Where the search has told it.
    """

    places: list[int]
    table: TableBatch
    pilot: Pilot | None


@torch.no_grad()
def with_steps(model: CinaModel, table: TableBatch) -> list[Searched]:
    """Search the tables of a batch for steps, and put those with as many together."""
    part = _searched_part(table)
    pilot = model.pilot(part)
    found, known = _steps(part, pilot), pilot if part is table else None
    groups: dict[int, list[int]] = {}
    for place, steps in enumerate(found):
        groups.setdefault(0 if steps is None else steps.count, []).append(place)
    result = []
    for places in groups.values():
        own = (table, known) if len(groups) == 1 else _some((table, known), places)
        chosen = [steps for place in places if (steps := found[place]) is not None]
        if chosen:
            own = own[0].with_steps(each_tensor(chosen, torch.cat)), None
        result.append(Searched(places, *own))
    return result


def _some(batch: Part, places: list[int]) -> Part:
    """A structure of some of the tables."""
    return each_tensor([batch], lambda parts: parts[0][places])


def with_own_steps(model: CinaModel, table: TableBatch) -> tuple[TableBatch, Pilot | None]:
    """A batch of one table with its steps, and its pilot where the search has told it."""
    (found,) = with_steps(model, table)
    return found.table, found.pilot


def _searched_part(table: TableBatch) -> TableBatch:
    """Tables with the pilot rows and the landmarks that a search takes; all of few."""
    if table.pilot.shape[1] <= SEARCHED_ROWS and table.landmarks.shape[1] <= SEARCHED_LANDMARKS:
        return table
    pilot, landmarks = _spread(table.pilot, SEARCHED_ROWS), _spread(table.landmarks, SEARCHED_LANDMARKS)
    return replace(table, pilot=pilot, landmarks=landmarks)


def _spread(rows: Int[Tensor, "B n"], most: int) -> Int[Tensor, "B n"]:
    """So many of some rows at most, evenly spread over them."""
    count = rows.shape[1]
    return rows if count <= most else rows[:, torch.arange(most, device=rows.device) * count // most]


def _steps(table: TableBatch, pilot: Pilot) -> list[Steps | None]:
    """Steps of each table of a batch; None where there is none."""
    x, t = (gather_rows(part, table.pilot).cpu().numpy() for part in (table.covariates, table.treatment))
    residual, shares = pilot.residual.cpu().numpy(), pilot.shares[..., 1:].amax(2).cpu().numpy()
    codes = None if table.clusters is None else table.clusters.take(table.pilot).codes.cpu().numpy()
    found = []
    for place in range(len(x)):
        own = None if codes is None else np.unique(codes[place], return_inverse=True)[1]
        steps = find_steps(x[place], t[place], residual[place], shares[place], own)
        found.append(steps and each_tensor([steps], lambda parts: parts[0].to(table.covariates.device)))
    return found
