"""Tables that look like something else than they are: what is refused, and what a result says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.tables import Preprocessor
from dowhy_cina.tables.codes import find_codes
from dowhy_cina.tables.sentinels import find_sentinels

ROWS = 240


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 2)), columns=["x0", "x1"]).assign(c=rng.choice(list("abc"), ROWS))
    t = (rng.random(ROWS) < 1 / (1 + np.exp(-frame["x0"]))).astype(int)
    return frame.assign(t=t, y=t + frame["x0"] + rng.normal(size=ROWS))


def effect(table, **options):
    return dowhy_cina.estimate_effect(table, "t", "y", **options)


# Columns that are not what they seem


def test_a_plain_table_has_no_remarks(table):
    assert effect(table).warnings == ()
    postal = table.assign(c=[f"{40000 + place % 15}" for place in range(ROWS)])
    assert effect(postal).warnings == ()  # codes that many rows share are labels


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (lambda f: [f"P{place}" for place in range(ROWS)], "labels of which most occur once"),
        (lambda f: [f"{place}.5 {'mg' if place % 2 else 'g'}" for place in range(ROWS)], "give them in one unit"),
        (lambda f: (f["x0"] * 15).map("{:.0f}".format), "numbers written as text"),
        (lambda f: pd.date_range("2020-01-01", periods=ROWS).astype(str), "dates written as text"),
    ],
)
def test_labels_that_are_none_are_named(table, values, said):
    found = effect(table.assign(odd=values(table)))
    (warning,) = [warning for warning in found.warnings if "'odd'" in warning]
    assert said in warning
    assert warning.split(":")[0] in found.summary().replace("\n", " ")


# Codes that are numbers


def test_matched_pairs_are_told_to_be_clusters(table):
    pairs = np.arange(ROWS) // 2
    paired = table.assign(c=[f"p{pair}" for pair in pairs])
    (text,) = [text for text in effect(paired).warnings if "levels" in text]
    assert text.startswith("The covariate 'c' has 120 levels in 240 rows.")
    assert not any("levels" in text for text in effect(paired, cluster=pairs).warnings)


def test_remarks_name_no_more_than_some_columns(table):
    constant = table.assign(**{f"k{place}": 1 for place in range(40)}, **{"l" * 300: 1})
    (text,) = effect(constant).warnings
    assert text.endswith("'k7', 33 more.")
    (text,) = effect(table.assign(**{"l" * 300: 1})).warnings
    assert text.endswith(f"'{57 * 'l'}...'.")


def places(drive=None, rows=2500, levels=60, seed=0, **columns):
    """Rows of places, each of which is treated by its own chance, or where a drive says so."""
    rng = np.random.default_rng(seed)
    place, level = rng.integers(0, levels, rows), 1.2 * rng.normal(size=levels)
    code, day = rng.choice(90_000, levels, replace=False)[place], rng.integers(0, 100, rows)
    table = pd.DataFrame({"noise": rng.normal(size=rows), "day": day, "count": rng.poisson(8, rows), "zip": code})
    drive = level[place] if drive is None else drive(table)
    t = (rng.random(rows) < 1 / (1 + np.exp(-drive))).astype(int)
    return table.assign(t=t, y=drive + 0.5 * t + rng.normal(size=rows), **columns)


def test_codes_that_are_numbers_are_labels():
    """Where the treatment goes by places whose numbers mean nothing; the answer is that of text, and it is right."""
    table = places()
    found, text = effect(table), effect(table.assign(zip=table["zip"].map("z{}".format)))
    assert (found.value, found.standard_error) == (text.value, text.standard_error)
    assert found.confidence_interval[0] < 0.5 < found.confidence_interval[1]
    assert text.warnings == ()
    (warning,) = found.warnings
    assert "Taken for labels" in warning
    assert "'zip' (60 values)" in warning
    assert f"zip={table['zip'].min()}" in found.balance.index
    for same in (-table["zip"], table["zip"] / 4 + 0.5):
        assert effect(table.assign(zip=same)).value == pytest.approx(found.value, abs=1e-9 * found.standard_error)
    swapped = effect(table, treatment_value=0, control_value=1)
    assert swapped.value == pytest.approx(-found.value, abs=1e-6 * found.standard_error)
    pairs = np.arange(len(table)).repeat(2)
    doubled = effect(table.iloc[pairs].assign(pair=pairs, half=0.5), cluster="pair", sample_weight="half")
    assert doubled.value == pytest.approx(found.value, abs=1e-6 * found.standard_error)
    assert doubled.standard_error == pytest.approx(found.standard_error, rel=1e-6)


@pytest.mark.parametrize(
    "drive",
    [
        lambda table: np.cos(table["day"] / 8),
        lambda table: 2.0 * (table["day"] > 60),
        lambda table: np.sqrt(table["count"]) - 3,
        lambda table: 0.0 * table["day"],
    ],
    ids=["wave", "threshold", "curve", "nothing"],
)
def test_numbers_that_curves_explain_stay_numbers(drive):
    assert effect(places(drive)).warnings == ()


def test_few_codes_in_many_columns_are_labels():
    """Eight answers from 1 to 6 that mean nothing by themselves: each says little, together they decide."""
    rng = np.random.default_rng(11)
    moved = rng.normal(size=(8, 6))
    codes = rng.integers(0, 6, size=(3000, 8))
    drive = 1.2 * (moved - moved.mean(1, keepdims=True))[np.arange(8), codes].sum(1) / np.sqrt(8)
    t = (rng.random(3000) < 1 / (1 + np.exp(-drive))).astype(int)
    table = pd.DataFrame(codes + 1).add_prefix("q").assign(noise=rng.normal(size=3000))
    found = dowhy_cina.estimate_effect(table, t, drive + t + rng.normal(size=3000))
    assert found.value == pytest.approx(1, abs=0.12)
    (warning,) = [text for text in found.warnings if "Taken for labels" in text]
    assert warning.count("(6 values)") >= 7
    assert "'noise'" not in warning
    copied = dowhy_cina.estimate_effect(table.assign(again=3 - 2 * table["q0"]), t, drive + t + found.weights)
    assert copied.value == dowhy_cina.estimate_effect(table, t, drive + t + found.weights).value


def test_answers_that_go_up_or_bend_stay_numbers():
    """Columns of few values found in vain are as few as they should be: in at most 7 % of 200 tables."""
    rng, found = np.random.default_rng(3), 0
    for _ in range(200):
        answers = rng.integers(1, 6, size=(400, 10))
        drive = 0.4 * (answers[:, 0] - 3) + 0.3 * (answers[:, 1] - 3) ** 2 - 0.6
        t = (rng.random(400) < 1 / (1 + np.exp(-drive))).astype(np.float64)
        found += bool(find_codes(answers.T.astype(np.float64), np.sort(answers.T.astype(np.float64), 1), t))
    assert found <= 14


@pytest.mark.parametrize("chances", [(0.55, 0.25, 0.13, 0.07), (0.2,) * 5, (0.4, 0.3, 0.1, 0.1, 0.05, 0.05)])
def test_scores_by_which_treatment_goes_steeply_stay_numbers(chances):
    """Log odds along a line are a curve in shares, which many rows show: codes are in at most 6 of 60 tables."""
    rng, found = np.random.default_rng(5), 0
    for _ in range(60):
        score = rng.choice(len(chances), 4000, p=chances).astype(np.float64)
        t = (rng.random(4000) < 1 / (1 + np.exp(0.5 - 1.3 * (score - score.mean()) / score.std()))).astype(np.float64)
        found += bool(find_codes(score[None], np.sort(score)[None], t))
    assert found <= 6


def test_rows_of_a_code_that_was_not_there_are_refused():
    table = places()
    found = effect(table)
    rows = table[["noise", "day", "count", "zip"]].head(3)
    assert np.isfinite(found.conditional_effects(rows)).all(axis=None)
    with pytest.raises(InputError, match=r"'zip'.*levels of the fitted table.*-1"):
        found.conditional_effects(rows.assign(zip=-1))


@pytest.mark.parametrize(
    ("sentinel", "shown"),
    [(-999, "-999"), (9999, "9999"), (99_999_999, "99999999"), (-999.9, "-999.9"), (-1e300, "-1e+300")],
)
def test_numbers_that_stand_for_missing_ones(sentinel, shown):
    """What is far from all other numbers is missing; the answer is that of the same numbers as missing ones.

    But for the indicator's name, and that a row may be missing later.
    """
    rng = np.random.default_rng(2)
    income, missing = rng.normal(40, 12, 1000), rng.random(1000) < 0.1
    drive = np.where(missing, 0.8, (income - 40) / 12)
    t = (rng.random(1000) < 1 / (1 + np.exp(-drive))).astype(int)
    y = drive + t + rng.normal(size=1000)
    table = pd.DataFrame({"income": income, "noise": rng.normal(size=1000)})
    coded, plain = (
        table.assign(income=np.where(missing, sentinel, income)),
        table.assign(income=income).mask(pd.DataFrame({"income": missing, "noise": False})),
    )
    found = dowhy_cina.estimate_effect(coded, t, y)
    assert found.value == dowhy_cina.estimate_effect(plain, t, y).value
    assert found.value == pytest.approx(1, abs=0.3)
    (warning,) = found.warnings
    assert f"{shown} in 'income'" in warning
    assert f"income={shown}" in found.balance.index
    negated = dowhy_cina.estimate_effect(coded.assign(income=-coded["income"]), t, y)
    assert negated.value == pytest.approx(found.value, abs=1e-9)
    effects = found.conditional_effects(coded.head(3).assign(income=[sentinel, 40, 80]))
    assert np.isfinite(effects).all(axis=None)


def test_far_numbers_that_are_none_lose_nothing():
    """Packs of 1, 2, 50 and 100 are told apart, whichever are taken for something else."""
    rng = np.random.default_rng(7)
    kind = rng.integers(0, 4, 1500)
    drive = np.array([-1.0, 0.5, 1.0, -0.5])[kind]
    t = (rng.random(1500) < 1 / (1 + np.exp(-2 * drive))).astype(int)
    table = pd.DataFrame({"pack": np.array([1, 2, 50, 100])[kind], "noise": rng.normal(size=1500)})
    found = dowhy_cina.estimate_effect(table, t, 2 * drive + t + rng.normal(size=1500))
    assert found.value == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("corrupt", [1e6, 1e9, -3.4e38, 1e300])
def test_a_corrupt_number_hides_nothing_of_its_column(corrupt):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(1000, 3))
    t = (rng.random(1000) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    y = x[:, 0] + t + rng.normal(size=1000)
    plain = dowhy_cina.estimate_effect(x, t, y)
    x[17, 0] = corrupt
    found = dowhy_cina.estimate_effect(x, t, y)
    assert abs(found.value - plain.value) < 0.5 * plain.standard_error
    assert found.standard_error == pytest.approx(plain.standard_error, rel=0.2)


@pytest.mark.parametrize(
    "numbers",
    [
        np.exp(2 * np.random.default_rng(0).normal(size=1000)),
        np.r_[np.zeros(600), np.random.default_rng(0).uniform(1000, 5000, 400)],
        np.random.default_rng(0).integers(0, 2, 1000) * 1e9,
        np.r_[np.random.default_rng(0).normal(size=995), np.full(5, 1e6)],
    ],
    ids=["long tail", "zeros", "two values", "few rows"],
)
def test_other_far_numbers_are_no_sentinels(numbers):
    assert find_sentinels(numbers) == ()


def test_either_end_may_have_some():
    numbers = np.r_[np.random.default_rng(0).normal(size=960), np.full(20, 9999), np.full(20, -999)]
    assert find_sentinels(numbers) == (-999, 9999)
    assert find_sentinels(-numbers) == (-9999, 999)


def test_codes_of_more_values_than_labels_may_have_are_named():
    table = places(rows=5000, levels=1200)
    fitted = Preprocessor()
    fitted.fit_transform(table[["noise", "zip"]], table["t"].to_numpy(float))
    (warning,) = fitted.remarks
    assert "Numbers of 'zip' (1" in warning
    assert "make such columns text" in warning


def test_numbers_of_clusters_that_are_treated_as_a_whole_are_no_codes():
    """Villages of twenty rows each have a size, and a treatment: sizes differ in it by chance."""
    rng = np.random.default_rng(1)
    village = np.repeat(np.arange(90), 20)
    size, t = rng.integers(10, 45, 90)[village], rng.integers(0, 2, 90)[village]
    table = pd.DataFrame({"size": size, "noise": rng.normal(size=1800)})
    y = 0.5 * t + rng.normal(size=1800)
    result = dowhy_cina.estimate_effect(table, t, y, cluster=village)
    assert not any("Taken for labels" in text for text in result.warnings)
    assert any("Taken for labels" in text for text in dowhy_cina.estimate_effect(table, t, y).warnings)


def test_covariates_that_do_not_vary_are_named(table):
    (warning,) = effect(table.assign(x1=np.nan, same="a")).warnings
    assert warning == "Not adjusted for, since constant or empty: 'x1', 'same'."


# Rows in another order


def test_labels_in_another_order_are_refused(table):
    X, t, y = table[["x0", "x1"]], table["t"], table["y"]
    for given in ((t[::-1], y), (t, y[::-1])):
        with pytest.raises(InputError, match="its labels in another order"):
            dowhy_cina.estimate_effect(X, *given)
    for role in ("cluster", "sample_weight"):
        with pytest.raises(InputError, match=rf"{role}: .*another order"):
            dowhy_cina.estimate_effect(X, t, y, **{role: pd.Series(range(1, ROWS + 1))[::-1]})
    mask = table["x0"] > 0
    with pytest.raises(InputError, match=r"target_units: .*another order"):
        effect(table, target_units=mask[::-1])
    found = effect(table)
    with pytest.raises(InputError, match=r"effect modifiers: .*another order"):
        found.group_effects(mask[::-1])
    for rule in (mask[::-1], lambda frame: frame.sort_values("x1")["x0"] > 0):
        with pytest.raises(InputError, match=r"rule: .*another order"):
            found.policy_value(rule)
    with pytest.raises(InputError, match=r"cost: .*another order"):
        found.policy_value(mask, cost=pd.Series(np.linspace(0, 1, ROWS))[::-1])
    # Beside an array the columns tell each other's order.
    with pytest.raises(InputError, match=r"outcome: .*another order"):
        dowhy_cina.estimate_effect(X.to_numpy(), t, y[::-1])
    # Other labels, or none, say nothing of an order.
    by_position = dowhy_cina.estimate_effect(X, t[::-1].reset_index(drop=True), y[::-1].to_numpy())
    assert (
        by_position.value == dowhy_cina.estimate_effect(X, t[::-1].set_axis(range(1, ROWS + 1)), y[::-1].values).value
    )


def test_columns_of_an_array_are_known_by_their_names(table):
    found = dowhy_cina.estimate_effect(table[["x0", "x1"]].to_numpy(), table["t"], table["y"])
    rows = table[["x0", "x1"]].head()
    expected = found.conditional_effects(rows)
    pd.testing.assert_frame_equal(found.conditional_effects(rows[["x1", "x0"]]), expected)
    pd.testing.assert_frame_equal(found.conditional_effects(rows.set_axis(["a", "b"], axis=1)), expected)


def test_missing_values_that_were_not_there_are_refused(table):
    holes = table.head().assign(x1=[np.nan, 0, 0, 0, np.nan])
    found = effect(table)
    with pytest.raises(InputError, match=r"'x1': expected a number in every row.* got 2 missing"):
        found.conditional_effects(holes)
    with pytest.raises(InputError, match="'x1'"):
        effect(table, target_units=holes)
    assert len(effect(pd.concat([table, holes])).conditional_effects(holes)) == 5


# Treatments, names, targets


def test_one_and_two_do_not_tell_which_is_treated(table):
    coded = table.assign(t=table["t"] + 1)
    with pytest.raises(InputError, match=r"the levels 1 \(\d+ rows\), 2 .*which of them is treated is not known"):
        effect(coded)
    assert effect(coded, treatment_value=2).value == effect(table).value
    for dose in (2 * table["t"] - 1, 2 + 3 * table["t"]):
        assert effect(table.assign(t=dose)).value == effect(table).value


def test_intervals_are_labels(table):
    cut = pd.cut(table["x1"], 2)
    with pytest.raises(InputError, match="which of them is treated is not known"):
        dowhy_cina.estimate_effect(table[["x0"]], cut, table["y"])
    high = cut.cat.categories[1]
    found = dowhy_cina.estimate_effect(table[["x0"]], cut, table["y"], treatment_value=high)
    plain = dowhy_cina.estimate_effect(table[["x0"]], (cut == high).astype(int), table["y"])
    assert found.value == plain.value


def test_names_may_be_numbers_or_tuples(table):
    expected = effect(table[["x0", "x1", "t", "y"]]).value
    numbered = table[["x0", "x1", "t", "y"]].set_axis(range(4), axis=1)
    assert dowhy_cina.estimate_effect(numbered, 2, 3).value == expected
    tuples = pd.MultiIndex.from_tuples([("x", "0"), ("x", "1"), ("g", "t"), ("g", "y")])
    assert dowhy_cina.estimate_effect(numbered.set_axis(tuples, axis=1), ("g", "t"), ("g", "y")).value == expected


@pytest.mark.parametrize(
    ("units", "error", "message"),
    [
        ("atx", InputError, "did you mean 'att'"),
        ("Treated", InputError, "did you mean 'att'"),
        ("control", InputError, "did you mean 'atc'"),
        (lambda frame: frame["x0"] > 0, InputTypeError, "got a function: give the mask"),
        (pd.Series([True, pd.NA] * (ROWS // 2), dtype="boolean"), InputTypeError, "dtype boolean.*missing values"),
        (np.zeros(ROWS, dtype=bool), InputError, "names no row"),
    ],
)
def test_targets_are_refused_before_the_forward_pass(table, units, error, message, monkeypatch):
    monkeypatch.setattr("dowhy_cina.calls.direct.Analysis", None)
    with pytest.raises(error, match=message):
        effect(table, target_units=units)


# Many tables


def test_an_iterator_of_covariates_serves_every_table(table):
    found = dowhy_cina.estimate_effects([(table, "t", "y")] * 3, covariates=iter(["x0", "c"]))
    assert {result.value for result in found} == {effect(table, covariates=["x0", "c"]).value}


def test_a_generator_may_fill_any_buffer_again(table):
    def tables():
        tensor, held = torch.zeros(ROWS, dtype=torch.float64), np.zeros(ROWS)
        for shift in range(3):
            tensor.copy_(torch.from_numpy((table["y"] + shift * table["t"]).to_numpy()))
            held[:] = tensor.numpy()
            for outcome in (tensor, memoryview(held), pd.array(held, copy=False)):
                yield table[["x0", "x1"]], table["t"], outcome

    values = [result.value for result in dowhy_cina.estimate_effects(tables())]
    assert np.diff(values[::3]) == pytest.approx([1, 1], abs=1e-3)
    assert values[1::3] == pytest.approx(values[::3])
    assert values[2::3] == pytest.approx(values[::3])


def test_options_of_no_table_are_checked():
    with pytest.raises(InputError, match="landmarks"):
        dowhy_cina.estimate_effects([], landmarks=1)
    with pytest.raises(InputError, match="confidence_level"):
        dowhy_cina.estimate_effects([], on_error="return", confidence_level=2)
