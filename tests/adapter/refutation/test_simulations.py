"""The data of refits follow the laws of DoWhy's refuters, and both of their forms give the same estimate."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from dowhy.causal_refuters import add_unobserved_common_cause as host

from dowhy_cina.adapter.refutation import simulations
from dowhy_cina.adapter.refutation.refuters import REFUTERS
from dowhy_cina.calls.batch import values_encoded
from dowhy_cina.errors import InputError


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def wide(make_frame, make_estimate, make_setting):
    """A long table, in which shares and deviations are close to their laws."""
    return make_setting(make_estimate(make_frame(4000), ["x", "flag", "kind", "text", "count"]))


def test_random_common_cause_is_standard_normal_noise(wide):
    table = simulations.random_common_cause(wide, generator())
    assert abs(table.noise.mean()) < 0.06
    assert table.noise.std() == pytest.approx(1, abs=0.05)
    assert table.numbers is wide.table.numbers


def test_placebo_keeps_the_arms_sizes_and_forgets_the_rows(wide):
    table = simulations.placebo_treatment(wide, generator())
    old, new = wide.table.treatment.to_numpy(), table.treatment.to_numpy()
    assert new.sum() == old.sum()
    assert abs(np.corrcoef(old, new)[0, 1]) < 0.06
    assert abs(np.corrcoef(wide.table.numbers[0], new)[0, 1]) < 0.06


def test_subset_has_four_fifths_of_the_rows_once_each(wide):
    table = simulations.data_subset(wide, generator())
    assert len(np.unique(table.rows)) == len(table.rows) == 3200
    np.testing.assert_array_equal(table.numbers, wide.table.numbers[:, table.rows])
    np.testing.assert_array_equal(table.outcome, wide.data.y.to_numpy()[table.rows])


def test_bootstrap_repeats_rows_and_disturbs_what_dowhy_disturbs(wide):
    table = simulations.bootstrap(wide, generator())
    assert len(table.rows) == 4000
    assert len(np.unique(table.rows)) == pytest.approx(4000 * (1 - np.exp(-1)), rel=0.03)
    shift = table.numbers - wide.table.numbers[:, table.rows]
    by_name = dict(zip(wide.number_names, shift, strict=True))
    assert by_name["x"].std() == pytest.approx(0.1 * wide.data.x.std(), rel=0.05)
    assert np.mean(by_name["flag"] != 0) == pytest.approx(0.1, abs=0.02)
    assert set(np.unique(table.numbers[wide.number_names.index("flag")])) == {0.0, 1.0}
    assert not by_name["count"].any()
    kind = wide.label_names.index("kind")
    assert np.mean(table.codes[kind] != wide.table.codes[kind, table.rows]) == pytest.approx(0.1, abs=0.02)
    assert set(table.codes[kind]) == {0, 1, 2}
    text = wide.label_names.index("text")
    np.testing.assert_array_equal(table.codes[text], wide.table.codes[text, table.rows])
    assert set(table.changed) == {"x", "flag", "kind"}


def test_bootstraps_noise_is_a_tenth_of_the_sample_standard_deviation(make_frame, make_estimate, make_setting):
    """As pandas has it, n - 1 below, of the values that are there: the draws are those of the generator in turn."""
    frame = make_frame(60)
    frame.loc[::7, "z"] = np.nan
    setting = make_setting(make_estimate(frame, ["x", "z"]))
    table, same = simulations.bootstrap(setting, generator()), generator()
    rows = same.integers(60, size=60)
    np.testing.assert_array_equal(table.rows, rows)
    for name, disturbed in zip(setting.number_names, table.numbers, strict=True):
        drawn = frame[name].iloc[rows]
        expected = drawn + same.normal(scale=0.1 * drawn.std(), size=60)
        np.testing.assert_allclose(disturbed, expected, rtol=1e-12)


@pytest.mark.parametrize("unit", [2.0**-20, 2.0**10])
def test_bootstrap_disturbs_in_any_unit_alike(unit, make_frame, make_estimate, make_setting):
    """By a tenth of each column's own standard deviation, so that powers of two pass through without rounding."""
    frame = make_frame(300)
    frame.loc[::7, "z"] = np.nan
    other = frame.assign(x=unit * frame.x, z=frame.z / unit)
    ours, theirs = (
        simulations.bootstrap(make_setting(make_estimate(data, ["x", "z", "flag"])), generator())
        for data in (frame, other)
    )
    np.testing.assert_array_equal(theirs.rows, ours.rows)
    np.testing.assert_array_equal(theirs.numbers, ours.numbers * np.array([[unit], [1 / unit], [1.0]]))
    for column, name in enumerate(["x", "z"]):
        before = other[name].to_numpy()[theirs.rows]
        shift = (theirs.numbers[column] - before)[~np.isnan(before)]
        assert shift.std() == pytest.approx(0.1 * np.nanstd(before), rel=0.15)


def test_dummy_outcome_is_standard_normal_noise(wide):
    outcome = simulations.dummy_outcome(wide, generator()).outcome
    assert outcome.std() == pytest.approx(1, abs=0.05)
    assert abs(np.corrcoef(outcome, wide.data.t)[0, 1]) < 0.06


def test_observed_strengths_are_those_of_dowhy_and_the_strongest(wide, make_estimate):
    """DoWhy's ranges, whose tenth point is one step short of their end; slopes without a sign."""
    model, estimand, _ = make_estimate(wide.data, ["x", "flag", "kind", "text", "count"])
    strengths = simulations.observed_strengths(wide, 10)
    theirs = host._infer_default_kappa_t(model._data, estimand, ["t"], "binary_flip", 1.0)[:10]
    np.testing.assert_allclose(
        strengths.treatment, np.linspace(theirs[0], 10 * theirs[1] - 9 * theirs[0], 10), rtol=1e-6, atol=1e-12
    )
    causes = np.column_stack([wide.common_causes.to_numpy(dtype=float), wide.data.y])
    slopes = np.abs(np.corrcoef(causes, rowvar=False)[-1, :-1]) * wide.data.y.std(ddof=0)
    np.testing.assert_allclose(np.abs(strengths.outcome), np.linspace(slopes.min(), slopes.max(), 10), rtol=1e-6)
    assert len(strengths) == 100
    assert strengths.at(37) == (strengths.treatment[3], strengths.outcome[7])


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"x": lambda data: -data.x}, 1),
        ({"x": lambda data: -data.x, "z": lambda data: 5 - 2 * data.z}, 1),
        ({"y": lambda data: -data.y}, -1),
        ({"t": lambda data: 1 - data.t}, -1),
    ],
)
def test_a_hidden_cause_is_the_same_however_columns_are_coded(change, sign, make_frame, make_estimate, make_setting):
    frame = make_frame(160)
    frame["y"] -= 2 * frame["z"]  # slopes of both signs
    found = []
    for data in (frame, frame.assign(**change)):
        setting = make_setting(make_estimate(data, ["x", "z"]))
        strengths = simulations.observed_strengths(setting, 3)
        draw = simulations.graded(setting, strengths)
        tables = [setting.encode(draw(number, generator(number))) for number in range(len(strengths))]
        found.append(np.array(values_encoded(tables, setting.options)))
    np.testing.assert_allclose(found[1], sign * found[0], atol=1e-5)


@pytest.mark.parametrize("effect", [2.0, -2.0])
@pytest.mark.parametrize("chance", [0.25, 0.75])
def test_a_hidden_cause_works_against_the_estimate(effect, chance, make_estimate, make_setting):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=600)})
    frame["t"] = (rng.random(600) < chance).astype(int)
    frame["y"] = effect * frame.t + 3 * frame.x + rng.normal(size=600)
    setting = make_setting(make_estimate(frame, ["x"]))
    slope = simulations.observed_strengths(setting, 2).outcome[-1]
    found = []
    for strength in (slope, -slope):
        draws = [simulations.unobserved_common_cause(setting, (0.1, strength), generator(seed)) for seed in range(4)]
        found.append(np.mean(values_encoded([setting.encode(table) for table in draws], setting.options)))
    against, along = np.array(found) * np.sign(effect)
    assert along > against + 1


def test_a_single_cause_has_as_many_refits_of_its_one_strength(make_frame, make_estimate, make_setting):
    setting = make_setting(make_estimate(make_frame(160), ["x"]))
    strengths = simulations.observed_strengths(setting, 3)
    assert len(strengths) == 9
    assert len({strengths.at(number) for number in range(9)}) == 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
def test_hidden_cause_flips_a_share_and_lowers_the_outcome(wide, share):
    table = simulations.unobserved_common_cause(wide, (share, 2.0), generator())
    flipped = table.treatment.to_numpy() != wide.data.t.to_numpy()
    assert flipped.mean() == pytest.approx(share, abs=0.03)
    hidden = (wide.data.y - table.outcome).to_numpy() / 2.0
    assert hidden.std() == pytest.approx(1, abs=0.05)
    if flipped.any():
        assert hidden[flipped].min() > hidden[~flipped].max()
    assert set(table.treatment) == {0, 1}


def test_hidden_cause_needs_an_observed_one(wide):
    for causes in (None, pd.DataFrame({"constant": np.ones(4000)})):
        with pytest.raises(InputError, match="observed common cause"):
            simulations.observed_strengths(dataclasses.replace(wide, common_causes=causes), 3)


@pytest.mark.parametrize("refuter", REFUTERS, ids=lambda refuter: refuter.name)
def test_encoded_refit_is_the_estimate_from_its_frame(refuter, setting):
    """What a batch is given says the same as the frame that DoWhy would hand to the estimator."""
    table = refuter.plan(setting, 9).draw(3, generator(5))
    (batched,) = values_encoded([setting.encode(table)], setting.options)
    assert batched == pytest.approx(setting.estimate(table), abs=1e-6)
    assert batched != pytest.approx(setting.estimate(setting.table), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(("x", dtype) for dtype in ("Float64", "Sparse[float64]", "double[pyarrow]")),
        *(("flag", dtype) for dtype in ("boolean", "Sparse[bool]")),
    ],
)
@pytest.mark.parametrize("target", ["ate", lambda data: data.z > 0])
def test_a_bootstrap_of_other_types_of_columns(name, dtype, target, make_frame, make_estimate, make_setting):
    """The same draws and estimates as of numpy's, batched and alone, with the types of the data kept."""
    frame, found = make_frame(120), []
    for data in (frame, frame.astype({name: dtype})):
        setting = make_setting(make_estimate(data, ["x", "z", "flag"], target_units=target))
        table = simulations.bootstrap(setting, generator())
        assert dict(setting.frame(table).dtypes) == dict(data.dtypes)
        (batched,) = values_encoded([setting.encode(table)], setting.options)
        found.append((table.numbers, [batched, setting.estimate(table)]))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-9)


def test_numbers_that_are_codes_are_labels_in_refits_too(make_frame, make_estimate, make_setting):
    """In a bootstrap, whose own treatment tells; and in a placebo as the fitted table's own treatment does."""
    rng, frame = generator(1), make_frame(900)
    place = rng.integers(0, 30, 900)
    frame["zip"] = rng.permutation(30)[place]
    frame["t"] = (rng.random(900) < 1 / (1 + np.exp(-1.5 * rng.normal(size=30)[place]))).astype(int)
    setting = make_setting(make_estimate(frame, ["x", "zip"]))
    table = simulations.bootstrap(setting, generator())
    (batched,) = values_encoded([setting.encode(table)], setting.options)
    assert batched == pytest.approx(setting.estimate(table), abs=1e-6)
    placebo = setting.encode(simulations.placebo_treatment(setting, generator()))
    assert placebo.covariates is setting.encode(setting.table).covariates
    assert placebo.covariates.shape[1] == 31


def test_a_missing_boolean_stays_missing(make_frame, make_estimate, make_setting):
    frame = make_frame(120).astype({"flag": "boolean"})
    frame.loc[::7, "flag"] = pd.NA
    setting = make_setting(make_estimate(frame, ["x", "flag"]))
    table = simulations.bootstrap(setting, generator())
    given = setting.frame(table)["flag"]
    np.testing.assert_array_equal(given.isna(), frame["flag"].isna().to_numpy()[table.rows])
    assert given.dtype == "boolean"


def test_frame_holds_what_dowhy_would_give(setting):
    frame = setting.data
    bootstrapped = simulations.bootstrap(setting, generator())
    given = setting.frame(bootstrapped)
    assert dict(given.dtypes) == dict(frame.dtypes)
    assert list(given.columns) == list(frame.columns)
    placebo = setting.frame(simulations.placebo_treatment(setting, generator()))
    assert set(placebo.columns) - set(frame.columns) == {"placebo"}
    pd.testing.assert_series_equal(placebo.t, frame.t)
    assert "dummy_outcome" in setting.frame(simulations.dummy_outcome(setting, generator()))
    assert "w_random" in setting.frame(simulations.random_common_cause(setting, generator()))


def test_missing_values_stay_missing_in_a_bootstrap(make_frame, make_estimate, make_setting):
    frame = make_frame(200)
    frame.loc[::7, "x"] = np.nan
    setting = make_setting(make_estimate(frame, ["x", "z"]))
    table = simulations.bootstrap(setting, generator())
    missing = frame.x.isna().to_numpy()[table.rows]
    np.testing.assert_array_equal(np.isnan(table.numbers[0]), missing)
    assert missing.any()


def test_an_empty_arm_is_refused(setting):
    table = setting.table.take(np.flatnonzero(setting.data.t == 0))
    with pytest.raises(InputError, match="no treated row"):
        setting.encode(table)


def test_what_was_found_of_other_rows_is_not_held(make_frame, make_estimate, make_setting):
    """A subset has standardised columns with thresholds of their own; of a third treatment no refuter takes rows."""
    frame = make_frame(300)
    frame["x"] = np.exp(frame["x"])  # which is far from any mean that a few rows have
    frame["y"] += 4.0 * (frame["x"] > 1) + 3.0 * (frame["z"] > 0)
    frame.loc[::3, "t"] = 2
    setting = make_setting(make_estimate(frame, ["x", "z"]))
    assert setting.held.added.steps is not None
    subsets = [setting.encode(simulations.data_subset(setting, generator(seed))) for seed in range(4)]
    assert not any(setting.held.fits(table) for table in subsets)
    assert values_encoded(subsets, setting.options, setting.held) == values_encoded(subsets, setting.options)
    placebos = [setting.encode(simulations.placebo_treatment(setting, generator(seed))) for seed in range(4)]
    assert all(len(table.treatment) == 200 and setting.held.fits(table) for table in placebos)
    dummies = [setting.encode(simulations.dummy_outcome(setting, generator(seed))) for seed in range(4)]
    assert all(setting.held.fits(table) for table in dummies)
    assert values_encoded(dummies, setting.options, setting.held) != values_encoded(dummies, setting.options)
