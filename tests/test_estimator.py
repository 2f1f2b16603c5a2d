"""The estimator inside the real DoWhy: targets, inference, refuters, refusals, and what must stay untouched."""

from __future__ import annotations

import copy
import logging
import pickle
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from dowhy import CausalModel
from dowhy.causal_estimator import CausalEstimator
from dowhy.causal_estimator import estimate_effect as dowhy_estimate_effect
from dowhy.causal_refuters import refute_data_subset

import dowhy_cina
from dowhy_cina import CinaEstimator, inference
from dowhy_cina.errors import InputError, InputTypeError, UnknownOptionError

GRAPH = "digraph {x -> t; x -> y; z -> t; z -> y; c -> y; c -> t; t -> y; m -> y; i -> t; t -> d; d -> y}"
METHOD = "backdoor.cina"


def make_frame(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Draw a table whose effect is 2 + m, so 2 on average and also in the treated."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=["x", "z", "m", "i"])
    frame["c"] = rng.choice(["a", "b", "c"], size=rows)
    logit = frame.x - 0.5 * frame.z + 0.5 * (frame.c == "a") + 0.5 * frame.i
    frame["t"] = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int)
    frame["d"] = frame.t + 0.0
    noise = 0.5 * rng.normal(size=rows)
    frame["y"] = (2 + frame.m) * frame.t + frame.x + 0.5 * frame.z + (frame.c == "b") + noise
    return frame


def make_model(frame: pd.DataFrame, graph: str = GRAPH, treatment: str | list[str] = "t"):
    model = CausalModel(frame, treatment=treatment, outcome="y", graph=graph)
    return model, model.identify_effect(proceed_when_unidentifiable=True)


def plain_frame(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["x", "z", "t", "y"]]


PLAIN_GRAPH = "digraph {x -> t; x -> y; z -> t; z -> y; t -> y}"


@pytest.fixture(scope="module")
def frame():
    return make_frame()


@pytest.fixture(scope="module")
def problem(frame):
    return make_model(frame)


@pytest.fixture(scope="module")
def estimate(problem):
    model, estimand = problem
    return model.estimate_effect(estimand, method_name=METHOD, confidence_intervals=True, test_significance=True)


@pytest.fixture
def plain(frame):
    """Give a small frame, a model and an estimand of its own to a test that changes them."""
    table = plain_frame(frame).head(160).copy()
    return (table, *make_model(table, PLAIN_GRAPH))


@pytest.fixture
def no_bootstrap(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a bootstrap was started that nobody asked for")

    for owner in (CausalEstimator, CinaEstimator):
        monkeypatch.setattr(owner, "_generate_bootstrap_estimates", refuse)
        monkeypatch.setattr(owner, "_test_significance_with_bootstrap", refuse)


# --- the answer


def test_estimate_is_that_of_the_direct_call_and_covers_the_truth(frame, estimate):
    # Columns in the frame's order; the effect modifier m is a covariate too.
    direct = dowhy_cina.estimate_effect(frame[["x", "z", "m", "c"]], frame.t, frame.y)
    assert estimate.value == direct.value
    assert estimate.get_confidence_intervals() == direct.confidence_interval
    assert estimate.get_standard_error() == direct.standard_error
    assert estimate.test_stat_significance() == {"p_value": direct.p_value}
    assert abs(estimate.value - 2) < 4 * estimate.get_standard_error()
    assert estimate.cina_result.target == "ate"
    assert estimate.effective_sample_size == direct.effective_sample_size
    pd.testing.assert_frame_equal(estimate.balance, direct.balance)


def test_numbers_are_python_floats(estimate):
    numbers = [estimate.value, *estimate.get_confidence_intervals(), estimate.get_standard_error()]
    numbers += [estimate.test_stat_significance()["p_value"], *estimate.get_confidence_intervals(confidence_level=0.8)]
    assert {type(number) for number in numbers} == {float}


def test_another_confidence_level_narrows_the_interval(estimate):
    lower, upper = estimate.get_confidence_intervals()
    inner_lower, inner_upper = estimate.get_confidence_intervals(confidence_level=0.5)
    assert lower < inner_lower < estimate.value < inner_upper < upper


def test_print_and_interpret(estimate, capsys, no_bootstrap):
    text = str(estimate)
    assert "b: y~t+x+z+m+c\nCInA balancing weights, augmented by kernel regression" in text
    assert "Target units: ate" in text
    assert f"Mean value: {estimate.value}" in text
    assert "p-value: " in text
    assert f"95.0% confidence interval: {estimate.get_confidence_intervals()}" in text
    estimate.interpret()
    assert f"from 0 to 1 causes an increase of {estimate.value}" in capsys.readouterr().out


def test_all_ways_to_call_give_the_same_value(frame, problem, estimate):
    model, estimand = problem
    external = model.estimate_effect(estimand, method_name="backdoor.dowhy_cina.CinaEstimator")
    modifiers = ["m"]
    fitted = CinaEstimator(estimand).fit(frame, effect_modifier_names=modifiers).estimate_effect(frame)
    functional = dowhy_estimate_effect(
        frame, "t", "y", "backdoor", CinaEstimator(estimand), effect_modifiers=modifiers, method_params={}
    )
    assert external.value == fitted.value == functional.value == estimate.value
    assert "Target units: ate" in str(fitted)


def test_options_arrive_on_every_path(problem):
    model, estimand = problem
    for method in (METHOD, "backdoor.dowhy_cina.CinaEstimator"):
        for params in ({"augmentation": "none"}, {"init_params": {"augmentation": "none", "confidence_level": 0.9}}):
            given = copy.deepcopy(params)
            answer = model.estimate_effect(estimand, method_name=method, method_params=params)
            assert answer.estimator.options.augmentation == "none"
            assert answer.estimator.confidence_level == given.get("init_params", {}).get("confidence_level", 0.95)
            # DoWhy itself adds this key on the external path.
            params.pop("dowhy_cina_estimator", None)
            assert params == given
    assert "weights alone" in str(answer)


def test_base_keywords_and_options_are_kept():
    estimand = make_model(make_frame(40))[1]
    estimator = CinaEstimator(
        estimand,
        test_significance=True,
        evaluate_effect_strength=False,
        confidence_intervals="bootstrap",
        num_null_simulations=11,
        num_simulations=12,
        sample_size_fraction=0.5,
        confidence_level=0.8,
        need_conditional_estimates=False,
        num_quantiles_to_discretize_cont_cols=3,
        device="cpu",
    )
    assert (estimator.num_null_simulations, estimator.num_simulations, estimator.sample_size_fraction) == (11, 12, 0.5)
    assert (estimator._significance_test, estimator._confidence_intervals) == (True, "bootstrap")
    assert (estimator.need_conditional_estimates, estimator.num_quantiles_to_discretize_cont_cols) == (False, 3)
    assert (estimator.confidence_level, estimator.options.device) == (0.8, "cpu")


# --- targets


def test_targets_find_their_rows(problem, frame):
    model, estimand = problem

    def estimate_for(units):
        return model.estimate_effect(estimand, method_name=METHOD, target_units=units)

    error = estimate_for("ate").get_standard_error()
    for units, rows in {
        "att": frame.t == 1,
        "atc": frame.t == 0,
        (lambda data: data["m"] > 0.5): frame.m > 0.5,
        (lambda data: (data["m"] < 0).to_numpy()): frame.m < 0,
    }.items():
        named = estimate_for(units)
        elsewhere = estimate_for(frame.loc[rows, ["m", "c", "z", "x"]])
        truth = (2 + frame.m[rows]).mean()
        assert abs(named.value - truth) < 5 * error
        assert abs(elsewhere.value - truth) < 5 * error
    assert "Data subset provided as a data frame" in str(elsewhere)


def test_mask_of_everything_is_the_ate(problem, estimate):
    model, estimand = problem
    everything = model.estimate_effect(
        estimand, method_name=METHOD, target_units=lambda data: np.ones(len(data), dtype=bool)
    )
    assert everything.value == pytest.approx(estimate.value, rel=1e-9)


def test_named_target_of_other_data_means_its_rows(frame, problem):
    estimator = CinaEstimator(problem[1]).fit(frame, effect_modifier_names=["m"])
    other = make_frame(seed=5)
    treated = estimator.estimate_effect(other, target_units="att")
    rows = estimator.estimate_effect(frame, target_units=other[other.t == 1])
    assert treated.value == rows.value
    covariates_only = estimator.estimate_effect(other[["x", "z", "m", "c"]])
    assert covariates_only.value == estimator.estimate_effect(other).value
    same_rows = estimator.estimate_effect(frame.copy())
    assert same_rows.cina_result.target == "ate"
    with pytest.raises(InputError, match="treatment column t"):
        estimator.estimate_effect(other[["x", "z", "m", "c"]], target_units="att")


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("overlapp", "must be 'ate', 'att', 'atc'"),
        (3, "must be 'ate', 'att', 'atc'"),
        (lambda data: data["x"], "one boolean for each of the 160 rows"),
        (lambda data: [True], "one boolean for each of the 160 rows"),
        (lambda data: data["x"] > 99, "select no row"),
        (pd.DataFrame({"x": [0.0]}), "lacks the column"),
        (pd.DataFrame({"x": [], "z": []}), "select no row"),
    ],
)
def test_bad_targets_are_refused(plain, units, message):
    _, model, estimand = plain
    with pytest.raises(InputError, match=message):
        model.estimate_effect(estimand, method_name=METHOD, target_units=units)


def test_repeated_targets_reuse_the_analysis(plain, monkeypatch):
    table, _, estimand = plain
    calls = []
    monkeypatch.setattr(
        inference, "analyse", lambda *a, _analyse=inference.analyse, **k: calls.append(1) or _analyse(*a, **k)
    )
    estimator = CinaEstimator(estimand).fit(table)
    for units in ("ate", "att", "atc", lambda data: data.x > 0, table.head(20)):
        estimator.estimate_effect(table, target_units=units).get_confidence_intervals(confidence_level=0.7)
    assert len(calls) == 1
    estimator.estimate_effect(table, treatment_value=0, control_value=1)
    assert len(calls) == 2


def test_a_later_estimate_leaves_an_earlier_one_alone(plain):
    _, model, estimand = plain
    first = model.estimate_effect(estimand, method_name=METHOD, confidence_intervals=True)
    interval, text = first.get_confidence_intervals(), str(first)
    later = model.estimate_effect(
        estimand, method_name=METHOD, target_units="att", confidence_intervals=True, fit_estimator=False
    )
    assert later.get_confidence_intervals() != interval
    assert first.get_confidence_intervals() == interval
    assert str(first) == text


# --- treatments, covariates, rows


def test_exchanged_values_change_the_sign(plain):
    _, model, estimand = plain
    values = [
        model.estimate_effect(estimand, method_name=METHOD, treatment_value=treated, control_value=control).value
        for treated, control in ((1, 0), (0, 1), ([1], [0]))
    ]
    assert values[1] == pytest.approx(-values[0], rel=1e-6)
    assert values[2] == values[0]


@pytest.mark.parametrize("kind", [bool, "int8", float, "category", "Int64"])
def test_treatment_types(plain, kind):
    table, model, estimand = plain
    expected = model.estimate_effect(estimand, method_name=METHOD, target_units="att").value
    model, estimand = make_model(table.astype({"t": kind}), PLAIN_GRAPH)
    assert model.estimate_effect(estimand, method_name=METHOD, target_units="att").value == expected


def test_rows_with_another_treatment_are_set_aside(frame):
    table = plain_frame(frame).copy()
    extra = table.head(30).assign(t=2, y=1e3)
    model, estimand = make_model(table, PLAIN_GRAPH)
    expected = model.estimate_effect(estimand, method_name=METHOD).value
    model, estimand = make_model(pd.concat([extra, table]), PLAIN_GRAPH)
    estimate = model.estimate_effect(estimand, method_name=METHOD)
    assert estimate.value == pytest.approx(expected, rel=1e-9)
    assert estimate.cina_result.rows_set_aside == 30


def test_index_and_row_order_do_not_matter(plain):
    table, model, estimand = plain
    expected = model.estimate_effect(estimand, method_name=METHOD, target_units=lambda data: data.x > 0)
    for other in (table.set_axis(np.zeros(len(table)), axis="index"), table.sample(frac=1, random_state=0)):
        model, estimand = make_model(other, PLAIN_GRAPH)
        estimate = model.estimate_effect(estimand, method_name=METHOD, target_units=lambda data: data.x > 0)
        assert estimate.value == pytest.approx(expected.value, abs=1e-6)


def test_order_of_the_adjustment_set_does_not_matter(plain):
    table, _, estimand = plain
    values = []
    for names in (["x", "z"], ["z", "x"]):
        other = copy.deepcopy(estimand)
        other.set_identifier_method("backdoor")
        other.set_adjustment_set(names)
        estimator = CinaEstimator(other).fit(table)
        assert estimator._observed_common_causes_names == ["x", "z"]
        values.append(estimator.estimate_effect(table).value)
    assert values[0] == values[1]


def test_without_common_causes_it_is_the_difference_in_means(frame):
    table = frame[["t", "y"]]
    model, estimand = make_model(table, "digraph {t -> y}")
    estimate = model.estimate_effect(estimand, method_name=METHOD, confidence_intervals=True)
    means = table.groupby("t").y.mean()
    assert estimate.value == pytest.approx(means[1] - means[0], rel=1e-6)
    assert estimate.estimator._observed_common_causes is None
    assert "b: y~t\n" in str(estimate)


# --- effect modifiers


def test_conditional_estimates_follow_the_modifier(frame, problem, estimate):
    groups = estimate.conditional_estimates
    assert len(groups) == 5
    truth = (2 + frame.m).groupby(pd.qcut(frame.m, 5), observed=True).mean().to_numpy()
    assert np.abs(groups.to_numpy() - truth).max() < 0.6
    assert estimate.estimator._effect_modifier_names == ["m"]
    assert estimate.estimator._observed_common_causes_names == ["x", "z", "c"]
    assert "### Conditional Estimates" in str(estimate)


@pytest.mark.parametrize("units", ["att", lambda data: data.x > 0, "frame"])
def test_conditional_estimates_stay_in_the_target(frame, problem, units):
    model, estimand = problem
    units = frame[frame.x > 0] if isinstance(units, str) and units == "frame" else units
    estimate = model.estimate_effect(estimand, method_name=METHOD, target_units=units)
    assert np.isfinite(estimate.conditional_estimates.to_numpy()).all()
    assert estimate.conditional_estimates.mean() == pytest.approx(estimate.value, abs=0.3)


def test_refits_leave_conditional_estimates_out(frame, estimate):
    refit = estimate.estimator.get_new_estimator_object(estimate.target_estimand).fit(frame, ["m"])
    assert refit.estimate_effect(frame).conditional_estimates is None
    assert refit.estimate_effect(frame, need_conditional_estimates=True).conditional_estimates is not None


# --- bootstraps


def test_a_bootstrap_runs_when_asked_for_once(plain, monkeypatch):
    _, model, estimand = plain
    calls = []
    monkeypatch.setattr(
        inference, "analyse", lambda *a, _analyse=inference.analyse, **k: calls.append(1) or _analyse(*a, **k)
    )
    estimate = model.estimate_effect(
        estimand,
        method_name=METHOD,
        confidence_intervals="bootstrap",
        method_params={"num_simulations": 12, "confidence_level": 0.8},
    )
    lower, upper = estimate.get_confidence_intervals()
    assert f"80.0% confidence interval: ({lower}, {upper})" in str(estimate)
    assert lower < estimate.value < upper
    assert type(estimate.get_standard_error()) is type(lower) is float
    # DoWhy asks the estimator, then the estimate: the resamples are the same.
    assert len(calls) == 13


@pytest.mark.parametrize("units", ["att", lambda data: data.x > 0, "frame"])
def test_a_bootstrap_agrees_with_the_analytic_error(plain, units):
    table, model, estimand = plain
    units = table[table.x > 0] if isinstance(units, str) and units == "frame" else units
    estimate = model.estimate_effect(estimand, method_name=METHOD, target_units=units)
    resampled = estimate.get_standard_error(method="bootstrap", num_simulations=20)
    assert 0.4 < resampled / estimate.get_standard_error() < 2


def test_a_bootstrap_follows_the_seed_and_draws_nothing_from_it(plain):
    _, model, estimand = plain
    estimate = model.estimate_effect(estimand, method_name=METHOD)

    def interval(seed):
        np.random.seed(seed)  # noqa: NPY002
        estimate.estimator._bootstrap_estimates = None
        answer = estimate.get_confidence_intervals(method="bootstrap", num_simulations=3)
        assert np.random.get_state()[2] == 624  # noqa: NPY002  # nothing drawn since seeding
        return answer

    assert interval(0) == interval(0) != interval(1)


def test_a_bootstrap_needs_two_rows(plain):
    _, model, estimand = plain
    estimate = model.estimate_effect(estimand, method_name=METHOD)
    with pytest.raises(InputError, match="sample_size_fraction"):
        estimate.get_confidence_intervals(method="bootstrap", sample_size_fraction=0.001)


def test_significance_by_permutation_when_asked_for(plain):
    _, model, estimand = plain
    estimate = model.estimate_effect(
        estimand, method_name=METHOD, test_significance="bootstrap", method_params={"num_null_simulations": 5}
    )
    assert estimate.test_stat_significance()["p_value"] == (0, 0.2)


def test_unknown_inference_methods_are_refused(estimate):
    with pytest.raises(InputError, match="'default' \\(analytic\\) or 'bootstrap', got 'jackknife'"):
        estimate.get_confidence_intervals(method="jackknife")


def test_an_arm_with_one_row_has_a_value_and_no_interval(plain, no_bootstrap):
    table, _, _ = plain
    table = pd.concat([table[table.t == 0], table[table.t == 1].head(1)])
    model, estimand = make_model(table, PLAIN_GRAPH)
    with pytest.warns(UserWarning, match="single|one row"):
        estimate = model.estimate_effect(
            estimand, method_name=METHOD, confidence_intervals=True, test_significance=True
        )
    assert np.isfinite(estimate.value)
    with pytest.warns(UserWarning, match="no interval, standard error or p-value"):
        assert estimate.get_confidence_intervals() == (None, None)
    with pytest.warns(UserWarning, match="no interval"):
        assert estimate.get_standard_error() is None
    with pytest.warns(UserWarning, match="no interval"):
        assert estimate.test_stat_significance() == {"p_value": None}
    with pytest.warns(UserWarning, match="no interval"):
        assert "95.0% confidence interval: (None, None)" in str(estimate)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refit = estimate.estimator.get_new_estimator_object(estimand).fit(table).estimate_effect(table)
    assert refit.value == estimate.value


# --- refuters

REFUTERS = [
    ("random_common_cause", {}),
    ("placebo_treatment_refuter", {"placebo_type": "permute"}),
    ("placebo_treatment_refuter", {}),
    ("data_subset_refuter", {}),
    ("bootstrap_refuter", {}),
    ("dummy_outcome_refuter", {}),
]


@pytest.mark.parametrize(("name", "options"), REFUTERS)
@pytest.mark.parametrize("units", ["att", "frame"])
def test_refuters(frame, problem, no_bootstrap, name, options, units):
    model, estimand = problem
    target = frame[frame.x > 0] if units == "frame" else units
    estimate = model.estimate_effect(estimand, method_name=METHOD, target_units=target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=RuntimeWarning)
        refutation = model.refute_estimate(estimand, estimate, method_name=name, num_simulations=3, **options)
    new_effect = (refutation[0] if isinstance(refutation, list) else refutation).new_effect
    expected = 0.0 if name.startswith(("placebo", "dummy")) else estimate.value
    assert abs(new_effect - expected) < 0.5


@pytest.mark.parametrize("strength", [0.05, np.array([0.02, 0.05])])
def test_refuter_by_simulated_confounder(plain, strength):
    _, model, estimand = plain
    estimate = model.estimate_effect(estimand, method_name=METHOD)
    refutation = model.refute_estimate(
        estimand,
        estimate,
        method_name="add_unobserved_common_cause",
        confounders_effect_on_treatment="binary_flip",
        confounders_effect_on_outcome="linear",
        effect_strength_on_treatment=strength,
        effect_strength_on_outcome=strength,
        plotmethod=None,
    )
    assert np.isfinite(refutation.new_effect).all()


def test_common_causes_are_there_for_the_partial_r2_refuter(estimate):
    encoded = estimate.estimator._observed_common_causes
    assert set(encoded.columns) == {"x", "z", "c_b", "c_c"}
    assert len(encoded) == 300


def test_refuters_run_in_threads(frame, problem, estimate):
    _, estimand = problem
    random_state = np.random.RandomState(1)
    with joblib.parallel_config(backend="threading"):
        refutation = refute_data_subset(
            frame, estimand, estimate, num_simulations=4, n_jobs=2, random_state=random_state
        )
    assert refutation.new_effect == pytest.approx(estimate.value, abs=0.5)


def test_new_objects_are_light_and_unfitted(estimate):
    estimator = estimate.estimator
    new = estimator.get_new_estimator_object("another estimand", confidence_intervals=False)
    assert new._target_estimand == "another estimand"
    assert new.options is estimator.options
    assert (new._table, new._analyses, new._answer) == (None, {}, None)
    assert estimator._table is not None
    assert estimator._analyses
    assert new._confidence_intervals is False
    assert callable(new._test_significance)


# --- pickles


def test_pickled_estimates_answer_as_before(plain):
    _, model, estimand = plain
    estimate = model.estimate_effect(estimand, method_name=METHOD, confidence_intervals=True)
    back = pickle.loads(pickle.dumps(estimate))
    assert back.estimator._analyses == {}
    assert back.get_confidence_intervals() == estimate.get_confidence_intervals()
    assert back.get_confidence_intervals(confidence_level=0.6) == estimate.get_confidence_intervals(
        confidence_level=0.6
    )
    assert str(back) == str(estimate)


# --- what must stay untouched


def test_nothing_of_the_users_changes(frame):
    def surroundings():
        loggers = {
            name: logging.getLogger(name).level for name in ("", "dowhy", "dowhy.causal_estimator", "dowhy_cina")
        }
        handlers = [len(logging.getLogger(name).handlers) for name in loggers]
        torch_settings = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
        return loggers, handlers, torch_settings, torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # noqa: NPY002

    table = frame.copy()
    model, estimand = make_model(table)
    dowhy_cina.estimate_effect(frame[["x"]], frame.t, frame.y)  # what torch does once, at its first use
    before = surroundings()
    params = {"init_params": {"augmentation": "kernel"}}
    estimate = model.estimate_effect(
        estimand, method_name=METHOD, confidence_intervals=True, test_significance=True, method_params=params
    )
    str(estimate)
    for units in ("att", lambda data: data.x > 0, table.head(50)):
        model.estimate_effect(estimand, method_name=METHOD, target_units=units)
    assert surroundings() == before
    pd.testing.assert_frame_equal(table, frame)
    assert params == {"init_params": {"augmentation": "kernel"}}


# --- refusals


@pytest.mark.parametrize("method", ["iv.cina", "frontdoor.cina"])
def test_other_identifiers_are_refused(problem, frame, method):
    model, estimand = problem
    with pytest.raises(InputError, match=f"'general_adjustment', got '{method.split('.')[0]}'"):
        model.estimate_effect(estimand, method_name=method)
    estimand.set_identifier_method("backdoor")
    estimator = CinaEstimator(estimand)
    estimand.set_identifier_method(method.split(".")[0])
    with pytest.raises(InputError, match="general_adjustment"):
        estimator.fit(frame)
    estimand.set_identifier_method("backdoor")


def test_general_adjustment_is_taken(plain):
    _, model, estimand = plain
    expected = model.estimate_effect(estimand, method_name=METHOD).value
    assert model.estimate_effect(estimand, method_name="general_adjustment.cina").value == expected


def test_an_estimand_without_adjustment_set_is_refused(frame):
    _, estimand = make_model(frame[["t", "d", "y"]], "digraph {t -> d; d -> y; U -> t; U -> y}")
    with pytest.raises(InputError, match="with an adjustment set, got none for 'backdoor'"):
        CinaEstimator(estimand).fit(frame)


@pytest.mark.parametrize("wrap", [dict, lambda **options: {"init_params": options}])
def test_unknown_options_are_named_with_the_nearest(problem, wrap):
    model, estimand = problem
    for method in (METHOD, "backdoor.dowhy_cina.CinaEstimator"):
        with pytest.raises(UnknownOptionError, match="'augmentations' \\(did you mean 'augmentation'"):
            model.estimate_effect(estimand, method_name=method, method_params=wrap(augmentations="none"))


def test_options_given_twice_must_agree(problem):
    _, estimand = problem
    options = {"device": "cpu"}
    assert CinaEstimator(estimand, device="cpu", init_params=options).options.device == "cpu"
    with pytest.raises(InputError, match="device given twice"):
        CinaEstimator(estimand, device="auto", init_params=options)


def test_fit_parameters_are_refused(problem):
    model, estimand = problem
    with pytest.raises(UnknownOptionError, match="epochs"):
        model.estimate_effect(estimand, method_name=METHOD, method_params={"fit_params": {"epochs": 3}})


def test_options_to_come_are_named(plain):
    _, model, estimand = plain
    with pytest.raises(NotImplementedError, match="refine"):
        model.estimate_effect(estimand, method_name=METHOD, method_params={"refine": 1e-3})


def test_several_treatments_are_refused(frame):
    model, estimand = make_model(frame, treatment=["t", "d"])
    with pytest.raises(InputError, match="one treatment variable, got 2"):
        model.estimate_effect(estimand, method_name=METHOD)


def test_several_treatment_values_are_refused(plain):
    _, model, estimand = plain
    with pytest.raises(InputError, match="treatment_value must be a single value"):
        model.estimate_effect(estimand, method_name=METHOD, treatment_value=[1, 2])


def test_bad_tables_are_refused(plain):
    table, _, estimand = plain
    estimator = CinaEstimator(estimand)
    with pytest.raises(InputTypeError, match="pandas DataFrame, got ndarray"):
        estimator.fit(table.to_numpy())
    with pytest.raises(InputError, match=r"lacks the column\(s\) x"):
        estimator.fit(table.drop(columns="x"))
    with pytest.raises(InputError, match=r"column\(s\) x more than once"):
        estimator.fit(pd.concat([table, table[["x"]]], axis=1))
    with pytest.raises(InputError, match="call fit"):
        estimator.estimate_effect(table)
    with pytest.raises(InputError, match="call estimate_effect first"):
        estimator.fit(table).estimate_std_error(table)
    with pytest.raises(InputTypeError, match="pandas DataFrame, got ndarray"):
        estimator.estimate_effect(table.to_numpy())


@pytest.mark.parametrize("value", [0, 1])
def test_an_empty_arm_is_refused(plain, value):
    table, _, _ = plain
    model, estimand = make_model(table[table.t == value], PLAIN_GRAPH)
    for units in ("ate", "att", "atc"):
        with pytest.raises(InputError, match="control" if value else "treated"):
            model.estimate_effect(estimand, method_name=METHOD, target_units=units)


def test_missing_torch_is_said_with_the_command_that_installs_it(problem, monkeypatch):
    model, estimand = problem
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="python -m pip install torch"):
        model.estimate_effect(estimand, method_name=METHOD)
