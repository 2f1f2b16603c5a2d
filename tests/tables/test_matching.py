"""Rows that are the table's own, found again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dowhy_cina.tables.matching import members_of, name_of, places_by_label

X = np.array([[0.0, 1.0], [0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [2.0, 3.0]])
T = np.array([1.0, 0.0, 0.0, 1.0, 1.0])


@pytest.mark.parametrize(("members", "name"), [([1] * 5, "ate"), (T, "att"), (1 - T, "atc"), ([1, 0, 0, 0, 0], "rows")])
def test_names(members, name):
    assert name_of(np.asarray(members), T) == name


def test_whole_arms():
    for members in (np.ones(5), T, 1 - T):
        np.testing.assert_array_equal(members_of(X[members > 0][::-1], X, T), members)


def test_rows_alike_share_what_is_meant():
    np.testing.assert_array_equal(members_of(X[[0, 3, 3]], X, T), [0.5, 0.5, 0, 2, 0])


def test_rows_from_elsewhere():
    assert members_of(np.array([[0.0, 1.0], [2.0, 2.0]]), X, T) is None
    assert members_of(np.array([[0.0, 3.0]]), X, T) is None


def test_labels_tell_rows_alike_apart():
    np.testing.assert_array_equal(members_of(X[[1, 3]], X, T, np.array([1, 3])), [0, 1, 0, 1, 0])
    # Labels of rows that are not those rows say nothing.
    np.testing.assert_array_equal(members_of(X[[1, 3]], X, T, np.array([2, 3])), [0.5, 0.5, 0, 1, 0])


def test_no_columns():
    np.testing.assert_array_equal(members_of(X[:2, :0], X[:, :0], T), 1 - T)
    np.testing.assert_array_equal(members_of(X[:1, :0], X[:, :0], T), [0.2] * 5)


def test_places_by_label():
    frame = pd.DataFrame(X, index=list("abcde"))
    keep = np.array([True, False, True, True, True])
    assert places_by_label(pd.Index(["e", "a"]), frame, keep).tolist() == [3, 0]
    assert places_by_label(pd.Index(["a", "b"]), frame, keep) is None  # set aside
    assert places_by_label(pd.Index(["a", "z"]), frame, keep) is None
    assert places_by_label(pd.Index(["a"]), frame.set_axis(list("aacde")), keep) is None
    assert places_by_label(pd.Index([0]), X, keep) is None
