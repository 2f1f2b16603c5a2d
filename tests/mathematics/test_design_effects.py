"""What rows of a cluster have in common."""

from __future__ import annotations

import numpy as np
import pytest

from dowhy_cina.mathematics.design_effects import apart_from_clusters, independent_share


def effects(rng, between, clusters=400, rows=10):
    """Values with so much variance between clusters, and one inside them."""
    code = np.repeat(np.arange(clusters), rows)
    return np.sqrt(between) * rng.normal(size=clusters)[code] + rng.normal(size=len(code)), code


def test_rows_count_by_what_they_have_in_common():
    rng = np.random.default_rng(0)
    values = rng.normal(size=500)
    values -= values.mean()
    assert independent_share(values, None) == 1
    assert independent_share(values, np.arange(500)) == pytest.approx(1)
    assert independent_share(values.repeat(2), np.arange(500).repeat(2)) == pytest.approx(0.5)
    together, code = effects(rng, 1.0)
    # Ten rows with a correlation of a half count as 10 / (1 + 9 / 2).
    assert independent_share(together, code) == pytest.approx(1 / 5.5, rel=0.2)
    assert independent_share(np.zeros(500), np.arange(500)) == 1


def test_what_clusters_have_in_common_is_taken_off():
    """By as much as is theirs: the best predictor of their parts."""
    rng = np.random.default_rng(1)
    values, code = effects(rng, 4.0)
    left = apart_from_clusters(values, code)
    assert np.corrcoef(np.bincount(code, values), np.bincount(code, left))[0, 1] > 0.99
    shrunk = np.bincount(code, values - left) / np.bincount(code, values)
    np.testing.assert_allclose(shrunk, 10 * 4 / (10 * 4 + 1), rtol=0.03)
    assert independent_share(left, code) == 1


def test_copies_and_single_rows_are_left_as_they_are():
    rng = np.random.default_rng(2)
    values = rng.normal(size=300)
    assert np.array_equal(apart_from_clusters(values, np.arange(300)), values)
    pairs = np.arange(300).repeat(2)
    jittered = values.repeat(2) + 1e-6 * rng.normal(size=600)
    assert np.array_equal(apart_from_clusters(jittered, pairs), jittered)
    apart, code = effects(rng, 0.0)
    assert np.abs(apart_from_clusters(apart, code) - apart).max() < 0.3
