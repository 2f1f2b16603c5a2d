"""The battery as users call it: complete, reproducible, robust, and silent about what it must not touch."""

import json
import logging
import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.adapter.refutation import COLUMNS, battery, refits, refute, simulations
from dowhy_cina.adapter.refutation.refuters import NAMES, Refits
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError, InputTypeError, UnknownOptionError

FEW = 6


def quiet(problem, **options):
    return refute(*problem, **{"simulations": FEW, "random_state": 0, "progress": False, **options})


@pytest.fixture(scope="module")
def report(problem):
    return quiet(problem)


def effects_of(report):
    return {row.refuter: row.effects for row in report.refutations}


def assert_same(one, other, tolerance=1e-9):
    for name, effects in effects_of(one).items():
        np.testing.assert_allclose(effects, effects_of(other)[name], rtol=0, atol=tolerance)


def test_every_refuter_has_its_row(report, problem):
    table = report.to_frame()
    assert tuple(table.columns) == COLUMNS
    assert tuple(table.refuter) == NAMES
    assert set(table.verdict) <= {"pass", "fail"}
    assert (table.estimated_effect == problem[2].value).all()
    tested = table.refuter[~table.refuter.isin(["add_unobserved_common_cause", "assess_overlap"])].index
    assert table.p_value[tested].between(0, 1).all()
    assert (table.seconds >= 0).all()
    assert not table.meaning.str.contains("\n").any()


def test_no_effect_leaves_little_to_refute(make_frame, make_estimate):
    frame = make_frame(200)
    frame["y"] = np.random.default_rng(3).permutation(frame.y)
    problem = make_estimate(frame, ["x", "z"])
    low, high = problem[2].cina_result.confidence_interval
    assert low < 0 < high
    table = quiet(problem).to_frame().set_index("refuter")
    assert table.verdict["placebo_treatment_refuter"] == "uninformative"
    assert table.verdict["add_unobserved_common_cause"] == "uninformative"
    assert table.verdict["dummy_outcome_refuter"] == "pass"


def test_an_estimate_without_an_interval_cannot_be_told_from_zero(make_frame, make_estimate):
    frame = make_frame(200)
    frame["site"] = np.where(frame.t == 1, 0, 1 + np.arange(200) // 4)
    problem = make_estimate(frame, ["x", "z"], method_params={"init_params": {"cluster": "site"}})
    assert problem[2].cina_result.confidence_interval is None
    (row,) = quiet(problem, refuters="placebo_treatment_refuter").refutations
    assert row.verdict == "uninformative"


def test_public_names():
    assert dowhy_cina.refute is refute
    assert dowhy_cina.RefutationReport.__name__ == "RefutationReport"


def test_refits_find_what_they_should(report, problem):
    rows = {row.refuter: row for row in report.refutations}
    for name in ("random_common_cause", "data_subset_refuter", "bootstrap_refuter"):
        assert abs(rows[name].new_effect - problem[2].value) < 0.4
    for name in ("placebo_treatment_refuter", "dummy_outcome_refuter"):
        assert abs(rows[name].new_effect) < 0.4


def test_the_same_whatever_the_threads_and_the_company(report, problem):
    assert_same(quiet(problem, n_jobs=3, refuters=list(reversed(NAMES))), report, 0)
    assert_same(quiet(problem, n_jobs=1, refuters=["random_common_cause", "dummy_outcome_refuter"]), report, 0)
    assert_same(quiet(problem, refuters="bootstrap_refuter"), report)


def test_the_same_whatever_the_batches(report, problem, monkeypatch):
    monkeypatch.setattr(refits, "BATCH_TABLES", 1)
    assert_same(quiet(problem, refuters=["data_subset_refuter", "random_common_cause"]), report, 1e-6)


def test_every_refit_has_a_stream_of_its_own(setting):
    """Of refuters that have the first refit's generator each, the noise of one would be that of the others."""

    def states(entropy):
        seen = {}

        def spy(refuter):
            def draw(number, generator):
                seen[refuter, number] = generator.bit_generator.state["state"]["state"]
                return setting.table

            return draw

        plans = [(refuter, Refits(3, spy(refuter))) for refuter in range(4)]
        for outcome in refits.run(setting, refits.batches(setting, plans), entropy, 1):
            assert len(outcome.effects) == 3
        return seen

    first = states(0)
    assert len(first) == len(set(first.values())) == 12
    assert first == states(0)
    assert not set(first.values()) & set(states(1).values())


def test_refuters_come_in_any_order_and_only_once(problem):
    """From an iterator too, which can be read once."""
    names = ["dummy_outcome_refuter", "random_common_cause"]
    report = quiet(problem, refuters=iter([*names, *names]), simulations=2)
    assert [row.refuter for row in report.refutations] == names


def test_one_common_cause_is_enough_to_measure_a_hidden_one_by(make_frame, make_estimate):
    problem = make_estimate(make_frame(120, effect=4.0), ["x"])
    (row,) = quiet(problem, refuters="add_unobserved_common_cause").refutations
    assert row.verdict in ("pass", "fail")
    assert len(set(row.effects)) == 4


def test_overlap_refits_share_their_passes(make_frame, make_estimate, make_setting, monkeypatch):
    problem = make_estimate(make_frame(200), ["x", "z"], target_units="overlap")
    assert make_setting(problem).takes_batches
    found = []
    for tables in (refits.BATCH_TABLES, 1):
        monkeypatch.setattr(refits, "BATCH_TABLES", tables)
        found.append(quiet(problem, refuters=["placebo_treatment_refuter", "data_subset_refuter"]))
    assert_same(*found, 1e-6)


def test_random_states(problem):
    def first(state):
        return effects_of(quiet(problem, refuters="dummy_outcome_refuter", simulations=2, random_state=state))

    def same(one, other):
        return np.array_equal(one["dummy_outcome_refuter"], other["dummy_outcome_refuter"])

    assert not same(first(0), first(1))
    assert not same(first(None), first(None))
    for make in (np.random.default_rng, np.random.RandomState):
        assert same(first(make(3)), first(make(3)))
        state = make(3)
        assert not same(first(state), first(state))


def test_nothing_of_the_callers_is_changed(frame, problem):
    model, estimand, estimate = problem
    before, state = frame.copy(), np.random.get_state()[1].copy()
    value, treatment = estimate.value, list(estimand.treatment_variable)
    adjustment, level = list(estimand.get_adjustment_set()), logging.getLogger().level
    quiet(problem)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(model._data, before)
    assert np.array_equal(np.random.get_state()[1], state)
    assert (estimate.value, list(estimand.treatment_variable)) == (value, treatment)
    assert list(estimand.get_adjustment_set()) == adjustment
    assert logging.getLogger().level == level


def test_report_as_text_and_json(report):
    text = str(report)
    for row in report.refutations:
        assert row.refuter in text
        assert row.verdict in text
    assert max(map(len, text.splitlines())) <= 100
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    rows = {row["refuter"]: row for row in content["refutations"]}
    assert rows["assess_overlap"]["p_value"] is None
    assert len(rows["bootstrap_refuter"]["effects"]) == FEW
    assert content["estimated_effect"] == report.estimated_effect


@pytest.mark.parametrize("target", ["att", "atc", lambda data: data.x > 0])
def test_targets_are_those_of_the_estimate(target, frame, make_estimate):
    problem = make_estimate(frame, ["x", "z"], target_units=target)
    assert effects_of(quiet(problem))["data_subset_refuter"].size == FEW


@pytest.mark.parametrize("options", [{"checkpoint": "exact"}, {"augmentation": "none"}], ids=str)
def test_options_are_those_of_the_estimate(options, make_frame, make_estimate):
    problem = make_estimate(make_frame(80), ["x", "z"], method_params={"init_params": options})
    (row,) = quiet(problem, refuters="random_common_cause", simulations=3).refutations
    assert len(row.effects) == 3
    assert abs(row.effects - problem[2].value).max() < 0.3


def test_target_rows_from_elsewhere(frame, make_estimate):
    problem = make_estimate(frame, ["x", "z"], target_units=frame[["x", "z"]].head(30))
    report = quiet(problem, simulations=2)
    assert all(len(effects) >= 2 for name, effects in effects_of(report).items() if name != "assess_overlap")


def test_a_third_level_of_the_treatment_is_set_aside(make_frame, make_estimate):
    frame = make_frame(200)
    frame.loc[::5, "t"] = 2
    frame.loc[0, "y"] = np.nan  # a row that no estimate looks at, nor any refuter
    report = quiet(make_estimate(frame, ["x", "z"]))
    effects = effects_of(report)
    assert effects["data_subset_refuter"].size == effects["placebo_treatment_refuter"].size == FEW
    assert not any(row.failed for row in report.refutations)


@pytest.mark.parametrize("kind", ["bool", "text", "category"])
def test_treatments_of_every_kind(kind, make_frame, make_estimate):
    frame = make_frame(200)
    values = {"bool": (True, False), "text": ("yes", "no"), "category": ("yes", "no")}[kind]
    treated = frame.t == 1
    frame["t"] = np.where(treated, *values)
    if kind == "category":
        frame["t"] = frame.t.astype("category")
    report = quiet(make_estimate(frame, ["x", "z"], treatment_value=values[0], control_value=values[1]))
    assert set(report.to_frame().verdict) <= {"pass", "fail"}


def test_without_covariates_only_the_hidden_cause_does_not_apply(frame, make_estimate):
    table = quiet(make_estimate(frame, [])).to_frame().set_index("refuter")
    assert list(table.index[table.verdict == "not applicable"]) == ["add_unobserved_common_cause"]
    assert "no observed common cause" in table.meaning["add_unobserved_common_cause"]


def test_a_constant_outcome_says_why(make_frame, make_estimate):
    table = quiet(make_estimate(make_frame(120).assign(y=3.0), ["x", "z"])).to_frame().set_index("refuter")
    refused = table[table.verdict == "not applicable"]
    assert set(refused.index) == set(NAMES) - {"dummy_outcome_refuter", "assess_overlap"}
    assert refused.meaning.str.contains("the outcome is constant").all()


def test_long_tables_and_weights_alone_keep_their_landmarks():
    plan, default = Refits(100, simulations.dummy_outcome, landmarks=48), EstimatorOptions()
    assert [plan.most_landmarks(default, rows) for rows in (100, 1000, 2000, 8000)] == [48, 48, 96, 384]
    assert plan.most_landmarks(EstimatorOptions(augmentation="none"), 1000) is None
    assert plan.most_landmarks(EstimatorOptions(landmarks=100), 1000) is None  # the user's own
    assert Refits(100, simulations.dummy_outcome).most_landmarks(default, 1000) is None


def test_a_small_arm_may_vanish_and_is_counted(make_frame, make_estimate):
    frame = make_frame(60).assign(t=0)
    frame.loc[:1, "t"] = 1
    report = quiet(make_estimate(frame, ["x"]), refuters="bootstrap_refuter", simulations=40)
    (row,) = report.refutations
    assert 0 < row.failed < 40
    assert "no treated row" in row.meaning


def test_a_failing_pass_is_found_out_table_by_table(problem, monkeypatch):
    sound = refits.values_encoded

    def brittle(tables, *others):
        if len(tables) > 1 or tables[0].outcome[0] > 0:
            raise RuntimeError("the factor is not positive definite")
        return sound(tables, *others)

    monkeypatch.setattr(refits, "values_encoded", brittle)
    (row,) = quiet(problem, refuters="dummy_outcome_refuter", simulations=12).refutations
    assert 0 < row.failed < 12
    assert row.failed + len(row.effects) == 12
    assert "not positive definite" in row.meaning


def test_an_effect_that_is_no_number_is_a_failure(problem, monkeypatch):
    def odd(tables, *others):
        return [np.nan if place == 2 else 0.1 * place for place in range(len(tables))]

    monkeypatch.setattr(refits, "values_encoded", odd)
    (row,) = quiet(problem, refuters="dummy_outcome_refuter").refutations
    assert (row.failed, len(row.effects)) == (1, FEW - 1)
    assert np.isfinite(row.effects).all()
    assert "the effect was nan" in row.meaning


def test_a_refuter_that_breaks_leaves_the_others(problem, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr(simulations, "observed_strengths", broken)
    table = quiet(problem).to_frame().set_index("refuter")
    assert "no luck" in table.meaning["add_unobserved_common_cause"]
    assert (table.verdict.drop("add_unobserved_common_cause") != "not applicable").all()


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal; a shell starts processes in the background with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_cores_are_counted_where_the_system_has_no_affinity(monkeypatch):
    monkeypatch.delattr(battery.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(battery.os, "cpu_count", lambda: 3)
    assert battery._threads(-1) == 3
    monkeypatch.setattr(battery.os, "cpu_count", lambda: None)
    assert battery._threads(-1) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no interrupt to a process")
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupted_it_reports_what_was_finished(problem, monkeypatch, n_jobs):
    """The interrupt comes when one refuter is through and the others' refits take much longer than a second."""
    sound, finished, asked = refits._run_batch, threading.Event(), []

    def interrupt():
        finished.wait()
        time.sleep(0.5)
        asked.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    def slow(setting, batch, entropy):
        if batch.refuter == 0:
            outcome = sound(setting, batch, entropy)
            finished.set()
            return outcome
        if n_jobs == 1:
            asked.append(time.perf_counter())
            raise KeyboardInterrupt
        time.sleep(3)
        return sound(setting, batch, entropy)

    monkeypatch.setattr(refits, "_run_batch", slow)
    if n_jobs > 1:
        threading.Thread(target=interrupt).start()
    report = quiet(problem, n_jobs=n_jobs)
    assert time.perf_counter() - asked[0] < 2  # a second where nothing else wants the cores
    assert [row.refuter for row in report.refutations] == ["random_common_cause", "assess_overlap"]
    assert set(report.interrupted) == set(NAMES[1:6])
    assert "interrupted; not finished: placebo_treatment_refuter" in str(report)


def test_one_progress_bar(problem, capsys):
    quiet(problem, progress=True, refuters=["data_subset_refuter", "dummy_outcome_refuter"])
    shown = capsys.readouterr().err
    assert shown.count("Refuting Estimates") >= 1
    assert f"{2 * FEW}/{2 * FEW}" in shown
    quiet(problem, refuters="dummy_outcome_refuter")
    assert capsys.readouterr().err == ""


def test_another_estimator_is_refused(frame, make_estimate):
    problem = make_estimate(frame, ["x", "z"], "backdoor.linear_regression")
    with pytest.raises(InputTypeError, match=r"backdoor\.cina.*LinearRegressionEstimator"):
        quiet(problem)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"refuters": "placebo_refuter"}, UnknownOptionError, "placebo_treatment_refuter"),
        ({"refuters": []}, InputError, "at least one"),
        ({"refuters": None}, InputTypeError, "refuters must be 'all'.*got None"),
        ({"refuters": 5}, InputTypeError, "refuters must be 'all'.*got 5"),
        ({"refuters": [["data_subset_refuter"]]}, InputTypeError, "refuters must be 'all'"),
        ({"simulations": 1}, InputError, "at least 2"),
        ({"simulations": 2.0}, InputTypeError, "simulations must be a whole number of at least 2, got 2.0"),
        ({"simulations": True}, InputTypeError, "simulations must be a whole number"),
        ({"n_jobs": 0}, InputError, "n_jobs must be a number of threads, or -1 for one per core, got 0"),
        ({"n_jobs": -7}, InputError, "n_jobs must be a whole number of at least -1, got -7"),
        ({"n_jobs": 1.5}, InputTypeError, "n_jobs must be a whole number"),
        ({"random_state": "seed"}, InputTypeError, "random_state"),
        ({"random_state": -1}, InputTypeError, "random_state"),
    ],
)
def test_arguments_are_checked(problem, options, error, message):
    with pytest.raises(error, match=message):
        quiet(problem, **options)


def test_model_and_estimand_are_needed(problem):
    model, _, estimate = problem
    with pytest.raises(InputTypeError, match="CausalModel"):
        quiet((None, *problem[1:]))
    with pytest.raises(
        InputTypeError, match=r"an estimand of DoWhy's, got NoneType: take that of model\.identify_effect"
    ):
        quiet((model, None, estimate))
    with pytest.raises(InputTypeError, match=r"method_name='backdoor\.cina'"):
        quiet((model, estimate.target_estimand, None))
