"""Columns of Dask DataFrames that are not what they seem, and kinds of rows that an arm lacks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from tests.calls.partitioned.test_distributed import frame, same, split


def test_numbers_that_are_codes_are_named_and_stay():
    table, rng = frame(), np.random.default_rng(0)
    place, level = rng.integers(0, 20, len(table)), 1.5 * rng.normal(size=20)
    table = table.assign(
        zip=rng.permutation(20)[place], t=(rng.random(900) < 1 / (1 + np.exp(-level[place]))).astype(int)
    )
    ours = dowhy_cina.estimate_effect(split(table, 300), treatment="t", outcome="y")
    (warning,) = [text for text in ours.warnings if "value to value" in text]
    assert "Numbers of 'zip' (20 values) may be codes" in warning
    assert "zip" in ours.balance.index


@pytest.mark.parametrize("rows", [900, 9000])
def test_kinds_that_an_arm_lacks_and_far_numbers_of_the_whole_table(rows):
    table, rng = frame(rows), np.random.default_rng(0)
    ill = rng.random(rows) < 0.1
    table = table.assign(
        ill=ill.astype(int), t=table["t"].where(~ill, 0), c=table["c"].where(rng.random(rows) > 0.05, -999)
    )
    table["y"] += 20 * ill
    table.loc[3, "a"] = 1e9
    whole = dowhy_cina.estimate_effect(table, "t", "y")
    ours = dowhy_cina.estimate_effect(split(table, 200, rows // 2), treatment="t", outcome="y")
    same(ours, whole)
    said = [text for text in whole.warnings if not text.startswith("The data are strained")]
    assert [text.split()[0] for text in said] == ["No", "Taken", "Numbers"]
    assert set(said) <= set(ours.warnings)


@pytest.mark.parametrize("values", [str, float], ids=["text", "numbers"])
def test_categories_that_read_as_numbers_are_labels(values):
    """Densely lying ones, too, and those that a partition may lack."""
    table, rng = frame(), np.random.default_rng(0)
    codes = [values(f"{250 + place / 10:.1f}") for place in range(24)]
    table = table.assign(illness=pd.Categorical(rng.choice(codes, len(table)), codes))
    whole = dowhy_cina.estimate_effect(table, "t", "y")
    ours = dowhy_cina.estimate_effect(split(table, 300, 310), treatment="t", outcome="y")
    same(ours, whole)
    assert ours.value == pytest.approx(whole.value, abs=1e-6 * whole.standard_error)
    assert "illness=250.3" in ours.balance.index
