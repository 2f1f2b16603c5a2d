"""Group effects against t intervals, Welch's test, statsmodels' clusters and brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from dowhy_cina.errors import InputError
from dowhy_cina.results.heterogeneity import group_effects, group_labels


@pytest.fixture
def table():
    rng = np.random.default_rng(3)
    groups = np.repeat(["c", "a", "b"], [40, 15, 60])
    scores = rng.normal(size=115) * np.repeat([1.0, 3.0, 0.5], [40, 15, 60]) + np.repeat([0.0, 1.0, 0.2], [40, 15, 60])
    return scores, groups


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_equal_weights_are_one_sample_t_intervals(table, level):
    scores, groups = table
    found = group_effects(scores, groups, level).table
    assert list(found.index) == ["a", "b", "c"]
    for name, row in found.iterrows():
        own = scores[groups == name]
        interval = stats.ttest_1samp(own, 0).confidence_interval(level)
        np.testing.assert_allclose(row[["effect", "lower", "upper"]], [own.mean(), *interval])
        assert row["standard_error"] == pytest.approx(stats.sem(own))
        assert row["rows"] == len(own)


def test_equality_is_welchs_test(table):
    scores, groups = table
    found = group_effects(scores, groups)
    expected = anova_oneway([scores[groups == name] for name in "abc"], use_var="unequal", welch_correction=True)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.degrees_of_freedom == 2
    plain = anova_oneway([scores[groups == name] for name in "abc"], use_var="unequal", welch_correction=False)
    assert found.statistic == pytest.approx(2 * plain.statistic)


def test_two_groups_are_welchs_t_test(table):
    scores, groups = table
    two = groups != "c"
    found = group_effects(scores[two], groups[two])
    expected = stats.ttest_ind(scores[groups == "a"], scores[groups == "b"], equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_clusters_are_statsmodels_of_each_group(table):
    scores, groups = table
    cluster = np.arange(115) // 4  # some cross groups
    found = group_effects(scores, groups, cluster=cluster)
    for name, row in found.table.iterrows():
        own = groups == name
        fit = sm.OLS(scores[own], np.ones(own.sum())).fit(
            cov_type="cluster", cov_kwds={"groups": cluster[own], "use_correction": False}, use_t=True
        )
        count = len(np.unique(cluster[own]))
        assert row["standard_error"] == pytest.approx(fit.bse[0] * np.sqrt(count / (count - 1)))
    every_row = group_effects(scores, groups, cluster=np.arange(115))
    pd.testing.assert_frame_equal(every_row.table, group_effects(scores, groups).table)


def test_clusters_across_groups_are_correlated():
    """Pairs of a row of each group with a shared shock: the difference is known far better than the effects."""
    rng = np.random.default_rng(0)
    shock = np.repeat(rng.normal(size=60), 2)
    scores = shock + 0.1 * rng.normal(size=120) + np.tile([0.0, 0.1], 60)
    groups, pairs = np.tile(["a", "b"], 60), np.repeat(np.arange(60), 2)
    paired = stats.ttest_rel(scores[groups == "a"], scores[groups == "b"])
    found = group_effects(scores, groups, cluster=pairs)
    assert found.p_value == pytest.approx(paired.pvalue)
    assert found.p_value < 0.01 < group_effects(scores, groups).p_value


@pytest.mark.parametrize("target", ["ate", "att"])
def test_intervals_cover_and_the_test_keeps_its_level(scored, target):
    """Brute force: 400 tables with known nuisances; truth of the population, effects 1 + x + 2 b."""
    covered, rejected = [], []
    big = scored(400_000, 99, target)
    names = ["low", "high"]
    side = np.where(big.covariates["x"] > 0, "high", "low")
    truth = {name: np.average(big.effects[side == name], weights=big.target[side == name]) for name in names}
    for seed in range(400):
        small = scored(300, seed, target)
        side = np.where(small.covariates["x"] > 0, "high", "low")
        found = group_effects(small.scores, side, weights=small.target)
        covered += [found.table.lower[name] <= truth[name] <= found.table.upper[name] for name in names]
        noise = np.random.default_rng(seed).integers(0, 4, 300)
        rejected.append(group_effects(small.scores, noise, weights=small.target).p_value < 0.05)
    assert 0.925 < np.mean(covered) < 0.97
    assert 0.025 < np.mean(rejected) < 0.085


def test_groups_average_to_the_effect(scored):
    small = scored(500, 1, "att")
    found = group_effects(small.scores, small.covariates["b"], weights=7 * small.target).table
    share = [small.target[small.covariates["b"] == b].sum() for b in (0, 1)]
    assert share @ found["effect"].to_numpy() == pytest.approx(small.scores.mean())
    assert found["rows"].sum() == (small.treatment == 1).sum()


def test_a_group_of_one_row_has_an_effect_and_no_interval(table):
    scores, groups = table
    groups = np.r_[["single"], groups[1:]]
    found = group_effects(scores, groups)
    row = found.table.loc["single"]
    assert row["effect"] == pytest.approx(scores[0])
    assert row[["standard_error", "lower", "upper"]].isna().all()
    assert found.degrees_of_freedom == 2
    assert found.p_value == pytest.approx(group_effects(scores[1:], groups[1:]).p_value)
    assert "none" in str(found)


def test_a_group_lacking_an_arm_has_an_effect_and_no_interval(table):
    scores, groups = table
    treatment = np.arange(115) % 2
    treatment[40:55] = np.r_[np.ones(4), np.zeros(11)]  # four treated rows of group a
    blind, found = group_effects(scores, groups), group_effects(scores, groups, treatment=treatment)
    assert list(blind.table.columns) == ["effect", "standard_error", "lower", "upper", "rows"]
    assert list(found.table.columns) == [*blind.table.columns, "treated", "control"]
    assert found.table[["treated", "control"]].to_numpy().tolist() == [[4, 11], [30, 30], [20, 20]]
    assert found.table.loc["a", ["standard_error", "lower", "upper"]].isna().all()
    np.testing.assert_array_equal(found.table["effect"], blind.table["effect"])
    others = groups != "a"
    rest = group_effects(scores[others], groups[others], treatment=treatment[others])
    assert found.p_value == pytest.approx(rest.p_value)
    assert "left out of the test: 1 of 3 groups" in str(found)
    assert "left out" not in str(blind)
    treatment[44] = 1  # the fifth
    enough = group_effects(scores, groups, treatment=treatment)
    pd.testing.assert_frame_equal(enough.table.loc[["b", "c"]], found.table.loc[["b", "c"]])
    assert enough.table.loc["a", ["standard_error", "lower", "upper"]].notna().all()
    assert "left out" not in str(enough)


def test_thin_groups_stay_out_with_clusters_and_targets(table):
    scores, groups = table
    treatment, cluster = (groups != "a") * (np.arange(115) % 2), np.arange(115) // 4
    found = group_effects(scores, groups, cluster=cluster, treatment=treatment)
    others = groups != "a"
    assert found.table["standard_error"].isna().tolist() == [True, False, False]
    assert found.degrees_of_freedom == 1
    one_more = np.where(np.arange(115) == 40, 1, treatment)  # still too few treated in a group
    again = group_effects(scores, groups, cluster=cluster, treatment=one_more)
    pd.testing.assert_frame_equal(again.table.loc[["b", "c"]], found.table.loc[["b", "c"]])
    # Rows outside the target count for their arm: they are what the effect on the treated is compared with.
    att = group_effects(scores, groups, weights=treatment.astype(float), treatment=treatment)
    assert att.table["rows"].tolist() == att.table["treated"].tolist() == [treatment[groups == g].sum() for g in "bc"]
    assert att.table["control"].tolist() == [((treatment == 0) & others & (groups == g)).sum() for g in "bc"]


def test_the_test_keeps_its_level_beside_thin_groups():
    """No effect anywhere; in groups of six rows the modelled effect is off, and their scores do not show it."""
    groups = np.repeat(np.arange(8), [40, 40, 40, 40, 60, 60, 6, 6])
    chance = np.where(groups < 6, 0.4, 0.05)
    rejected, blind = [], []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        treatment = (rng.random(len(groups)) < chance).astype(int)
        modelled = np.where(groups < 6, 0.0, rng.normal(size=8)[groups])
        residual = 0.5 * rng.normal(size=len(groups))
        scores = modelled + (treatment / chance - (1 - treatment) / (1 - chance)) * (residual - treatment * modelled)
        rejected.append(group_effects(scores, groups, treatment=treatment).p_value < 0.05)
        blind.append(group_effects(scores, groups).p_value < 0.05)
    assert 0.025 < np.mean(rejected) < 0.065
    assert np.mean(blind) > 0.3


def test_groups_outside_the_target_are_left_out(table):
    scores, groups = table
    found = group_effects(scores, groups, weights=(groups != "a").astype(float))
    assert list(found.table.index) == ["b", "c"]


def test_one_group_has_no_test(table):
    found = group_effects(table[0], np.zeros(115))
    assert found.p_value is None
    assert found.statistic is None
    assert "no test" in str(found)


def test_order_of_categories_and_missing_labels(table):
    scores, groups = table
    ordered = pd.Categorical(groups, ["c", "b", "a", "unused"])
    assert list(group_effects(scores, ordered).table.index) == ["c", "b", "a"]
    with_missing = pd.Series(groups, name="site").where(np.arange(115) > 4)
    found = group_effects(scores, with_missing).table
    assert list(found.index) == ["a", "b", "c", "missing"]
    assert found.index.name == "site"
    assert found["rows"]["missing"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 0}, "level in"),
        ({"level": 1.0}, "level in"),
        ({"cluster": np.ones(115)}, "at least two clusters, got one"),
        ({"cluster": np.r_[np.nan, np.arange(114)]}, "missing labels"),
        ({"cluster": np.arange(7)}, "cluster for each of 115 rows, got 7"),
        ({"weights": -np.ones(115)}, "not negative"),
        ({"weights": np.zeros(115)}, "not in the table"),
        ({"weights": np.ones(3)}, "weight for each of 115"),
        ({"treatment": np.arange(115) % 3}, r"treatment of 0 or 1 for each of 115 rows.*\[0, 1, 2\]"),
        ({"treatment": np.ones(3)}, r"each of 115 rows, got shape \(3,\)"),
        ({"groups": ["a"]}, "group for each of 115 rows, got 1"),
        ({"pseudo_outcomes": np.full(115, np.nan)}, "finite pseudo-outcomes"),
    ],
)
def test_refusals(table, options, message):
    with pytest.raises(InputError, match=message):
        group_effects(**{"pseudo_outcomes": table[0], "groups": table[1], **options})


class TestLabels:
    frame = pd.DataFrame(
        {
            "age": np.arange(100.0),
            "married": np.tile([True, False], 50),
            "children": np.arange(100) % 3,
            "city": pd.Categorical(np.tile(["y", "x", "y", "z"], 25), ["z", "y", "x"]),
        }
    )

    def test_numbers_are_cut_at_quantiles(self):
        found = group_labels(self.frame[["age"]])
        assert list(found.cat.categories) == ["0 to 24", "25 to 49", "50 to 74", "75 to 99"]
        assert (found.value_counts() == 25).all()
        assert found.name == "age"
        assert len(group_labels(self.frame[["age"]], bins=2).cat.categories) == 2

    def test_few_numbers_booleans_and_categories_stay(self):
        assert list(group_labels(self.frame[["children"]]).cat.categories) == ["0", "1", "2"]
        assert list(group_labels(self.frame[["married"]]).cat.categories) == ["False", "True"]
        assert list(group_labels(self.frame[["city"]]).cat.categories) == ["z", "y", "x"]

    def test_several_columns(self):
        found = group_labels(self.frame[["married", "children"]])
        assert list(found.cat.categories)[:2] == ["married False, children 0", "married False, children 1"]
        assert found[0] == "married True, children 0"
        assert len(found.cat.categories) == 6

    def test_missing_values_are_a_group(self):
        frame = self.frame.assign(age=self.frame["age"].where(self.frame["age"] > 9))
        found = group_labels(frame[["age"]])
        assert found.cat.categories[-1] == "missing"
        assert (found == "missing").sum() == 10

    def test_ties_at_a_quantile(self):
        frame = pd.DataFrame({"re74": np.r_[np.zeros(80), np.arange(1, 21)]})
        found = group_labels(frame[["re74"]])
        assert list(found.cat.categories) == ["0", "1 to 20"]
        assert (found == "0").sum() == 80
        frame = pd.DataFrame({"re74": np.r_[np.zeros(73), np.arange(1, 28)]})  # two rows under the third quartile
        assert list(group_labels(frame[["re74"]]).cat.categories) == ["0", "1 to 27"]

    def test_names_keep_ranges_apart(self):
        frame = pd.DataFrame({"id": 1e6 + np.arange(20.0)})
        assert list(group_labels(frame, bins=2).cat.categories) == ["1000000 to 1000009", "1000010 to 1000019"]

    def test_one_bin(self):
        with pytest.raises(InputError, match="number of bins must be a whole number of at least 2"):
            group_labels(self.frame[["age"]], bins=1)
