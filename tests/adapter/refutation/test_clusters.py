"""Refits of an estimate that names clusters: each alone, through DoWhy, with the clusters of its own rows."""

import numpy as np
import pytest

import dowhy_cina
from dowhy_cina.adapter.refutation import simulations


@pytest.fixture(scope="module")
def clustered(make_frame, make_estimate, make_setting):
    frame = make_frame(120).iloc[np.repeat(np.arange(120), 2)].reset_index(drop=True)
    frame["pair"] = np.repeat(np.arange(120), 2)
    problem = make_estimate(frame, ["x", "z"], method_params={"cluster": "pair"})
    return frame, problem[2], make_setting(problem)


def direct(frame):
    return dowhy_cina.estimate_effect(frame[["x", "z"]], frame.t, frame.y, cluster=frame.pair).value


def test_the_table_itself_is_the_estimate(clustered):
    frame, estimate, setting = clustered
    assert not setting.takes_batches
    assert setting.estimate(setting.table) == estimate.value == direct(frame)


def test_a_bootstrap_keeps_pandas_own_types(clustered, make_estimate, make_setting):
    frame = clustered[0].astype({"x": "Sparse[float64]", "flag": "boolean"})
    setting = make_setting(make_estimate(frame, ["x", "flag"], method_params={"cluster": "pair"}))
    table = simulations.bootstrap(setting, np.random.default_rng(0))
    assert np.isfinite(setting.estimate(table))
    assert dict(setting.frame(table).dtypes) == dict(frame.dtypes)


def test_a_subset_takes_its_clusters_along(clustered):
    frame, _, setting = clustered
    table = simulations.data_subset(setting, np.random.default_rng(0))
    subset = frame.iloc[table.rows]
    assert setting.estimate(table) == direct(subset)
    plain = dowhy_cina.estimate_effect(subset[["x", "z"]], subset.t, subset.y).value
    assert setting.estimate(table) != plain
