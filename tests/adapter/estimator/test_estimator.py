"""The estimator inside the real DoWhy: its answer, target units, tables, effect modifiers."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from dowhy.causal_estimator import estimate_effect as dowhy_estimate_effect

import dowhy_cina
from dowhy_cina import CinaEstimator
from dowhy_cina.calls import direct
from dowhy_cina.errors import InputError

METHOD = "backdoor.cina"


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


def test_base_keywords_and_options_are_kept(make_frame, make_model):
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


def test_named_target_of_other_data_means_its_rows(frame, problem, make_frame):
    estimator = CinaEstimator(problem[1]).fit(frame, effect_modifier_names=["m"])
    other = make_frame(seed=5)
    treated = estimator.estimate_effect(other, target_units="att")
    rows = estimator.estimate_effect(frame, target_units=other[other.t == 1])
    assert treated.value == rows.value
    covariates_only = estimator.estimate_effect(other[["x", "z", "m", "c"]])
    assert covariates_only.value == estimator.estimate_effect(other).value
    for same_rows in (frame.copy(), frame[::-1], frame.sample(frac=1, random_state=0).reset_index(drop=True)):
        again = estimator.estimate_effect(same_rows, target_units=lambda data: data.x > 0)
        assert again.cina_result.target_weights.tolist() == ((frame.x > 0) / (frame.x > 0).sum()).tolist()
    with pytest.raises(InputError, match="treatment column t"):
        estimator.estimate_effect(other[["x", "z", "m", "c"]], target_units="att")


def test_repeated_targets_reuse_the_analysis(plain, monkeypatch):
    table, _, estimand = plain
    calls = []
    monkeypatch.setattr(
        direct, "analyse", lambda *a, _analyse=direct.analyse, **k: calls.append(1) or _analyse(*a, **k)
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
    assert first.estimator is model.get_estimator(METHOD)
    later = model.estimate_effect(
        estimand, method_name=METHOD, target_units="att", confidence_intervals=True, fit_estimator=False
    )
    assert later.estimator is model.get_estimator(METHOD)
    assert later.get_confidence_intervals() != interval
    assert first.get_confidence_intervals() == interval
    assert str(first) == text


# --- treatments, covariates, rows


def test_exchanged_values_change_the_sign(plain):
    _, model, estimand = plain
    estimates = [
        model.estimate_effect(estimand, method_name=METHOD, treatment_value=treated, control_value=control)
        for treated, control in ((1, 0), (0, 1), ([1], [0]))
    ]
    first, exchanged, wrapped = (estimate.value for estimate in estimates)
    # The network does not treat the arms alike, so the mirror image holds up to a part of the error only.
    assert abs(exchanged + first) < 0.5 * estimates[0].get_standard_error()
    assert first > 0 > exchanged
    assert wrapped == first


@pytest.mark.parametrize("kind", [bool, "int8", float, "category", "Int64"])
def test_treatment_types(plain, kind, make_plain_model):
    table, model, estimand = plain
    expected = model.estimate_effect(estimand, method_name=METHOD, target_units="att").value
    model, estimand = make_plain_model(table.astype({"t": kind}))
    assert model.estimate_effect(estimand, method_name=METHOD, target_units="att").value == expected


def test_rows_with_another_treatment_are_set_aside(frame, make_plain_model):
    table = frame[["x", "z", "t", "y"]].copy()
    extra = table.head(30).assign(t=2, y=1e3)
    model, estimand = make_plain_model(table)
    expected = model.estimate_effect(estimand, method_name=METHOD).value
    model, estimand = make_plain_model(pd.concat([extra, table]))
    estimate = model.estimate_effect(estimand, method_name=METHOD)
    assert estimate.value == pytest.approx(expected, rel=1e-9)
    assert estimate.cina_result.rows_set_aside == 30


def test_index_and_row_order_do_not_matter(plain, make_plain_model):
    table, model, estimand = plain
    expected = model.estimate_effect(estimand, method_name=METHOD, target_units=lambda data: data.x > 0)
    for other in (table.set_axis(np.zeros(len(table)), axis="index"), table.sample(frac=1, random_state=0)):
        model, estimand = make_plain_model(other)
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


def test_without_common_causes_it_is_the_difference_in_means(frame, make_model):
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


@pytest.mark.parametrize("written", ["far", "text"])
def test_conditional_estimates_go_by_what_the_estimate_reads(frame, make_model, written):
    """Numbers that stand for missing ones are in no group, as missing ones are; text that is one of numbers is cut."""
    gone = frame.index % 15 == 0
    known = frame.assign(m=frame.m.round(3).mask(gone))
    odd = known.m.fillna(-999.0) if written == "far" else known.m.map("{:.3f}".format).where(~gone, "unknown")
    found, plain = [], []
    for table, values in ((frame.assign(m=odd), found), (known, plain)):
        model, estimand = make_model(table)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            values.append(model.estimate_effect(estimand, method_name=METHOD).conditional_estimates)
    assert len(found[0]) == 5
    assert [str(group) for group in found[0].index] == [str(group) for group in plain[0].index]
    np.testing.assert_allclose(found[0], plain[0], atol=0.1)


def test_refits_leave_conditional_estimates_out(frame, estimate):
    refit = estimate.estimator.get_new_estimator_object(estimate.target_estimand).fit(frame, ["m"])
    assert refit.estimate_effect(frame).conditional_estimates is None
    assert refit.estimate_effect(frame, need_conditional_estimates=True).conditional_estimates is not None


def test_conditional_estimates_are_effects_in_the_groups_of_one_analysis(frame, problem, monkeypatch):
    model, estimand = problem
    calls = []
    monkeypatch.setattr(
        direct, "analyse", lambda *a, _analyse=direct.analyse, **k: calls.append(1) or _analyse(*a, **k)
    )
    estimate = model.estimate_effect(estimand, method_name=METHOD, target_units="att")
    assert len(calls) == 1
    bins = pd.qcut(frame.m[frame.t == 1], 5).reindex(frame.index)
    for group, value in estimate.conditional_estimates.items():
        inside = (bins == group).to_numpy()
        own = dowhy_cina.estimate_effect(frame[["x", "z", "m", "c"]], frame.t, frame.y, target_units=inside)
        assert value == pytest.approx(own.value, rel=1e-9)


# --- the overlap population


def test_overlap_is_the_direct_call_s(frame, problem):
    model, estimand = problem
    estimate = model.estimate_effect(estimand, method_name=METHOD, target_units="overlap")
    direct = dowhy_cina.estimate_effect(frame[["x", "z", "m", "c"]], frame.t, frame.y, target_units="overlap")
    assert (estimate.value, estimate.cina_result.target) == (direct.value, "overlap")
    assert "Target units: overlap" in str(estimate)


def test_conditional_estimates_add_up_to_the_overlap_effect(frame, problem):
    model, estimand = problem
    estimate = model.estimate_effect(estimand, method_name=METHOD, target_units="overlap")
    groups = estimate.conditional_estimates
    weights = estimate.cina_result.target_weights
    inside = [(pd.qcut(frame.m, 5) == group).to_numpy() for group in groups.index]
    shares = [weights[rows].sum() for rows in inside]
    assert (groups * shares).sum() == pytest.approx(estimate.value, rel=1e-9)
    truth = [2 + np.average(frame.m[rows], weights=weights[rows]) for rows in inside]
    assert np.abs(groups.to_numpy() - truth).max() < 0.8


def test_conditional_estimates_of_the_overlap_leave_out_rows_set_aside(frame, make_model):
    more = pd.concat([frame, frame.head(100).assign(t=2)], ignore_index=True)
    model, estimand = make_model(more)
    estimate = model.estimate_effect(estimand, method_name=METHOD, target_units="overlap")
    assert estimate.cina_result.rows_set_aside == 100
    groups, weights = estimate.conditional_estimates, estimate.cina_result.target_weights
    compared = more.index < len(frame)
    cut = pd.qcut(more.m[compared], 5).reindex(more.index)
    shares = [weights[(cut == group).to_numpy()].sum() for group in groups.index]
    assert sum(shares) == pytest.approx(1)
    assert (groups * shares).sum() == pytest.approx(estimate.value, rel=1e-9)
    for group, effect in groups.items():
        rows = (cut == group).to_numpy()
        scores = estimate.cina_result.pseudo_outcomes - estimate.value
        expected = estimate.value + scores[rows].sum() / (len(frame) * weights[rows].sum())
        assert effect == pytest.approx(expected, rel=1e-9)


# --- sampling weights and clusters


@pytest.fixture
def weighted(frame):
    rng = np.random.default_rng(1)
    return frame.assign(w=rng.uniform(0.2, 2, len(frame)), site=rng.integers(0, 40, len(frame)))


def test_weights_and_clusters_are_columns_and_no_covariates(weighted, make_plain_model):
    model, estimand = make_plain_model(weighted)
    params = {"init_params": {"sample_weight": "w", "cluster": "site"}}
    estimate = model.estimate_effect(estimand, method_name=METHOD, method_params=params)
    direct = dowhy_cina.estimate_effect(
        weighted[["x", "z"]], weighted.t, weighted.y, sample_weight=weighted.w, cluster=weighted.site
    )
    assert (estimate.value, estimate.get_standard_error()) == (direct.value, direct.standard_error)
    assert estimate.value != model.estimate_effect(estimand, method_name=METHOD).value
    assert list(estimate.estimator._table.covariates.columns) == ["x", "z"]


def test_weights_follow_into_refits(weighted, make_plain_model):
    model, estimand = make_plain_model(weighted)
    estimate = model.estimate_effect(estimand, method_name=METHOD, method_params={"sample_weight": "w"})
    subset = weighted.head(200)
    refit = estimate.estimator.get_new_estimator_object(estimand).fit(subset).estimate_effect(subset)
    direct = dowhy_cina.estimate_effect(subset[["x", "z"]], subset.t, subset.y, sample_weight=subset.w)
    assert refit.value == direct.value
    refutation = model.refute_estimate(estimand, estimate, method_name="bootstrap_refuter", num_simulations=2)
    assert abs(refutation.new_effect - estimate.value) < 0.8


def test_bootstraps_draw_whole_clusters(weighted, make_plain_model, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        CinaEstimator,
        "_analyse",
        lambda self, table, _analyse=CinaEstimator._analyse: drawn.append(table) or _analyse(self, table),
    )
    model, estimand = make_plain_model(weighted)
    estimate = model.estimate_effect(estimand, method_name=METHOD, method_params={"cluster": "site"})
    assert estimate.get_standard_error(method="bootstrap", num_simulations=3) > 0
    rows = weighted.site.value_counts()
    assert len(drawn) == 4
    for table in drawn[1:]:
        copies = table.cluster.value_counts()
        assert (copies % rows[copies.index] == 0).all()
        assert len(copies) < len(rows)
