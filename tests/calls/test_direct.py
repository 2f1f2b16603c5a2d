"""The direct call: values against closed forms and known effects, invariances, and every refusal."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dowhy_cina
from dowhy_cina.calls.direct import analyse
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import CheckpointError, InputError, InputTypeError
from dowhy_cina.learning.simulators import draw_table
from dowhy_cina.model.checkpoint import load_model


@pytest.fixture(scope="module")
def table(linear_table):
    return linear_table()


@pytest.fixture(scope="module")
def result(table):
    return dowhy_cina.estimate_effect(*table)


class TestValue:
    def test_known_effect_within_three_standard_errors(self, result, table):
        _x, t, y = table
        naive = y[t == 1].mean() - y[t == 0].mean()
        assert abs(result.value - 2.0) < 3 * result.standard_error
        assert abs(naive - 2.0) > 5 * result.standard_error

    @pytest.mark.parametrize("units", ["ate", "att", "atc"])
    @pytest.mark.parametrize("augmentation", ["kernel", "none"])
    def test_effect_is_a_sum_over_the_named_population(self, table, units, augmentation):
        x, t, y = table
        found = dowhy_cina.estimate_effect(x, t, y, target_units=units, augmentation=augmentation)
        population = {"ate": np.ones(len(t)), "att": t, "atc": 1 - t}[units]
        assert found.target_weights == pytest.approx(population / population.sum())
        assert abs(found.value - 2.0) < (0.3 if augmentation == "kernel" else 0.8)

    def test_heterogeneous_effects_tell_the_targets_apart(self, linear_table):
        x, t, y = linear_table(rows=2000)
        y = y + 2 * x[:, 0] * t
        values = {units: dowhy_cina.estimate_effect(x, t, y, target_units=units).value for units in ("att", "atc")}
        for units, rows in (("att", t == 1), ("atc", t == 0)):
            assert values[units] == pytest.approx(2 + 2 * x[rows, 0].mean(), abs=0.2)
        assert values["att"] - values["atc"] > 1

    def test_none_is_the_weighted_difference_in_means(self, table):
        x, t, y = table
        found = dowhy_cina.estimate_effect(x, t, y, augmentation="none")
        assert found.value == pytest.approx(np.sum(found.weights * (2 * t - 1) * y), rel=1e-9)
        assert found.duality_gap < 0.2

    def test_none_leaves_the_target_arm_as_it_is(self, table):
        x, t, y = table
        found = dowhy_cina.estimate_effect(x, t, y, augmentation="none", target_units="att")
        assert found.weights[t == 1] == pytest.approx(1 / t.sum())

    def test_no_covariates_is_the_difference_in_means(self, table):
        _, t, y = table
        for covariates in (np.zeros((len(t), 0)), np.ones((len(t), 2))):
            found = dowhy_cina.estimate_effect(covariates, t, y)
            assert found.value == pytest.approx(y[t == 1].mean() - y[t == 0].mean(), rel=1e-9)
            assert "difference in means" in found.summary()

    def test_standard_error_without_confounding_is_that_of_a_regression(self):
        rng = np.random.default_rng(3)
        x, t = rng.normal(size=(1500, 2)), rng.integers(0, 2, 1500)
        y = x[:, 0] + t + rng.normal(size=1500)
        found = dowhy_cina.estimate_effect(x, t, y)
        # The variance head scales all of sampling's variance by the same factor.
        factor = float(load_model("cina-small", torch.device("cpu")).variance.log_sampling.exp())
        assert 1 < factor < 1.5
        assert found.standard_error == pytest.approx(2 / np.sqrt(1500) * np.sqrt(factor), rel=0.1)

    def test_balances_what_was_not_balanced(self, result):
        worst = result.balance.abs().max()
        assert worst["before"] > 0.5
        assert worst["after"] < worst["before"] / 4
        assert result.worst_case_bias < result.worst_case_bias_before

    def test_number_of_landmarks(self, linear_table):
        x, t, y = linear_table(rows=300)
        few = dowhy_cina.estimate_effect(x, t, y, landmarks=40)
        assert (few.plan.route, few.plan.landmarks) == ("landmarks", 40)
        assert few.value == analyse(x, t, y, options=EstimatorOptions(landmarks=40)).effect().value
        assert dowhy_cina.estimate_effect(x, t, y, landmarks=300).plan.route == "exact"
        assert dowhy_cina.estimate_effects([(x, t, y)], landmarks=40)[0].value == few.value
        with pytest.raises(InputError, match="landmarks must be a whole number of at least 2"):
            dowhy_cina.estimate_effect(x, t, y, landmarks=1)

    def test_landmarks_and_exact_agree(self, linear_table):
        x, t, y = linear_table(rows=500)
        landmarks, exact = (
            analyse(x, t, y, options=EstimatorOptions(landmarks=count)).effect() for count in (128, 500)
        )
        assert (landmarks.plan.route, landmarks.plan.landmarks) == ("landmarks", 128)
        assert (exact.plan.route, exact.plan.landmarks) == ("exact", 500)
        assert abs(landmarks.value - exact.value) < 0.3 * exact.standard_error


class TestInvariance:
    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 10_000), rows=st.integers(40, 400), columns=st.integers(1, 8))
    def test_row_and_column_order(self, seed, rows, columns):
        rng = np.random.default_rng(seed)
        drawn = draw_table(rng, rows, columns)
        frame = pd.DataFrame(drawn.covariates, columns=[f"c{k}" for k in range(columns)])
        first = dowhy_cina.estimate_effect(frame, drawn.treatment, drawn.outcome)
        order, shuffle = rng.permutation(rows), rng.permutation(columns)
        second = dowhy_cina.estimate_effect(frame.iloc[order, shuffle], drawn.treatment[order], drawn.outcome[order])
        assert second.value == pytest.approx(first.value, rel=1e-9, abs=1e-9 * first.outcome_scale)
        assert second.weights == pytest.approx(first.weights[order], abs=1e-9)

    @pytest.mark.parametrize(("factor", "shift"), [(1e9, 0.0), (1e-12, 0.0), (3.0, 1e6)])
    def test_units_of_outcome_and_covariates(self, table, result, factor, shift):
        x, t, y = table
        outcome = dowhy_cina.estimate_effect(x, t, y * factor + shift)
        assert outcome.value / factor == pytest.approx(result.value, rel=1e-6)
        assert outcome.standard_error / factor == pytest.approx(result.standard_error, rel=1e-6)
        covariates = dowhy_cina.estimate_effect(x * factor + shift, t, y)
        assert covariates.value == pytest.approx(result.value, rel=1e-5)

    def test_same_call_same_answer(self, table, result):
        assert dowhy_cina.estimate_effect(*table).value == result.value

    def test_swapped_arms_change_the_sign(self, table, result):
        x, t, y = table
        assert dowhy_cina.estimate_effect(x, 1 - t, y).value == pytest.approx(
            -result.value, abs=0.5 * result.standard_error
        )

    def test_leaves_the_caller_alone(self, table):
        x, t, y = table
        frame = pd.DataFrame(x, columns=list("abcd")).assign(t=t, y=y)
        copy, numpy_state, torch_state = frame.copy(), np.random.get_state()[1].copy(), torch.random.get_rng_state()
        before = (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), logging.root.level)
        dowhy_cina.estimate_effect(frame, "t", "y")
        pd.testing.assert_frame_equal(frame, copy)
        assert (np.random.get_state()[1] == numpy_state).all()
        assert torch.equal(torch.random.get_rng_state(), torch_state)
        assert before == (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            logging.root.level,
        )


class TestTreatmentsAndTables:
    @pytest.mark.parametrize("kind", [bool, np.int8, float, "category", "boolean"])
    def test_types_of_treatment(self, table, result, kind):
        x, t, y = table
        assert dowhy_cina.estimate_effect(x, pd.Series(t).astype(kind), y).value == pytest.approx(
            result.value, rel=1e-9
        )

    def test_third_level_is_set_aside(self, table, result):
        x, t, y = table
        x3, y3 = np.vstack([x, x[:50]]), np.r_[y, np.full(50, np.nan)]
        names = np.r_[np.where(t == 1, "drug", "placebo"), np.full(50, "other")]
        found = dowhy_cina.estimate_effect(x3, names, y3, treatment_value="drug", control_value="placebo")
        assert found.value == pytest.approx(result.value, rel=1e-9)
        assert found.rows_set_aside == 50
        assert "50 rows" in found.summary()
        assert found.weights[-50:].sum() == 0
        assert (found.treatment[-50:] == -1).all()

    def test_columns_by_name(self, table, result):
        x, t, y = table
        frame = pd.DataFrame(x, columns=list("abcd")).assign(t=t, y=y)
        assert dowhy_cina.estimate_effect(frame, "t", "y").value == pytest.approx(result.value, rel=1e-9)
        assert len(dowhy_cina.estimate_effect(frame, "t", "y", covariates=["a", "b"]).balance) == 2

    def test_mixed_frame_with_missing_values(self, table):
        x, t, y = table
        frame = pd.DataFrame(
            {"a": x[:, 0], "b": x[:, 1], "city": np.where(x[:, 2] > 0, "north", "south"), "flag": x[:, 3] > 0}
        )
        frame.loc[::7, "b"] = np.nan
        frame.loc[::11, "city"] = None
        found = dowhy_cina.estimate_effect(frame, t, y)
        assert np.isfinite([found.value, found.standard_error, *found.confidence_interval]).all()

    @pytest.mark.parametrize(("rows", "columns"), [(2, 1), (3, 2), (6, 3), (40, 90), (300, 60)])
    def test_small_and_wide_tables_are_finite(self, rows, columns):
        rng = np.random.default_rng(rows)
        t = np.r_[0, 1, rng.integers(0, 2, rows - 2)]
        for units in ("ate", "att", "atc"):
            found = dowhy_cina.estimate_effect(
                rng.normal(size=(rows, columns)), t, rng.normal(size=rows), target_units=units
            )
            assert np.isfinite(found.value)
            if min(t.sum(), rows - t.sum()) > 1:
                assert np.isfinite(found.confidence_interval).all()

    def test_degenerate_columns(self, table):
        x, t, y = table
        wide = np.column_stack([x, x[:, 0], 2 * x[:, 1] + x[:, 2], np.ones(len(x)), x[:, 3] * 1e9, x[:, 3] * 1e-12])
        found = dowhy_cina.estimate_effect(wide, t, y)
        assert np.isfinite(found.confidence_interval).all()
        assert found.value == pytest.approx(2.0, abs=0.3)

    def test_constant_outcome(self, table):
        x, t, _ = table
        found = dowhy_cina.estimate_effect(x, t, np.full(len(t), 7.0))
        assert (found.value, found.p_value) == (0.0, 1.0)
        assert found.confidence_interval[0] <= 0 <= found.confidence_interval[1]

    def test_binary_outcome(self, table):
        x, t, y = table
        found = dowhy_cina.estimate_effect(x, t, y > 0)
        assert -1 <= found.value <= 1

    def test_single_row_arm_has_a_value_and_no_interval(self, table):
        x, _, y = table
        t = np.zeros(len(y), int)
        t[5] = 1
        found = dowhy_cina.estimate_effect(x, t, y)
        assert np.isfinite(found.value)
        assert found.standard_error is None
        assert found.confidence_interval is None
        assert found.p_value is None
        assert any("single row" in warning for warning in found.warnings)
        assert "none" in found.summary()

    def test_poor_overlap_is_said(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(400, 2))
        t = (x[:, 0] > 0.5).astype(int)
        assert dowhy_cina.estimate_effect(x, t, x[:, 0]).warnings


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x, t, y: (x, np.arange(len(t)) % 3, y), "level"),
            (lambda x, t, y: (x, x[:, 0], y), "continuous|level"),
            (lambda x, t, y: (x, np.zeros_like(t), y), "treated|control|arm|level"),
            (lambda x, t, y: (x, np.where(t == 1, np.nan, 0.0), y), "(?i)nan|missing"),
            (lambda x, t, y: (x, np.where(t == 1, np.inf, 0.0), y), "inf"),
            (lambda x, t, y: (x, t, np.where(t == 1, np.nan, y)), "(?i)nan|missing"),
            (lambda x, t, y: (x, t, np.where(t == 1, np.inf, y)), "inf"),
            (lambda x, t, y: (np.where(x > 2, np.inf, x), t, y), "inf"),
            (lambda x, t, y: (x[:-1], t, y), "length|rows"),
            (lambda x, t, y: (x, t[:-1], y), "length|rows"),
            (lambda x, t, y: (x, t, y[:-1]), "599"),
            (lambda x, t, y: (x[:0], t[:0], y[:0]), "row|empty"),
            (lambda x, t, y: (x, t, y.astype(str)), "text|number"),
            (lambda x, t, y: (x[None], t, y), "dimension|shape|length|rows"),
            (lambda x, t, y: (np.stack([x, x], 2), t, y), "dimension|shape"),
        ],
    )
    def test_bad_tables(self, table, change, message):
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            dowhy_cina.estimate_effect(*change(*table))
        assert isinstance(caught.value, InputError | InputTypeError)

    @pytest.mark.parametrize(
        "units", ["atee", np.array([1, 2, 3]), np.zeros(600, bool), pd.DataFrame(np.zeros((0, 4)))]
    )
    def test_bad_targets(self, table, units):
        with pytest.raises((InputError, InputTypeError)):
            dowhy_cina.estimate_effect(*table, target_units=units)

    def test_bad_options(self, table):
        with pytest.raises(InputError, match="confidence_level"):
            dowhy_cina.estimate_effect(*table, confidence_level=1.5)
        for refine in (0, 1.5, "small"):
            with pytest.raises(InputError, match="refine"):
                dowhy_cina.estimate_effect(*table, refine=refine)
        with pytest.raises(InputError, match="augmentation"):
            dowhy_cina.estimate_effect(*table, augmentation="kernal")
        with pytest.raises(InputError, match="device"):
            dowhy_cina.estimate_effect(*table, device="cuda:99")
        with pytest.raises(CheckpointError, match="cina-small"):
            dowhy_cina.estimate_effect(*table, checkpoint="cina-smal")
        with pytest.raises(TypeError):
            dowhy_cina.estimate_effect(*table, augmentations="none")

    def test_bad_column_names(self, table):
        x, t, y = table
        frame = pd.DataFrame(x, columns=list("abcd")).assign(t=t, y=y)
        with pytest.raises(InputError, match="not in X"):
            dowhy_cina.estimate_effect(frame, "t", "z")
        with pytest.raises(InputError, match="one role"):
            dowhy_cina.estimate_effect(frame, "t", "y", covariates=["a", "t"])
        with pytest.raises(InputTypeError, match="DataFrame"):
            dowhy_cina.estimate_effect(x, "t", "y")


def test_options_are_frozen():
    with pytest.raises(AttributeError):
        EstimatorOptions().device = "cpu"


@pytest.mark.slow
def test_a_hundred_thousand_rows(linear_table):
    import time

    x, t, y = linear_table(rows=100_000, columns=10)
    began = time.perf_counter()
    found = dowhy_cina.estimate_effect(x, t, y)
    assert abs(found.value - 2) < 4 * found.standard_error
    assert time.perf_counter() - began < 20
    resource = pytest.importorskip("resource")  # of POSIX systems
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak * (1 if sys.platform == "darwin" else 1024) < 4e9


def test_a_missing_outcome_is_named_by_its_row_in_the_table():
    rng = np.random.default_rng(0)
    x, t, y = rng.normal(size=(60, 2)), np.arange(60) % 3, rng.normal(size=60)
    y[31] = np.nan
    with pytest.raises(InputError, match=r"1 missing or infinite of 40 \(row 31\)"):
        dowhy_cina.estimate_effect(x, t, y, treatment_value=1, control_value=0)
