"""Sampling weights and cluster labels: what is taken, and as what."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.tables import check_cluster, check_sample_weight

EVERY = np.ones(3, dtype=bool)


@pytest.mark.parametrize(
    "weights",
    [
        [1, 0, 2],
        (1.0, 0.0, 2.0),
        np.array([1, 0, 2], dtype=np.int8),
        pd.Series([1, 0, 2], index=list("abc")),
        pd.Series([1, 0, 2], dtype="Int64"),
        [Decimal(1), 0, 2.0],
    ],
)
def test_numbers_are_taken(weights):
    ours = check_sample_weight(weights, 3, EVERY)
    assert ours.dtype == np.float64
    assert ours.tolist() == [1, 0, 2]


def test_weights_are_no_view():
    given_weights = np.ones(3)
    check_sample_weight(given_weights, 3, EVERY)[0] = 5
    assert given_weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize("bad", [-1e-12, np.nan, np.inf, -np.inf])
def test_weights_that_are_none(bad):
    with pytest.raises(InputError, match=r"1 others of 3 .row 1"):
        check_sample_weight([1.0, bad, 1.0], 3, EVERY)


@pytest.mark.parametrize("weights", [[1, 2], [[1, 2, 3]], 1.0, []])
def test_weights_of_another_shape(weights):
    with pytest.raises(InputError, match=r"expected shape .3,."):
        check_sample_weight(weights, 3, EVERY)


@pytest.mark.parametrize("weights", [["a", "b", "c"], [None, object(), 1], [[1], [1, 2], [3]]])
def test_weights_that_are_no_numbers(weights):
    with pytest.raises(InputTypeError, match="sample_weight: expected numbers"):
        check_sample_weight(weights, 3, EVERY)


def test_rows_that_are_set_aside_need_no_weight():
    found = check_sample_weight([1.0, np.nan, 2.0], 3, np.array([True, False, True]))
    assert found.tolist() == [1, 0, 2]


ALL = np.ones(4, dtype=bool)


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "b", "c"],
        [2, 1, 2, 3],
        (2.5, 1.5, 2.5, 3.5),
        pd.Series(["b", "a", "b", "c"], dtype="category", index=[9, 8, 7, 6]),
        pd.to_datetime(["2020-01-02", "2020-01-01", "2020-01-02", "2020-01-03"]),
    ],
)
def test_labels_of_any_kind(labels):
    codes = check_cluster(labels, 4, ALL)
    assert codes.dtype == np.int64
    assert codes.tolist() == [1, 0, 1, 2]


@given(
    st.lists(st.integers(-20, 20), min_size=2, max_size=30).filter(lambda labels: 1 < len(set(labels)) < len(labels))
)
def test_codes_tell_the_same_clusters_apart_whatever_the_order(labels):
    codes = check_cluster(labels, len(labels), np.ones(len(labels), dtype=bool))
    assert sorted(set(codes)) == list(range(len(set(labels))))
    assert len(set(zip(labels, codes, strict=True))) == len(set(labels))
    turned = check_cluster(labels[::-1], len(labels), np.ones(len(labels), dtype=bool))
    assert turned[::-1].tolist() == codes.tolist()


def test_codes_of_the_compared_rows_only():
    keep = np.array([True, False, True, True])
    assert check_cluster(["b", "z", "a", "b"], 4, keep).tolist() == [1, 0, 1]
    assert check_cluster(["b", "b", "a", "c"], 4, keep) is None  # a label of its own for each of them
    with pytest.raises(InputError, match="got one"):
        check_cluster(["a", "b", "a", "a"], 4, keep)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3], "expected 4 labels.*got 3"),
        (["a", None, "b", None], "2 missing of 4"),
        ([1.0, np.nan, 2.0, 3.0], "1 missing of 4"),
        ([7, 7, 7, 7], "got one"),
    ],
)
def test_labels_that_are_none(labels, message):
    with pytest.raises(InputError, match=message):
        check_cluster(labels, 4, ALL)
