"""Resamples of a fitted table, one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from dowhy_cina.adapter.host import FittedTable
from dowhy_cina.adapter.resampling import resamples
from dowhy_cina.adapter.targets import TargetRows

ROWS = 12


def fitted(clustered):
    frame = pd.DataFrame({"x": np.arange(ROWS) * 1.5, "t": [1, *[0, 1] * 5, 0], "y": np.arange(ROWS) + 0.5})
    cluster = pd.Series(np.repeat(["a", "b", "c", "d"], 3), name="site") if clustered else None
    return frame, FittedTable(frame[["x"]], frame.t, frame.y, cluster=cluster)


def draw(clustered, positions, count=100, fraction=1.0, in_table=True):
    frame, table = fitted(clustered)
    target = TargetRows("rows", frame, np.array(positions), in_table)
    draws = resamples(table, target, (1, 0), fraction, np.random.RandomState(0))
    return target, list(itertools.islice(draws, count))


@pytest.mark.parametrize("clustered", [False, True])
def test_each_has_both_arms_and_a_row_of_the_target(clustered):
    _, draws = draw(clustered, [4])
    for table, target in draws:
        assert set(table.treatment) == {0, 1}
        # The target is the very row, wherever and however often it was drawn.
        assert target.in_table
        assert target.positions.tolist() == np.flatnonzero(table.covariates.x.to_numpy() == 6.0).tolist() != []
        assert target.frame.x.tolist() == table.covariates.x.tolist()
    assert len({len(target.positions) for _, target in draws}) > 1


def test_rows_from_elsewhere_are_in_every_resample_as_they_are():
    target, draws = draw(False, [4], in_table=False)
    assert all(resampled is target for _, resampled in draws)


@pytest.mark.parametrize(("clustered", "fraction", "rows"), [(False, 0.5, 6), (False, 1.0, 12), (True, 0.5, 6)])
def test_sizes_are_shares_of_the_rows_or_clusters(clustered, fraction, rows):
    _, draws = draw(clustered, range(ROWS), 20, fraction)
    for table, _ in draws:
        assert len(table.treatment) == len(table.outcome) == rows
        if clustered:
            assert table.cluster.iloc[::3].tolist() == table.cluster.iloc[2::3].tolist()
            assert (np.diff(table.covariates.x.to_numpy().reshape(-1, 3), axis=1) == 1.5).all()


def test_rows_without_a_weight_are_never_drawn():
    frame, table = fitted(clustered=False)
    weights = pd.Series(np.where(frame.index % 3 == 0, 0.0, 2.0), name="w")
    whole = FittedTable(table.covariates, table.treatment, table.outcome, sample_weight=weights)
    here = np.flatnonzero(weights)
    target = TargetRows("rows", frame, np.array([0, 4, 7]), in_table=True)
    state = np.random.RandomState
    drawn = resamples(whole, target, (1, 0), 1.0, state(3))
    expected = resamples(whole.take(here), target.in_resample(here), (1, 0), 1.0, state(3))
    for (one, own), (other, theirs) in itertools.islice(zip(drawn, expected, strict=False), 20):
        assert len(one.treatment) == len(here)
        assert (one.sample_weight > 0).all()
        pd.testing.assert_frame_equal(one.covariates, other.covariates)
        assert own.positions.tolist() == theirs.positions.tolist()


def test_resamples_have_rows_of_two_clusters():
    """Of three clusters one is drawn three times in a ninth of the resamples, and one cluster is none."""
    frame = pd.DataFrame({"x": np.arange(ROWS) * 1.5, "t": [1, 0] * 6, "y": np.arange(ROWS) + 0.5})
    table = FittedTable(frame[["x"]], frame.t, frame.y, cluster=pd.Series(np.repeat([0, 1, 2], 4), name="site"))
    target = TargetRows("ate", frame, np.arange(ROWS), in_table=True)
    draws = itertools.islice(resamples(table, target, (1, 0), 1.0, np.random.RandomState(0)), 200)
    assert min(resampled.cluster.nunique() for resampled, _ in draws) == 2
