"""Numbers that are odd: large ones, those of single precision, columns that are called like what is made of them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.errors import InputError
from dowhy_cina.tables import Preprocessor
from dowhy_cina.tables.codes import find_codes
from dowhy_cina.tables.sentinels import find_sentinels, shortest


@pytest.fixture(scope="module")
def holed():
    """Half a thousand rows, a tenth of which hold -99.9."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": np.where(rng.random(500) < 0.1, -99.9, rng.normal(size=500)), "z": rng.normal(size=500)})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1, 2.0**1019])
def test_the_largest_floats_are_looked_at_without_a_warning(unit):
    numbers = np.r_[np.random.default_rng(0).uniform(-1, 1, 450), np.full(50, -20.0)] * unit
    assert find_sentinels(numbers) == (-20 * unit,)
    ends = np.tile([1.7e308, -1.7e308, 0, 1, 2], 50)
    assert find_sentinels(ends) == ()
    assert np.isfinite(Preprocessor().fit_transform(np.c_[ends, numbers[:250]])).all()


def test_a_number_is_shown_as_it_was_written():
    written = ["-99.9", "-999", "0.5", "1e+300", "-7.25", "123456.789"]
    assert [shortest(float(text)) for text in written] == written
    assert shortest(float(np.float32(-99.9))) == "-99.9"


def test_numbers_for_missing_ones_are_known_in_single_precision(holed):
    fitted = Preprocessor().fit(holed)
    assert "x=-99.9" in fitted.names_out
    single = fitted.readable(holed.astype(np.float32))
    np.testing.assert_array_equal(single["x=-99.9"], holed["x"] == -99.9)
    np.testing.assert_allclose(single["x"], fitted.readable(holed)["x"], atol=1e-6)
    again = Preprocessor().fit(holed.astype(np.float32))
    np.testing.assert_array_equal(again.readable(holed)["x=-99.9"], holed["x"] == -99.9)


def test_numbers_near_one_for_missing_ones_stay():
    """Where single precision would tell none from another."""
    rng = np.random.default_rng(0)
    times = 1.7e9 + np.where(rng.random(500) < 0.1, 9.0, rng.integers(0, 2, 500))
    fitted = Preprocessor().fit(pd.DataFrame({"time": times}))
    (name,) = [name for name in fitted.names_readable if "=" in name]
    np.testing.assert_array_equal(fitted.readable(pd.DataFrame({"time": times}))[name], times == 1.7e9 + 9)


@pytest.mark.parametrize("names", [["x", "x=-99.9"], ["x=-99.9", "x"]])
def test_raw_columns_keep_their_names(holed, names):
    table = pd.DataFrame({"x": holed["x"], "x=-99.9": holed["z"]})[names]
    readable = Preprocessor().fit(table).readable(table)
    assert set(readable) == {*names, "x=-99.9_2"}
    np.testing.assert_array_equal(readable["x=-99.9"], holed["z"])
    missing = pd.DataFrame({"x": holed["x"].where(holed["x"] > 0), "x_missing": holed["z"]})
    for table in (missing, missing[["x_missing", "x"]], missing.assign(x_missing_2=missing["x_missing"] ** 2)):
        readable = Preprocessor().fit(table).readable(table)
        np.testing.assert_array_equal(readable["x_missing"], holed["z"])
        assert f"x_missing_{len(table.columns)}" in readable


def test_codes_beyond_whole_numbers_of_64_bits():
    """Are labels as they are, and unseen ones, of any size, are refused as such."""
    rng = np.random.default_rng(0)
    place, level = rng.integers(0, 20, 2000), 1.5 * rng.normal(size=20)
    t = (rng.random(2000) < 1 / (1 + np.exp(-level[place]))).astype(int)
    for codes in (rng.permutation(20) + 1.0, 2.0**63 * (1 + rng.permutation(20))):
        table = pd.DataFrame({"code": codes[place], "z": rng.normal(size=2000)})
        found = dowhy_cina.estimate_effect(table, t, level[place] + t + rng.normal(size=2000))
        assert any("'code' (20 values)" in text for text in found.warnings)
        assert np.isfinite(found.conditional_effects(table.head(3))).all(axis=None)
        with pytest.raises(InputError, match=r"'code'.*levels of the fitted table.*1e\+300"):
            found.conditional_effects(table.head(3).assign(code=[1e300, *codes[:2]]))


def test_few_values_are_codes_whatever_their_unit():
    """Up to the largest numbers there are, and without a word of numpy's."""
    rng = np.random.default_rng(0)
    answers, moved = rng.integers(0, 6, 1000), np.array([1, -1, 1.2, -1, 0.5, -1])
    t = (rng.random(1000) < 1 / (1 + np.exp(-moved[answers]))).astype(np.float64)
    for unit in (1, -1e200, 1e-200, 3e307):
        column = answers[None] * float(unit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert find_codes(column, np.sort(column, axis=1), t) == [(0, 6)]
