"""What changes no answer: names of the arms, signs, units and copies of covariates, and ways to name a target."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.calls.direct import analyse

SWAPPED = {"att": "atc", "atc": "att"}


def draw(kind, rows, seed=0):
    """A confounded table with a heterogeneous effect, a long-tailed column and columns of a kind."""
    rng = np.random.default_rng(seed)
    x = pd.DataFrame(rng.normal(size=(rows, 3)), columns=list("abc"))
    x["c"] = np.exp(x["c"])
    if kind == "mixed":
        x["d"] = np.where(rng.random(rows) < 0.2, np.nan, rng.gamma(1.0, 3.0, rows))
        x["e"] = rng.choice(["north", "south", "west"], rows)
        x["f"] = rng.permutation(np.arange(rows) % 2)
    elif kind == "discrete":
        x = (x > [0, 0.5, 1]).astype(float).assign(g=rng.integers(0, 5, rows))
    z = x[["a", "b", "c"]].to_numpy()
    t = (rng.random(rows) < 1 / (1 + np.exp(0.7 - z[:, 0] + 0.5 * z[:, 1]))).astype(int)
    t[:2] = 0, 1
    y = z[:, 0] + z[:, 1] ** 2 + t * (1 + 0.5 * z[:, 0]) + rng.normal(size=rows)
    return x, t, y


TABLES = {(kind, rows): draw(kind, rows) for kind in ("numbers", "mixed", "discrete") for rows in (60, 301)}


@pytest.fixture(params=TABLES, ids=lambda key: f"{key[0]}-{key[1]}", scope="module")
def table(request):
    return TABLES[request.param]


@pytest.fixture(
    params=["ate", "att", "atc", "overlap", "mask", "weights alone, ate", "weights alone, att", "sampled", "odd"],
    scope="module",
)
def question(request, table):
    """Target and options of an estimate."""
    rows = len(table[1])
    target, options = request.param, {}
    if target == "mask":
        target = np.arange(rows) % 3 == 0
    elif target.startswith("weights"):
        target, options = target[-3:], {"augmentation": "none"}
    elif target == "sampled":
        target, options = "ate", {"sample_weight": np.random.default_rng(1).choice([0.5, 1.0, 3.0], rows)}
    elif target == "odd":
        target, options = "att", {"landmarks": 31}
    return target, options


def estimate(x, t, y, question):
    target, options = question
    return dowhy_cina.estimate_effect(x, t, y, target_units=target, **options)


@pytest.fixture(scope="module")
def expected(table, question):
    """What the table itself gives."""
    return estimate(*table, question)


def same(found, expected, factor=1.0, tolerance=1e-6):
    error = expected.standard_error
    assert found.value / factor == pytest.approx(expected.value, abs=tolerance * error)
    assert found.standard_error / abs(factor) == pytest.approx(error, rel=tolerance)
    assert found.p_value == pytest.approx(expected.p_value, abs=tolerance)
    np.testing.assert_allclose(found.weights, expected.weights, atol=tolerance * expected.weights.max())
    np.testing.assert_allclose(found.target_weights, expected.target_weights, atol=1e-9)
    assert found.overlap.grade == expected.overlap.grade


def test_swapped_arms_change_the_sign_alone(table, question, expected):
    x, t, y = table
    target, options = question
    swapped = estimate(x, 1 - t, y, (SWAPPED.get(target, target) if isinstance(target, str) else target, options))
    same(swapped, expected, -1.0)
    np.testing.assert_allclose(swapped.propensity, 1 - expected.propensity, atol=1e-6)


def test_negated_covariates(table, question, expected):
    x, t, y = table
    negated = x.assign(a=-x["a"], c=-x["c"])
    same(estimate(negated, t, y, question), expected)


def test_linear_copies_of_covariates(table, question, expected):
    x, t, y = table
    more = x.assign(a_copy=3 - 2.5 * x["a"], c_copy=1e3 * x["c"] + 1e4)
    more = more[["c_copy", *x.columns, "a_copy"]]
    same(estimate(more, t, y, question), expected)


def test_units_of_covariates_and_outcome(table, question, expected):
    x, t, y = table
    other = x.assign(a=0.017 * x["a"] + 2.3, c=1e3 * x["c"])
    same(estimate(other, t, 7.3 * y - 20, question), expected, 7.3)


@pytest.mark.parametrize("augmentation", ["kernel", "none"])
@pytest.mark.parametrize("target", ["ate", "att", "atc"])
def test_a_name_a_mask_and_a_frame_name_the_same(table, target, augmentation):
    x, t, y = table
    mask = {"ate": np.ones(len(t), bool), "att": t == 1, "atc": t == 0}[target]
    rows = x[mask].sample(frac=1.0, random_state=1)
    named = estimate(x, t, y, (target, {"augmentation": augmentation}))
    for other in (mask, rows, rows.reset_index(drop=True)):
        found = estimate(x, t, y, (other, {"augmentation": augmentation}))
        same(found, named)
        assert found.target == target
        assert found.summary() == named.summary()


def test_a_frame_of_some_rows_is_their_mask(table):
    x, t, y = table
    analysis, mask = analyse(x, t, y), np.arange(len(t)) % 3 == 0
    same(analysis.effect(x[mask][::-1]), analysis.effect(mask))
    # Without labels, rows with the same covariates cannot be told apart: they share what is meant of them.
    found = analysis.effect(x[mask].reset_index(drop=True))
    assert found.value == pytest.approx(analysis.effect(mask).value, abs=0.1 * found.standard_error)
    assert found.target_weights.sum() == pytest.approx(1)


def test_rows_of_a_frame_count_as_often_as_they_occur():
    x, t, y = TABLES["numbers", 60]
    analysis = analyse(x, t, y)
    found = analysis.effect(x.iloc[[3, 3, 5]])
    np.testing.assert_allclose(found.target_weights[[3, 5]], [2 / 3, 1 / 3])
    same(analysis.effect(pd.DataFrame(x.iloc[[5, 3, 3]].to_numpy(), columns=x.columns)), found)


def test_rows_from_elsewhere_are_an_independent_sample():
    x, t, y = TABLES["numbers", 60]
    analysis = analyse(x, t, y)
    found = analysis.effect(pd.concat([x, x.iloc[:1] + 0.1]))
    assert "taken as a sample of their population that is independent of the table" in " ".join(found.summary().split())
    assert not found.target_weights.any()
    assert np.isnan(found.pseudo_outcomes).all()
    assert "independent" not in analysis.effect(x.iloc[:5]).summary()


def test_sampling_weights_do_not_count_rows_of_a_frame():
    x, t, y = TABLES["numbers", 60]
    weights = np.random.default_rng(2).choice([0.5, 3.0], 60)
    found = analyse(x, t, y, sample_weight=weights).effect(x)
    np.testing.assert_allclose(found.target_weights, 1 / 60)
    assert found.target == "rows"


def test_rows_of_another_treatment_are_not_the_tables_own():
    x, t, y = TABLES["numbers", 60]
    analysis = analyse(x, np.r_[t[:-5], [2] * 5], y, treatment_value=1, control_value=0)
    assert not analysis.effect(x).target_weights.any()
    assert analysis.effect(x[:-5]).target == "ate"


def equal_arms(seed, rows=200):
    """Binary columns and arms of the same size, whose rows lead in ties."""
    rng = np.random.default_rng(seed)
    x = pd.DataFrame((rng.normal(size=(rows, 5)) > [0, 0.5, 1, -0.3, 0]).astype(float), columns=list("abcde"))
    score = x["a"] - x["b"] + rng.logistic(size=rows)
    t = (score.rank(method="first") > rows // 2).astype(int).to_numpy()
    return x, t, (x["a"] + x["a"] * x["c"] + t * (1 + x["b"]) + rng.normal(size=rows)).to_numpy()


@pytest.mark.parametrize("landmarks", [31, 51])
@pytest.mark.parametrize("seed", range(8))
def test_odd_landmarks_of_equal_arms(seed, landmarks):
    x, t, y = equal_arms(seed)
    order = np.random.default_rng(seed).permutation(len(t))
    options = {"landmarks": landmarks}
    expected = {target: estimate(x, t, y, (target, options)) for target in ("ate", "att", "atc")}
    for target, found in expected.items():
        same(estimate(x, 1 - t, y, (SWAPPED.get(target, target), options)), found, -1.0)
        moved = estimate(x[list("cbade")].iloc[order].reset_index(drop=True), t[order], y[order], (target, options))
        assert moved.value == pytest.approx(found.value, abs=1e-6 * found.standard_error)
        same(estimate(1 - x, t, y, (target, options)), found)


def test_odd_landmarks_of_many_tables():
    tables = [equal_arms(seed) for seed in range(6)]
    swapped = [(x, 1 - t, y) for x, t, y in tables]
    found, others = (dowhy_cina.estimate_effects(part, landmarks=51) for part in (tables, swapped))
    alone = [dowhy_cina.estimate_effect(*table, landmarks=51) for table in tables]
    for one, other, single in zip(found, others, alone, strict=True):
        for effect, sign in ((other, -1.0), (single, 1.0)):
            assert effect.value == pytest.approx(sign * one.value, abs=1e-6 * one.standard_error)
            assert effect.standard_error == pytest.approx(one.standard_error, rel=1e-6)


@pytest.mark.parametrize("landmarks", [51, 128])
@pytest.mark.parametrize("seed", range(4))
def test_clusters_whose_rows_share_their_covariates(seed, landmarks):
    x, t, y = equal_arms(seed, 100)
    labels, rng = np.repeat(np.arange(100), 4), np.random.default_rng(seed)
    x = x.iloc[labels].reset_index(drop=True)
    t = (rng.random(400) < 0.3 + 0.4 * x["a"]).astype(int).to_numpy()
    y = np.round(y[labels] + rng.normal(size=400)) if seed % 2 else y[labels] + rng.normal(size=400)
    options = {"landmarks": landmarks, "cluster": labels}
    found, order = estimate(x, t, y, ("att", options)), rng.permutation(400)
    same(estimate(x, 1 - t, y, ("atc", options)), found, -1.0)
    moved = x.iloc[order].reset_index(drop=True)
    other = estimate(moved, t[order], y[order], ("att", options | {"cluster": labels[order]}))
    assert other.value == pytest.approx(found.value, abs=1e-6 * found.standard_error)
    assert other.standard_error == pytest.approx(found.standard_error, rel=1e-6)
