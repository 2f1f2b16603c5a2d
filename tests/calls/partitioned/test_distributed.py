"""Dask DataFrames: the numbers of the whole table, on any partitions and on machines that die."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.calls.partitioned import columns
from dowhy_cina.calls.partitioned.columns import Leaders
from dowhy_cina.calls.partitioned.partitions import Spread
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.tables.canonical import turns_of
from dowhy_cina.tables.preparation import PILOT_ROWS, stratified_rows

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")


def frame(rows=900, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    table = pd.DataFrame(x.copy(), columns=list("abc"))
    table["group"] = pd.Categorical(rng.choice(["u", "v", "w"], rows))
    table.loc[::11, "b"] = np.nan
    table["t"] = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    table["y"] = 50 + 10 * (x[:, 0] + np.sin(x[:, 1]) + table["t"] + rng.normal(size=rows))
    return table


def split(table, *cuts):
    """A Dask DataFrame with these partitions."""
    edges = [0, *cuts, len(table)]
    parts = [table.iloc[a:b] for a, b in pairwise(edges)]
    return dd.from_delayed([dask.delayed(part) for part in parts], meta=table.iloc[:0], verify_meta=False)


def same(ours, whole):
    for name in ("value", "standard_error", "worst_case_bias", "worst_case_bias_before", "degrees_of_freedom"):
        assert getattr(ours, name) == pytest.approx(getattr(whole, name), rel=1e-6), name
    assert ours.confidence_interval == pytest.approx(whole.confidence_interval, rel=1e-6)
    assert ours.effective_sample_size == pytest.approx(whole.effective_sample_size, rel=1e-6)
    assert ours.duality_gap == pytest.approx(whole.duality_gap, abs=1e-7)
    assert ours.p_value == pytest.approx(whole.p_value, rel=1e-3)
    pd.testing.assert_frame_equal(ours.balance, whole.balance, atol=1e-8)
    np.testing.assert_allclose(ours.weights.compute(), whole.weights, atol=1e-6 * whole.weights.max())
    np.testing.assert_allclose(ours.propensity.compute(), whole.propensity, atol=1e-8)


def test_an_interval_of_more_than_two_ranges_is_no_answer():
    rng = np.random.default_rng(20)
    table = pd.DataFrame(rng.normal(size=(10, 2)), columns=["a", "b"]).assign(t=np.arange(10) % 2)
    table["y"] = 50 + table["a"] + rng.normal(size=10)
    whole = dowhy_cina.estimate_effect(table, "t", "y")
    low, high = whole.confidence_interval
    assert high - low > 2 * np.ptp(table["y"])
    ours = dowhy_cina.estimate_effect(split(table, 4), treatment="t", outcome="y")
    assert ours.overlap == whole.overlap
    assert any("as wide as the range of the outcome" in reason for reason in ours.overlap.reasons)


@pytest.mark.parametrize("target", ["ate", "att", "atc"])
def test_the_numbers_of_the_whole_table(target):
    table = frame()
    whole = dowhy_cina.estimate_effect(table, "t", "y", target_units=target, confidence_level=0.9)
    ours = dowhy_cina.estimate_effect(
        split(table, 200, 450), treatment="t", outcome="y", target_units=target, confidence_level=np.float64(0.9)
    )
    same(ours, whole)
    assert repr(ours.confidence_level) == "0.9"
    assert (ours.plan.rows, ours.plan.landmarks) == (whole.plan.rows, whole.plan.landmarks)


@pytest.mark.parametrize("rows", [900, 9000])
def test_the_steps_of_the_whole_table(rows):
    """Of 9,000 rows the search sees some, and the same ones."""
    table = frame(rows)
    table["y"] += 20 * ((table["a"] > 0.5) + np.sign(table["b"].fillna(0) * table["c"]))
    whole = dowhy_cina.estimate_effect(table, "t", "y")
    assert whole.function.state.added.steps.count >= 2
    ours = dowhy_cina.estimate_effect(split(table, 200, rows // 2), treatment="t", outcome="y")
    same(ours, whole)
    pd.testing.assert_frame_equal(ours.steps, whole.steps)


@pytest.mark.parametrize("rows", [900, 9000])
def test_the_waves_of_the_whole_table(rows):
    table = frame(rows)
    table["y"] += 20 * np.cos(3 * table["a"]) * np.cos(3 * table["c"])
    whole = dowhy_cina.estimate_effect(table, "t", "y")
    assert {"a and c", "c and a"} & set(whole.waves)
    assert float(whole.function.state.added.waves.outcome_scales.max()) > 0
    ours = dowhy_cina.estimate_effect(split(table, 200, rows // 2), treatment="t", outcome="y")
    same(ours, whole)
    assert ours.waves == whole.waves


@pytest.mark.parametrize("rows", [900, 9000])
def test_the_differences_of_the_whole_table(rows):
    table = frame(rows)
    change = np.random.default_rng(0).normal(size=rows)
    table["c"] = table["a"] + 0.1 * change
    table["y"] += 20 * np.abs(change)
    whole = dowhy_cina.estimate_effect(table, "t", "y")
    assert set(whole.differences[0].split(" less ")) == {"a", "c"}
    ours = dowhy_cina.estimate_effect(split(table, 200, rows // 2), treatment="t", outcome="y")
    same(ours, whole)
    assert ours.differences == whole.differences


@pytest.mark.parametrize("rows", [900, 9000])
def test_the_labels_of_the_whole_table(rows):
    table, rng = frame(rows), np.random.default_rng(0)
    school, (level, slope) = rng.integers(0, 20, rows), rng.normal(size=(2, 20))
    drive = level[school] + slope[school] * table["a"]
    treated = (rng.random(rows) < 1 / (1 + np.exp(-drive))).astype(int)
    table = table.assign(school=pd.Categorical([f"s{code}" for code in school]), t=treated)
    table["y"] += drive + 0.5 * table["t"]
    whole = dowhy_cina.estimate_effect(table, "t", "y")
    assert {"school (20 levels)", "school (20 levels) along a"} <= set(whole.labels)
    ours = dowhy_cina.estimate_effect(split(table, 200, rows // 2), treatment="t", outcome="y")
    same(ours, whole)
    assert ours.labels == whole.labels


def test_a_table_whose_rows_are_all_landmarks():
    table = frame(rows=100)
    same(dowhy_cina.estimate_effect(split(table, 30), "t", "y"), dowhy_cina.estimate_effect(table, "t", "y"))


def test_number_of_landmarks():
    table = frame()
    for landmarks in (40, 900):
        ours, whole = (dowhy_cina.estimate_effect(X, "t", "y", landmarks=landmarks) for X in (split(table, 200), table))
        same(ours, whole)
        assert (ours.plan.route, ours.plan.landmarks) == (whole.plan.route, whole.plan.landmarks)


def test_more_landmarks_where_both_arms_are_long():
    table = frame(rows=3000)
    ours, whole = (dowhy_cina.estimate_effect(X, "t", "y") for X in (split(table, 1700), table))
    assert ours.plan.landmarks == whole.plan.landmarks == 144
    same(ours, whole)


@pytest.mark.parametrize("seed", range(3))
def test_an_odd_number_of_landmarks_of_equal_arms(seed):
    """As of the whole table, and by no rule that knows the arms' names."""
    table = frame(400, seed)
    table = table.assign(**{name: (table[name] > 0) * 1.0 for name in "abc"}).drop(columns="group")
    table["t"] = (table["y"].rank() > 200).astype(int)
    swapped = table.assign(t=1 - table["t"])
    ours, other = (dowhy_cina.estimate_effect(split(X, 150), "t", "y", landmarks=51) for X in (table, swapped))
    whole = dowhy_cina.estimate_effect(table, "t", "y", landmarks=51)
    same(ours, whole)
    assert ours.plan.landmarks == whole.plan.landmarks == 50
    assert other.value == pytest.approx(-ours.value, abs=1e-6 * ours.standard_error)
    assert other.standard_error == pytest.approx(ours.standard_error, rel=1e-6)


def test_odd_partitions_and_set_aside_rows():
    """Empty ones, one without treated rows, one with rows of another level only, and columns in any order."""
    table = frame().sort_values("t", kind="stable").reset_index(drop=True)
    table["t"] = table["t"].astype(float)
    table.loc[:9, "t"] = 2.0
    named = {"treatment_value": 1, "control_value": 0, "covariates": ["c", "a", "group"]}
    ours = dowhy_cina.estimate_effect(split(table, 10, 10, 100, 880, 900), "t", "y", **named)
    whole = dowhy_cina.estimate_effect(table, "t", "y", **named)
    assert ours.rows_set_aside == whole.rows_set_aside == 10
    same(ours, whole)


def test_each_partition_may_have_its_own_categories():
    table = frame()
    parts = [table.iloc[:400].copy(), table.iloc[400:].copy()]
    parts[0] = parts[0][parts[0]["group"] != "w"]
    for part in parts:
        part["group"] = part["group"].cat.remove_unused_categories()
    ours = dd.from_delayed([dask.delayed(part) for part in parts], meta=table.iloc[:0], verify_meta=False)
    whole = pd.concat([part.astype({"group": object}) for part in parts])
    same(dowhy_cina.estimate_effect(ours, "t", "y"), dowhy_cina.estimate_effect(whole, "t", "y"))


def test_a_sample_learns_levels_and_moments_of_all(monkeypatch):
    table = frame(rows=3000)
    table["rare"] = "often"
    table.loc[1234:1243, "rare"] = "seldom"
    monkeypatch.setattr(columns, "SAMPLE_ROWS", 300)
    monkeypatch.setattr(columns, "LEAST_DISTINCT", 30)
    ours = dowhy_cina.estimate_effect(split(table, 700, 2000), "t", "y")
    others = dowhy_cina.estimate_effect(split(table, 100, 1500, 1600, 2900), "t", "y")
    assert ours.value == pytest.approx(others.value, rel=1e-7)
    assert "rare=seldom" in ours.balance.index
    whole = dowhy_cina.estimate_effect(table, "t", "y")
    # Other imputed values and landmarks, hence no more than this.
    assert abs(ours.value - whole.value) < 0.3 * whole.standard_error
    assert ours.outcome_scale == pytest.approx(whole.outcome_scale)


def test_a_sample_of_few_kinds_of_rows_has_them_all(monkeypatch):
    """Rows are chosen by their content: in a few of sixty kinds most columns looked like copies of others."""
    rng = np.random.default_rng(3)
    coins = rng.integers(0, 2, (20_000, 4)) * [1, 3, 5, 7]
    t = rng.random(20_000) < 0.2 + 0.4 * (coins[:, 2] > 0)
    y = rng.random(20_000) < 0.2 + 0.1 * t + 0.4 * (coins[:, 2] > 0)
    table = pd.DataFrame(coins, columns=list("abcd")).assign(t=t.astype(int), y=y.astype(float))
    monkeypatch.setattr(columns, "SAMPLE_ROWS", 1000)
    ours = dowhy_cina.estimate_effect(split(table, 7000, 9000), "t", "y")
    assert sorted(ours.balance.index) == list("abcd")
    others = dowhy_cina.estimate_effect(split(table, 100, 12_000), "t", "y")
    assert ours.value == pytest.approx(others.value, rel=1e-7)
    assert ours.value == pytest.approx(dowhy_cina.estimate_effect(table, "t", "y").value, abs=0.1 * ours.standard_error)


def test_a_sample_changes_nothing_where_all_rows_are_landmarks(monkeypatch):
    """Without missing values moments are all that could come from the sample, and they come from all rows."""
    table = frame(rows=120).assign(b=lambda f: np.exp(f["a"]) + f["c"], y=lambda f: f["y"] + 40 * f["t"])
    monkeypatch.setattr(columns, "SAMPLE_ROWS", 30)
    monkeypatch.setattr(columns, "LEAST_DISTINCT", 3)
    for target in ("ate", "att"):
        ours = dowhy_cina.estimate_effect(split(table, 30, 31), "t", "y", target_units=target)
        same(ours, dowhy_cina.estimate_effect(table, "t", "y", target_units=target))


def refused(error, message, table=None, **options):
    given = {"treatment": "t", "outcome": "y", **options}
    with pytest.raises(error, match=message):
        dowhy_cina.estimate_effect(split(frame(), 300) if table is None else table, **given)


def test_what_allows_no_estimate():
    refused(InputError, "columns .*'z'.* are not in X", covariates=["a", "z"])
    refused(InputTypeError, "names of its columns", treatment=np.zeros(900))
    refused(InputError, "confidence_level", confidence_level=2)
    refused(InputError, "no treated row", split(frame().assign(t=0), 300))
    refused(InputError, "empty table", split(frame().iloc[:0]))
    refused(InputError, "2 missing of 900", split(frame().assign(t=lambda f: f["t"].where(f.index > 1)), 300))
    refused(
        InputError, "outcome: expected finite", split(frame().assign(y=lambda f: f["y"].where(f.index != 500)), 300)
    )
    refused(InputError, "at least one covariate that varies", split(frame().assign(a=1.0), 300), covariates=["a"])
    options = {"target_units": "overlap", "augmentation": "none", "refine": 1e-3, "cluster": "a", "sample_weight": "a"}
    options |= {"landmarks": 8193, "memory_limit": "4GB", "checkpoint": "exact", "device": "cuda"}
    for name, value in options.items():
        refused(NotImplementedError, "Dask", **{name: value})


def test_what_is_wrong_is_counted_over_all_partitions():
    """As of the whole table, but for the positions of rows, which a partition cannot know."""
    table = frame(300)
    text = table.assign(t=np.where(table["t"] == 1, "yes", "no"))
    levels = text["t"].value_counts()
    refused(InputError, rf"'no' \({levels['no']} rows\), 'yes' \({levels['yes']} rows\)", split(text, 100, 200))
    refused(InputError, rf"'no' \({levels['no']} rows\)", split(text, 100), treatment_value=1, control_value=0)
    refused(InputError, "got 7 in all 300 rows", split(table.assign(t=7), 100, 200))
    gaps = table.assign(t=table["t"].astype(float).mask(table.index % 30 == 0, np.inf))
    refused(InputError, r"got 10 infinite of 300\. Leave", split(gaps, 100, 200))

    wrong = table.assign(y=table["y"].mask(table.index % 3 == 0, [np.nan, np.inf] * 150))
    refused(InputError, r"outcome: .* got 100 missing or infinite of 300\. Leave", split(wrong, 10, 200))
    refused(InputError, "got 100 missing or infinite", split(wrong.sort_values("y"), 10, 200))  # one all missing
    wrong = table.assign(a=table["a"].mask(table.index % 5 == 0, np.inf))
    refused(InputError, r"covariate 'a': .* got 60 infinite of 300\. Correct", split(wrong, 10, 200))


def test_a_column_that_one_partition_lacks():
    table = frame()
    parts = [table.iloc[:400], table.iloc[400:].drop(columns="c")]
    ours = dd.from_delayed([dask.delayed(part) for part in parts], meta=table.iloc[:0], verify_meta=False)
    refused(InputError, r"a partition of 500 rows lacks the columns \['c'\]", ours)


def test_leading_rows_are_those_of_the_whole_table():
    rng = np.random.default_rng(0)
    for rows, treated in ((12_000, 0.5), (12_000, 0.01), (12_000, 0.99), (300, 0.3), (90, 0.5)):
        t = (rng.random(rows) < treated).astype(float)
        t[:2] = 0, 1
        table = np.column_stack([rng.normal(size=rows), t, rng.normal(size=rows), np.round(rng.random(rows), 2)])
        whole = table[np.lexsort([table[:, 2], table[:, 1], table[:, 3]])]
        turns = turns_of(whole[:, 3], whole[:, 1], whole[:, 2])
        assert turns.any()  # rows of an arm share one of a hundred keys
        joined = sum((Leaders(part) for part in np.array_split(table, 5)[1:]), Leaders(np.array_split(table, 5)[0]))
        counts = (int((1 - t).sum()), int(t.sum()))
        pilot = joined.chosen(counts, 128)[0]
        np.testing.assert_array_equal(pilot, whole[stratified_rows(whole[:, 1], PILOT_ROWS, turns=turns)][:, :-1])
        for size in (128, 51):
            marks = joined.chosen(counts, size)[1]
            expected = whole[stratified_rows(whole[:, 1], size, turns=turns)][:, :-1]
            np.testing.assert_array_equal(pilot[marks], expected)


def test_spreads_add_up_without_losing_digits():
    values = torch.from_numpy(1e9 + np.random.default_rng(0).normal(size=(50, 2)))
    total = Spread.of(values[:0]) + Spread.of(values[:20]) + Spread.of(values[20:])
    np.testing.assert_allclose(total.sd, values.numpy().std(0), rtol=1e-6)
    np.testing.assert_allclose(total.variance, values.numpy().var(0, ddof=1), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_two_workers_one_of_which_dies(kill, monkeypatch, tmp_path):
    """The table is read from Parquet; the worker dies after the scores, whose partitions are computed again."""
    distributed = pytest.importorskip("distributed")
    table = frame(rows=2000)
    for k, part in enumerate(np.array_split(np.arange(2000), 4)):
        table.iloc[part].to_parquet(tmp_path / f"{k}.parquet")
    whole = dowhy_cina.estimate_effect(table, "t", "y")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        from dowhy_cina.calls.partitioned import balance, partitions

        run, died = partitions.Partitions.run, []

        def run_and_kill(self, function, *arguments, **named):
            if kill and function is balance.target_sums:
                worker = next(iter(cluster.workers.values()))
                died.append(worker.process.pid)
                worker.process.process.kill()
            return run(self, function, *arguments, **named)

        monkeypatch.setattr(partitions.Partitions, "run", run_and_kill)
        ours = dowhy_cina.estimate_effect(dd.read_parquet(tmp_path), "t", "y")
        assert len(died) == kill
        same(ours, whole)


def apart(pull, rare=0.0, rows=1200, seed=3):
    """A table whose arms are the further apart, the stronger the pull; treatment is rare on request."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    t = (rng.random(rows) < 1 / (1 + np.exp(rare - pull * x[:, 0]))).astype(int)
    y = x @ [2.0, 1.0, 0.0] + t + rng.normal(size=rows)
    return pd.DataFrame(x, columns=list("abc")).assign(t=t, y=y)


TABLES = {
    "good": apart(0.5),
    "poor": apart(10.0),
    "rare": apart(1.0, rare=5.5),
    "rare and poor": apart(4.0, rare=6.0),
    "five": apart(1.0).groupby("t").head(5),
    "set aside": apart(3.0).assign(t=lambda f: f["t"].where(f.index > 9, 2)),
}
GRADES_OF_ALL = dict.fromkeys(TABLES, "the data do not") | {"good": "good", "set aside": "strained"}


def close(ours, whole):
    """Equal, numbers to rounding: what a Dask result says is part of what is said of the table in memory."""
    if isinstance(ours, dict):
        for name, value in ours.items():
            close(value, whole[name])
    elif isinstance(ours, list):
        assert len(ours) == len(whole)
        for pair in zip(ours, whole, strict=True):
            close(*pair)
    elif isinstance(ours, float):
        assert ours == pytest.approx(whole, rel=1e-5, abs=1e-7)
    else:
        assert ours == whole


@pytest.mark.parametrize("target", ["ate", "att", "atc"])
@pytest.mark.parametrize("name", TABLES)
def test_the_verdict_on_the_whole_table(name, target):
    table, named = TABLES[name], {"target_units": target, "treatment_value": 1, "control_value": 0}
    whole = dowhy_cina.estimate_effect(table, "t", "y", **named)
    assert target != "ate" or whole.overlap.grade.startswith(GRADES_OF_ALL[name])
    for partitions in (1, 3, 7):
        cuts = np.linspace(0, len(table), partitions + 1).astype(int)[1:-1]
        ours = dowhy_cina.estimate_effect(split(table, *cuts), "t", "y", **named)
        assert (ours.overlap, ours.warnings) == (whole.overlap, whole.warnings)
        assert [arm[3] for arm in ours.arms] == [arm.outside for arm in whole.arms]
        ours_said, whole_said = (found.summary().splitlines() for found in (ours, whole))
        # Where it was computed is all that differs.
        assert [text for text in ours_said if "computed" not in text] == [
            text for text in whole_said if "computed" not in text
        ]
        close(ours.to_dict() | {"plan": None}, whole.to_dict() | {"plan": None})
        assert (
            json.loads(json.dumps(ours.to_dict(), allow_nan=False))["arms"]["treated"]["rows"] == ours.arms.treated.rows
        )
