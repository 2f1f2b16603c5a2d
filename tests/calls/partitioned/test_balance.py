"""Weights over partitions: solved from moments and near rows as they are pass by pass, in few passes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.calls.partitioned import arms, partitions
from dowhy_cina.mathematics import screening

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")


def frame(pull, rare=0.0, rows=1500, seed=3):
    """A table whose arms are the further apart, the stronger the pull; treatment is rare on request."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    t = (rng.random(rows) < 1 / (1 + np.exp(rare - pull * x[:, 0]))).astype(int)
    y = x @ [2.0, 1.0, 0.0] + t + rng.normal(size=rows)
    return pd.DataFrame(x, columns=list("abc")).assign(t=t, y=y)


@pytest.fixture
def passes(monkeypatch):
    """How often each function has been called on all partitions."""
    counts, run = Counter(), partitions.Partitions.run

    def counting(self, function, *arguments, **named):
        counts[function.__name__] += 1
        return run(self, function, *arguments, **named)

    monkeypatch.setattr(partitions.Partitions, "run", counting)
    return counts


def estimate(table, **named):
    parts = [dask.delayed(table.iloc[part]) for part in np.array_split(np.arange(len(table)), 3)]
    return dowhy_cina.estimate_effect(dd.from_delayed(parts, meta=table.iloc[:0], verify_meta=False), "t", "y", **named)


def same(one, other, tolerance):
    expected = other.weights.compute()
    np.testing.assert_allclose(one.weights.compute(), expected, atol=tolerance * expected.max(), rtol=0)
    assert abs(one.value - other.value) < tolerance * other.standard_error
    assert one.standard_error == pytest.approx(other.standard_error, rel=tolerance)
    assert one.duality_gap == pytest.approx(other.duality_gap, abs=1e-9)


@pytest.mark.parametrize("target", ["ate", "att"])
@pytest.mark.parametrize(("pull", "rare"), [(2.0, 0.0), (4.0, 0.0), (2.0, 3.0), (3.0, 4.0)])
def test_weights_are_those_of_a_pass_for_every_point(pull, rare, target, passes, monkeypatch):
    """Where rows lose weight; whatever is near, and where it takes several references."""
    table = frame(pull, rare)
    ours, looks, references = estimate(table, target_units=target), passes["margin_sums"], passes["near_rows"]
    assert (ours.weights.compute() == 0).any()
    passes.clear()
    monkeypatch.setattr(screening, "MOST_REFERENCES", 0)
    other = estimate(table, target_units=target)
    assert not passes["near_rows"]
    assert 1 <= references < looks < passes["margin_sums"]
    same(ours, other, 1e-10)


@pytest.mark.parametrize(
    ("share", "entries", "most"), [(0.0, 2**22, 20), (0.01, 2**22, 20), (1.0, 2**10, 20), (0.01, 0, 2)]
)
def test_however_few_rows_are_near(share, entries, most, passes, monkeypatch):
    """Also where references end before the solution is found."""
    expected = estimate(frame(2.0))
    passes.clear()
    monkeypatch.setattr(screening, "NEAR_SHARE", share)
    monkeypatch.setattr(screening, "NEAR_ENTRIES", entries)
    monkeypatch.setattr(screening, "MOST_REFERENCES", most)
    same(estimate(frame(2.0)), expected, 1e-8)
    assert passes["near_rows"] >= 2


def test_few_passes_compute_kernels(passes):
    """Of the balancing layer: for the moments, for a reference and each of two solutions, and for contributions."""
    estimate(frame(0.5))
    assert passes["margin_sums"] <= 3
    assert passes["near_rows"] <= 1
    kernels = (
        "score_sums",
        "scores_of",
        "outcome_sums",
        "predictions",
        "target_sums",
        "residual_sums",
        "contribution_sums",
    )
    assert all(passes[name] == 1 for name in kernels)


def test_an_arm_all_of_whose_rows_are_near_is_looked_at_once_more(passes, monkeypatch):
    monkeypatch.setattr(screening, "NEAR_SHARE", 1.0)
    estimate(frame(3.0, 3.0))
    assert (passes["near_rows"], passes["margin_sums"]) == (1, 2)


@pytest.mark.parametrize("rows", [7, 300])
def test_rows_that_a_pass_looks_at_together(rows, monkeypatch):
    table = frame(1.0, 2.0, rows=500)
    expected = estimate(table)
    monkeypatch.setattr(partitions, "CHUNK_ROWS", rows)
    same(estimate(table), expected, 1e-7)


def test_limits_leave_at_most_so_many_rows_below():
    rng = np.random.default_rng(0)
    margins = torch.from_numpy(rng.normal(size=(1, 1000)) * 10.0 ** rng.integers(-4, 4, (1, 1000)))
    unit = torch.tensor([0.3, 2.0], dtype=torch.float64)
    sizes = torch.cat([arms._sizes(margins, one) for one in unit])
    assert sizes.sum(1).tolist() == [1000, 1000]
    for most in ((0, 1), (10, 300), (999, 1000), (1000, 5000)):
        limits = arms.limits_of(sizes, torch.tensor(most), unit)
        for limit, rows in zip(limits, most, strict=True):
            below = int((margins.abs() < limit).sum())
            assert 0.8 * min(rows, 1000) - 1 <= below <= rows
            assert bool(limit.isinf()) == (rows >= 1000)
    zero = torch.zeros(1, 5, dtype=torch.float64)
    both = torch.cat([arms._sizes(zero, one) for one in unit])
    assert arms.limits_of(both, torch.tensor([4, 5]), unit).tolist() == [0.0, torch.inf]
