"""Every refuter of DoWhy, unmodified, through ``model.refute_estimate``; and where their refits run."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from dowhy.causal_refuters import refute_data_subset

from dowhy_cina import CinaEstimator
from dowhy_cina.calls.analysis import Analysis

METHOD = "backdoor.cina"

REFUTERS = [
    ("random_common_cause", {}),
    ("placebo_treatment_refuter", {"placebo_type": "permute"}),
    ("placebo_treatment_refuter", {}),
    ("data_subset_refuter", {}),
    ("bootstrap_refuter", {}),
    ("dummy_outcome_refuter", {}),
]


@pytest.fixture
def estimated(plain):
    """Give a small model, its estimand and its estimate."""
    _, model, estimand = plain
    return model, estimand, model.estimate_effect(estimand, method_name=METHOD)


# --- each refuter


@pytest.mark.parametrize(("name", "options"), REFUTERS)
@pytest.mark.parametrize("units", ["ate", "att", "frame"])
def test_refuters_by_refits(frame, problem, no_bootstrap, name, options, units):
    model, estimand = problem
    target = frame[frame.x > 0] if units == "frame" else units
    estimate = model.estimate_effect(estimand, method_name=METHOD, target_units=target)
    with warnings.catch_warnings():
        warnings.simplefilter("error", category=UserWarning)  # refits repeat none
        refutation = model.refute_estimate(estimand, estimate, method_name=name, num_simulations=3, **options)
    refutation = refutation[0] if isinstance(refutation, list) else refutation
    expected = 0.0 if name.startswith(("placebo", "dummy")) else estimate.value
    assert abs(refutation.new_effect - expected) < 0.5
    assert refutation.estimated_effect == (0 if name.startswith("dummy") else estimate.value)
    assert 0 <= refutation.refutation_result["p_value"] <= 1


def test_copies_of_rows_are_told_once_and_never_of_a_resample(make_frame, make_plain_model):
    frame = make_frame(200)
    copied = pd.concat([frame, frame[:40]], ignore_index=True)
    (model, estimand), (other, of_other) = make_plain_model(copied), make_plain_model(frame)
    with pytest.warns(UserWarning, match="40 of 240 rows are exact copies"):
        warned = model.estimate_effect(estimand, method_name=METHOD)
    silent = other.estimate_effect(of_other, method_name=METHOD)  # its resamples are copies
    with warnings.catch_warnings():
        warnings.simplefilter("error", category=UserWarning)
        for estimate in (warned, silent):
            estimate.get_confidence_intervals(method="bootstrap", num_simulations=3)
        for name in ("bootstrap_refuter", "data_subset_refuter"):
            model.refute_estimate(estimand, warned, method_name=name, num_simulations=3)


@pytest.mark.parametrize("strength", [0.05, np.array([0.02, 0.05])])
def test_unobserved_common_cause_by_simulation(estimated, strength):
    model, estimand, estimate = estimated
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
    assert np.all(np.abs(np.asarray(refutation.new_effect) - estimate.value) < 1)


def test_unobserved_common_cause_of_no_strength_changes_nothing(estimated):
    model, estimand, estimate = estimated
    refutation = model.refute_estimate(
        estimand,
        estimate,
        method_name="add_unobserved_common_cause",
        confounders_effect_on_treatment="binary_flip",
        confounders_effect_on_outcome="linear",
        effect_strength_on_treatment=0,
        effect_strength_on_outcome=0,
    )
    assert refutation.new_effect == pytest.approx(estimate.value, rel=1e-9)


@pytest.mark.slow
def test_unobserved_common_cause_by_partial_r2_of_any_estimator(estimated):
    pytest.importorskip("econml")  # DoWhy's refuter is built from its parts
    model, estimand, estimate = estimated
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of scikit-learn and numpy in the refuter's own models
        refutation = model.refute_estimate(
            estimand,
            estimate,
            method_name="add_unobserved_common_cause",
            simulation_method="non-parametric-partial-R2",
            benchmark_common_causes=["x"],
            effect_fraction_on_treatment=0.2,
            effect_fraction_on_outcome=0.2,
            plot_estimate=False,
            num_splits=2,
        )
    assert 0 < refutation.r2tu_w < 1
    assert 0 <= refutation.r2yu_tw < 1
    # DoWhy fits its own model here; both mean the same effect.
    assert refutation.theta_s == pytest.approx(estimate.value, abs=1)


@pytest.mark.parametrize(
    ("method", "names"), [("linear-partial-R2", "LinearRegressionEstimator"), ("e-value", "RegressionEstimator")]
)
def test_unobserved_common_cause_for_regressions_alone_is_refused_by_dowhy(estimated, method, names):
    model, estimand, estimate = estimated
    with pytest.raises(NotImplementedError, match=names):
        model.refute_estimate(
            estimand,
            estimate,
            method_name="add_unobserved_common_cause",
            simulation_method=method,
            benchmark_common_causes=["x"],
        )


def test_the_graph_is_refuted_without_a_refit(estimated, monkeypatch):
    model, _, _ = estimated
    monkeypatch.setattr(CinaEstimator, "fit", None)
    tests = {"test_for_continuous": "partial_correlation", "test_for_discrete": "conditional_mutual_information"}
    constraints = [("x", "z", ())]
    refutation = model.refute_graph(independence_test=tests, independence_constraints=constraints)
    assert "Number of conditional independencies entailed by model:1" in str(refutation)


@pytest.mark.slow
def test_overlap_is_assessed_without_a_refit(estimated, monkeypatch):
    model, estimand, estimate = estimated
    monkeypatch.setattr(CinaEstimator, "fit", None)
    # The support alone, for time: DoWhy's own tests of both run in `make test-host`.
    overlap = model.refute_estimate(estimand, estimate, method_name="assess_overlap", support_only=True)
    assert overlap.RS_support_estimator.rules()


def test_common_causes_are_there_for_the_partial_r2_refuter(estimate):
    encoded = estimate.estimator._observed_common_causes
    assert set(encoded.columns) == {"x", "z", "c_b", "c_c"}
    assert len(encoded) == 300


# --- refits


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


def test_a_refit_finds_its_value_alone_until_more_is_read(plain, monkeypatch):
    table, model, estimand = plain
    estimate = model.estimate_effect(estimand, method_name=METHOD, target_units="att")
    found = Analysis.effect
    asked = []
    monkeypatch.setattr(Analysis, "effect", lambda *given, **named: asked.append(given) or found(*given, **named))
    refit = estimate.estimator.get_new_estimator_object(estimand).fit(table)
    refit = refit.estimate_effect(table, target_units="att")
    assert (refit.value, asked) == (estimate.value, [])
    again = pickle.loads(pickle.dumps(refit))
    for one in (refit, again):
        assert one.weights.tolist() == estimate.weights.tolist()
        assert one.get_confidence_intervals() == estimate.get_confidence_intervals()
        assert one.cina_result is one.cina_result
        with pytest.raises(AttributeError, match="colour"):
            _ = one.colour
    assert len(asked) == 2


def test_refuting_leaves_the_estimate_alone(estimated):
    model, estimand, estimate = estimated
    text, interval = str(estimate), estimate.get_confidence_intervals()
    model.refute_estimate(estimand, estimate, method_name="data_subset_refuter", num_simulations=2)
    assert model.get_estimator(METHOD) is estimate.estimator
    assert (str(estimate), estimate.get_confidence_intervals()) == (text, interval)


def test_a_seed_repeats_the_refutation(estimated):
    model, estimand, estimate = estimated

    def refute():
        seeded = np.random.RandomState(3)
        return model.refute_estimate(
            estimand, estimate, method_name="data_subset_refuter", num_simulations=2, random_state=seeded
        )

    assert refute().new_effect == refute().new_effect


# --- where they run


@pytest.fixture
def refit(plain, estimated):
    """Refit four subsets of the table, one job each, as DoWhy's refuters do; and run a refuter in the same jobs.

    The data subset refuter is the only one whose draws a seed fixes for every number of jobs.
    """
    table, _, _ = plain
    _, estimand, estimate = estimated
    subsets = [table.sample(frac=0.8, random_state=seed) for seed in range(4)]

    def run(jobs):
        def refit(subset):
            new = estimate.estimator.get_new_estimator_object(estimand)
            return new.fit(subset, effect_modifier_names=[]).estimate_effect(subset, target_units="att").value

        values = joblib.Parallel(n_jobs=jobs)(joblib.delayed(refit)(subset) for subset in subsets)
        refutation = refute_data_subset(table, estimand, estimate, num_simulations=2, random_state=5, n_jobs=jobs)
        return [*values, refutation.new_effect]

    return run


def test_threads_give_the_same_numbers(refit):
    expected = refit(1)
    assert len(set(expected)) == 5
    with joblib.parallel_config(backend="threading"):
        assert refit(2) == pytest.approx(expected, rel=1e-8)


@pytest.mark.slow
def test_processes_give_the_same_numbers(refit, monkeypatch):
    expected = refit(1)
    monkeypatch.setattr(CinaEstimator, "fit", None)  # here; the workers have their own
    assert refit(2) == pytest.approx(expected, rel=1e-8)


@pytest.mark.slow
def test_dask_gives_the_same_numbers(refit, monkeypatch, tmp_path):
    distributed = pytest.importorskip("distributed")
    expected = refit(1)
    monkeypatch.setattr(CinaEstimator, "fit", None)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        assert refit(2) == pytest.approx(expected, rel=1e-8)


# --- estimates that travel


def test_an_estimate_travels_to_another_process(plain, estimated, tmp_path):
    table, _, estimand = plain
    estimate = estimated[2]
    path = tmp_path / "estimate.pickle"
    path.write_bytes(pickle.dumps((table, estimand, estimate)))
    code = (
        "import pickle, sys\n"
        "table, estimand, estimate = pickle.load(open(sys.argv[1], 'rb'))\n"
        "assert 'torch' not in sys.modules, 'loading is light until something is estimated'\n"
        "interval = estimate.get_confidence_intervals(confidence_level=0.8)\n"
        "treated = estimate.estimator.estimate_effect(table, target_units='att').value\n"
        "from dowhy.causal_refuters import refute_data_subset\n"
        "refuted = refute_data_subset(table, estimand, estimate, num_simulations=2, random_state=1).new_effect\n"
        "print(repr((*interval, treated, refuted)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path)], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    interval = estimate.get_confidence_intervals(confidence_level=0.8)
    refuted = refute_data_subset(table, estimand, estimate, num_simulations=2, random_state=1).new_effect
    treated = estimate.estimator.estimate_effect(table, target_units="att").value
    assert eval(run.stdout.splitlines()[-1]) == pytest.approx((*interval, treated, refuted), rel=1e-12)


def test_pickles_hold_the_table_and_no_model(estimated):
    estimate = estimated[2]
    table = estimate.estimator._table
    columns = table.covariates.shape[1] + 2
    rows = len(table.covariates)
    # The fitted columns, the frame they came from, and about six numbers per row of the result.
    assert len(pickle.dumps(estimate)) < 8 * rows * (2 * columns + 8) + 20_000
