"""Sampling weights and clusters: populations recovered, errors against statsmodels, and every refusal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

import dowhy_cina
from dowhy_cina.calls.direct import analyse
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.model import checkpoint


def draw(rows=400, seed=0):
    """A confounded table and sampling weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    t = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    return x, t, x.sum(1) + 2 * t + rng.normal(size=rows), rng.choice([0.5, 1.0, 3.0], rows)


@pytest.fixture(scope="module")
def table():
    return draw()


def widening():
    """Factor by which the variance head widens a standard error that is all sampling noise."""
    return float((checkpoint.read("cina-small")[0].variance.log_sampling / 2).exp())


class TestWeights:
    def test_a_population_is_recovered_from_unequal_probabilities(self):
        """The effect is 3 for half of the population, of which four times as many are drawn, and 1 for the others."""
        errors, plain = [], []
        for seed in range(12):
            rng = np.random.default_rng(seed)
            z, x = rng.random(20_000) < 0.5, rng.normal(size=(20_000, 2))
            t = (rng.random(20_000) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
            y = x[:, 0] + t * (1 + 2 * z) + rng.normal(size=20_000)
            chance = np.where(z, 0.08, 0.02)
            drawn = rng.random(20_000) < chance
            sample = x[drawn], t[drawn], y[drawn]
            found = dowhy_cina.estimate_effect(*sample, sample_weight=1 / chance[drawn])
            errors.append((found.value - 2) / found.standard_error)
            plain.append(dowhy_cina.estimate_effect(*sample).value)
        assert np.mean(plain) > 2.4
        assert abs(np.mean(errors)) < 1.2
        assert np.mean(np.abs(errors) < 2) >= 0.75

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 1000), st.sampled_from(["ate", "att", "atc", "overlap"]))
    def test_the_level_of_the_weights_and_the_order_of_rows_do_not_matter(self, seed, target):
        x, t, y, weights = draw(150, seed)
        order = np.random.default_rng(seed).permutation(150)
        one = dowhy_cina.estimate_effect(x, t, y, sample_weight=weights, target_units=target)
        other = dowhy_cina.estimate_effect(
            3 * x[order] - 7, t[order], y[order], sample_weight=1e3 * weights[order], target_units=target
        )
        assert other.value == pytest.approx(one.value, rel=1e-6)
        assert other.standard_error == pytest.approx(one.standard_error, rel=1e-6)
        np.testing.assert_allclose(other.weights, one.weights[order], atol=1e-8)

    @pytest.mark.parametrize("target", ["ate", "att", "atc"])
    def test_weights_of_one_are_no_weights(self, table, target):
        x, t, y, _ = table
        plain = dowhy_cina.estimate_effect(x, t, y, target_units=target)
        ones = dowhy_cina.estimate_effect(x, t, y, target_units=target, sample_weight=np.full(400, 7.0))
        assert ones.value == pytest.approx(plain.value, rel=1e-9)
        assert ones.standard_error == pytest.approx(plain.standard_error, rel=1e-9)

    def test_target_weights_are_those_of_the_sampling(self, table):
        x, t, y, weights = table
        for target, rows in (("ate", weights), ("att", weights * t), ("atc", weights * (1 - t))):
            found = dowhy_cina.estimate_effect(x, t, y, target_units=target, sample_weight=weights)
            np.testing.assert_allclose(found.target_weights, rows / rows.sum())
            assert found.weights[t == 1].sum() == pytest.approx(1)
            assert found.weights[t == 0].sum() == pytest.approx(1)
            assert abs(found.value - 2) < 3.5 * found.standard_error

    def test_overlap_weighs_rows_by_sampling_and_propensity(self, table):
        x, t, y, weights = table
        found = dowhy_cina.estimate_effect(x, t, y, target_units="overlap", sample_weight=weights)
        rows = weights * found.propensity * (1 - found.propensity)
        np.testing.assert_allclose(found.target_weights, rows / rows.sum(), rtol=1e-12)
        # Those are the plain ones times the sampling weights: the propensity does not look at these.
        plain = dowhy_cina.estimate_effect(x, t, y, target_units="overlap").target_weights * weights
        np.testing.assert_allclose(found.target_weights, plain / plain.sum(), rtol=1e-9)

    def test_copies_with_half_the_weight_are_nearly_one_row(self, table):
        """The network sees sizes, and cross-validation takes copies for rows of their own."""
        x, t, y, weights = table
        plain = dowhy_cina.estimate_effect(x, t, y, sample_weight=weights)
        twice = np.tile(np.arange(400), 2)
        copies = dowhy_cina.estimate_effect(x[twice], t[twice], y[twice], sample_weight=weights[twice] / 2)
        assert copies.value == pytest.approx(plain.value, abs=0.5 * plain.standard_error)

    def test_balance_before_is_of_the_arms_with_their_sampling_weights(self, table):
        x, t, y, weights = table
        found = dowhy_cina.estimate_effect(x, t, y, sample_weight=weights)
        means = [np.average(x[t == arm], axis=0, weights=weights[t == arm]) for arm in (0, 1)]
        unit = np.sqrt((x[t == 0].var(axis=0, ddof=1) + x[t == 1].var(axis=0, ddof=1)) / 2)
        before = np.ravel((means[1] - means[0]) / unit)
        np.testing.assert_allclose(found.balance["before"], before)
        assert f"{np.abs(before).max():.3f} before" in found.summary()

    def test_rows_of_no_weight_do_not_count(self, table):
        x, t, y, weights = table
        weights = np.where(np.arange(400) % 5 == 0, 0.0, weights)
        found = dowhy_cina.estimate_effect(x, t, y, sample_weight=weights)
        assert not found.weights[weights == 0].any()
        assert not found.target_weights[weights == 0].any()
        wild = np.where(weights == 0, -50.0, y)
        assert abs(dowhy_cina.estimate_effect(x, t, wild, sample_weight=weights).value - 2) < 0.6

    def test_rows_set_aside_need_no_weight_of_their_own(self, table):
        x, t, y, weights = table
        arms = np.where(np.arange(400) < 30, 2, t)
        found = dowhy_cina.estimate_effect(
            x, arms, y, treatment_value=1, control_value=0, sample_weight=weights, cluster=np.arange(400) // 4
        )
        rest = slice(30, None)
        other = dowhy_cina.estimate_effect(
            x[rest], t[rest], y[rest], sample_weight=weights[rest], cluster=(np.arange(400) // 4)[rest]
        )
        assert found.value == pytest.approx(other.value, rel=1e-9)
        assert found.standard_error == pytest.approx(other.standard_error, rel=1e-9)


class TestErrors:
    """Where outcomes are linear and treatment is at random, the errors are those of a linear regression."""

    @pytest.mark.parametrize("seed", range(3))
    def test_independent_rows(self, seed):
        rng = np.random.default_rng(seed)
        x, t = rng.normal(size=(1500, 2)), rng.integers(0, 2, 1500)
        y = x[:, 0] + t + rng.normal(size=1500) * np.where(x[:, 1] > 0, 2.0, 0.5)
        found = dowhy_cina.estimate_effect(x, t, y)
        design = sm.add_constant(np.column_stack([t, x, t[:, None] * (x - x.mean(0))]))
        theirs = sm.OLS(y, design).fit(cov_type="HC3")
        assert found.standard_error == pytest.approx(theirs.bse[1] * widening(), rel=0.1)
        assert found.value == pytest.approx(theirs.params[1], abs=0.5 * theirs.bse[1])

    @pytest.mark.parametrize("seed", range(3))
    def test_clusters(self, seed):
        rng = np.random.default_rng(seed)
        group = rng.integers(0, 100, 1500)
        x, t = rng.normal(size=(1500, 2)), rng.integers(0, 2, 100)[group]
        y = x[:, 0] + t + 0.7 * rng.normal(size=100)[group] + rng.normal(size=1500)
        plain = dowhy_cina.estimate_effect(x, t, y)
        found = dowhy_cina.estimate_effect(x, t, y, cluster=group)
        design = sm.add_constant(np.column_stack([t, x]))
        left_out = [sm.OLS(y[group != k], design[group != k]).fit().params[1] for k in range(100)]
        jackknife = np.sqrt(99 / 100 * np.square(left_out - sm.OLS(y, design).fit().params[1]).sum())
        analysis = analyse(x, t, y, cluster=group)
        sampling = float(analysis._estimation("ate").sampling.sqrt()) * found.outcome_scale
        assert found.value == pytest.approx(plain.value, abs=0.5 * found.standard_error)
        assert sampling == pytest.approx(jackknife, rel=0.03)
        assert widening() * sampling < found.standard_error < 1.25 * sampling
        assert found.standard_error > 1.5 * plain.standard_error
        assert found.degrees_of_freedom < 100 < plain.degrees_of_freedom

    def test_labels_of_any_kind(self, table):
        x, t, y, _ = table
        group = np.arange(400) // 8
        kinds = [group, group.astype(str), pd.Series(group).astype("category"), pd.Series(group, index=range(1, 401))]
        found = [dowhy_cina.estimate_effect(x, t, y, cluster=labels).standard_error for labels in kinds]
        assert found == pytest.approx([found[0]] * 4, rel=1e-12)
        order = np.random.default_rng(0).permutation(400)
        shuffled = dowhy_cina.estimate_effect(x[order], t[order], y[order], cluster=group[order])
        assert shuffled.standard_error == pytest.approx(found[0], rel=1e-9)

    def test_clusters_of_a_foreign_target_keep_its_own_error(self, table):
        x, t, y, _ = table
        rows = pd.DataFrame(np.random.default_rng(3).normal(scale=3, size=(4, 3)))
        pair = np.arange(400).clip(1)  # the first two rows share a label
        own = dowhy_cina.estimate_effect(x, t, y + 2 * x[:, 1] * t, target_units=rows)
        grouped = dowhy_cina.estimate_effect(x, t, y + 2 * x[:, 1] * t, target_units=rows, cluster=pair)
        assert grouped.standard_error == pytest.approx(own.standard_error, rel=0.01)

    def test_a_label_for_each_row_is_as_good_as_none(self, table):
        x, t, y, _ = table
        own, plain = (dowhy_cina.estimate_effect(x, t, y, cluster=labels) for labels in (np.arange(400), None))
        assert own.standard_error == plain.standard_error
        assert own.to_dict() == plain.to_dict()
        tables = [found.group_effects(x[:, 0] > 0).table for found in (own, plain)]
        pd.testing.assert_frame_equal(*tables)

    @pytest.mark.parametrize("arm", [0, 1])
    def test_an_arm_in_one_cluster_has_no_standard_error(self, table, arm):
        x, t, y, _ = table
        village = np.where(t == arm, -1, np.arange(400) // 4)
        found = dowhy_cina.estimate_effect(x, t, y, cluster=village)
        plain = dowhy_cina.estimate_effect(x, t, y)
        assert found.value == pytest.approx(plain.value, abs=0.5 * plain.standard_error)
        assert (found.standard_error, found.confidence_interval, found.p_value) == (None, None, None)
        name = ("control", "treated")[arm]
        assert any(f"the {name} arm are in a single cluster" in warning for warning in found.warnings)
        assert f"Add clusters with {name} rows" in " ".join(found.summary().split())

    @pytest.mark.parametrize("count", [2, 9, 10])
    def test_an_arm_in_few_clusters_is_told(self, table, count):
        x, t, y, _ = table
        village = np.where(t == 1, -1 - np.arange(400) % count, np.arange(400) // 4)
        found = dowhy_cina.estimate_effect(x, t, y, cluster=village)
        assert found.standard_error > 0
        said = [warning for warning in found.warnings if f"the treated arm are in {count} clusters only" in warning]
        assert len(said) == (count < 10)
        assert "control arm" not in " ".join(found.warnings)


class TestColumns:
    def test_by_name(self, table):
        x, t, y, weights = table
        group = np.arange(400) // 8
        frame = pd.DataFrame(x, columns=list("abc")).assign(t=t, y=y, w=weights, g=group)
        named = dowhy_cina.estimate_effect(frame, "t", "y", sample_weight="w", cluster="g")
        arrays = dowhy_cina.estimate_effect(x, t, y, sample_weight=weights, cluster=group)
        assert named.value == pytest.approx(arrays.value, rel=1e-9)
        assert named.standard_error == pytest.approx(arrays.standard_error, rel=1e-9)
        assert list(named.balance.index) == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"sample_weight": "w", "cluster": "w"}, "one role"),
            ({"sample_weight": "y"}, "one role"),
            ({"cluster": "t"}, "one role"),
            ({"sample_weight": "w", "covariates": ["a", "w"]}, r"one role, got \['w'\]"),
            ({"cluster": "town"}, r"\['town'\] are not in X"),
        ],
    )
    def test_several_roles(self, table, options, message):
        x, t, y, weights = table
        frame = pd.DataFrame(x, columns=list("abc")).assign(t=t, y=y, w=weights)
        with pytest.raises(InputError, match=message):
            dowhy_cina.estimate_effect(frame, "t", "y", **options)

    def test_names_need_a_frame(self, table):
        x, t, y, _ = table
        with pytest.raises(InputTypeError, match="DataFrame"):
            dowhy_cina.estimate_effect(x, t, y, cluster="g")


class TestRefused:
    @pytest.mark.parametrize(
        ("weights", "error", "message"),
        [
            (lambda t: -np.ones(400), InputError, "not negative, got 400 others"),
            (lambda t: np.where(t == 1, np.nan, 1.0), InputError, "finite"),
            (lambda t: np.where(np.arange(400) == 3, np.inf, 1.0), InputError, "1 others of 400 .row 3"),
            (lambda t: np.where(t == 1, 0.0, 1.0), InputError, "none among the treated"),
            (lambda t: np.where(t == 0, 0.0, 1.0), InputError, "none among the control"),
            (lambda t: np.zeros(400), InputError, "positive weight"),
            (lambda t: np.ones(399), InputError, r"\(400,\).*got \(399,\)"),
            (lambda t: np.ones((400, 2)), InputError, "shape"),
            (lambda t: np.full(400, "heavy"), InputTypeError, "numbers"),
            (lambda t: 1.0, InputError, "shape"),
        ],
    )
    def test_weights(self, table, weights, error, message):
        x, t, y, _ = table
        with pytest.raises(error, match=f"sample_weight: .*{message}"):
            dowhy_cina.estimate_effect(x, t, y, sample_weight=weights(t))

    @pytest.mark.parametrize("options", [{"checkpoint": "exact"}, {"augmentation": "none"}])
    def test_weights_where_the_problem_takes_none(self, table, options):
        x, t, y, weights = table
        with pytest.raises(InputError, match="sample_weight needs"):
            dowhy_cina.estimate_effect(x, t, y, sample_weight=weights, **options)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.zeros(400), "at least two clusters"),
            (np.arange(399), "400 labels.*got 399"),
            (np.where(np.arange(400) == 3, np.nan, 1.0), "1 missing"),
            ([None] + ["a"] * 399, "1 missing"),
        ],
    )
    def test_clusters(self, table, labels, message):
        x, t, y, _ = table
        with pytest.raises(InputError, match=f"cluster: .*{message}"):
            dowhy_cina.estimate_effect(x, t, y, cluster=labels)

    def test_one_cluster_among_the_compared_rows(self, table):
        x, t, y, _ = table
        arms = np.where(np.arange(400) < 30, 2, t)
        with pytest.raises(InputError, match="at least two clusters"):
            dowhy_cina.estimate_effect(
                x, arms, y, treatment_value=1, control_value=0, cluster=np.where(np.arange(400) < 30, "a", "b")
            )
