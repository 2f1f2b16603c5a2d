"""Rows that belong together: copies that change nothing, clusters that count as one row, in every call.

Letters: N rows, G clusters.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.calls.direct import analyse
from dowhy_cina.tables import preparation


def draw(rows, seed=0):
    """Confounded frame of five numbers, one of them with gaps, and a category; treatment and outcome."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    t = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    frame = pd.DataFrame(x, columns=list("abcde")).assign(kind=rng.choice(["u", "v", "w"], rows))
    y = np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + t * (1 + x[:, 0] / 2) + (frame.kind == "u") + rng.normal(size=rows)
    frame.loc[rng.random(rows) < 0.1, "b"] = np.nan
    return frame, t, y.to_numpy()


def twice(frame, t, y, jitter=0.0, seed=1):
    """Every row and its copy, in an order of their own, as arguments of an estimate."""
    rng = np.random.default_rng(seed)
    pair = rng.permutation(np.tile(np.arange(len(t)), 2))
    copies = frame.iloc[pair].reset_index(drop=True)
    numbers = copies.select_dtypes("number")
    copies[numbers.columns] = (
        numbers + jitter * rng.normal(size=numbers.shape) * copies.duplicated().to_numpy()[:, None]
    )
    options = {"cluster": pair, "sample_weight": np.full(len(pair), 0.5)}
    return (copies, t[pair], y[pair]), options, pair


def clustered(seed, clusters=100, size=4, inside=0.0):
    """Clusters with a treatment, with covariates that are hardly the rows' own, and with noise in common."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(clusters), size)
    x = rng.normal(size=(clusters, 5))
    t = (rng.random(clusters) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)[group]
    x = x[group] + inside * rng.normal(size=(len(group), 5))
    y = np.sin(x[:, 0]) + x[:, 1] ** 2 / 2 + t + rng.normal(size=clusters)[group] + rng.normal(size=len(group))
    return x, t, y, group


class TestCopies:
    """With clusters that name the copies of a row, half the weight for each leaves the estimate as it is."""

    @pytest.mark.parametrize(("rows", "target"), [(60, "ate"), (110, "att"), (400, "ate"), (400, "att")])
    def test_are_the_row(self, rows, target):
        table = draw(rows, rows)
        again, options, pair = twice(*table)
        once = dowhy_cina.estimate_effect(*table, target_units=target)
        found = dowhy_cina.estimate_effect(*again, target_units=target, **options)
        assert found.value == pytest.approx(once.value, rel=1e-8)
        assert found.standard_error == pytest.approx(once.standard_error, rel=1e-8)
        assert found.degrees_of_freedom == pytest.approx(once.degrees_of_freedom, rel=1e-6)
        np.testing.assert_allclose(np.bincount(pair, found.weights), once.weights, atol=1e-8)
        np.testing.assert_allclose(found.propensity, once.propensity[pair], atol=1e-8)
        assert found.effective_sample_size == pytest.approx(once.effective_sample_size)
        assert found.overlap.grade == once.overlap.grade
        ours, theirs = (result.conditional_effects(table[0]) for result in (found, once))
        np.testing.assert_allclose(ours, theirs, atol=1e-7 * once.standard_error)

    @pytest.mark.parametrize("seed", range(2))
    def test_where_outcomes_are_skewed(self, seed):
        frame, t, _ = draw(400, seed)
        table = frame, t, np.exp(1.3 * frame["a"].to_numpy() + 0.3 * np.random.default_rng(seed + 20).normal(size=400))
        again, options, pair = twice(*table)
        once, found = dowhy_cina.estimate_effect(*table), dowhy_cina.estimate_effect(*again, **options)
        assert any(
            float(sum(log.share for log in fitted.regression.own.logarithms)) > 0.3
            for fitted in once.function.state.outcomes
        )
        assert found.value == pytest.approx(once.value, rel=1e-7)
        assert found.standard_error == pytest.approx(once.standard_error, rel=1e-7)
        np.testing.assert_allclose(np.bincount(pair, found.weights), once.weights, atol=1e-8)

    def test_with_sampling_weights_of_their_own(self):
        table, weights = draw(300), np.random.default_rng(3).choice([0.5, 1.0, 3.0], 300)
        again, options, pair = twice(*table)
        once = dowhy_cina.estimate_effect(*table, sample_weight=weights)
        found = dowhy_cina.estimate_effect(*again, cluster=options["cluster"], sample_weight=weights[pair] / 2)
        assert found.value == pytest.approx(once.value, rel=1e-8)
        assert found.standard_error == pytest.approx(once.standard_error, rel=1e-8)

    @pytest.mark.parametrize("options", [{"refine": 1e-3}, {"memory_limit": "110MB"}, {"landmarks": 50}])
    def test_whatever_else_is_asked_for(self, options, monkeypatch):
        monkeypatch.setattr(preparation, "PILOT_ROWS", 120)  # fewer than there are rows
        table = draw(200)
        again, copies, _ = twice(*table)
        once = dowhy_cina.estimate_effect(*table, **options)
        found = dowhy_cina.estimate_effect(*again, **copies, **options)
        assert found.value == pytest.approx(once.value, rel=1e-7)
        assert found.standard_error == pytest.approx(once.standard_error, rel=1e-7)

    def test_almost_copies(self):
        table = draw(100)
        again, options, _ = twice(*table, jitter=1e-6)
        once, found = dowhy_cina.estimate_effect(*table), dowhy_cina.estimate_effect(*again, **options)
        assert found.value != once.value
        assert found.value == pytest.approx(once.value, abs=1e-4 * once.standard_error)
        assert found.standard_error == pytest.approx(once.standard_error, rel=1e-4)

    @pytest.mark.parametrize("seed", range(3))
    def test_almost_copies_where_landmarks_are_chosen(self, seed):
        """Rows that hardly differ have row keys that hardly do: the copies' landmarks are those of the table itself."""
        table = draw(400, seed)
        again, options, _ = twice(*table, jitter=1e-6)
        once, found = dowhy_cina.estimate_effect(*table), dowhy_cina.estimate_effect(*again, **options)
        assert found.value == pytest.approx(once.value, abs=1e-2 * once.standard_error)
        assert found.standard_error == pytest.approx(once.standard_error, rel=1e-2)


class TestClusters:
    @pytest.mark.parametrize(("inside", "tolerance"), [(0.0, 0.05), (0.1, 0.1), (0.3, 0.3)])
    def test_are_as_good_as_their_means(self, inside, tolerance):
        """Up to what the covariates inside add; without their name both are far off."""
        apart, ratio, plain = [], [], []
        for seed in range(8):
            x, t, y, group = clustered(seed, inside=inside)
            means = pd.DataFrame(x).assign(t=t, y=y).groupby(group).mean()
            theirs = dowhy_cina.estimate_effect(means.drop(columns=["t", "y"]), means.t, means.y)
            ours = dowhy_cina.estimate_effect(x, t, y, cluster=group)
            apart.append(abs(ours.value - theirs.value) / theirs.standard_error)
            ratio.append(ours.standard_error / theirs.standard_error)
            plain.append(abs(dowhy_cina.estimate_effect(x, t, y).value - theirs.value) / theirs.standard_error)
        assert np.median(apart) < tolerance
        assert 0.85 < np.median(ratio) < 1.15
        if inside < 0.3:
            assert np.median(plain) > 2 * np.median(apart)

    def test_of_independent_rows_lose_nothing(self):
        ours, theirs = [], []
        for seed in range(10):
            frame, t, y = draw(400, seed)
            group = np.random.default_rng(seed).integers(0, 100, 400)
            ours.append(dowhy_cina.estimate_effect(frame, t, y, cluster=group).value - 1)
            theirs.append(dowhy_cina.estimate_effect(frame, t, y).value - 1)
        assert np.sqrt(np.mean(np.square(ours)) / np.mean(np.square(theirs))) < 1.15

    def test_propensity_does_not_know_the_treatment_of_the_cluster(self):
        """By lot, there is nothing to know; rows left out one by one find the treatment in their siblings."""
        apart = {None: [], "cluster": []}
        for seed in range(6):
            x, _, y, group = clustered(seed, inside=0.05)
            t = np.random.default_rng(seed).permutation(np.arange(100) % 2)[group]
            for name, found in apart.items():
                score = dowhy_cina.estimate_effect(x, t, y, cluster=group if name else None).propensity
                found.append(score[t == 1].mean() - score[t == 0].mean())
        assert np.mean(apart[None]) > 0.2
        assert abs(np.mean(apart["cluster"])) < 0.03

    def test_siblings_that_are_alike_have_the_same_scores(self):
        """Whatever their treatments and outcomes are: scores in the keys are functions of the covariates."""
        x, _, y, group = clustered(0)
        analysis = analyse(x, np.random.default_rng(0).integers(0, 2, 400), y, cluster=group)
        cluster, state = analysis._table.cluster[0], analysis._state
        first = torch.stack([(cluster == code).nonzero()[0, 0] for code in cluster])
        torch.testing.assert_close(state.coordinate[0], state.coordinate[0, first], atol=1e-9, rtol=0)
        for fitted in state.outcomes:
            torch.testing.assert_close(fitted.prognosis[0], fitted.prognosis[0, first], atol=1e-9, rtol=0)
            assert float(fitted.prognosis.std()) > 0.01

    def test_labels_and_order_change_nothing(self):
        x, t, y, group = clustered(2, inside=0.3)
        rng = np.random.default_rng(0)
        order, names = rng.permutation(400), rng.permutation(100)
        one = dowhy_cina.estimate_effect(x, t, y, cluster=group)
        other = dowhy_cina.estimate_effect(x[order], t[order], y[order], cluster=names[group[order]])
        assert (other.value, other.standard_error) == (one.value, one.standard_error)
        np.testing.assert_array_equal(other.weights, one.weights[order])

    def test_little_memory_changes_nothing(self):
        x, t, y, group = clustered(3, 400, 5, inside=0.3)
        one, other = (dowhy_cina.estimate_effect(x, t, y, cluster=group, memory_limit=size) for size in (None, "106MB"))
        assert (one.plan.kept_kernels, other.plan.kept_kernels) == (3, 0)
        assert other.value == pytest.approx(one.value, rel=1e-8)
        assert other.standard_error == pytest.approx(one.standard_error, rel=1e-8)

    def test_many_tables_are_one_by_one(self):
        tables = [clustered(seed)[:3] for seed in range(3)]
        group = np.repeat(np.arange(100), 4)
        many = dowhy_cina.estimate_effects(tables, cluster=group)
        for table, found in zip(tables, many, strict=True):
            alone = dowhy_cina.estimate_effect(*table, cluster=group)
            assert (found.value, found.standard_error) == (alone.value, alone.standard_error)

    def test_effective_numbers_are_of_clusters(self):
        x, t, y, group = clustered(0)
        found = dowhy_cina.estimate_effect(x, t, y, cluster=group)
        for arm, name in ((1, "treated"), (0, "control")):
            sums = np.bincount(group[t == arm], found.weights[t == arm])
            own = getattr(found.arms, name)
            assert own.effective_size == pytest.approx(sums.sum() ** 2 / np.square(sums).sum())
            assert own.largest_weight == pytest.approx(sums.max())
            assert own.clusters == len(np.unique(group[t == arm]))
            assert f"{own.rows} rows in {own.clusters} clusters, effective sample size" in found.summary()
            assert own.even_size == pytest.approx(own.clusters)
        alone = dowhy_cina.estimate_effect(x, t, y).arms.treated
        assert (alone.clusters, alone.even_size) == (None, None)

    def test_a_randomised_trial_of_few_clusters_lacks_clusters(self):
        rng = np.random.default_rng(0)
        group = np.repeat(np.arange(40), 10)
        x, t = rng.normal(size=(400, 3)), group % 2
        found = dowhy_cina.estimate_effect(x, t, x[:, 0] + 0.3 * t + rng.normal(size=400), cluster=group)
        assert found.overlap.grade == "strained"
        (warning,) = found.warnings
        assert "the treated arm is small, with 200 rows in 20 clusters that are worth " in warning
        assert warning.endswith(
            "Add clusters with treated and with control rows: it is their number that is lacking, not overlap."
        )


@pytest.mark.parametrize("arm", [0, 1])
def test_a_single_row_with_a_weight_has_no_standard_error(arm):
    frame, t, y = draw(100)
    weights = np.where(t == arm, 0.0, 1.0)
    weights[np.flatnonzero(t == arm)[:1]] = 2
    found = dowhy_cina.estimate_effect(frame, t, y, sample_weight=weights)
    assert (found.standard_error, found.confidence_interval, found.p_value) == (None, None, None)
    name = ("control", "treated")[arm]
    assert any(f"The {name} arm has a single row" in warning for warning in found.warnings)
    assert f"{(weights == 0).sum()} rows of no sampling weight" in found.summary()
    weights[np.flatnonzero(t == arm)[:2]] = 2
    two = dowhy_cina.estimate_effect(frame, t, y, sample_weight=weights)
    assert two.standard_error > 0
    assert not any("a single row" in warning for warning in two.warnings)


def test_clusters_without_weight_do_not_count():
    x, t, y, group = clustered(0)
    weights = np.where((t == 1) & (group != group[t == 1][0]), 0.0, 1.0)
    found = dowhy_cina.estimate_effect(x, t, y, sample_weight=weights, cluster=group)
    assert found.standard_error is None
    assert any("treated arm are in a single cluster" in warning for warning in found.warnings)
