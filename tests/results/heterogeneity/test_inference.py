"""Small samples and several groups at once, against statsmodels, scipy, closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from dowhy_cina.results.heterogeneity import group_effects


def scores_of(outcome, treatment, groups):
    """Scores whose mean in each group is the difference of its arms' means, as the influence function has it."""
    scores = np.empty(len(outcome))
    for group in np.unique(groups):
        own = groups == group
        means = [outcome[own & (treatment == arm)].mean() for arm in (0, 1)]
        shares = [(treatment[own] == arm).mean() for arm in (0, 1)]
        residual = outcome[own] - np.where(treatment[own] == 1, means[1], means[0])
        weight = np.where(treatment[own] == 1, 1 / shares[1], -1 / shares[0])
        scores[own] = means[1] - means[0] + weight * residual
    return scores


@pytest.fixture
def arms():
    """Three groups whose arms have 6 to 30 rows and different spreads."""
    sizes = [(30, 6), (12, 25), (9, 8)]
    groups = np.repeat(np.arange(3), [sum(pair) for pair in sizes])
    treatment = np.concatenate([np.repeat([0, 1], pair) for pair in sizes])
    outcome = np.random.default_rng(0).normal(size=len(groups)) * (1 + 2 * treatment) + groups
    return outcome, treatment, groups


def test_arms_of_a_group_are_two_samples(arms):
    """HC3 of statsmodels' regression on the arm; Satterthwaite's degrees of freedom where no row stands out."""
    _, treatment, groups = arms
    # Two values of each arm, as often: no kurtosis above a normal's.
    outcome = np.where(np.arange(len(groups)) % 2, 1, -1) * (1 + treatment)
    found = group_effects(scores_of(outcome, treatment, groups), groups, treatment=treatment).table
    for group, row in found.iterrows():
        own = groups == group
        fit = sm.OLS(outcome[own], sm.add_constant(treatment[own])).fit(cov_type="HC3")
        assert row["effect"] == pytest.approx(fit.params[1])
        assert row["standard_error"] == pytest.approx(fit.bse[1])
        samples = [outcome[own & (treatment == arm)] for arm in (0, 1)]
        parts = [((s - s.mean()) ** 2).sum() / (len(s) - 1) ** 2 for s in samples]
        freedom = sum(parts) ** 2 / sum(part**2 / (len(s) - 1) for part, s in zip(parts, samples, strict=True))
        assert row["upper"] - row["effect"] == pytest.approx(stats.t.ppf(0.975, freedom) * fit.bse[1])


def test_a_row_that_carries_the_noise_is_one_row(arms):
    outcome, treatment, groups = arms
    scores = scores_of(outcome, treatment, groups)
    heavy = np.flatnonzero((groups == 1) & (treatment == 1))[0]
    scores[heavy] += 1000
    found = group_effects(scores, groups, treatment=treatment).table
    ratio = (found["upper"] - found["effect"]) / found["standard_error"]
    assert ratio[1] > stats.t.ppf(0.975, 3)
    assert ratio[0] < stats.t.ppf(0.975, 3)


def test_an_arm_of_one_cluster_has_no_standard_error(arms):
    outcome, treatment, groups = arms
    cluster = np.arange(len(groups))
    cluster[(groups == 0) & (treatment == 1)] = 999
    found = group_effects(scores_of(outcome, treatment, groups), groups, cluster=cluster, treatment=treatment)
    assert found.table["standard_error"].isna().tolist() == [True, False, False]
    assert found.degrees_of_freedom == 1


def test_clusters_of_one_row_are_no_clusters(arms):
    outcome, treatment, groups = arms
    scores = scores_of(outcome, treatment, groups)
    plain = group_effects(scores, groups, treatment=treatment, simultaneous=True)
    same = group_effects(scores, groups, cluster=np.arange(len(groups))[::-1], treatment=treatment, simultaneous=True)
    pd.testing.assert_frame_equal(same.table, plain.table)
    assert same.p_value == pytest.approx(plain.p_value)


def test_the_test_of_equality_keeps_its_level_with_small_arms():
    """Brute force: no effect, normal outcomes, 5 to 8 rows of an arm in six groups."""
    rejected, blind = [], []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        sizes = [(int(rng.integers(5, 9)), 30)[:: rng.choice([-1, 1])] for _ in range(6)]
        groups = np.repeat(np.arange(6), [sum(pair) for pair in sizes])
        treatment = np.concatenate([np.repeat([0, 1], pair) for pair in sizes])
        scores = scores_of(rng.normal(size=len(groups)), treatment, groups)
        rejected.append(group_effects(scores, groups, treatment=treatment).p_value < 0.05)
        blind.append(group_effects(scores, groups).p_value < 0.05)
    assert 0.03 < np.mean(rejected) < 0.07
    assert np.mean(blind) > 0.15


def test_groups_that_share_clusters_have_hotellings_test():
    """Closed form: three measurements of 12 people, all contrasts zero."""
    rng = np.random.default_rng(0)
    people = rng.normal(size=(12, 1)) + rng.normal(size=(12, 3)) * [1.0, 0.3, 2.0]
    found = group_effects(people.ravel(), np.tile(np.arange(3), 12), cluster=np.repeat(np.arange(12), 3))
    contrasts = people[:, 1:] - people[:, :1]
    mean = contrasts.mean(0)
    square = 12 * mean @ np.linalg.inv(np.cov(contrasts.T)) @ mean
    assert found.statistic == pytest.approx(square)
    assert found.p_value == pytest.approx(stats.f.sf(square * (12 - 2) / (11 * 2), 2, 12 - 2))


def test_few_clusters_that_cross_all_groups_keep_the_level():
    """Brute force: 20 clusters, 5 groups, both arms in all of them."""
    rejected = []
    cluster, groups = np.repeat(np.arange(20), 20), np.tile(np.arange(5), 80)
    treatment = np.tile(np.repeat([0, 1], 5), 40)
    for seed in range(400):
        rng = np.random.default_rng(seed)
        outcome = rng.normal(size=400) + rng.normal(size=20)[cluster] * treatment
        scores = scores_of(outcome, treatment, groups)
        rejected.append(group_effects(scores, groups, cluster=cluster, treatment=treatment).p_value < 0.05)
    assert 0.01 < np.mean(rejected) < 0.07


class TestAllGroupsAtOnce:
    def test_independent_groups_have_sidaks_level(self, arms):
        outcome, treatment, groups = arms
        scores = scores_of(outcome, treatment, groups)
        for level in (0.8, 0.95):
            each = group_effects(scores, groups, level ** (1 / 3), treatment=treatment)
            found = group_effects(scores, groups, level, treatment=treatment, simultaneous=True)
            pd.testing.assert_frame_equal(found.table, each.table)
            assert (found.level, found.simultaneous, found.p_value) == (level, True, each.p_value)
        assert "all groups at once, with 95 %" in str(found)
        assert "at once" not in str(each)

    def test_groups_without_an_interval_do_not_count(self, arms):
        outcome, treatment, groups = arms
        scores = scores_of(outcome, treatment, groups)
        thin = np.where((groups == 2) & (treatment == 1), 3, groups)  # nobody is treated in the last two but one
        two = group_effects(scores, thin, 0.95, treatment=treatment, simultaneous=True).table
        each = group_effects(scores, thin, 0.95**0.5, treatment=treatment).table
        pd.testing.assert_frame_equal(two, each)
        assert two["lower"].notna().sum() == 2
        none = group_effects(scores, np.arange(len(scores)), treatment=treatment, simultaneous=True).table
        assert none["lower"].isna().all()

    def test_one_group_is_as_before(self, arms):
        outcome, treatment, groups = arms
        scores, one = scores_of(outcome, treatment, groups), np.zeros(len(groups))
        found = group_effects(scores, one, treatment=treatment, simultaneous=True).table
        pd.testing.assert_frame_equal(found, group_effects(scores, one, treatment=treatment).table)

    @pytest.mark.parametrize("correlation", [0.0, 0.6, 0.99])
    def test_groups_that_share_clusters_have_the_joint_normal_law(self, correlation):
        """Two correlated groups: the level of each at which scipy's normal law gives both 95 %."""
        rng = np.random.default_rng(0)
        law = stats.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]])
        pairs = rng.normal(size=(5000, 2)) @ np.linalg.cholesky(law.cov).T
        options = {"groups": np.tile([0, 1], 5000), "cluster": np.repeat(np.arange(5000), 2)}
        found, again = (group_effects(pairs.ravel(), **options, simultaneous=True).table for _ in range(2))
        pd.testing.assert_frame_equal(found, again)
        ratio = (found["upper"] - found["effect"]) / found["standard_error"]
        both = law.cdf(np.full(2, ratio[0]), lower_limit=np.full(2, -ratio[0]))
        assert both == pytest.approx(0.95, abs=0.003)

    @pytest.mark.parametrize("shared", [False, True])
    def test_they_hold_at_once(self, shared):
        """Brute force: all of eight effects, in 95 of 100 tables; one by one they do not."""
        groups, treatment = np.tile(np.arange(8), 30), np.repeat([0, 1], 120)
        cluster = np.tile(np.repeat(np.arange(15), 8), 2) if shared else None
        held, alone = [], []
        for seed in range(400):
            rng = np.random.default_rng(seed)
            noise = rng.normal(size=15)[cluster] * treatment if shared else 0
            scores = scores_of(rng.normal(size=240) + noise, treatment, groups)
            for simultaneous, seen in ((True, held), (False, alone)):
                options = {"treatment": treatment, "cluster": cluster, "simultaneous": simultaneous}
                table = group_effects(scores, groups, **options).table
                seen.append(((table["lower"] <= 0) & (table["upper"] >= 0)).all())
        assert 0.925 < np.mean(held) < 0.98
        assert np.mean(alone) < 0.85
