"""Many encoded tables at once: those of one shape go through the model in one forward pass.

Letters: B tables, N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError
from dowhy_cina.estimating.pipeline import Estimation
from dowhy_cina.estimating.targets import Target
from dowhy_cina.estimating.weighting import Balancing
from dowhy_cina.mathematics.devices import resolve_device, threads_for
from dowhy_cina.model.checkpoint import load_model
from dowhy_cina.model.search import Searched, with_additions, with_own_additions
from dowhy_cina.model.state import Settings, TableBatch, ZeroShot, each_tensor, one_table
from dowhy_cina.tables.matching import name_of
from dowhy_cina.tables.preparation import CanonicalTable, PreparedTable, table_batch

Array = npt.NDArray[np.float64]

#: Entries of the features of a batch: eight tables of 1,000 rows. A pass of them takes as long as eight passes, but two
#: threads wait less for the interpreter between its operations.
BATCH_ENTRIES = 2**20
#: Most rows of whole tables that go through the model together.
CHUNK_ROWS = 4096


@dataclass(frozen=True)
class EncodedTable:
    """A table as :class:`dowhy_cina.tables.Preprocessor` encodes it.

    Attributes
    ----------
    covariates : ndarray, shape (N, D)
        Standardised columns.
    treatment : ndarray, shape (N,)
        0 or 1, both present.
    outcome : ndarray, shape (N,)
        Finite, in its own unit.
    target : {"ate", "att", "atc", "overlap"} or boolean ndarray of shape (N,)
        Population whose average effect is wanted.
    names : tuple of str
        The preprocessor's names of the columns, for settings that are held.
    """

    covariates: Array
    treatment: Array
    outcome: Array
    target: str | npt.NDArray[np.bool_] = "ate"
    names: tuple[str, ...] = ()

    @property
    def population(self) -> str:
        """Name of the target; "rows" for a mask that has none."""
        return self.target if isinstance(self.target, str) else name_of(self.target, self.treatment)


@dataclass(frozen=True)
class HeldSettings:
    """What was found of one table, by the names of its columns, for refits of its rows.

    Scales, thresholds and where a column points are those of the standardised columns, and other rows are standardised
    otherwise.

    Attributes
    ----------
    names : tuple of str
        Columns of the table.
    covariates : ndarray, shape (N, D)
        Those of the table.
    settings : Settings
        Predicted by the network for them and, after them, for the steps; those of the waves come last.
    added : Additions, optional
        To the table.
    """

    names: tuple[str, ...]
    covariates: Array
    settings: Settings
    added: Additions | None

    @classmethod
    @torch.inference_mode()
    def of(cls, table: EncodedTable, options: EstimatorOptions) -> HeldSettings:
        """Predict the settings of a table."""
        device = resolve_device(options.device)
        model = load_model(options.checkpoint, device)
        rows = CanonicalTable.of(table.covariates, table.treatment, table.outcome)
        batch = table_batch([rows], options.landmarks_for(*rows.arms), device)
        batch, pilot = with_own_additions(model, batch)
        return cls(table.names, table.covariates, model.settings(batch, pilot or model.pilot(batch)), batch.added)

    def fits(self, table: EncodedTable) -> bool:
        """Whether a table has the same rows of the same columns, these in any order."""
        if not table.names or sorted(table.names) != sorted(self.names):
            return False
        own = self.covariates
        if table.covariates is own and table.names == self.names:
            return True
        return np.array_equal(table.covariates, own[:, [*map(self.names.index, table.names)]])

    def stacked(self, tables: Sequence[EncodedTable]) -> tuple[Settings, Additions | None]:
        """Settings and additions for each of some tables with the same columns, in the order that each has them in."""
        after = [*range(len(self.names), self.settings.treatment_scales.shape[1])]
        settings = [self.settings.take([*map(self.names.index, table.names), *after]) for table in tables]
        if self.added is None:
            return Settings.joined(settings), None
        places = [torch.tensor([*map(table.names.index, self.names)], device="cpu") for table in tables]
        device = self.settings.treatment_scales.device
        added = [self.added.reordered(own.to(device)) for own in places]
        return Settings.joined(settings), each_tensor(added, torch.cat)


@torch.inference_mode()
def values_encoded(
    tables: Sequence[EncodedTable],
    options: EstimatorOptions,
    held: HeldSettings | None = None,
    most_landmarks: int | None = None,
) -> list[float]:
    """Effects of many tables in the outcome's unit; one by one :class:`~dowhy_cina.calls.analysis.Analysis` gives them.

    Parameters
    ----------
    tables : sequence of EncodedTable
        Of any shapes.
    options : EstimatorOptions
        For a checkpoint that is not "exact".
    held : HeldSettings, optional
        Settings of the table that these are refits of. Those with the same covariates use them, and save the
        prediction; a refit with other columns (one more, or one that became constant) or other rows is predicted anew.
    most_landmarks : int, optional
        Bound on the landmarks that the options ask for.

    Returns
    -------
    list of float
        In the order of the tables.

    Raises
    ------
    InputError
        For ``checkpoint="exact"``, whose solver takes one table at a time.
    """
    if options.checkpoint == "exact":
        raise InputError("expected a pretrained checkpoint for a batch of tables, got 'exact': solve them one by one.")
    device = resolve_device(options.device)
    model, alone = load_model(options.checkpoint, device), options.augmentation == "none"
    results: dict[int, float] = {}
    for places, rows, like, landmarks in _passes(tables, options, held, most_landmarks):
        whole = table_batch(rows, landmarks, device)
        with threads_for(len(rows[0].treatment)):
            if like is None:
                settings, parts = None, with_additions(model, whole)
            else:
                settings, parts = like[0], [Searched(list(range(len(rows))), whole.with_added(like[1]), None)]
            for found in parts:
                batch, own = found.table, [rows[number] for number in found.places]
                state = model(batch, settings, found.pilot)
                target = _target([tables[places[number]] for number in found.places], own, batch, state)
                effect = Estimation(model, batch, state, target, Balancing(options.refine), alone).effect
                scaled = effect.value.cpu().numpy() * np.array([row.scale for row in own])
                results.update(zip([places[number] for number in found.places], scaled.tolist(), strict=True))
    return [results[place] for place in range(len(tables))]


@torch.inference_mode()
def forward_together(tables: Sequence[PreparedTable]) -> list[tuple[list[int], TableBatch, ZeroShot]]:
    """Forward passes of several tables: places of those in each, the batch that they are in it, what it finds.

    Those with additions of one shape are together.

    Parameters
    ----------
    tables : sequence of PreparedTable
        With the same :attr:`PreparedTable.company`, which is not None.
    """
    first = tables[0]
    batch = table_batch([table.rows for table in tables], first.landmarks, first.device)
    model = load_model(first.options.checkpoint, first.device)
    with threads_for(first.threaded_rows):
        return [(own.places, own.table, model(own.table, pilot=own.pilot)) for own in with_additions(model, batch)]


def shared_states(found: Mapping[int, PreparedTable]) -> dict[int, ZeroShot]:
    """States of the tables, by their keys, that can share a forward pass with another one."""
    states: dict[int, ZeroShot] = {}
    for places in _companies(found):
        try:
            passes = forward_together([found[place] for place in places])
        except Exception:  # each of them will say by itself what is wrong with it
            continue
        for some, _, state in passes:
            states |= {places[own]: one_table(state, number) for number, own in enumerate(some)}
    return states


@torch.inference_mode()
def shared_estimations(found: Mapping[int, PreparedTable], target: str) -> dict[int, Estimation]:
    """Estimations for a target with a name of the tables, by their keys, that can share all their steps with others."""
    estimations: dict[int, Estimation] = {}
    for places in _companies(found):
        company = [found[place] for place in places]
        first = company[0]
        alone = first.options.augmentation == "none"
        try:
            model = load_model(first.options.checkpoint, first.device)
            for some, batch, state in forward_together(company):
                with threads_for(first.threaded_rows):
                    population = Target.named(target, batch, state)
                    whole = Estimation(model, batch, state, population, Balancing(first.options.refine), alone)
                    for number, own in enumerate(some):
                        table = company[own].batch.with_added(one_table(state.added, number))
                        estimations[places[own]] = whole.of_one(number, table)
        except Exception:  # each of them will say by itself what is wrong with it
            continue
    return estimations


def _companies(found: Mapping[int, PreparedTable]) -> list[list[int]]:
    """Keys of tables that can go through the model together: at least two."""
    groups: dict[Hashable, list[int]] = {}
    for place, prepared in found.items():
        groups.setdefault(prepared.company, []).append(place)
    return [places for company, places in groups.items() if company is not None and len(places) > 1]


def _passes(
    tables: Sequence[EncodedTable], options: EstimatorOptions, held: HeldSettings | None, most_landmarks: int | None
) -> Iterator[tuple[list[int], list[CanonicalTable], tuple[Settings, Additions | None] | None, int]]:
    """Tables of one shape and kind of target: their places, themselves, what they hold, and landmarks."""
    groups: dict[tuple[Hashable, str, bool, int], list[int]] = {}
    for place, table in enumerate(tables):
        name = table.population
        is_held = held is not None and held.fits(table)
        treated = int(table.treatment.sum())
        landmarks = options.landmarks_for(len(table.treatment) - treated, treated)
        landmarks = landmarks if most_landmarks is None else min(landmarks, most_landmarks)
        groups.setdefault((table.covariates.shape, name, is_held, landmarks), []).append(place)
    for (_, _, is_held, landmarks), places in groups.items():
        rows = len(tables[places[0]].treatment)
        size = max(1, BATCH_ENTRIES // (rows * min(landmarks, rows)))
        for start in range(0, len(places), size):
            chunk = places[start : start + size]
            company = [tables[place] for place in chunk]
            canonical = [CanonicalTable.of(table.covariates, table.treatment, table.outcome) for table in company]
            yield chunk, canonical, held.stacked(company) if held is not None and is_held else None, landmarks


def _target(
    tables: Sequence[EncodedTable], rows: Sequence[CanonicalTable], batch: TableBatch, state: ZeroShot
) -> Target:
    """Target populations of tables with the same kind of it."""
    name = tables[0].population
    if name != "rows":
        return Target.named(name, batch, state)
    masks = [np.asarray(table.target, np.float64)[row.order] for table, row in zip(tables, rows, strict=True)]
    return Target.rows(torch.from_numpy(np.stack(masks)).to(batch.outcome.device), batch)
