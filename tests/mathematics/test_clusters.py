"""Ridge regressions that leave clusters out, against refits without each of them and against hat matrices.

Letters: N rows, G clusters, M landmarks.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from dowhy_cina.mathematics.clusters import (
    Clusters,
    cluster_statistics,
    clustered_cross_validation,
    clustered_ridge,
    clustered_scores,
    left_out,
    sums_by_cluster,
)
from dowhy_cina.mathematics.columns import ColumnFeatures
from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.mathematics.passes import places_of
from dowhy_cina.mathematics.ridge import (
    GCV_FACTOR,
    PENALTY_GRID,
    UNLEARNED,
    cross_validated_ridge,
    fit_ridge,
    generalised_cross_validation,
    gram_statistics,
)
from dowhy_cina.mathematics.rows import RowFeatures

M = 12


def share_of(clusters, rows):
    return torch.full((1, rows), clusters.share, dtype=torch.float64)


def tensor(values):
    return torch.from_numpy(np.asarray(values))[None]


def features_of(x, keep=True, block=None):
    kernel = LandmarkKernel(tensor(x[:M]), torch.tensor([[0.1, 1.0, 3.0]], dtype=torch.float64))
    return RowFeatures.build(kernel, tensor(x), keep, block)


def draw(labels, seed=0, spread=1.0):
    """Rows whose covariates, and whose noise, vary by ``spread`` inside clusters."""
    rng = np.random.default_rng(seed)
    count = labels.max() + 1
    x = rng.normal(size=(count, 3))[labels] + spread * rng.normal(size=(len(labels), 3))
    y = np.sin(2 * x[:, 0]) + rng.normal(size=count)[labels] + 0.5 * rng.normal(size=len(labels))
    return x, y, rng


#: Clusters of 1 to 9 rows, and four with more rows than there are features, some as long as others.
LABELS = np.concatenate(
    [np.repeat(np.arange(9), np.arange(1, 10)), np.repeat([9, 12, 13, 14], 30), np.repeat([10, 11], 5)]
)


class TestLeftOut:
    @pytest.mark.parametrize(
        "features_of",
        [
            features_of,
            partial(features_of, keep=False),
            partial(features_of, keep=False, block=60),
            lambda x: ColumnFeatures(tensor(x)),
            lambda x: ColumnFeatures(tensor(x), 60),
        ],
        ids=["kept", "computed", "blocks", "columns", "columns in blocks"],
    )
    @pytest.mark.parametrize("penalty", [1e-2, 1.0])
    def test_is_the_refit_without_the_cluster(self, features_of, penalty):
        """For the rows of a fit and for those of the same clusters that it leaves out: all with other weights."""
        x, y, rng = draw(LABELS)
        order = rng.permutation(len(LABELS))
        x, y, labels = x[order], y[order], LABELS[order]
        arm = tensor((rng.random(len(y)) < 0.7) * rng.uniform(0.2, 2, len(y)))
        features, clusters, response = features_of(x), Clusters.of(tensor(labels)), tensor(y)
        level = torch.tensor([penalty], dtype=torch.float64)
        fit = fit_ridge(gram_statistics(features, response, arm), level)
        places = places_of(arm)
        fitted, found = left_out(fit, features, (features.take(places), places), response, arm, clusters)
        torch.testing.assert_close(fitted, fit.predict(features))
        for code in range(labels.max() + 1):
            rest = arm * (clusters.codes != code)
            refit = fit_ridge(gram_statistics(features, response, rest), level)
            own = labels == code
            np.testing.assert_allclose(found[0, own], refit.predict(features)[0, own], atol=1e-8)

    def test_a_cluster_without_a_row_in_the_fit_pulls_nothing(self):
        x, y, _ = draw(LABELS)
        arm, clusters = tensor((LABELS != 4) * 1.0), Clusters.of(tensor(LABELS))
        features, places = features_of(x), places_of(arm)
        fit = fit_ridge(gram_statistics(features, tensor(y), arm), torch.ones(1, dtype=torch.float64))
        fitted, found = left_out(fit, features, (features.take(places), places), tensor(y), arm, clusters)
        assert (fitted == found)[0, LABELS == 4].all()
        assert not (fitted == found)[0, LABELS != 4].any()

    def test_a_cluster_that_is_the_whole_fit_leaves_finite_numbers(self):
        x, y, _ = draw(LABELS)
        arm, clusters = tensor((LABELS == 9) * 1.0), Clusters.of(tensor(LABELS))
        features, places = features_of(x), places_of(arm)
        fit = clustered_ridge(
            features.take(places),
            tensor(y).gather(1, places),
            arm.gather(1, places) * clusters.share,
            torch.ones(1, dtype=torch.float64),
            clusters.take(places),
        )
        weights = arm * clusters.share
        found = left_out(fit, features, (features.take(places), places), tensor(y), weights, clusters)[1]
        assert torch.isfinite(found).all()


def scores_by_hand(x, y, labels, share):
    """The score of every penalty from hat matrices."""
    phi = features_of(x).together()[0].numpy()
    design = np.column_stack([np.ones(len(y)), phi - phi.mean(0)])
    member = (labels[:, None] == np.unique(labels)).astype(float)
    project = member / member.sum(0) @ member.T
    clusters, scores = member.shape[1], []
    for penalty in PENALTY_GRID:
        ridge = np.diag([0.0, *[penalty / share] * M])
        hat = design @ np.linalg.solve(design.T @ design + ridge, design.T)
        residuals = y - hat @ y
        means, within = project @ residuals, len(y) - clusters
        shared = np.trace(project @ hat)
        score = (means @ means) / (1 - GCV_FACTOR * shared / clusters) ** 2
        if within:
            rest = residuals - means
            score += rest @ rest / (1 - GCV_FACTOR * (np.trace(hat) - shared) / within) ** 2
        scores.append(share * score)
    return scores


class TestPenalty:
    @pytest.mark.parametrize("spread", [0.0, 0.1, 1.0])
    def test_scores_are_those_of_hat_matrices(self, spread):
        labels = np.repeat(np.arange(60), np.arange(60) % 4 + 1)
        x, y, _ = draw(labels, 3, spread)
        clusters = Clusters.of(tensor(labels))
        for keep, block in ((True, None), (False, 50)):
            found = clustered_scores(
                cluster_statistics(features_of(x, keep, block), tensor(y), share_of(clusters, len(y)), clusters)
            )
            np.testing.assert_allclose(found.score[0], scores_by_hand(x, y, labels, clusters.share), rtol=1e-6)

    @pytest.mark.parametrize("seed", range(5))
    def test_single_rows(self, seed):
        x, y, _ = draw(np.arange(80), seed)
        plain = generalised_cross_validation(gram_statistics(features_of(x), tensor(y), torch.ones(1, 80).double()))
        clusters = Clusters.of(tensor(np.arange(80)))
        found = clustered_cross_validation(
            cluster_statistics(features_of(x), tensor(y), share_of(clusters, 80), clusters)
        )
        for name, value in vars(plain).items():
            torch.testing.assert_close(getattr(found, name), value)

    @pytest.mark.parametrize("seed", range(5))
    def test_copies(self, seed):
        """The penalty, and the fit with it, are those of the rows without their copies."""
        x, y, _ = draw(np.arange(80), seed)
        labels = np.repeat(np.arange(80), 3)
        one = torch.ones(1, dtype=torch.float64)
        plain = cross_validated_ridge(features_of(x), tensor(y), torch.ones(1, 80).double(), one)
        clusters = Clusters.of(tensor(labels))
        rows = share_of(clusters, 240)
        features = dataclasses.replace(features_of(x), kept=None).take(tensor(labels))
        found = clustered_ridge(features, tensor(y[labels]), rows, one, clusters)
        for name, value in vars(plain).items():
            torch.testing.assert_close(getattr(found, name), value)

    @pytest.mark.parametrize("spread", [0.0, 0.02, 1.0])
    @pytest.mark.parametrize(("count", "columns"), [(28, 46), (14, 59)])
    def test_few_clusters_of_many_columns_are_not_interpolated(self, count, columns, spread):
        """And what the fit without a cluster errs by on it is what the fit errs by on fresh clusters."""
        rng, labels = np.random.default_rng(count), np.repeat(np.arange(count + 200), 3)
        own, one, errors = 3 * count, torch.ones(1, dtype=torch.float64), []
        for _ in range(40):
            x = rng.normal(size=(count + 200, columns))[labels] + spread * rng.normal(size=(len(labels), columns))
            noise = rng.normal(size=count + 200)[labels] + spread * rng.normal(size=len(labels))
            y, keys = tensor(x[:, :5].sum(1) + noise), tensor(0.7 / columns**0.5 * x)
            amplitudes = torch.tensor([[0.0, 0.0, 1e5]], dtype=torch.float64)
            kernel = LandmarkKernel(keys[:, :own:3], amplitudes)
            near, fresh = (RowFeatures.build(kernel, part) for part in (keys[:, :own], keys[:, own:]))
            clusters = Clusters.of(tensor(labels[:own]))
            rows, response = share_of(clusters, own), y[:, :own]
            fit = clustered_ridge(near, response, rows, one, clusters)
            fitted, without = left_out(fit, near, (near, tensor(np.arange(own))), response, rows, clusters)
            assert (response - fitted).square().mean() > 0.01 * response.var()
            errors.append(
                [float((a - b).square().mean()) for a, b in ((response, without), (y[:, own:], fit.predict(fresh)))]
            )
        ours, theirs = np.mean(errors, axis=0)
        assert 1 / 1.3 < ours / theirs < 1.3

    def test_few_rows_and_their_copies(self):
        """A cluster each and clusters of copies choose as the rows do where most penalties are no candidates."""
        rng = np.random.default_rng(0)
        x, y = 0.2 * rng.normal(size=(14, 59)), rng.normal(size=14)
        features = RowFeatures.build(LandmarkKernel(tensor(x), torch.tensor([[0.0, 0.0, 1e5]]).double()), tensor(x))
        plain = generalised_cross_validation(gram_statistics(features, tensor(y), torch.ones(1, 14).double()))
        for labels in (np.arange(14), np.repeat(np.arange(14), 3)):
            clusters, response = Clusters.of(tensor(labels)), tensor(y[labels])
            rows = share_of(clusters, len(labels))
            statistics = cluster_statistics(features.take(tensor(labels)), response, rows, clusters)
            found = clustered_cross_validation(statistics)
            for name, value in vars(plain).items():
                torch.testing.assert_close(getattr(found, name), value)
            assert np.isinf(clustered_scores(statistics).score).any()

    @pytest.mark.parametrize("seed", range(5))
    def test_features_of_the_clusters(self, seed):
        """Cross-validation of the clusters' means, though single rows would be fitted much closer."""
        labels = np.repeat(np.arange(80), 4)
        x, y, _ = draw(labels, seed, spread=0.0)
        means = y.reshape(80, 4).mean(1)
        means_statistics = gram_statistics(features_of(x[::4]), tensor(means), torch.ones(1, 80).double())
        plain = generalised_cross_validation(means_statistics)
        kernel = features_of(x[::4]).kernel
        features = RowFeatures.build(kernel, tensor(x))
        clusters, one = Clusters.of(tensor(labels)), torch.ones(1, dtype=torch.float64)
        found = clustered_ridge(features, tensor(y), share_of(clusters, 320), one, clusters)
        theirs = fit_ridge(means_statistics, plain.penalty)
        for name, value in vars(theirs).items():
            torch.testing.assert_close(getattr(found, name), value)

    def test_sampling_weights_of_one_are_none_and_others_raise_the_penalty(self):
        x, y, rng = draw(LABELS)
        clusters, one = Clusters.of(tensor(LABELS)), torch.ones(1, dtype=torch.float64)
        share = share_of(clusters, len(y))
        plain = clustered_ridge(features_of(x), tensor(y), share, one, clusters)
        weights = tensor(rng.choice([0.5, 2.0], len(y)))
        weighted = clustered_ridge(features_of(x), tensor(y), share * weights, one, clusters)
        design_effect = float(weights.square().sum() / weights.sum())
        torch.testing.assert_close(weighted.penalty, plain.penalty * design_effect)
        torch.testing.assert_close(weighted.count, (share * weights).sum(1))


class TestClusters:
    def test_counts(self):
        clusters = Clusters.of(tensor(np.array([0, 0, 1, 2, 2, 2])))
        assert (clusters.count, clusters.share) == (3, 0.5)
        assert clusters.sizes.tolist() == [2, 1, 3]
        treatment = tensor(np.array([0.0, 1.0, 1.0, 0.0, 0.0, 0.0]))
        assert [float(size) for size in clusters.of_arms(treatment)] == [2, 2]
        part = clusters.take(torch.tensor([[0, 3, 4, 5]]))
        assert part.share == 0.5
        assert part.alone().share == 0.5
        assert clusters.take(torch.tensor([[0, 2]])).alone().share == 1

    def test_sums(self):
        rows = torch.tensor([[1.0, 2.0, 4.0]])
        assert sums_by_cluster(rows, None) is rows
        assert sums_by_cluster(rows, torch.tensor([[1, 0, 1]])).tolist() == [[2.0, 5.0]]


def test_of_rows_that_are_all_alike_nothing_is_learned():
    labels = np.arange(20) // 4
    _, y, rng = draw(labels)
    features = features_of(1 + 1e-15 * rng.random((20, 3)))
    clusters = Clusters.of(tensor(labels))
    fit = clustered_ridge(features, tensor(y), share_of(clusters, 20), torch.ones(1, dtype=torch.float64), clusters)
    assert float(fit.penalty) == UNLEARNED
    assert (fit.coefficients == 0).all()
