"""The DoWhy adapter: ``CinaEstimator``, reached as ``"backdoor.cina"`` or ``"backdoor.dowhy_cina.CinaEstimator"``.

It turns DoWhy's calls into one :func:`dowhy_cina.calls.direct.analyse` of the fitted rows and hands DoWhy analytic
intervals, standard errors and p-values, so that DoWhy never starts a bootstrap that the user did not ask for.

Letters: N rows, D covariates, M target rows.
"""

from __future__ import annotations

import copy
import itertools
import warnings
import weakref
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from dowhy.causal_estimator import CausalEstimate, CausalEstimator
from dowhy.utils.encoding import Encoders

from dowhy_cina.adapter import host
from dowhy_cina.adapter.answers import Answer, estimate_of, part_of_effect
from dowhy_cina.adapter.host import FittedTable
from dowhy_cina.adapter.resampling import bootstrap_estimates, resamples
from dowhy_cina.adapter.targets import TargetRows, resolve
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError, check_known, whole_number
from dowhy_cina.tables.reading import uniform

if TYPE_CHECKING:  # inference imports torch, whose absence is reported by the constructor
    from dowhy_cina.calls.direct import Analysis
    from dowhy_cina.results.effect import EffectResult


class CinaEstimator(CausalEstimator):  # type: ignore[misc]  # DoWhy ships no types
    """Zero-shot effect of a binary treatment, by balancing weights from a pretrained attention model.

    Parameters
    ----------
    identified_estimand
        DoWhy's estimand. Its identifier method must be a backdoor one or "general_adjustment".
    test_significance, evaluate_effect_strength, confidence_intervals
        As for every DoWhy estimator; ``True`` means the analytic answer, "bootstrap" DoWhy's bootstrap.
    init_params
        Settings again, as DoWhy passes them; read, never changed.
    fit_params
        Accepted because DoWhy passes it; there is nothing to set in :meth:`fit`.
    dowhy_cina_estimator
        Accepted because DoWhy passes it for ``"backdoor.dowhy_cina.CinaEstimator"``.
    **settings
        The other keywords of DoWhy's ``CausalEstimator`` (``confidence_level``, ``num_simulations``, ...) and the
        fields of :class:`dowhy_cina.config.EstimatorOptions` (``checkpoint``, ``device``, ``augmentation``, ...).
        Further ``sample_weight`` and ``cluster``: names of columns of the fitted table that hold the weight of each
        row and the group that it was drawn with; no common cause or effect modifier may be one of them.

    Raises
    ------
    ImportError
        If torch is not installed.
    UnknownOptionError
        If a setting does not exist.
    InputError
        If the estimand is not one of adjustment, or a setting is given twice with different values.

    Notes
    -----
    Effect modifiers that are no common causes are covariates too: they cause the outcome, so balancing them removes
    noise and lets the effect differ along them. Conditional estimates are the effects in the target rows of each group,
    all from the analysis of the whole table.

    Estimating for other target units later (``fit_estimator=False``) leaves the intervals of an earlier estimate as
    they were: the earlier estimate is given a copy of the estimator, that shares its data.
    """

    def __init__(
        self,
        identified_estimand: Any,
        test_significance: bool | str | None = False,
        evaluate_effect_strength: bool = False,
        confidence_intervals: bool | str | None = False,
        *,
        init_params: Mapping[str, Any] | None = None,
        fit_params: Mapping[str, Any] | None = None,
        dowhy_cina_estimator: str | None = None,
        **settings: Any,
    ) -> None:
        host.require_torch()
        settings = host.merged(settings, {} if init_params is None else init_params)
        host_settings = {
            "test_significance": test_significance,
            "evaluate_effect_strength": evaluate_effect_strength,
            "confidence_intervals": confidence_intervals,
            **{name: value for name, value in settings.items() if name in host.HOST_SETTINGS},
        }
        super().__init__(identified_estimand, **host_settings)
        self.options = EstimatorOptions(**{name: value for name, value in settings.items() if name in host.OPTIONS})
        self._row_columns = host.row_columns(settings)
        self._table: FittedTable | None = None
        self._analyses: dict[tuple[Hashable, Hashable], Analysis] = {}
        self._answer: Answer | None = None
        self._latest: weakref.ref[CausalEstimate] | None = None
        self._is_refit = False
        # Here and in fit: where there is no such estimand, DoWhy answers None after this constructor and never fits.
        host.check_identifier(identified_estimand)

    @property
    def _observed_common_causes(self) -> pd.DataFrame | None:
        """One-hot encoded common causes, which one of DoWhy's refuters reads; no estimate needs them."""
        if self._table is None or not self._observed_common_causes_names:
            return None
        encoded: pd.DataFrame = self._encode(
            self._table.covariates[self._observed_common_causes_names], "observed_common_causes"
        )
        return encoded

    def __getstate__(self) -> dict[str, Any]:
        """Leave the analyses out of pickles and copies: they are large and made again when needed."""
        return {**self.__dict__, "_analyses": {}, "_latest": self._latest and self._latest()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        estimate = state["_latest"]
        self.__dict__.update(state, _latest=None if estimate is None else weakref.ref(estimate))

    def get_new_estimator_object(
        self,
        identified_estimand: Any,
        test_significance: bool | str = False,
        evaluate_effect_strength: bool = False,
        confidence_intervals: bool | str | None = None,
    ) -> CinaEstimator:
        """Make an unfitted estimator with the same settings, as DoWhy's refuters do for each simulation.

        Refits answer with the value alone: they compute no conditional estimates by themselves and repeat no warnings.
        """
        new = copy.copy(self)
        new._forget_answer()
        new._table, new._latest, new._encoders = None, None, Encoders()
        new._is_refit = True
        new.need_conditional_estimates = False
        new._target_estimand = identified_estimand
        new._significance_test = test_significance
        new._effect_strength_eval = evaluate_effect_strength
        if confidence_intervals is not None:
            new._confidence_intervals = confidence_intervals
        return new

    def fit(
        self, data: pd.DataFrame, effect_modifier_names: Sequence[str] | None = None, **fit_params: Any
    ) -> CinaEstimator:
        """Take the columns that the estimand needs from a table; the analysis follows with the first estimate.

        Parameters
        ----------
        data
            Table with the treatment, the outcome, the common causes and the effect modifiers. It is not changed.
        effect_modifier_names
            Columns to compute conditional estimates over; they are covariates as well.
        **fit_params
            None exist.

        Returns
        -------
        CinaEstimator
            Itself.

        Raises
        ------
        InputError, InputTypeError
            If the estimand is none of adjustment with one treatment and outcome, a column is missing or has two roles.
        UnknownOptionError
            If a fit parameter is given.
        """
        check_known(fit_params, (), "fit parameter of CinaEstimator")
        host.check_frame(data)
        host.check_identifier(self._target_estimand)
        treatment = host.only(self._target_estimand.treatment_variable, "treatment")
        outcome = host.only(self._target_estimand.outcome_variable, "outcome")

        self._let_go_of_latest()
        self._forget_answer()
        self._analyses = {}
        self.reset_encoders()
        names = host.column_names(effect_modifier_names, "effect_modifier_names")
        modifiers = data[[name for name in names or () if name in data.columns]]
        self._set_effect_modifiers(uniform(modifiers) if names else modifiers, names)
        adjustment_set = self._target_estimand.get_adjustment_set() or []
        covariates = dict.fromkeys([*adjustment_set, *self._effect_modifier_names])
        host.check_roles(self._row_columns, treatment, outcome, covariates)
        host.check_columns(data, [treatment, outcome, *covariates, *self._row_columns.values()], "data")
        # The order of the adjustment set changes with PYTHONHASHSEED, that of the columns does not.
        self._observed_common_causes_names = [name for name in data.columns if name in set(adjustment_set)]
        self._table = FittedTable(
            data[[name for name in data.columns if name in covariates and name not in (treatment, outcome)]],
            data[treatment].copy(),
            data[outcome].copy(),
            **{name: data[column].copy() for name, column in self._row_columns.items()},
        )
        self.symbolic_estimator = self.construct_symbolic_estimator(self._target_estimand)
        self.logger.info(self.symbolic_estimator)
        return self

    def estimate_effect(
        self,
        data: pd.DataFrame,
        treatment_value: Any = 1,
        control_value: Any = 0,
        target_units: Any = None,
        confidence_intervals: bool | str | None = None,
        need_conditional_estimates: bool | None = None,
        **_: Any,
    ) -> Any:
        """Estimate the effect for target units, from the fitted table.

        Parameters
        ----------
        data
            The fitted table, or other rows with the same covariates for which the effect is wanted.
        treatment_value, control_value
            Values of the treatment to compare; rows with others are set aside.
        target_units
            "ate" (default), "att" or "atc" for all, the treated or the control rows of ``data``; "overlap" for the
            fitted rows in proportion to how alike the arms are there; a function that takes ``data`` and gives a
            boolean for each row; or a DataFrame of covariate rows.
        confidence_intervals
            Whether ``print(estimate)`` shows an interval; as before when None.
        need_conditional_estimates
            Whether to estimate the effect per group of the effect modifiers; when there are any, if None.

        Returns
        -------
        dowhy.causal_estimator.CausalEstimate
            With ``cina_result`` (:class:`dowhy_cina.EffectResult`) and, from it, ``weights``, ``propensity_scores``,
            ``balance``, ``effective_sample_size`` and ``duality_gap``.

        Raises
        ------
        InputError, InputTypeError
            If the table or the target units allow no estimate.
        """
        self._let_go_of_latest()
        self._forget_answer()
        self._target_units = "ate" if target_units is None else target_units
        self._treatment_value = host.single(treatment_value, "treatment_value")
        self._control_value = host.single(control_value, "control_value")
        target = self._resolve(data)
        result = None if self._is_refit else self._effect(target, self.confidence_level)
        self._answer = Answer(target, result)
        if confidence_intervals is not None:
            self._confidence_intervals = confidence_intervals
        by_group = self.need_conditional_estimates if need_conditional_estimates is None else need_conditional_estimates
        given = {
            "data": data,
            "treatment_name": self._target_estimand.treatment_variable,
            "outcome_name": self._target_estimand.outcome_variable,
            "control_value": self._control_value,
            "treatment_value": self._treatment_value,
            "conditional_estimates": self._conditional_estimates(target) if by_group else None,
            "target_estimand": self._target_estimand,
            "realized_estimand_expr": self.symbolic_estimator,
        }
        estimate = estimate_of(result, self._value(target) if result is None else result.value, given)
        for text in result.warnings if result else ():
            warnings.warn(text, UserWarning, stacklevel=2)
        estimate.add_estimator(self)
        self._latest = weakref.ref(estimate)
        return estimate

    def construct_symbolic_estimator(self, estimand: Any) -> str:
        """Write the estimator as DoWhy's other estimators do: outcome ~ treatment + covariates."""
        covariates = [] if self._table is None else list(self._table.covariates.columns)
        augmentation = "weights alone" if self.options.augmentation == "none" else "augmented by kernel regression"
        terms = "+".join(map(str, [*estimand.treatment_variable, *covariates]))
        return f"b: {','.join(estimand.outcome_variable)}~{terms}\nCInA balancing weights, {augmentation}"

    def _let_go_of_latest(self) -> None:
        """Give the latest estimate, if it is still in use, an estimator of its own before this one changes."""
        estimate = None if self._latest is None else self._latest()
        if estimate is not None:
            own = object.__new__(type(self))
            own.__dict__.update(self.__dict__)
            estimate.add_estimator(own)
        self._latest = None

    def _forget_answer(self) -> None:
        self._answer, self._bootstrap_estimates, self._bootstrap_null_estimates = None, None, None

    # --- estimates from the fitted table

    def _fitted(self) -> FittedTable:
        if self._table is None:
            raise InputError("expected a fitted estimator, got none: call fit(data) first, or fit_estimator=True.")
        return self._table

    def _resolve(self, data: pd.DataFrame) -> TargetRows:
        return resolve(self._target_units, data, self._fitted(), self._treatment_value, self._control_value)

    def _analyse(self, table: FittedTable) -> Analysis:
        from dowhy_cina.calls.direct import analyse

        return analyse(
            table.covariates,
            table.treatment,
            table.outcome,
            treatment_value=self._treatment_value,
            control_value=self._control_value,
            options=self.options,
            **table.row_values(),
        )

    def _analysed(self) -> Analysis:
        values = (self._treatment_value, self._control_value)
        if values not in self._analyses:
            self._analyses[values] = self._analyse(self._fitted())
        return self._analyses[values]

    def _effect(self, target: TargetRows, confidence_level: float) -> EffectResult:
        return self._analysed().effect(target.units(self._fitted()), confidence_level)

    def _value(self, target: TargetRows) -> float:
        return self._analysed().value(target.units(self._fitted()))

    def _conditional_estimates(self, target: TargetRows) -> Any:
        def effect_in(group: pd.DataFrame) -> float:
            rows = group.index.to_numpy()
            if target.name == "overlap":  # no group has an overlap population of its own
                return part_of_effect(self.answered(), rows)
            return self._value(target.part(rows))

        # DoWhy adds columns to the frame that it groups, so it gets one of its own; the index names a group's rows.
        rows = uniform(self._analysed().reading.as_read(target.columns(self._effect_modifier_names)))
        return self._estimate_conditional_effects(rows, effect_in, effect_modifier_names=self._effect_modifier_names)

    def _estimate_effect_fn(self, data_df: pd.DataFrame) -> float:
        return self._value(self._resolve(data_df))

    # --- DoWhy's hooks

    def _answered(self) -> Answer:
        if self._answer is None:
            raise InputError("expected an estimate, got none yet: call estimate_effect first.")
        return self._answer

    def answered(self) -> EffectResult:
        """Result of the latest estimate."""
        target, result = self._answered().target, self._answered().result
        if result is None:
            result = self._effect(target, self.confidence_level)
            self._answer = Answer(target, result)
        return result

    def _result(self, method: Any) -> EffectResult:
        if method not in (None, True, "default"):
            raise InputError(f"method must be 'default' (analytic) or 'bootstrap', got {method!r}.")
        result = self.answered()
        if result.standard_error is None:
            reasons = " ".join(result.warnings)
            warnings.warn(f"no interval, standard error or p-value. {reasons}", UserWarning, stacklevel=2)
        return result

    def _estimate_confidence_intervals(
        self, confidence_level: float | None = None, method: Any = None
    ) -> tuple[float | None, float | None]:
        result = self._result(method)
        if confidence_level not in (None, result.confidence_level):
            result = self._effect(self._answered().target, confidence_level)
        # A pair, so that callers can unpack it and DoWhy can print it where there is no interval.
        return result.confidence_interval or (None, None)

    def _estimate_std_error(self, method: Any = None) -> float | None:
        return self._result(method).standard_error

    def _test_significance(self, estimate_value: float, method: Any = None) -> dict[str, float | None]:
        return {"p_value": self._result(method).p_value}

    # --- bootstraps that the user asked for

    def _generate_bootstrap_estimates(
        self, data: pd.DataFrame, num_bootstrap_simulations: int, sample_size_fraction: float
    ) -> Any:
        """Estimate the effect in resamples of the fitted table, each with both arms and a row of the target."""
        # A copy of numpy's global state: np.random.seed decides the resamples, as in DoWhy, yet nothing is drawn there.
        random_state = np.random.RandomState()
        random_state.set_state(np.random.get_state())  # noqa: NPY002
        count = whole_number(num_bootstrap_simulations, "num_simulations", 1)
        values = (self._treatment_value, self._control_value)
        draws = resamples(self._fitted(), self._answered().target, values, sample_size_fraction, random_state)
        estimates = [
            self._analyse(table).value(target.units(table)) for table, target in itertools.islice(draws, count)
        ]
        parameters = {"num_simulations": num_bootstrap_simulations, "sample_size_fraction": sample_size_fraction}
        return bootstrap_estimates(np.array(estimates), parameters)

    def _estimate_confidence_intervals_with_bootstrap(self, *args: Any, **kwargs: Any) -> tuple[float, float]:
        lower, upper = super()._estimate_confidence_intervals_with_bootstrap(*args, **kwargs)
        return float(lower), float(upper)

    def _estimate_std_error_with_bootstrap(self, *args: Any, **kwargs: Any) -> float:
        return float(super()._estimate_std_error_with_bootstrap(*args, **kwargs))
