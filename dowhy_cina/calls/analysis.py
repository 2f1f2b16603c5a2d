"""A table after its one forward pass: the augmented estimate for any target population and its influence function.

Letters: N rows, D covariates, M target rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dowhy_cina._caching import cached_property
from dowhy_cina.calls.additions import lacking_kinds, readable
from dowhy_cina.calls.populations import target_of
from dowhy_cina.estimating.pipeline import Estimation
from dowhy_cina.estimating.variance import t_inference
from dowhy_cina.estimating.weighting import Balancing, Weighting, with_kernel_of_all_rows
from dowhy_cina.mathematics.devices import threads_for
from dowhy_cina.mathematics.memory import rows_of_a_block, with_smaller_blocks
from dowhy_cina.mathematics.rows import Storage
from dowhy_cina.mathematics.scaling import Array, usual_arithmetic
from dowhy_cina.model.checkpoint import load_model
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.search import with_own_additions
from dowhy_cina.model.state import TableBatch, ZeroShot, by_itself, errors_at, without_rows
from dowhy_cina.results.balance import ComparedRows
from dowhy_cina.results.clusters import clusters_warnings
from dowhy_cina.results.copies import copies_warning
from dowhy_cina.results.diagnostics import balance_table, sum_arms
from dowhy_cina.results.effect import EffectResult, Plan
from dowhy_cina.results.heterogeneity.scores import check_level
from dowhy_cina.results.overlap import grade_overlap, overlap_warnings, relative_width
from dowhy_cina.tables import Preprocessor
from dowhy_cina.tables.outcomes import outcome_remarks
from dowhy_cina.tables.preparation import PreparedTable, clusters_of_arms


@dataclass(frozen=True)
class ConditionalEffects:
    """The two outcome regressions of an analysed table, ready for new rows; the table's own rows are not kept.

    Attributes
    ----------
    model : CinaModel
    state : ZeroShot
        Of one table.
    preprocessor : Preprocessor
    scale : float
        Standard deviation of the outcome, in its unit.
    columns : int
        Encoded columns; without any the effect is the same everywhere.
    """

    model: CinaModel
    state: ZeroShot
    preprocessor: Preprocessor
    scale: float
    columns: int

    @usual_arithmetic()
    @torch.no_grad()
    def at(self, covariates: Any) -> tuple[Array, Array]:
        """Effects and standard errors at covariate rows, in the outcome's unit.

        The variance is that of the Gaussian process whose mean the ridge regression is, arm by arm, calibrated on
        simulated samples, see :class:`dowhy_cina.model.variance.ConditionalHead`. It grows where an arm has no rows.

        Parameters
        ----------
        covariates : DataFrame or ndarray of n rows
            With the covariates of the table.

        Returns
        -------
        effects, standard_errors : ndarray, shape (n,)

        Raises
        ------
        InputError, InputTypeError
            If the rows do not have the table's covariates, or there is none.
        """
        encoded = self.preprocessor.transform(covariates)
        keys = torch.from_numpy(encoded if self.columns else np.zeros((len(encoded), 1)))[None]
        keys = self.state.extended(keys.to(self.state.propensity.device))
        rows = self.model.foreign_rows(self.state, keys)
        effects = rows.means[1] - rows.means[0]
        variance = self.model.conditional(errors_at(self.state, rows))
        return self.scale * effects[0].cpu().numpy(), self.scale * variance.sqrt()[0].cpu().numpy()


@torch.inference_mode()
def _forward(model: CinaModel, prepared: PreparedTable) -> tuple[ZeroShot, TableBatch]:
    """One forward pass of one table, and the table with what a search has added to it and with what was kept.

    An exact solution balances the covariates alone, and has none.

    Raises
    ------
    torch.OutOfMemoryError
        If a GPU lacks memory with the smallest blocks too.
    """

    def run(storage: Storage) -> tuple[ZeroShot, TableBatch]:
        table, pilot = replace(prepared.batch, storage=storage), None
        if not prepared.is_exact:
            table, pilot = with_own_additions(model, table)
        return model(table, pilot=pilot), table

    with threads_for(prepared.threaded_rows):
        (state, table), storage = with_smaller_blocks(run, prepared.memory.storage)
    return state, replace(table, storage=storage)


class Analysis:
    """A preprocessed table after its forward pass; effects for any target population follow without another one.

    Made by :func:`dowhy_cina.calls.direct.analyse`.
    """

    @usual_arithmetic()
    def __init__(self, prepared: PreparedTable, state: ZeroShot | None = None, known: Estimation | None = None) -> None:
        """Run the model, unless it has been run for this table already.

        Parameters
        ----------
        prepared : PreparedTable
        state : ZeroShot, optional
            What :func:`~dowhy_cina.calls.batch.shared_states` gave for the table.
        known : Estimation, optional
            What :func:`~dowhy_cina.calls.batch.shared_estimations` gave for it.
        """
        self.options, self.columns, self._prepared = prepared.options, prepared.encoded.shape[1], prepared
        self._model = load_model(prepared.options.checkpoint, prepared.device)
        self._rows, table = prepared.rows, prepared.batch
        state = state if known is None else known.state
        self._in_batch = state is not None
        if state is None:
            state, table = _forward(self._model, prepared)
        else:
            table = table.with_added(state.added)
        balancing = Balancing(self.options.refine)
        if prepared.is_exact:
            with torch.inference_mode(), threads_for(prepared.threaded_rows):
                state, balancing = with_kernel_of_all_rows(table, state)
        self._table, self._state, self._balancing = table, state, balancing
        self._named = {} if known is None else {known.target.name: known}
        rows, landmarks = table.covariates.shape[1], table.landmarks.shape[1]
        landmarks = rows if prepared.is_exact else landmarks
        self.plan = Plan(
            "exact" if landmarks == rows else "landmarks",
            landmarks,
            rows,
            self.columns,
            str(prepared.device),
            "float64",
            min(rows_of_a_block(table.storage, landmarks), rows),
            len(table.storage.kept),
            prepared.memory.needed,
        )

    @property
    def reading(self) -> Preprocessor:
        """How the table's covariates are read."""
        return self._prepared.preprocessor

    def _in_table_order(self, values: Array, fill: float) -> Array:
        """Values per canonical row, put back to the caller's rows; ``fill`` for rows set aside."""
        keep, order = self._prepared.keep, self._rows.order
        kept = np.empty(len(order))
        kept[order] = values
        result = np.full(len(keep), fill)
        result[keep] = kept
        return result

    @cached_property
    def function(self) -> ConditionalEffects | None:
        """Modelled effects at any covariates; none if only weights were asked for."""
        if self.options.augmentation == "none":
            return None
        preprocessor, scale, state = self._prepared.preprocessor, self._rows.scale, without_rows(self._state)
        # A result is no reason to keep the other tables of a batch.
        state = by_itself(state) if self._in_batch else state
        return ConditionalEffects(self._model, state, preprocessor, scale, self.columns)

    @usual_arithmetic()
    def effect(self, target_units: Any = "ate", confidence_level: float = 0.95) -> EffectResult:
        """Average effect in a target population.

        Parameters
        ----------
        target_units : {"ate", "att", "atc", "overlap"}, boolean mask of shape (N,), or DataFrame of M covariate rows
        confidence_level : float
            In (0, 1).

        Returns
        -------
        EffectResult

        Raises
        ------
        InputError, InputTypeError
            If the target is not one of these, or names no row.
        """
        level = check_level(confidence_level, "confidence_level")
        with torch.inference_mode(), threads_for(self._prepared.threaded_rows):
            return self._result(self._estimation(target_units), level)

    @usual_arithmetic()
    def value(self, target_units: Any = "ate") -> float:
        """Average effect in a target population by itself: what :meth:`effect` finds, without anything beside it.

        Parameters
        ----------
        target_units
            As in :meth:`effect`.

        Raises
        ------
        InputError, InputTypeError
            As in :meth:`effect`.
        """
        with torch.inference_mode(), threads_for(self._prepared.threaded_rows):
            return float(self._estimation(target_units).effect.value) * self._rows.scale

    def _estimation(self, units: Any) -> Estimation:
        """Estimation for target units; that of a population with a name is kept for the next time."""
        if isinstance(units, str) and units in self._named:
            return self._named[units]
        found = Estimation(
            self._model,
            self._table,
            self._state,
            target_of(units, self._prepared, self._table, self._state),
            self._balancing,
            self.options.augmentation == "none",
        )
        if isinstance(units, str):
            self._named[units] = found
        return found

    def _result(self, found: Estimation, level: float) -> EffectResult:
        prepared, scale, treatment = self._prepared, self._rows.scale, self._rows.treatment
        parts = found.weighting.weights, found.target.weights, self._state.propensity.clamp(0, 1)
        weights, target, propensity = (part[0].cpu().numpy() for part in parts)
        balance, error = self._balance(weights), self._standard_error(found)
        arms = sum_arms(treatment, weights, target, propensity, self._rows.cluster)
        certificate, (before, after) = found.weighting.certificate, found.worst_case
        value, freedom = float(found.effect.value) * scale, float(found.degrees_of_freedom)
        interval, p_value = (None, None) if error is None else t_inference(value, error, freedom, level)
        verdict = grade_overlap(arms, balance, relative_width(interval, float(np.ptp(self._rows.outcome)) * scale))
        in_order, treated = self._in_table_order(weights, 0.0), self._in_table_order(treatment, -1.0).astype(np.int8)
        return EffectResult(
            value=value,
            standard_error=error,
            confidence_interval=interval,
            p_value=p_value,
            confidence_level=level,
            target=found.target.name,
            weights=in_order,
            target_weights=self._in_table_order(target, 0.0),
            treatment=treated,
            propensity=self._in_table_order(propensity, np.nan),
            outcome_scale=scale,
            balance=balance,
            arms=arms,
            duality_gap=float(certificate.gap),
            refinement_steps=found.weighting.steps,
            minimised_bias=float(certificate.imbalance) * scale,
            lowest_bias=float(certificate.lowest_imbalance) * scale,
            worst_case_bias=float(after) * scale,
            worst_case_bias_before=float(before) * scale,
            plan=self.plan,
            warnings=overlap_warnings(arms, verdict) + self._lacking + self._remarks + self._unsolved(found.weighting),
            rows_set_aside=int((~prepared.keep).sum()) - prepared.unweighted,
            rows_without_weight=prepared.unweighted,
            checkpoint=self.options.checkpoint,
            augmentation=self.options.augmentation,
            correction_share=float(found.effect.shrinkage),
            degrees_of_freedom=freedom,
            pseudo_outcomes=self._pseudo_outcomes(found),
            overlap=verdict,
            **readable(self._state.added, prepared.preprocessor),
            covariates=prepared.copied[0],
            cluster=prepared.copied[1],
            reading=self.reading,
            function=self.function,
            compared=self._compared(in_order, treated),
            control_scores=self._control_scores(found),
            refits=self._refits,
            is_binary=bool(np.isin(prepared.outcome, (0, 1)).all()),
        )

    def _balance(self, weights: Array) -> pd.DataFrame:
        """Standardised mean differences before and after weighting."""
        rows = self._rows
        given = rows.weights if rows.weighted else None
        return balance_table(self._prepared.without_far, rows.treatment, weights, given, rows.order)

    def _compared(self, weights: Array, treatment: npt.NDArray[np.int8]) -> ComparedRows:
        """Rows for tables of balance; arrays are the result's own where no row is set aside."""
        prepared, keep = self._prepared, self._prepared.keep
        parts = (treatment, weights) if keep.all() else (treatment[keep], weights[keep])
        return ComparedRows(prepared.without_far, *parts, prepared.sample_weight)

    @cached_property
    def _refits(self) -> Any:
        """The table for refits without some of its rows; none if only weights were asked for."""
        from dowhy_cina.calls.refits import Refits  # which analyses parts of the table

        return None if self.options.augmentation == "none" else Refits.of(self._prepared)

    @cached_property
    def _units(self) -> tuple[int, int]:
        """Clusters, or rows where there are none, of the control and of the treated arm."""
        return clusters_of_arms(self._prepared.treatment, self._prepared.cluster)

    @property
    def _varies(self) -> bool:
        """Whether outcomes vary, be it by rounding."""
        return bool(np.ptp(self._prepared.outcome))

    def _standard_error(self, found: Estimation) -> float | None:
        """Standard error in the outcome's unit; none where an arm has a single row or cluster."""
        if min(self._units) < 2:
            return None
        return float(found.variance.sqrt()) * self._rows.scale if self._varies else 0.0

    @cached_property
    def _remarks(self) -> tuple[str, ...]:
        """Say what is odd about the table's outcome, about its columns, and about its rows."""
        reading = self.reading
        left = 1.0 if self.options.augmentation == "none" else float(self._state.loo_residuals.square().mean())
        about = outcome_remarks(self._prepared.outcome, self._rows, reading.names_out, left)
        return about + reading.remarks + self._belonging

    @property
    def _lacking(self) -> tuple[str, ...]:
        """Warn of kinds of rows of which outcome regressions know by one arm alone."""
        if self.options.augmentation == "none":
            return ()
        regressions = [fitted.regression for fitted in self._state.outcomes]
        return lacking_kinds(regressions, self._prepared.preprocessor.names_out)

    @property
    def _belonging(self) -> tuple[str, ...]:
        """Warn of arms with few clusters, or of copies of rows in no cluster."""
        prepared = self._prepared
        if prepared.cluster is not None:
            return clusters_warnings(self._units)
        return copies_warning(self._rows.covariates, self._rows.treatment, self._rows.outcome)

    def _unsolved(self, weighting: Weighting) -> tuple[str, ...]:
        """Warn of a balancing problem that was not solved to the gap that was asked for."""
        if weighting.converged:
            return ()
        return (
            f"The balancing problem was not solved to the relative duality gap {self._balancing.refine:g}: "
            f"{float(weighting.certificate.gap):.2g} was reached in {weighting.steps} steps. Ask for a larger gap.",
        )

    def _pseudo_outcomes(self, found: Estimation) -> Array:
        """Doubly robust scores of the rows, whose mean is the estimate; NaN where the target is not in the table."""
        if found.target.foreign is not None:
            return np.full(len(self._prepared.keep), np.nan)
        parts = found.contributions
        scores = len(self._rows.treatment) * (parts.deviation + parts.scatter)[0].cpu().numpy()
        centred = float(found.effect.value) + scores - scores.mean()
        return self._in_table_order(centred * self._rows.scale, np.nan)

    def _control_scores(self, found: Estimation) -> Array:
        """Doubly robust scores whose mean is the target's mean outcome without treatment; NaN as the pseudo-outcomes.

        The control arm's part of the effect's contributions, in which its noise has the other sign.
        """
        if found.target.foreign is not None:
            return np.full(len(self._prepared.keep), np.nan)
        control, q = self._table.arm(0) > 0, found.target.weights
        noise = -found.contributions.scatter * control
        if found.alone:
            mean, deviation = (found.weighting.weights * control * self._table.outcome).sum(), torch.zeros_like(q)
        else:
            modelled = self._state.means[0]
            plug_in = (q * modelled).sum()
            deviation = q * (modelled - plug_in)
            correction = (found.weighting.weights * control * self._state.residuals).sum()
            mean = plug_in + found.effect.shrinkage * correction
        scores = len(self._rows.treatment) * (deviation + noise)[0].cpu().numpy()
        centred = float(mean) + scores - scores.mean()
        prepared, rows = self._prepared, self._rows
        origin = prepared.outcome.mean() - rows.scale * rows.outcome.mean()
        return self._in_table_order(origin + centred * rows.scale, np.nan)
