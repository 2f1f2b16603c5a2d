"""What the zero-shot model takes and what one forward pass knows of a table.

Letters: B tables, N rows, D covariates, M landmarks, P pilot rows, H heads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.balancing import Kernel, Rows, Tables
from dowhy_cina.mathematics.clusters import Clusters
from dowhy_cina.mathematics.devices import THREADED_ROWS
from dowhy_cina.mathematics.kernels import LandmarkKernel, within_reach
from dowhy_cina.mathematics.passes import gather_rows
from dowhy_cina.mathematics.ridge import RidgeFit
from dowhy_cina.mathematics.rows import Storage
from dowhy_cina.mathematics.screening import ArmMoments
from dowhy_cina.model.fitting import FittedOutcome
from dowhy_cina.model.sharing import SharedRows
from dowhy_cina.model.smoother import Smoother
from dowhy_cina.model.variance import RowError
from dowhy_cina.searches.added import Additions
from dowhy_cina.searches.indicators import repeated_columns

#: Largest share of a table's rows in one arm with which both arms are computed with together: the smaller one is filled
#: up to as many.
MOST_FILLED = 0.75

Arrays = Sequence[npt.NDArray[Any]]
Part = TypeVar("Part")


@dataclass(frozen=True)
class TableBatch:
    """Preprocessed tables of one shape.

    Attributes
    ----------
    covariates : Tensor, shape (B, N, D)
        Standardised columns.
    treatment : Tensor, shape (B, N)
        0 or 1.
    outcome : Tensor, shape (B, N)
        Standardised outcome.
    landmarks, pilot : Tensor of int, shape (B, M) and (B, P)
        Rows that span the kernels, and rows from which the pilot learns column scales, in their order.
    weights : Tensor of shape (B, N), optional
        Sampling weights with mean one, times the clusters' share; one each by default.
    cluster : Tensor of int, shape (B, N), optional
        Codes from 0 of clusters of rows that may depend on each other. Tables with them go alone.
    storage : Storage
        What is kept of the rows' features.
    blank : bool
        Whether the tables have no covariate, for which a column of zeros stands.
    added : Additions, optional
        What the last of the columns are, see :meth:`with_added`.
    """

    covariates: Float[Tensor, "B N D"]
    treatment: Rows
    outcome: Rows
    landmarks: Int[Tensor, "B M"]
    pilot: Int[Tensor, "B P"]
    weights: Rows | None = None
    cluster: Int[Tensor, "B N"] | None = None
    storage: Storage = field(default_factory=Storage)
    blank: bool = False
    added: Additions | None = None

    @classmethod
    def stack(
        cls,
        covariates: Arrays,
        treatment: Arrays,
        outcome: Arrays,
        landmarks: Arrays,
        pilot: Arrays | None = None,
        weights: Arrays | None = None,
        cluster: Arrays | None = None,
    ) -> TableBatch:
        """Stack tables of one shape, each argument with an array for each table; all rows are pilots by default."""
        x, t, y = (_stacked(part, np.float64) for part in (covariates, treatment, outcome))
        marks = _stacked(landmarks, np.int64)
        count, rows = t.shape
        pilots = torch.arange(rows, device="cpu").expand(count, rows) if pilot is None else _stacked(pilot, np.int64)
        counts = None if weights is None else _stacked(weights, np.float64)
        return cls(x, t, y, marks, pilots, counts, None if cluster is None else _stacked(cluster, np.int64))

    def to(self, device: torch.device) -> TableBatch:
        """Return the batch on a device."""
        if self.covariates.device == device:
            return self
        return each_tensor([self], lambda tensors: tensors[0].to(device))

    def with_added(self, added: Additions | None) -> TableBatch:
        """Return the batch with further columns."""
        if added is None:
            return self
        return replace(self, covariates=added.extended(self.covariates), added=added)

    def at_pilot(self, values: Float[Tensor, "B N *rest"]) -> Float[Tensor, "B P *rest"]:
        """Values of the pilot rows; of all rows they are the same."""
        return values if self.pilot.shape[1] == values.shape[1] else gather_rows(values, self.pilot)

    @property
    def given(self) -> int:
        """Columns before those that a search has added."""
        return self.covariates.shape[2] - (0 if self.added is None else sum(self.added.shape[:5]))

    @property
    def without_waves(self) -> Float[Tensor, "B N K"]:
        """The columns before those of waves, as far as kernels see them."""
        waves = 0 if self.added is None or self.added.waves is None else self.added.waves.shape[0]
        return within_reach(self.covariates[..., : self.covariates.shape[2] - waves])

    @cached_property
    def independent_columns(self) -> Tables:
        """Columns that tell how much of a table may be left to learn, without waves; the levels of a label are one."""
        columns = self.without_waves
        return columns.shape[2] - repeated_columns(columns, self.treatment, self.cluster)

    def arm(self, treated: int) -> Rows:
        """Sampling weights of the rows of one arm, zero for the others."""
        rows = self.treatment if treated else 1 - self.treatment
        return rows if self.weights is None else rows * self.weights

    @cached_property
    def arms_are_alike(self) -> bool:
        """Whether both arms can be computed with together, at no great cost of rows that fill up the smaller one."""
        rows = self.treatment.shape[1]
        if self.cluster is not None or rows >= THREADED_ROWS:
            return False
        treated = self.treatment.sum(1)
        return bool(torch.maximum(treated, rows - treated).max() <= MOST_FILLED * rows)

    @property
    def rows(self) -> Rows:
        """Sampling weights of all rows."""
        return torch.ones_like(self.treatment) if self.weights is None else self.weights

    @property
    def clusters(self) -> Clusters | None:
        """Clusters of the rows."""
        return None if self.cluster is None else Clusters.of(self.cluster)

    @property
    def arm_sizes(self) -> tuple[Tables, Tables]:
        """Rows of the control and of the treated arm, or the clusters that these are in where there are any."""
        if self.clusters is None:
            treated = self.treatment.sum(1)
            return self.treatment.shape[1] - treated, treated
        return self.clusters.of_arms(self.treatment)

    @property
    def signs(self) -> Rows:
        """W = 2 T - 1."""
        return 2 * self.treatment - 1


@dataclass(frozen=True)
class Pilot:
    """What isotropic fits of T, Y in controls and Y in treated say.

    That is the share of each column in the squared gradient, explained variance and degrees of freedom, what the fit of
    a row's arm leaves of its outcome, and those fits as a map of any values, which a search asks for.
    """

    shares: Float[Tensor, "B D 3"]
    explained: Float[Tensor, "B 3"]
    freedom: Float[Tensor, "B 3"]
    residual: Float[Tensor, "B P"]
    smoother: Smoother | None = None


@dataclass(frozen=True)
class Settings:
    """Everything the closed forms need, predicted from the table.

    Scales multiply standardised columns; the two outcome scales belong to the control and to the treated arm.
    """

    treatment_scales: Float[Tensor, "B D"]
    outcome_scales: tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]
    treatment_amplitudes: Float[Tensor, "B H"]
    outcome_amplitudes: Float[Tensor, "B H"]
    log_multipliers: dict[str, Float[Tensor, " B"]]

    def take(self, columns: Sequence[int]) -> Settings:
        """Put the settings of some columns in another order."""
        index = torch.tensor(columns, device=self.treatment_scales.device)
        control, treated = (scales[:, index] for scales in self.outcome_scales)
        return replace(self, treatment_scales=self.treatment_scales[:, index], outcome_scales=(control, treated))

    @classmethod
    def joined(cls, parts: Sequence[Settings]) -> Settings:
        """Stack the settings of tables with as many columns."""
        return each_tensor(parts, torch.cat)


@dataclass(frozen=True)
class ScoreModel:
    """Propensity regression and the divisor that turns its predictions into a key coordinate."""

    kernel: LandmarkKernel
    fit: RidgeFit
    centre: Float[Tensor, "B 1"]
    divisor: Float[Tensor, "B 1"]

    @classmethod
    def of(cls, kernel: LandmarkKernel, fit: RidgeFit, mean: Tensor, sd: Tensor, floor: Tensor) -> ScoreModel:
        """Model of scores with these means and standard deviations (B, 1).

        Without the floor a score of a randomised treatment would be its own noise.
        """
        return cls(kernel, fit, mean, torch.maximum(sd, floor))

    def coordinate(self, score: Rows) -> Rows:
        """Standardised score, bounded so that an outlier cannot leave every landmark behind."""
        return ((score - self.centre) / self.divisor).clamp(-4, 4)


@dataclass(frozen=True)
class ZeroShot:
    """All that one forward pass knows of a table, before a target population is named.

    Attributes
    ----------
    settings : Settings
    scores : ScoreModel
    outcomes : tuple of FittedOutcome
        Control, treated; so are all pairs here.
    propensity : Tensor, shape (B, N)
        Leave-one-out, neither clipped nor a share: a regression's prediction of T.
    coordinate : Tensor, shape (B, N)
        The propensity score as fitted, standardised: a function of the covariates, of which keys are made.
    residuals, loo_residuals : Tensor, shape (B, N)
        Errors of each row's own arm's prediction, in-sample and leave-one-out.
    prognosis : ScorePair
    balance_kernel : LandmarkKernel
    balance_features : Tensor of shape (B, N, M), or RowFeatures where they are not kept
    balance_ridge : Tensor, shape (B,)
    arm_moments : ArmMoments, optional
        Of the balancing layer, where its features are streamed.
    added : Additions, optional
        Columns that a search has added to the table, which other rows need, too.
    """

    settings: Settings
    scores: ScoreModel
    outcomes: tuple[FittedOutcome, FittedOutcome]
    propensity: Rows
    coordinate: Rows
    residuals: Rows
    loo_residuals: Rows
    prognosis: ScorePair
    balance_kernel: LandmarkKernel
    balance_features: Kernel
    balance_ridge: Float[Tensor, " B"]
    arm_moments: ArmMoments | None = None
    added: Additions | None = None

    def extended(self, covariates: Float[Tensor, "B n D"]) -> Float[Tensor, "B n K"]:
        """Covariates of rows that are not in the table, with what a search has added to it."""
        return covariates if self.added is None else self.added.extended(covariates)

    @property
    def means(self) -> tuple[Rows, Rows]:
        """Predicted mean outcomes under control and under treatment, in the unit of the batch's outcome."""
        return self.outcomes[0].means, self.outcomes[1].means


@dataclass(frozen=True)
class ScorePair:
    """Divisors of the two prognostic scores as key coordinates (outcome already centred)."""

    centres: tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]
    divisors: tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]

    def coordinates(self, scores: tuple[Rows, Rows]) -> list[Rows]:
        """Standardised scores, bounded."""
        pairs = zip(scores, self.centres, self.divisors, strict=True)
        return [((score - centre) / divisor).clamp(-4, 4) for score, centre, divisor in pairs]


@dataclass(frozen=True)
class ForeignRows:
    """Propensity, mean outcomes of both arms, the rows of their regressions, and balancing keys of foreign rows."""

    propensity: Float[Tensor, "B n"]
    means: tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]
    outcome_rows: tuple[SharedRows, SharedRows]
    balance_keys: Float[Tensor, "B n K"]


def errors_at(state: ZeroShot, rows: ForeignRows) -> tuple[RowError, RowError]:
    """What there is to say of the error of both arms' predictions at rows."""
    control, treated = (
        fitted.regression.error_at(own) for fitted, own in zip(state.outcomes, rows.outcome_rows, strict=True)
    )
    return control, treated


def each_tensor(parts: Sequence[Part], function: Callable[[list[Tensor]], Tensor]) -> Part:
    """Structure like each of some others, whose tensors are a function of theirs in the same place.

    Parameters
    ----------
    parts : sequence
        Dataclasses, tuples, dicts and tensors of one structure; what else is in them is the first one's. What is in
        several places of each of them is so in the new structure.
    function : callable
        Takes the tensors of one place, in the order of the parts.
    """
    return cast(Part, _each_tensor(parts, function, {}))


def _each_tensor(
    parts: Sequence[Any], function: Callable[[list[Tensor]], Tensor], known: dict[tuple[int, ...], Any]
) -> Any:
    """:func:`each_tensor`, given what has been made of parts by their identities."""
    first = parts[0]
    kind: Any = type(first)
    if kind in _LEAVES:
        return first
    place = tuple(map(id, parts))
    if place in known:
        return known[place]
    taken = first
    if issubclass(kind, Tensor):
        taken = function(list(parts))
    elif kind is tuple:
        taken = tuple([_each_tensor(inner, function, known) for inner in zip(*parts, strict=True)])
    elif kind is dict:
        taken = {name: _each_tensor([part[name] for part in parts], function, known) for name in first}
    elif names := _names_of(kind):
        # As replace would make it, which takes several times as long; none of them checks what it is made of.
        taken = object.__new__(kind)
        inside, own = [vars(part) for part in parts], vars(taken)
        for name in names:
            own[name] = _each_tensor([values[name] for values in inside], function, known)
    known[place] = taken
    return taken


#: What stays as it is.
_LEAVES = frozenset({type(None), bool, int, float, str})


@functools.cache
def _names_of(kind: Any) -> tuple[str, ...]:
    """Fields of a dataclass; none of another type."""
    return tuple(entry.name for entry in fields(kind)) if is_dataclass(kind) else ()


def one_table(batch: Part, place: int) -> Part:
    """Take one table out of a state, settings or another part of a batch, which stays alive with it."""
    return each_tensor([batch], lambda tensors: tensors[0][place : place + 1])


def by_itself(part: Part) -> Part:
    """The same with memory of its own."""
    return each_tensor([part], lambda tensors: tensors[0].clone())


def without_rows(state: ZeroShot) -> ZeroShot:
    """A state for foreign rows only: what belongs to the table's own rows is left out."""
    empty = state.propensity[:, :0].clone()  # a slice would keep all rows alive
    # Factors that predictions do not need, or that the landmarks give again, are most of what is left.
    fit = replace(state.scores.fit, factor=state.scores.fit.factor[:, :0].clone())
    control, treated = (fitted.regression.own.without_rows() for fitted in state.outcomes)
    outcomes = state.outcomes[0].without_rows(control, treated), state.outcomes[1].without_rows(treated, control)
    return replace(
        state,
        scores=replace(state.scores, kernel=state.scores.kernel.compact(), fit=fit),
        outcomes=outcomes,
        balance_kernel=state.balance_kernel.compact(),
        arm_moments=None,
        propensity=empty,
        coordinate=empty,
        residuals=empty,
        loo_residuals=empty,
        balance_features=empty.new_empty(len(empty), 0, state.balance_kernel.landmarks.shape[1]),
    )


def _stacked(parts: Arrays, dtype: Any) -> Tensor:
    if len(parts) == 1:  # which need no copy
        return torch.from_numpy(np.ascontiguousarray(parts[0], dtype=dtype))[None]
    return torch.from_numpy(np.stack([np.ascontiguousarray(part, dtype=dtype) for part in parts]))
