"""Columns of labels of many levels: how often each level is treated, and how much more so along a covariate."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.searches.indicators import LEAST_LEVELS, repeated_columns
from dowhy_cina.searches.label_search import find_labels
from tests.model.laws import practices


def standardised(x):
    x = x[:, x.std(0) > 0]
    return torch.from_numpy((x - x.mean(0)) / x.std(0))


def labelled(rng, rows=600, levels=20, chance=None):
    """A covariate beside indicators of a label, which level each row has, and treatment by the level."""
    level = rng.integers(0, levels, rows)
    chance = rng.uniform(0.2, 0.8, levels) if chance is None else chance
    x = np.column_stack([rng.normal(size=rows), np.eye(levels)[level]])
    return x, level, (rng.random(rows) < chance[level]).astype(np.float64)


def found_in(x, t, cluster=None):
    codes = None if cluster is None else torch.from_numpy(cluster)[None]
    return find_labels(standardised(x)[None], torch.from_numpy(t)[None], codes)[0]


def test_a_column_is_the_share_that_is_treated():
    """With all levels, or all but one, as indicators: the share, as if one more row were an average one."""
    rng = np.random.default_rng(8)
    x, level, t = labelled(rng)
    for kept in (x, x[:, :-1]):
        labels = found_in(kept, t)
        assert labels.along.tolist() == [[-1]]
        assert repeated_columns(standardised(kept)[None], torch.from_numpy(t)[None]).tolist() == [kept.shape[1] - 2]
        assert labels.members[0, 0].tolist() == [False] + [True] * (kept.shape[1] - 1)
        column = labels.columns_of(standardised(kept)[None])[0, :, 0].numpy()
        rows = pd.Series(t).groupby(level)
        share = (rows.transform("sum") + t.mean()) / (rows.transform("size") + 1)
        assert abs(np.corrcoef(column, share)[0, 1]) == pytest.approx(1)
        assert abs(column.mean()) < 1e-12
        assert column.std() == pytest.approx(1)


def test_slopes_that_change_with_the_level_are_found():
    """Those of the law, along its covariate alone; a linear regression on both columns has the effect, ours too."""
    x, t, y = practices(0, 2000)
    labels = found_in(x, t.astype(np.float64))
    assert labels.along.tolist() == [[-1, 5]]
    columns = labels.columns_of(standardised(x)[None])[0].numpy()
    np.testing.assert_allclose(columns.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(columns.std(0), 1)
    design = np.column_stack([np.ones(len(t)), t, columns, x[:, :6]])
    assert np.linalg.lstsq(design, y)[0][1] == pytest.approx(0.5, abs=0.15)


def test_slopes_are_false_alarms_as_seldom_as_they_should():
    """Levels that are treated more or less often have one slope: a tenth of 200 tables, and what chance adds."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(200):
        level, x = rng.integers(0, 15, 300), rng.standard_t(4, size=(300, 3))
        chance = 1 / (1 + np.exp(-rng.normal(size=15)[level] - 0.5 * x[:, 0]))
        t = (rng.random(300) < chance).astype(np.float64)
        found += found_in(np.column_stack([x, np.eye(15)[level]]), t).count > 1
    assert found <= 30


def test_two_labels_have_a_column_each():
    rng = np.random.default_rng(9)
    x, level, t = labelled(rng, 1500, 30)
    other = rng.integers(0, 12, 1500)
    labels = found_in(np.column_stack([x, np.eye(12)[other]]), t)
    columns = labels.columns_of(standardised(np.column_stack([x, np.eye(12)[other]]))[None])[0].numpy()
    assert labels.count == 2
    sizes = labels.members[0].sum(1).tolist()
    assert sizes == [30, 12]
    for column, codes in zip(columns.T, (level, other), strict=True):
        # Constant in each level.
        assert pd.Series(column).groupby(codes).std().max() < 1e-9


def test_rare_levels_belong_to_their_label_whatever_side_they_point_to():
    """Columns are cut at six standard deviations, and those of few rows are turned: so are these."""
    rng = np.random.default_rng(3)
    level = np.r_[rng.integers(0, 40, 760), np.arange(40, 120).repeat(3)]
    x, t = np.eye(120)[level], rng.integers(0, 2, 1000).astype(np.float64)
    turned = standardised(x).clamp(-6, 6) * torch.where(torch.arange(120) % 2 == 0, 1.0, -1.0)
    labels = find_labels(turned[None], torch.from_numpy(t)[None])[0]
    assert labels.members.all()
    column = labels.columns_of(turned[None])[0, :, 0].numpy()
    assert pd.Series(column).groupby(level).std().max() < 1e-9


@pytest.mark.parametrize(
    ("why", "levels", "chance"),
    [
        ("few levels", LEAST_LEVELS - 1, None),
        ("a treatment of whole levels", 20, np.arange(20) % 2),
        ("a treatment of nearly whole levels", 20, 0.98 * (np.arange(20) % 2) + 0.01),
        ("levels of single rows", 450, None),
    ],
)
def test_other_labels_have_none(why, levels, chance):
    x, _, t = labelled(np.random.default_rng(4), 600, levels, chance)
    assert found_in(x, t) is None


def test_indicators_that_overlap_are_no_label():
    rng = np.random.default_rng(5)
    x = (rng.random((600, 30)) < 0.3).astype(np.float64)
    assert found_in(x, rng.integers(0, 2, 600).astype(np.float64)) is None


def test_rows_that_are_doubled_count_once():
    """Where clusters name the pairs; where the label is the cluster, its rows are independent inside it."""
    rng = np.random.default_rng(6)
    x, level, t = labelled(rng)
    alone = found_in(x, t)
    pairs = np.arange(600).repeat(2)
    doubled = found_in(x.repeat(2, 0), t.repeat(2), pairs)
    torch.testing.assert_close(doubled.shares, alone.shares, rtol=1e-9, atol=1e-12)
    same = found_in(x, t, level)
    torch.testing.assert_close(same.shares, alone.shares, rtol=1e-9, atol=1e-12)


def test_places_follow_the_covariates():
    x, t, _ = practices(1)
    labels, values = found_in(x, t.astype(np.float64)), standardised(x)[None]
    places = torch.from_numpy(np.random.default_rng(7).permutation(x.shape[1]))
    moved = torch.empty_like(values)
    moved[..., places] = values
    torch.testing.assert_close(labels.reordered(places).columns_of(moved), labels.columns_of(values))


def named(x):
    """The law's covariates as a frame with a label, and with indicators by another name for all levels but one."""
    numbers = pd.DataFrame(x[:, :6], columns=list("abcdef"))
    frame = numbers.assign(practice=[f"no {code}" for code in x[:, 6:].argmax(1)])
    return frame, pd.get_dummies(frame, columns=["practice"], prefix_sep="_", drop_first=True)


def test_is_told_in_the_labels_own_words():
    x, t, y = practices(2)
    frame, dummies = named(x)
    result = dowhy_cina.estimate_effect(frame, t, y)
    assert result.labels == ("practice (40 levels)", "practice (40 levels) along f")
    assert "labels" in result.summary()
    assert result.to_dict()["labels"] == list(result.labels)
    other = dowhy_cina.estimate_effect(dummies, t, y)
    assert other.labels == ("practice (39 levels)", "practice (39 levels) along f")
    assert other.value == pytest.approx(result.value, abs=0.2 * result.standard_error)
    array = dowhy_cina.estimate_effect(x, t, y)
    assert array.labels[0] in {f"x{place} and 39 others" for place in range(6, 46)}
    assert array.value == pytest.approx(result.value, rel=1e-9)


def test_arms_may_change_places():
    x, t, y = practices(3)
    frame, _ = named(x)
    treated = dowhy_cina.estimate_effect(frame, t, y, target_units="att")
    controls = dowhy_cina.estimate_effect(frame, 1 - t, y, target_units="atc")
    assert controls.value == pytest.approx(-treated.value, abs=1e-6 * treated.standard_error)
    assert controls.standard_error == pytest.approx(treated.standard_error, rel=1e-6)


def test_the_label_may_be_the_cluster_too():
    """Its shares are learned from other clusters."""
    x, t, y = practices(4)
    result = dowhy_cina.estimate_effect(named(x)[0], t, y, cluster=x[:, 6:].argmax(1))
    assert result.labels == ("practice (40 levels)", "practice (40 levels) along f")
    low, high = result.confidence_interval
    assert low <= 0.5 <= high


def test_labels_of_few_rows_a_level_are_kept_apart():
    """A level of one label has no row with many levels of another one by chance; a frequent flag misses some, too."""
    rng = np.random.default_rng(10)
    school, region = (rng.permutation(np.resize(np.arange(levels), 700)) for levels in (120, 25))
    flag = rng.random((700, 4)) < 0.3
    x = np.column_stack([flag, np.eye(120)[school], np.eye(25)[region]])
    labels = found_in(x, rng.integers(0, 2, 700).astype(np.float64))
    members = {tuple(part.nonzero()[:, 0].tolist()) for part in labels.members[0]}
    assert members == {tuple(range(4, 124)), tuple(range(124, 149))}


def test_names_of_rows_are_no_label():
    """Beside a category with frequent levels, each of which misses most rows, either."""
    rng = np.random.default_rng(11)
    names = pd.DataFrame({"a": rng.normal(size=400), "kind": rng.choice(list("uvw"), 400)})
    names["name"] = [f"row {place}" for place in range(400)]
    t = rng.integers(0, 2, 400)
    result = dowhy_cina.estimate_effect(names, t, names["a"] + 0.5 * t + rng.normal(size=400))
    assert result.labels == ()


def test_covariates_of_whole_levels_have_no_slopes():
    rng = np.random.default_rng(12)
    x, level, t = labelled(rng)
    x[:, 0] = rng.normal(size=20)[level]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found_in(x, t).along.tolist() == [[-1]]
