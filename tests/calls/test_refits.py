"""Refits of parts of a table: what the whole table says of its columns, and what an estimate keeps for them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import dowhy_cina


def draw(rows=300, seed=0):
    """A table with a label and a number whose effect depends on both."""
    rng = np.random.default_rng(seed)
    covariates = pd.DataFrame({"a": rng.normal(size=rows), "s": rng.choice(["u", "v"], rows), "b": rng.random(rows)})
    treatment = (rng.random(rows) < 0.5).astype(int)
    outcome = covariates["a"] + treatment * (1 + (covariates["s"] == "u")) + rng.normal(size=rows)
    return covariates, treatment, outcome.to_numpy()


def rare_label(covariates, row):
    covariates.loc[row, "s"] = "w"


def missing_label(covariates, row):
    covariates.loc[row, "s"] = None


def missing_number(covariates, row):
    covariates.loc[row, "a"] = np.nan


def number_apart(covariates, row):
    covariates["b"] = (covariates.index == row).astype(float)


@pytest.mark.parametrize("change", [rare_label, missing_label, missing_number, number_apart])
def test_what_one_row_has_stops_no_refit(change):
    covariates, treatment, outcome = draw()
    second = dowhy_cina.estimate_effect(covariates, treatment, outcome).refits._parts(2) == 1
    for row in (np.flatnonzero(second)[0], np.flatnonzero(~second)[0]):
        changed = covariates.copy()
        change(changed, row)
        found = dowhy_cina.estimate_effect(changed, treatment, outcome)
        assert np.isfinite(found.refits.held_out.effects).all()
        assert found.uplift().standard_error > 0
        assert found.policy_value(0.3)["standard_error"].notna().all()
        assert found.policy_value("gainers")["standard_error"].notna().all()
        assert np.isfinite(found.effect_distribution().modelled_spread)
        assert len(found.search_groups().labels) == len(treatment)


def test_a_level_that_a_fold_lacks_is_a_column_of_zeros():
    """Each fold by hand: indicators of all levels, the fold's rows left out, their effects from the others."""
    covariates, treatment, outcome = draw()
    rare_label(covariates, 11)
    held = dowhy_cina.estimate_effect(covariates, treatment, outcome).refits.held_out
    numbers = covariates[["a"]].assign(
        **{f"s={level}": (covariates["s"] == level).astype(float) for level in "uvw"}, b=covariates["b"]
    )
    for number in range(5):
        own = held.fold == number
        others = dowhy_cina.estimate_effect(numbers[~own], treatment[~own], outcome[~own])
        expected = others.conditional_effects(numbers[own])["effect"]
        np.testing.assert_allclose(held.effects[own], expected, atol=1e-6)


def test_folds_without_covariates_that_vary():
    _, treatment, outcome = draw()
    found = dowhy_cina.estimate_effect(np.ones((300, 1)), treatment, outcome)
    assert np.isfinite(found.refits.held_out.effects).all()
    assert len(found.search_groups().labels) == 300


def reused(kind):
    """Covariates over one buffer, the buffer, and its other content."""
    rng = np.random.default_rng(4)
    values, others = rng.normal(size=(2, 300, 3))
    buffer = values.copy()
    if kind == "integers":
        buffer = np.round(3 * buffer).astype(np.int64)
    elif kind == "constant":
        buffer[:, 2] = 1.0
    elif kind == "missing":
        buffer[::7, 2] = np.nan
    elif kind == "fortran":
        buffer = np.asfortranarray(buffer)
    elif kind == "one column":
        buffer, others = np.ascontiguousarray(buffer[:, :1]), others[:, :1]
    frame = pd.DataFrame(buffer, columns=[f"x{k}" for k in range(buffer.shape[1])], copy=False)
    return (frame if kind == "frame" else buffer), buffer, others


@pytest.mark.parametrize("aside", [0, 20])
@pytest.mark.parametrize("kind", ["floats", "frame", "fortran", "one column", "integers", "constant", "missing"])
def test_what_becomes_of_the_table_later_changes_no_answer(kind, aside):
    covariates, buffer, others = reused(kind)
    rng = np.random.default_rng(5)
    treatment, cluster = rng.integers(0, 2, 300), np.repeat(np.arange(100), 3)
    outcome = buffer[:, 0] * (1 + treatment) + rng.normal(size=300)
    treatment[:aside] = 2
    values = {"treatment_value": 1, "control_value": 0}
    given = (covariates, treatment, outcome)
    result, other = (dowhy_cina.estimate_effect(*given, cluster=cluster, **values) for _ in range(2))

    def answers(found):
        names = found.covariates
        assert (names.iloc[:, 0] if isinstance(names, pd.DataFrame) else names[:, 0]).dtype == before.dtype
        return [
            found.group_effects("x0").table,
            found.best_linear_projection("x0").params,
            found.effect_curve("x0"),
            found.policy_value(lambda frame: frame["x0"] > 0),
            found.policy_value(0.5),
            found.uplift("x0").curve,
            found.uplift().curve,
            found.search_groups().groups.table,
            found.balance_of(),
            found.conditional_effects(before),
        ]

    before = buffer.copy()
    expected = answers(other)
    for array, fresh in ((buffer, others), (treatment, 7), (outcome, -1e3), (cluster, 0)):
        array[:] = fresh
    for ours, theirs in zip(answers(result), expected, strict=True):
        (pd.testing.assert_frame_equal if isinstance(ours, pd.DataFrame) else pd.testing.assert_series_equal)(
            ours, theirs
        )


def test_a_frame_that_the_caller_changes():
    covariates, treatment, outcome = draw()
    result = dowhy_cina.estimate_effect(covariates, treatment, outcome)
    expected = result.group_effects("s").table
    own = result.covariates.copy()
    covariates["s"] = "changed"
    covariates.loc[:, "a"] = 0.0
    pd.testing.assert_frame_equal(result.covariates, own)
    pd.testing.assert_frame_equal(result.group_effects("s").table, expected)


def test_columns_of_floats_are_copied_once():
    covariates, treatment, outcome = draw()
    for given in (covariates[["a", "b"]], covariates[["a", "b"]].to_numpy()):
        result = dowhy_cina.estimate_effect(given, treatment, outcome)
        assert np.shares_memory(np.asarray(result.covariates), result.compared.covariates.to_numpy())
        assert not np.shares_memory(np.asarray(result.covariates), np.asarray(given))
        np.testing.assert_array_equal(np.asarray(result.covariates), np.asarray(given))
        with pytest.raises(ValueError, match="read-only"):
            np.asarray(result.covariates)[0, 0] = 1.0


def test_a_generator_may_fill_the_same_arrays_again():
    rng = np.random.default_rng(6)
    tables = []
    for _ in range(40):
        x, t = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
        tables.append((x, t, x[:, 0] + t + rng.normal(size=60)))

    def filled():
        buffers = [part.copy() for part in tables[0]]
        for table in tables:
            for buffer, part in zip(buffers, table, strict=True):
                buffer[:] = part
            yield tuple(buffers)

    found, expected = (dowhy_cina.estimate_effects(given) for given in (filled(), tables))
    assert [one.value for one in found] == pytest.approx([one.value for one in expected], rel=1e-9)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("mixed", [0, 6])
def test_parts_have_their_share_of_the_clusters_of_either_arm(mixed, flipped):
    """Ten of sixty clusters are treated: two of them in each fold and five in each half, whichever they are."""
    covariates, outcome = np.random.default_rng(7).normal(size=(2, 240))
    cluster = np.arange(240) // 4
    for seed in range(3):
        arm = np.zeros(60, dtype=int)
        arm[np.random.default_rng(seed).permutation(60)[:10]] = 1
        treatment = arm[cluster]
        treatment[np.isin(cluster, np.flatnonzero(arm)[:mixed]) & (np.arange(240) % 4 == 0)] = 0
        given = 1 - treatment if flipped else treatment
        refits = dowhy_cina.estimate_effect(covariates[:, None], given, outcome, cluster=cluster).refits
        for count, expected in ((5, 2), (2, 5)):
            part = refits._parts(count)
            assert pd.Series(part).groupby(cluster).nunique().max() == 1
            of_arm = pd.Series(cluster[treatment == 1]).groupby(part[treatment == 1]).nunique()
            assert of_arm.tolist() == [expected] * count
            assert np.ptp(np.bincount(part)) <= 4
