"""Tables with what a search adds to them: what a pilot's smooth regressions leave is searched before a forward pass.

Letters: B tables, D covariates, S steps, T trials.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.clusters import Clusters, cluster_statistics, clustered_cross_validation
from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.mathematics.passes import gather_rows, places_of
from dowhy_cina.mathematics.ridge import generalised_cross_validation, gram_statistics
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.model.additions import Additions
from dowhy_cina.model.encoder import table_totals
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.spaces import scaled
from dowhy_cina.model.state import Part, Pilot, TableBatch, each_tensor
from dowhy_cina.model.steps import Steps, find_steps
from dowhy_cina.model.waves import Group, Waves, find_waves

#: Rows, and landmarks of the smooth regressions, that a search takes: what needs more to be seen is small.
SEARCHED_ROWS, SEARCHED_LANDMARKS = 4096, 128
#: Least scales of a covariate in kernels that are tried where waves are made of it.
TRIED_SCALES = (1.5, 3.0, 6.0)
#: By how much narrower kernels must predict better, in units of the generalised cross-validation's log likelihood.
LEAST_GAIN = 2.0


@dataclass(frozen=True)
class Searched:
    """Tables of a batch with additions of one shape.

    Attributes
    ----------
    places : list of int
        Where they are in the batch.
    table : TableBatch
        With its additions.
    pilot : Pilot, optional
        Where the search has told it.
    """

    places: list[int]
    table: TableBatch
    pilot: Pilot | None


@torch.no_grad()
def with_additions(model: CinaModel, table: TableBatch) -> list[Searched]:
    """Search the tables of a batch for steps and for waves, and put those with additions of one shape together."""
    part, result = _searched_part(table), []
    pilot = model.pilot(part)
    steps = _steps(part, pilot)
    for places in _alike([0 if one is None else one.count for one in steps]):
        own, known = _some(part, places), _some(pilot, places)
        chosen = _joined([steps[place] for place in places])
        if chosen is not None:
            own = own.with_added(Additions(chosen))
            known = model.pilot(own)
        waves = _waves(model, own, known)
        for some in _alike([None if one is None else one.shape for one in waves]):
            company, found = [places[place] for place in some], _joined([waves[place] for place in some])
            added = None if chosen is None and found is None else Additions(_some(chosen, some), found)
            extended = _some(table, company).with_added(added)
            result.append(Searched(company, extended, _some(known, some) if part is table else None))
    return result


def with_own_additions(model: CinaModel, table: TableBatch) -> tuple[TableBatch, Pilot | None]:
    """A batch of one table with its additions, and its pilot where the search has told it."""
    (found,) = with_additions(model, table)
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


def _alike(shapes: Sequence[Hashable]) -> list[list[int]]:
    """Places of tables by their shapes."""
    groups: dict[Hashable, list[int]] = {}
    for place, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(place)
    return list(groups.values())


def _some(batch: Part, places: list[int]) -> Part:
    """A structure of some of the tables; of all of them, itself."""
    return each_tensor([batch], lambda parts: parts[0] if len(parts[0]) == len(places) else parts[0][places])


def _joined(parts: Sequence[Part | None]) -> Part | None:
    """One structure of some of one shape; of None where that is what they are."""
    known = [part for part in parts if part is not None]
    return each_tensor(known, torch.cat) if known else None


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


def _waves(model: CinaModel, table: TableBatch, pilot: Pilot) -> list[Waves | None]:
    """Waves of each table of a batch, whose steps are known; None where there is none."""
    codes = None if table.clusters is None else table.clusters.take(table.pilot).codes
    count = table.covariates.shape[2] - (0 if table.added is None else table.added.shape[0])
    x = gather_rows(table.covariates[..., :count], table.pilot)
    shares, found = pilot.shares[:, :count, 1:].amax(2), []
    for place in range(len(x)):
        own = None if codes is None else codes[place]
        groups, waves = find_waves(x[place], pilot.residual[place], shares[place], own), None
        if groups:
            scales = _narrowed(model, _some(table, [place]), _some(pilot, [place]), groups)
            waves = replace(Waves.of(x[place : place + 1], groups), scales=scales[:, :count])
        found.append(waves)
    return found


def _narrowed(model: CinaModel, table: TableBatch, pilot: Pilot, groups: list[Group]) -> Float[Tensor, "1 K"]:
    """Least scales of one table's columns with which kernels predict outcomes better, from one group to the next."""
    x, t, y = (gather_rows(part, table.pilot) for part in (table.in_kernels, table.treatment, table.outcome))
    marks = gather_rows(table.in_kernels, table.landmarks)
    # By the pilot rows alone: all that is known of a table in partitions.
    clusters = None if table.clusters is None else table.clusters.take(table.pilot).alone()
    sizes = None if clusters is None else clusters.of_arms(t)
    settings = model.settings(table, pilot, table_totals(t, y, sizes))

    def losses(least: Float[Tensor, "T K"]) -> Float[Tensor, " T"]:
        """Minus twice the log likelihood of both arms' outcomes, as generalised cross-validation has it."""
        if clusters is not None and len(least) > 1:  # which go alone
            return torch.cat([losses(one[None]) for one in least])
        total = torch.zeros_like(least[:, 0])
        for arm, scales in enumerate(settings.outcome_scales):
            own = places_of(t if arm else 1 - t)
            tried = torch.maximum(scales, least)
            kernel = LandmarkKernel(scaled(marks, tried), settings.outcome_amplitudes.expand(len(least), -1))
            features = RowFeatures.build(kernel, scaled(gather_rows(x, own), tried))
            response = y.gather(1, own).expand(len(least), -1)
            total = total + _loss(features, response, None if clusters is None else clusters.take(own))
        return total

    least = torch.zeros_like(settings.treatment_scales)
    lowest = losses(least)[0]
    for group in groups:
        new = [column for column in group.columns if least[0, column] == 0]
        trials = least.repeat(len(TRIED_SCALES), 1)
        trials[:, new] = least.new_tensor(TRIED_SCALES)[:, None]
        found = losses(trials) if new else lowest[None]
        if lowest - found.min() > 2 * LEAST_GAIN:
            least, lowest = trials[found.argmin()][None], found.min()
    return least


def _loss(features: RowFeatures, response: Float[Tensor, "T n"], clusters: Clusters | None) -> Float[Tensor, " T"]:
    """Minus twice the log likelihood of an arm's outcomes."""
    if clusters is None:
        statistics = gram_statistics(features, response, torch.ones_like(response))
        return statistics.count * generalised_cross_validation(statistics).score.log()
    held = cluster_statistics(features, response, torch.full_like(response, clusters.share), clusters)
    return held.rows.count * clustered_cross_validation(held).score.log()
