"""Columns of text that hold numbers, however people write them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.tables.reading import read_table
from dowhy_cina.tables.words import among_words, numbers_and_words


@pytest.mark.parametrize("text", [str, lambda number: number], ids=["text", "objects"])
def test_numbers_among_words(text):
    """Are numbers, and words are missing ones: the answer is that of such a column, on other rows too."""
    rng = np.random.default_rng(6)
    x, unknown = rng.normal(size=(600, 2)), rng.random(600) < 0.05
    t = (rng.random(600) < 1 / (1 + np.exp(-1.2 * x[:, 0]))).astype(int)
    y = np.where(unknown, 0, x[:, 0]) + t + rng.normal(size=600)
    numbers = pd.DataFrame({"a": np.where(unknown, np.nan, 40 + 12 * x[:, 0]), "b": x[:, 1]})
    words = numbers.assign(a=numbers["a"].map(text).astype(object).where(~unknown, "unknown"))
    found, plain = (dowhy_cina.estimate_effect(table, t, y) for table in (words, numbers))
    # Of text the last digit may be another one.
    assert found.value == pytest.approx(plain.value, rel=1e-9)
    (warning,) = found.warnings
    assert warning.endswith("'a' ('unknown' for missing).")
    same = found.conditional_effects(words.head(40))
    pd.testing.assert_frame_equal(same, plain.conditional_effects(numbers.head(40)))
    assert np.isfinite(found.conditional_effects(words.head(1).assign(a="never heard of"))).all(axis=None)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (lambda number: f"{1000 * number:,.2f}", "'a'."),
        (lambda number: f" ${1000 * number:,.0f} ", "'a'."),
        (lambda number: f"{number:.1f} %", "'a'."),
        (lambda number: f"{1000 * number:,.0f}".replace(",", "\u202f"), "'a'."),
        (lambda number: f"{number:.2f}".replace(".", ","), "'a' (a comma before decimals)."),
        (
            lambda number: f"{1000 * number:,.2f} €".translate(str.maketrans(",.", ".,")),
            "'a' (a comma before decimals).",
        ),
        (lambda number: f"{number:.1f} kg", "'a' (in 'kg')."),
    ],
)
def test_numbers_as_people_write_them(written, said):
    """Thousands apart, units of money and of percent, a comma before decimals: the answer is that of the numbers."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(400, 2))
    t = (rng.random(400) < 1 / (1 + np.exp(-1.2 * x[:, 0]))).astype(int)
    y = x[:, 0] + t + rng.normal(size=400)
    numbers = pd.DataFrame({"a": np.round(40 + 12 * x[:, 0], 1), "b": x[:, 1]})
    texts = numbers.assign(a=numbers["a"].map(written))
    found, plain = (dowhy_cina.estimate_effect(table, t, y) for table in (texts, numbers))
    assert found.value == pytest.approx(plain.value, rel=1e-9)
    assert found.warnings[0].endswith(f"no codes: {said}")
    # A row is read as the table is, whatever it might mean by itself.
    same = found.conditional_effects(texts.head(1))
    pd.testing.assert_frame_equal(same, plain.conditional_effects(numbers.head(1)))


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        (["1,234", "0,532"], [1.234, 0.532]),
        (["1,234", "12"], [1234, 12]),
        (["1.234,5", "7", "1.234"], [1234.5, 7, 1234]),
        (["1,234.5", "12,34", "1.5"], [1234.5, np.nan, 1.5]),
        (["1,23,456", "12,34,567.5", "1,00,00,000", "1,23,45"], [123456, 1234567.5, 1e7, np.nan]),
        (["(1,234)", "($5.50)", " $ (12)", "(3 %)", "(n/a)", "7"], [-1234, -5.5, -12, -3, np.nan, 7]),
        (["\u22125", "\u22121,234.5", "-$3", "+€ 4"], [-5, -1234.5, -3, 4]),
        (["70.1 kg", "71kg", ".5 kg", "\u22125 kg", "?", None], [70.1, 71, 0.5, -5, np.nan, np.nan]),
        (["1,234 EUR", "1.5 EUR", "12 345 EUR"], [1234, 1.5, 12345]),
        (["1,5 mg/dl", "2,25 mg/dl", "1.234 mg/dl"], [1.5, 2.25, 1234]),
        (["36.6 °C", "37 °C"], [36.6, 37]),
        (["70.1 kg", "150 lb", "80"], [np.nan, np.nan, 80]),
        (["70.1 kg", "150", 80], [np.nan, 150, 80]),
        (["70.1 kg", 80], [np.nan, 80]),
        (["1st", "2nd", "3rd"], [np.nan] * 3),
        (["192.168.100.200", "10.0.0.1", "2020-01-02", "12.03.2020", "5 mg", "1e3"], [np.nan] * 5 + [1000]),
        (["70.1", "72.3 kg", "68"], [70.1, 72.3, 68]),
        (["70.1", "72.3 kg", "68 lb"], [70.1, np.nan, np.nan]),
    ],
)
def test_which_texts_are_numbers(written, numbers):
    np.testing.assert_array_equal(numbers_and_words(pd.Series(written)).numbers, numbers)


def test_texts_of_few_or_repeated_numbers_stay_labels():
    for values in (["1", "2", "3"] * 80, [f"{40_000 + place % 60}" for place in range(240)], ["a", "b"] * 120):
        assert among_words(pd.Series(values)) is None
    assert among_words(pd.Series(pd.Categorical([str(place) for place in range(240)]))) is None
    assert among_words(pd.Series([*"abc", *map(str, range(237))])).wording.words == ("a", "b", "c")


def spread(numbers, rows=1000):
    """Rows of such numbers as text, each of which many rows have, in no order."""
    return np.random.default_rng(0).permutation(np.resize(numbers, rows))


@pytest.mark.parametrize(
    "codes",
    [
        [f"{code:.1f}" for code in np.linspace(100.1, 899.9, 60)],
        [f"{100.1 + 13.5 * place:.1f}" for place in range(60)],
        [f"{code:.2f}" for code in np.random.default_rng(0).choice(90_000, 200, replace=False) / 100],
        [*(f"{40_000 + place}" for place in range(60)), "40001.5"],
    ],
)
def test_codes_with_decimals_stay_labels(codes):
    """As those of illnesses, which lie far apart for their last decimal place."""
    assert among_words(pd.Series(spread(codes))) is None


@pytest.mark.parametrize(
    "numbers",
    [
        [f"{35 + place / 10:.1f}" for place in range(60)],
        [f"{place / 10:.1f} %" for place in range(1, 80, 2)],
        [f"{place / 2}" for place in range(60)],
        [f"{place / 4:.2f}" for place in range(40)],
        [f"{number:.6f}" for number in np.random.default_rng(0).normal(size=100)],
    ],
    ids=["temperatures", "percent", "halves", "quarters", "many decimals"],
)
def test_measured_numbers_that_repeat_are_numbers(numbers):
    assert among_words(pd.Series(spread(numbers))) is not None


def test_copies_of_rows_change_nothing():
    """Nor a bootstrap; where nothing else tells rows apart, the same rows are none."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"x": rng.normal(size=400), "money": [f"{number}" for number in rng.permutation(400) * 7]})
    for rows in (np.tile(np.arange(400), 6), rng.integers(0, 40, 400) * 10):
        assert read_table(table.iloc[rows]).numeric == [0, 1]
    codes = pd.DataFrame(
        {"sex": rng.integers(0, 2, 400), "zip": spread([f"{40_000 + place}" for place in range(60)], 400)}
    )
    for names in (["zip"], ["sex", "zip"]):
        assert 0 in read_table(codes[names[::-1]]).text


def test_more_numbers_than_labels_may_be():
    texts = [f"{7 * place}" for place in range(1200)]
    assert among_words(pd.Series(spread(texts, 6000))).wording.words == ()
    assert among_words(pd.Series(spread(texts[:900], 6000))) is None


def test_numbers_by_type_are_numbers_whatever_repeats():
    """Beside words; where they are few, beside words for missing ones alone: others are levels like them."""
    assert among_words(pd.Series([*range(40_000, 40_060), "N/A", "refused"] * 10, dtype=object)) is not None
    assert among_words(pd.Series([0, 1, 2.5, np.int64(3), "unknown", " n/A", None, "4"] * 10)) is not None
    assert among_words(pd.Series(["K", "PK", *range(1, 13)] * 10)) is None
    assert among_words(pd.Series([True, False, "unknown"] * 10)) is None
    assert among_words(pd.Series(["a", "b", 1, np.nan, np.nan] * 10, dtype=object)) is None


@pytest.mark.parametrize("mark", ["", " ? ", "-", "NA", "n/a", "NaN", "none", "NULL", "Unknown", "missing", "."])
def test_whole_numbers_beside_words_for_missing_ones(mark):
    ages = [f"{age}" for age in range(18, 90)]
    for words in ([mark], ["?", mark]):
        assert among_words(pd.Series(spread([*ages, *words]))).wording.words == tuple(sorted(set(words)))
    for others in (ages, [*ages, mark, "young"], [*ages, None], [*(f"{5 * int(age)}" for age in ages), mark]):
        assert among_words(pd.Series(spread(others))) is None


def test_rows_are_read_in_the_units_and_with_the_mark_of_the_table():
    known = numbers_and_words(pd.Series(["1,5 kg", "2,5 kg"])).wording
    assert known == ((), ",", "kg")
    rows = pd.Series(["1.234", "1.234 kg", "7 lb", "0,5 kg", 3])
    np.testing.assert_array_equal(numbers_and_words(rows, known).numbers, [1234, 1234, np.nan, 0.5, 3])
