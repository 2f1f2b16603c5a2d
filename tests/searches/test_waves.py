"""Waves: found where they are and nowhere else, the same whichever way a table is turned, and on every route."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.calls.additions import readable_waves
from dowhy_cina.calls.direct import analyse
from dowhy_cina.model import search
from dowhy_cina.searches.added import Additions
from dowhy_cina.searches.differences import Differences
from dowhy_cina.searches.wave_search import CYCLES, MOST_GROUPS, find_waves, least_squares, z_score
from dowhy_cina.searches.waves import BEND, KNOTS, SQUARE, Group, Waves, knots_of, ranks_of
from dowhy_cina.tables import Preprocessor
from tests.model.laws import on_a_map, season, weekdays


def searched(x, residual):
    """Groups of waves in a residual, with all covariates alike."""
    return find_waves(torch.from_numpy(x), torch.from_numpy(residual), torch.ones(x.shape[1], dtype=torch.float64))


def test_ranks_are_those_of_numpy():
    """Those of the rows that the knots are of, to half the grid's width; ties get the middle, others an end."""
    rng = np.random.default_rng(0)
    even = torch.from_numpy(rng.normal(size=(500, 1)))
    ranks = ranks_of(even.T, knots_of(even))[0].numpy()
    expected = pd.Series(even[:, 0].numpy()).rank().to_numpy()
    np.testing.assert_allclose(ranks, (expected - 0.5) / 500, atol=0.5 / 64)
    tied = torch.from_numpy(rng.integers(0, 10, (500, 1)).astype(float))
    ranks = ranks_of(tied.T, knots_of(tied))[0].numpy()
    expected = pd.Series(tied[:, 0].numpy()).rank().to_numpy()
    np.testing.assert_allclose(ranks, (expected - 0.5) / 500, atol=0.5 / 64)
    outside = ranks_of(torch.tensor([[-9.0, 9.0]], dtype=torch.float64), knots_of(even))
    assert outside.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("tied", [False, True])
def test_a_negated_column_has_the_other_ranks(tied):
    rng = np.random.default_rng(1)
    column = torch.from_numpy(rng.integers(0, 9, (200, 1)) * 1.0 if tied else rng.normal(size=(200, 1)))
    ranks, turned = (ranks_of(own.T, knots_of(own)) for own in (column, -column))
    torch.testing.assert_close(turned, 1 - ranks, atol=1e-12, rtol=0)


def test_columns_are_products_of_cosines():
    """Of a covariate with even values, whose ranks are known; of about unit variance and hardly correlated."""
    grid = (np.arange(400) + 0.5) / 400
    x = np.random.default_rng(0).permuted(np.stack([grid, grid]), axis=1).T
    groups = [Group.alone([0], 4), Group.together([0, 1], 3), Group.bends([0, 1], BEND)]
    waves = Waves.of(torch.from_numpy(x)[None], groups)
    assert waves.shape == (15, 2)
    assert waves.groups == [([0], 0), ([0, 1], 0), ([0, 1], 0)]
    found = waves.columns_of(torch.from_numpy(x)[None])[0].numpy()
    shares = np.linspace(0, 1, KNOTS)
    knots = np.quantile(grid, shares, method="averaged_inverted_cdf")
    ranks = np.interp(x, knots, shares)
    singles = [np.sqrt(2) * np.cos(np.pi * k * ranks[:, 0]) for k in range(1, 5)]
    pairs = [
        2 * np.cos(np.pi * k * ranks[:, 0]) * np.cos(np.pi * m * ranks[:, 1]) for k in range(1, 4) for m in range(1, 4)
    ]
    bends = np.sqrt(2) * np.cos(2 * np.pi * ranks).T
    np.testing.assert_allclose(found, np.stack([*singles, *pairs, *bends], 1), atol=1e-9)
    np.testing.assert_allclose(found.std(0), 1, atol=0.15)


@pytest.mark.parametrize("count", [1, 4, 25])
def test_least_squares_are_those_of_a_score(count):
    for score in (-1.0, 0.0, 3.5):
        assert z_score(least_squares(score, count), count) == pytest.approx(score, abs=1e-9)


def test_finds_what_is_there():
    rng = np.random.default_rng(0)
    x, _, _ = on_a_map(0)
    alone = np.sin(9 * x[:, 3]) + rng.normal(size=800)
    together = 2 * np.cos(7 * x[:, 0]) * np.cos(7 * x[:, 1]) + rng.normal(size=800)
    assert [group.columns for group in searched(x, alone)] == [(3,)]
    assert searched(x, together)[0].columns == (0, 1)
    both = searched(x, alone + together)
    assert {(3,), (0, 1)} <= {group.columns for group in both}
    assert len(both) <= MOST_GROUPS
    z_scores = [group.z_score for group in both]
    assert z_scores == sorted(z_scores, reverse=True)


def test_finds_bends_that_no_covariate_shows_by_itself():
    """Of twenty covariates, each of which explains a hundredth; all along, or near the ends."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(800, 20))
    for order, bend in ((BEND, np.abs(x) > 0.7), (SQUARE, np.abs(x) > 2)):
        (group,) = searched(x, 0.25 * (bend / bend.std()).sum(1) + 2 * rng.normal(size=800))
        assert group.columns == tuple(range(20))
        assert {wave[1] for wave in group.waves} == {order}
        found = Waves.of(torch.from_numpy(x)[None], [group]).columns_of(torch.from_numpy(x)[None])[0].numpy()
        np.testing.assert_allclose(found.std(0), 1, atol=0.15)
        assert np.corrcoef(found.sum(1), (x**2).sum(1))[0, 1] > 0.6


def test_finds_waves_that_labels_turn_around():
    """A season whose peak is elsewhere in each of four regions; in all of them together there is none."""
    rng = np.random.default_rng(0)
    day, region = rng.uniform(0, 730, 700), rng.integers(0, 4, 700)
    x = np.column_stack([day, np.eye(4)[region], rng.normal(size=(700, 2))])
    season = np.cos(2 * np.pi * day / 365 + region * np.pi / 2)
    (group,) = searched(x, season + rng.normal(size=700))
    assert group.columns == (0, 1, 2, 3, 4)
    waves = Waves.of(torch.from_numpy(x)[None], [group]).columns_of(torch.from_numpy(x)[None])[0].numpy()
    left = np.linalg.lstsq(np.column_stack([np.ones(700), waves]), season, rcond=None)[1]
    assert left[0] < 0.2 * (season**2).sum()


@pytest.mark.parametrize("length", CYCLES)
def test_finds_cycles_of_whole_numbers(length):
    """Any function of the place in a cycle, whatever the unit and the origin; it goes on beyond the rows."""
    rng = np.random.default_rng(length)
    day, level = rng.integers(0, 400, 900), rng.normal(size=length)
    level -= level.mean()
    x = np.column_stack([0.01 * day - 2, rng.normal(size=900)])
    (group,) = searched(x, 0.6 * level[day % length] + rng.normal(size=900))
    assert (group.columns, group.length, len(group.waves)) == ((0,), length, length - 1)
    waves = Waves.of(torch.from_numpy(x)[None], [group])
    assert waves.groups == [([0], length)]
    later = np.column_stack([0.01 * np.arange(-30, 460) - 2, np.zeros(490)])
    columns = waves.columns_of(torch.from_numpy(later)[None])[0].numpy()
    np.testing.assert_allclose(columns[: -3 * length], columns[3 * length :], atol=1e-6)
    left = np.linalg.lstsq(np.column_stack([np.ones(490), columns]), level[np.arange(-30, 460) % length], rcond=None)[1]
    assert left[0] < 1e-8


@pytest.mark.parametrize("law", ["normal", "heavy", "rare", "unequal"])
def test_finds_nothing_where_nothing_is(law):
    """Of 300 tables of noise one in a hundred has waves by chance; of the heaviest no more than three do."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(300):
        x = np.column_stack([rng.normal(size=(300, 5)), rng.integers(0, 100, 300)])
        noise = {
            "normal": rng.normal(size=300),
            "heavy": rng.standard_t(2, size=300),
            "rare": (rng.random(300) < 0.05) * 1.0,
            "unequal": np.exp(x[:, 0]) * rng.normal(size=300),
        }[law]
        found += bool(searched(x, noise))
    assert found <= 9


def test_covariates_of_few_values_and_short_tables_are_passed_over():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 5, (400, 3)).astype(float)
    assert searched(x, np.where(x[:, 0] % 2 > 0, 3.0, -3.0) + rng.normal(size=400)) == []
    short = rng.uniform(size=(39, 2))
    assert searched(short, 5 * np.cos(9 * short[:, 0])) == []


def test_the_same_whichever_way_a_table_is_turned():
    """Negated covariates, another order of rows and of columns, another unit of the residual."""
    x, _, y = on_a_map(2)
    groups = searched(x, y - y.mean())
    assert groups
    expected = [group.waves for group in groups]
    order = np.random.default_rng(0).permutation(len(y))
    ways = [(-x, y), (x[order], y[order]), (x, -3 * y)]
    for turned, residual in ways:
        found = searched(turned, residual - residual.mean())
        assert [group.waves for group in found] == expected
        np.testing.assert_allclose([own.z_score for own in found], [own.z_score for own in groups], rtol=1e-8)
    places = [3, 1, 0, 2, 5, 4]
    found = searched(x[:, places], y - y.mean())
    assert [sorted(places[column] for column in group.columns) for group in found] == [
        sorted(group.columns) for group in groups
    ]


def test_kernels_see_waves_that_predict(monkeypatch):
    """With their scales; and none if they would have to predict better by more than they do."""
    x, t, y = on_a_map(3)
    state, plain = analyse(x, t, y)._state, analyse(x[:, 2:], t, y)._state
    waves, settings = state.added.waves, state.settings
    assert plain.added is None
    before = settings.treatment_scales.shape[1] - waves.shape[0]
    for scales, own in (
        (settings.treatment_scales, waves.treatment_scales),
        (settings.outcome_scales[0], waves.outcome_scales),
        (settings.outcome_scales[1], waves.outcome_scales),
    ):
        torch.testing.assert_close(scales[:, before:], own)
        assert (scales[:, :before] > 0).all()
    group = waves.members[0]
    distance = (2 * waves.outcome_scales[0, group].square().sum()).sqrt()
    assert min(abs(float(distance) - tried) for tried in search.TRIED_DISTANCES) < 1e-9
    monkeypatch.setattr(search, "LEAST_GAIN", 0.9)
    unseen = analyse(x, t, y)._state
    assert unseen.added.waves.outcome_scales.max() == unseen.added.waves.treatment_scales.max() == 0
    assert unseen.added.waves.shape == waves.shape


def test_the_variance_counts_no_wave_as_a_column():
    x, t, y = season(3)
    analysis = analyse(x, t, y)
    analysis.effect()
    added = analysis._state.added
    (found,) = analysis._named.values()
    assert float(found.columns) == 6 + (0 if added.steps is None else added.steps.count)


def test_copies_change_nothing():
    """Rows that are there twice, with the copies named, have the same waves with the same scales."""
    x, t, y = on_a_map(5, 110, 3)
    y = y + 4 * np.cos(2.5 * np.pi * x[:, 0]) * np.cos(2.5 * np.pi * x[:, 1])
    once = analyse(x, t, y)
    twice = analyse(*(np.repeat(part, 2, axis=0) for part in (x, t, y)), cluster=np.repeat(np.arange(110), 2))
    waves, again = once._state.added.waves, twice._state.added.waves
    assert waves.outcome_scales.max() > 0
    torch.testing.assert_close(again.outcome_scales, waves.outcome_scales, atol=0, rtol=0)
    torch.testing.assert_close(again.treatment_scales, waves.treatment_scales, atol=0, rtol=0)
    assert again.groups == waves.groups
    assert twice.effect().value == pytest.approx(once.effect().value, abs=1e-6)


def test_what_clusters_have_in_common_is_no_wave():
    """Of 100 tables of forty clusters, each at a place of its own with a level of its own, hardly one has a map."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(100):
        cluster = np.repeat(np.arange(40), 10)
        x, level = rng.uniform(size=(40, 2))[cluster], rng.normal(size=40)[cluster]
        parts = torch.from_numpy(x), torch.from_numpy(level + rng.normal(size=400)), torch.ones(2).double()
        found += bool(find_waves(*parts, torch.from_numpy(cluster)))
    assert found <= 4


def test_results_name_them():
    x, t, y = on_a_map(1)
    frame = pd.DataFrame(x, columns=["longitude", "latitude", *"abcd"])
    result = dowhy_cina.estimate_effect(frame, t, y)
    assert {frozenset(pair.split(" and ")) for pair in result.waves} >= {frozenset(["longitude", "latitude"])}
    assert "waves" in result.summary()
    assert "ups and downs" in result._repr_html_()
    x, t, y = weekdays(1)
    days = dowhy_cina.estimate_effect(pd.DataFrame(x, columns=["day", *"abcde"]), t, y)
    assert days.waves[0] == "day in cycles of 7"
    plain = dowhy_cina.estimate_effect(frame[["a", "b"]], t, np.random.default_rng(0).normal(size=800))
    assert plain.waves == ()
    assert "waves" not in plain.summary()


@pytest.mark.parametrize(
    ("group", "told"),
    [
        (Group.divided([5, 1, 2, 3, 4], 4), "day, differently by region=a, region=b and 2 more"),
        (Group.divided([5, 3, 1, 2], 4), "day, differently by region=a, region=b and 1 more"),
        (Group.divided([5, 2, 1], 4), "day, differently by region=a and region=b"),
        (Group.divided([0, 4], 4), "age, differently by region=d"),
        (Group.together([0, 5], 3), "age and day"),
        (Group.together([0, 5], 5), "age and day"),
        (Group.alone([5], 4), "day"),
        (Group.bends([0, 5], BEND), "age and day"),
        (Group.bends([0, 1, 2, 5], SQUARE), "age, region=a, region=b and 1 more"),
        (Group.cycle({5: (0.0, 1.0, 400.0)}, [5], 7), "day in cycles of 7"),
        (Group.divided([6, 1, 2], 4), "age less day, differently by region=a and region=b"),
    ],
)
def test_groups_are_named_by_what_goes_up_and_down(group, told):
    """Of a covariate beside columns of two values that is the covariate alone, wherever it stands in the table."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(size=200), "region": list("abcd") * 50, "day": rng.normal(size=200)})
    preprocessor = Preprocessor()
    values = preprocessor.fit_transform(frame)
    places = [preprocessor.names_out.index(name) for name in ("age", *(f"region={level}" for level in "abcd"), "day")]
    ones = torch.ones(1, 1, dtype=torch.float64)
    signs = preprocessor.in_own_units(np.array([places[0], places[5]]), np.zeros(2))[1].prod() * ones
    differences = Differences(torch.tensor([[[places[0], places[5]]]]), signs, 0 * ones, ones)
    columns = torch.column_stack([torch.from_numpy(values[:, places]), torch.from_numpy(values[:, 0])])
    waves = Waves.of(columns[None], [Group.alone([0], 8), group]).reordered(torch.tensor([*places, 6]))
    assert readable_waves(Additions(differences=differences, waves=waves), preprocessor) == ("age", told)
    assert readable_waves(Additions(differences=differences), preprocessor) == ()


def test_results_name_a_season_that_regions_turn_around():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"region": rng.choice(list("abcd"), 900), "day": rng.uniform(0, 730, 900)})
    drive = np.cos(2 * np.pi * frame["day"] / 365 + frame["region"].map(dict(zip("abcd", range(4), strict=True))) * 1.6)
    t = (rng.random(900) < 1 / (1 + np.exp(-drive))).astype(int)
    result = dowhy_cina.estimate_effect(frame, t, 2 * drive + 0.5 * t + rng.normal(size=900))
    told = "day, differently by region=a, region=b and 2 more"
    assert result.waves[0] == told
    assert f"along {told}" in " ".join(result.summary().split())


@pytest.mark.parametrize("law", [season, on_a_map, weekdays])
def test_an_estimate_with_waves_does_not_depend_on_names_units_and_order(law):
    x, t, y = law(1, 600)
    once = dowhy_cina.estimate_effect(x, t, y)
    assert once.waves
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(600), rng.permutation(6)
    ways = [
        (x, 1 - t, y, -1),
        (-x, t, y, 1),
        (x[rows], t[rows], y[rows], 1),
        (x[:, columns], t, y, 1),
        (x * [1e3, 1e-2, 3, 7, 1, 2] + 5, t, y, 1),
        (x, t, 3 * y + 100, 3),
    ]
    for *table, factor in ways:
        found = dowhy_cina.estimate_effect(*table)
        assert found.value / factor == pytest.approx(once.value, abs=1e-9)
        assert found.standard_error / abs(factor) == pytest.approx(once.standard_error, rel=1e-9)


def test_bends_are_of_covariates_with_many_values():
    """Of which there may be none among those along which regressions of many covariates change most."""
    rng = np.random.default_rng(12)
    x = np.column_stack([rng.integers(0, 2, (500, 70)) * 2.0 - 1, rng.normal(size=(500, 2))])
    parts = [
        torch.from_numpy(part) for part in (x, 2 * np.abs(x[:, -1]) + rng.normal(size=500), np.r_[np.ones(70), 0, 0])
    ]
    assert [group.columns for group in find_waves(*parts)] == [(71,)]
