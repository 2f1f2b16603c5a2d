"""Tables with what a search adds to them: what a pilot's smooth regressions leave is searched before a forward pass.

Letters: B tables, D covariates, S steps, T trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.balancing import Rows
from dowhy_cina.mathematics.clusters import Clusters, cluster_statistics, clustered_cross_validation
from dowhy_cina.mathematics.design_effects import apart_from_clusters
from dowhy_cina.mathematics.kernels import LandmarkKernel, scaled_keys, within_reach
from dowhy_cina.mathematics.passes import gather_rows, places_of, sum_blocks
from dowhy_cina.mathematics.ridge import generalised_cross_validation, gram_statistics
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.model.encoder import table_totals
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import Part, Pilot, TableBatch, each_tensor
from dowhy_cina.searches.added import Additions, Scales
from dowhy_cina.searches.differences import find_differences
from dowhy_cina.searches.index import index_of_treatment
from dowhy_cina.searches.label_search import find_labels
from dowhy_cina.searches.labels import Labels
from dowhy_cina.searches.steps import find_steps
from dowhy_cina.searches.wave_search import find_waves
from dowhy_cina.searches.waves import Waves

#: Rows, and landmarks of the smooth regressions, that a search takes: what needs more to be seen is small.
SEARCHED_ROWS, SEARCHED_LANDMARKS = 4096, 128
#: Distances of two rows in the waves of a group that are tried, in widths of the unit head: bounded, unlike those in
#: covariates, so that the wide head still goes on where there are no rows.
TRIED_DISTANCES = (1.0, 2.0, 3.0)
#: Share of the squared error by which kernels that see a group of waves must predict better: they learn less of
#: everything else.
LEAST_GAIN = 0.05
#: Steps along an index, at most: more are a curve.
MOST_CUTOFFS = 2


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
def with_additions(
    model: CinaModel, table: TableBatch, labels: Sequence[Labels | None] | None = None
) -> list[Searched]:
    """Search the tables of a batch for what is added; those with additions of one shape come together.

    Each search is told what the ones before it have found. Differences and steps are kept where outcome regressions
    predict better with them. ``labels`` are given for tables of which the pilot rows alone are here.
    """
    part, found, count = _searched_part(table), list[Searched](), len(table.covariates)
    labels = find_labels(table.covariates, table.treatment, table.cluster) if labels is None else labels
    first = [None if one is None else Additions(one) for one in labels]
    for places in _alike([None if one is None else one.shape for one in first]):
        labelled = _some(part, places, count).with_added(_joined([first[place] for place in places]))
        found.append(Searched(places, labelled, model.pilot(labelled)))
    for search in (_differences, _steps, _steps_of_index):
        found = [kept for own in found for kept in _with_found(model, part, own, search)]
    result = []
    for own in found:
        assert own.pilot is not None
        waves = _waves(model, own.table, own.pilot)
        for some in _alike([None if one is None else one.shape for one in waves]):
            company, joined = [own.places[place] for place in some], _joined([waves[place] for place in some])
            added = _some(own.table.added, some, len(own.places))
            if joined is not None:
                added = replace(added or Additions(), waves=joined)
            extended = _some(table, company, count).with_added(added)
            pilot = _some(own.pilot, some, len(own.places)) if part is table else None
            result.append(Searched(company, extended, pilot))
    return result


def with_own_additions(
    model: CinaModel, table: TableBatch, labels: Sequence[Labels | None] | None = None
) -> tuple[TableBatch, Pilot | None]:
    """A batch of one table with its additions, and its pilot where the search has told it."""
    (found,) = with_additions(model, table, labels)
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


def _some(batch: Part, places: list[int], count: int) -> Part:
    """A structure of some of so many tables; of all of them, itself."""
    return batch if len(places) == count else each_tensor([batch], lambda parts: parts[0][places])


def _added(table: TableBatch, place: int) -> Additions:
    """What one table of a batch has already."""
    return _some(table.added, [place], len(table.covariates)) or Additions()


def _joined(parts: Sequence[Part | None]) -> Part | None:
    """One structure of some of one shape; of None where that is what they are."""
    known = [part for part in parts if part is not None]
    if len(known) < 2:
        return known[0] if known else None
    return each_tensor(known, torch.cat)


class _Rows(NamedTuple):
    """Pilot rows of a table as searches look at them.

    Attributes
    ----------
    covariates : Tensor, shape (P, D)
    residual : Tensor, shape (P,)
        What the pilot leaves of outcomes; in clusters without what their rows have in common, which would drown what
        goes up and down inside them.
    gradient_shares : Tensor, shape (D,)
    cluster : Tensor of int, shape (P,), optional
        Codes without gaps.
    """

    covariates: Float[Tensor, "P D"]
    residual: Float[Tensor, " P"]
    gradient_shares: Float[Tensor, " D"]
    cluster: Int[Tensor, " P"] | None

    @property
    def arrays(self) -> tuple[Array, Array, Array, npt.NDArray[np.int64] | None]:
        """The same as arrays of numpy."""
        x, residual, shares = (part.cpu().numpy() for part in self[:3])
        return x, residual, shares, None if self.cluster is None else self.cluster.cpu().numpy()


def _rows_of(table: TableBatch, pilot: Pilot, count: int) -> Iterator[_Rows]:
    """Pilot rows of each table with its first columns."""
    x, shares = table.at_pilot(table.covariates[..., :count]), pilot.shares[:, :count, 1:].amax(2)
    clusters = None if table.clusters is None else table.clusters.take(table.pilot).codes
    for place, residual in enumerate(pilot.residual):
        codes = None
        if clusters is not None:
            own = np.unique(clusters[place].cpu().numpy(), return_inverse=True)[1]
            left = residual - residual.mean()
            residual = torch.from_numpy(apart_from_clusters(left.cpu().numpy(), own)).to(residual)
            codes = torch.from_numpy(own).to(x.device)
        yield _Rows(x[place], residual, shares[place], codes)


def _differences(table: TableBatch, pilot: Pilot) -> list[Additions | None]:
    """Differences of each table of a batch, beside the columns of its labels; None where there is none."""
    labels = None if table.added is None else table.added.labels
    count = table.covariates.shape[2] - (0 if labels is None else labels.count)
    found = list[Additions | None]()
    for place, rows in enumerate(_rows_of(table, pilot, count)):
        one = find_differences(*rows)
        found.append(None if one is None else replace(_added(table, place), differences=one))
    return found


def _steps(table: TableBatch, pilot: Pilot) -> list[Additions | None]:
    """Steps of each table of a batch, beside its other additions; None where there is none."""
    treatment = table.at_pilot(table.treatment).cpu().numpy()
    found = list[Additions | None]()
    for place, rows in enumerate(_rows_of(table, pilot, table.covariates.shape[2])):
        x, residual, shares, own = rows.arrays
        steps = find_steps(x, treatment[place], residual, shares, _smoother(pilot, place), own)
        if steps is None:
            found.append(None)
            continue
        steps = each_tensor([steps], lambda parts: parts[0].to(table.covariates.device))
        found.append(replace(_added(table, place), steps=steps))
    return found


def _steps_of_index(table: TableBatch, pilot: Pilot) -> list[Additions | None]:
    """An index of each table with a step along it, beside its other additions; None where there is none."""
    treatment = table.at_pilot(table.treatment).cpu().numpy()
    before = (table.added or Additions()).shape
    last = table.covariates.shape[2] - before[3]
    found = list[Additions | None]()
    for place, rows in enumerate(_rows_of(table, pilot, last)):
        found.append(None)
        x, residual, shares, own = rows.arrays
        index = index_of_treatment(x[:, : last - sum(before[:3])], treatment[place], own)
        if index is None:
            continue
        column, told = index.columns_of(torch.from_numpy(x)[None])[0].numpy(), (treatment[place], residual)
        # By itself at first, which takes little time, then beside what each covariate says.
        if find_steps(column, *told, np.ones(1), _smoother(pilot, place), own) is None:
            continue
        shares = np.append(shares, shares.max() + 1)
        steps = find_steps(np.column_stack([x, column]), *told, shares, _smoother(pilot, place), own)
        if steps is not None and 1 <= int((steps.columns == last).any(2).sum()) <= MOST_CUTOFFS:
            index, steps = each_tensor([(index, steps)], lambda parts: parts[0].to(table.covariates.device))
            known = _added(table, place)
            steps = steps if known.steps is None else known.steps.joined(steps)
            found[-1] = replace(known, index=index, steps=steps)
    return found


def _with_found(
    model: CinaModel,
    plain: TableBatch,
    tables: Searched,
    search: Callable[[TableBatch, Pilot], list[Additions | None]],
) -> Iterator[Searched]:
    """Tables of a batch with what a search finds, where outcome regressions predict better with it; of one shape each.

    ``plain`` are all tables without additions.
    """
    assert tables.pilot is not None
    found, count = search(tables.table, tables.pilot), len(tables.places)
    for places in _alike([None if one is None else one.shape for one in found]):
        own, known = _some(tables.table, places, count), _some(tables.pilot, places, count)
        company, chosen = [tables.places[place] for place in places], _joined([found[place] for place in places])
        if chosen is None:
            yield Searched(company, own, known)
            continue
        extended = _some(plain, company, len(plain.covariates)).with_added(chosen)
        seen = model.pilot(extended)
        better = _outcome_loss(model, extended, seen) < _outcome_loss(model, own, known)
        for kept, with_it, pilot in ((True, extended, seen), (False, own, known)):
            some = (better == kept).nonzero()[:, 0].tolist()
            if some:
                chosen_ones = _some(with_it, some, len(places)), _some(pilot, some, len(places))
                yield Searched([company[one] for one in some], *chosen_ones)


def _outcome_loss(model: CinaModel, table: TableBatch, pilot: Pilot) -> Float[Tensor, " B"]:
    """Logarithm of pilot rows' squared errors by generalised cross-validation of outcome kernels, times the rows."""
    x, t, y = (table.at_pilot(part) for part in (table.covariates, table.treatment, table.outcome))
    marks = gather_rows(table.covariates, table.landmarks)
    clusters = None if table.clusters is None else table.clusters.take(table.pilot).alone()
    settings = model.settings(table, pilot, table_totals(t, y, None if clusters is None else clusters.of_arms(t)))
    parts = [(settings.outcome_scales[0], 1 - t), (settings.outcome_scales[1], t)]
    if table.arms_are_alike:
        parts = [(torch.cat(settings.outcome_scales), torch.cat([1 - t, t]))]
    losses = []
    for scales, rows in parts:
        own, times = places_of(rows), len(rows) // len(x)
        amplitudes = settings.outcome_amplitudes.repeat(times, 1)
        kernel = LandmarkKernel(scaled_keys(marks.repeat(times, 1, 1), scales), amplitudes)
        features = RowFeatures.build(kernel, scaled_keys(gather_rows(x, own), scales))
        loss = _loss(features, gather_rows(y, own), rows.gather(1, own), clusters and clusters.take(own))
        losses.append(loss.view(times, -1).sum(0))
    return sum_blocks(losses)


def _loss(features: RowFeatures, response: Rows, rows: Rows, clusters: Clusters | None) -> Float[Tensor, " B"]:
    """Logarithm of the squared error of a response by generalised cross-validation, times the rows."""
    if clusters is None:
        statistics = gram_statistics(features, response, rows)
        return statistics.count * generalised_cross_validation(statistics).score.log()
    held = cluster_statistics(features, response, clusters.share * rows, clusters)
    return held.rows.count * clustered_cross_validation(held).score.log()


def _smoother(pilot: Pilot, place: int) -> Callable[[Array], Array]:
    """What the pilot of one table makes of values (P,) of its rows."""

    def smoothed(values: Array) -> Array:
        smoother = _some(pilot.smoother, [place], len(pilot.residual))
        assert smoother is not None
        return np.asarray(smoother.smoothed(torch.from_numpy(values).to(smoother.features)[None])[0].cpu())

    return smoothed


def _waves(model: CinaModel, table: TableBatch, pilot: Pilot) -> list[Waves | None]:
    """Waves of each table of a batch, of its columns before the steps; None where there is none."""
    steps = None if table.added is None else table.added.steps
    columns = table.covariates.shape[2] - (0 if steps is None else steps.count)
    found, count = list[Waves | None](), len(pilot.residual)
    for place, rows in enumerate(_rows_of(table, pilot, columns)):
        groups, waves = find_waves(*rows), None
        if groups:
            waves = Waves.of(rows.covariates[None], groups)
            waves = _with_scales(model, _some(table, [place], count), _some(pilot, [place], count), waves)
        found.append(waves)
    return found


def _with_scales(model: CinaModel, table: TableBatch, pilot: Pilot, waves: Waves) -> Waves:
    """Waves of one table with scales with which kernels of outcomes and those of the treatment predict these better.

    By the pilot rows alone, which are all that is known of a table in partitions.
    """
    x, t, y = (table.at_pilot(part) for part in (table.covariates, table.treatment, table.outcome))
    marks = gather_rows(table.covariates, table.landmarks)
    x, marks = (torch.cat([within_reach(part), waves.columns_of(part)], 2) for part in (x, marks))
    clusters = None if table.clusters is None else table.clusters.take(table.pilot).alone()
    settings = model.settings(table, pilot, table_totals(t, y, None if clusters is None else clusters.of_arms(t)))

    def loss(tried: Scales, scales: Scales, amplitudes: Tensor, rows: Rows, response: Rows) -> Float[Tensor, " T"]:
        """Logarithm of rows' squared errors by generalised cross-validation, times the rows, of each trial."""
        own, whole = places_of(rows), torch.cat([scales.expand(len(tried), -1), tried], 1)
        kernel = LandmarkKernel(marks * whole[:, None], amplitudes.expand(len(tried), -1))
        features = RowFeatures.build(kernel, gather_rows(x, own) * whole[:, None])
        responses = response.gather(1, own).expand(len(tried), -1)
        return _loss(features, responses, torch.ones_like(responses), clusters and clusters.take(own))

    def of_treatment(tried: Scales) -> Float[Tensor, " T"]:
        return loss(tried, settings.treatment_scales, settings.treatment_amplitudes, torch.ones_like(t), t)

    def of_outcomes(tried: Scales) -> Float[Tensor, " T"]:
        scales, amplitudes = settings.outcome_scales, settings.outcome_amplitudes
        return loss(tried, scales[0], amplitudes, 1 - t, y) + loss(tried, scales[1], amplitudes, t, y)

    alone, least = clusters is not None, -math.log(1 - LEAST_GAIN) * t.shape[1]
    least = least if clusters is None else clusters.share * least
    treatment, outcome = (_best_scales(waves, function, least, alone) for function in (of_treatment, of_outcomes))
    return replace(waves, treatment_scales=treatment, outcome_scales=outcome)


def _best_scales(waves: Waves, loss: Callable[[Scales], Float[Tensor, " T"]], least: float, alone: bool) -> Scales:
    """Scales (1, W) of the waves, from one group to the next, given what each must gain.

    ``alone`` if there can be one trial at a time.
    """
    found = torch.zeros_like(waves.outcome_scales)
    lowest = loss(found)[0]
    for group in waves.members:
        trials = found.repeat(len(TRIED_DISTANCES), 1)
        trials[:, group] = (found.new_tensor(TRIED_DISTANCES) / math.sqrt(2 * len(group)))[:, None]
        losses = torch.cat([loss(trial[None]) for trial in trials]) if alone else loss(trials)
        if lowest - losses.min() > least:
            found, lowest = trials[losses.argmin()][None], losses.min()
    return found
