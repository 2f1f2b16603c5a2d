"""What a search adds to tables (labels, differences, steps, waves): what it brings, and that every route has it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.calls.batch import EncodedTable, HeldSettings, values_encoded
from dowhy_cina.calls.direct import analyse
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.model import search
from dowhy_cina.tables import Preprocessor
from tests.model.laws import before_and_after, illnesses, jumps, on_a_map, practices, season, stores, weekdays

#: Laws with what is found in their tables, what looks for it, and the share of the error that is left at most.
LAWS = [
    (jumps, "steps", "find_steps", 0.5),
    (season, "waves", "find_waves", 0.6),
    (on_a_map, "waves", "find_waves", 0.5),
    (weekdays, "waves", "find_waves", 0.3),
    (before_and_after, "differences", "find_differences", 0.3),
    (practices, "labels", "find_labels", 0.35),
    (illnesses, "steps", "index_of_treatment", 0.5),
]


@pytest.mark.parametrize(("law", "kind", "find", "left"), LAWS)
def test_what_is_found_is_adjusted_for(law, kind, find, left, monkeypatch):
    """Errors of fifteen tables with the search and without, and how many intervals hold the effect."""
    tables = [law(seed) for seed in range(15)]
    ours = [dowhy_cina.estimate_effect(*table) for table in tables]
    assert sum(len(getattr(result, kind)) > 0 for result in ours) >= 14
    nothing = {"waves": lambda *_: [], "labels": lambda covariates, *_: [None] * len(covariates)}
    monkeypatch.setattr(search, find, nothing.get(kind, lambda *_: None))
    without = [dowhy_cina.estimate_effect(*table) for table in tables]
    errors, others = (np.mean([abs(result.value - 0.5) for result in results]) for results in (ours, without))
    assert errors < left * others
    held = [low <= 0.5 <= high for low, high in (result.confidence_interval for result in ours)]
    assert sum(held) >= 13
    assert sum(low <= 0.5 <= high for low, high in (result.confidence_interval for result in without)) < sum(held)


def test_steps_are_kept_where_kernels_predict_better(monkeypatch):
    """Of several tables in one pass by each table's own; a table without its steps is searched for waves as it is."""
    tables = [jumps(seed) for seed in range(4)]
    before = [analyse(*table)._state.added.steps for table in tables]
    judged, real = [], search._outcome_loss

    def loss(model, table, pilot):
        judged.append(real(model, table, pilot))
        return judged[-1] if table.added is None else judged[-1].new_zeros(len(judged[-1])) + torch.inf

    monkeypatch.setattr(search, "_outcome_loss", loss)
    after = [analyse(*table)._state.added for table in tables]
    assert all(steps is not None for steps in before)
    assert all(added is None or added.steps is None for added in after)
    # Jumps that drive outcomes make squared errors so much smaller that nothing else could decide.
    assert all(
        float(with_steps) < float(plain) - 50 for with_steps, plain in zip(judged[::2], judged[1::2], strict=True)
    )


@pytest.mark.parametrize(("law", "kind"), [law[:2] for law in LAWS])
def test_other_rows_have_it_too(law, kind):
    x, t, y = law(2)
    analysis = analyse(x, t, y)
    assert getattr(analysis._state.added, kind) is not None
    result = analysis.effect()
    own = (analysis._state.means[1] - analysis._state.means[0])[0].numpy() * result.outcome_scale
    effects = result.conditional_effects(x)["effect"].to_numpy()
    np.testing.assert_allclose(effects[analysis._rows.order], own, atol=0.35 * result.outcome_scale)
    frame = pd.DataFrame(x, columns=[f"column {place}" for place in range(x.shape[1])])
    whole = dowhy_cina.estimate_effect(frame, t, y)
    elsewhere = dowhy_cina.estimate_effect(frame, t, y, target_units=frame.iloc[:300] + 1e-9)
    inside = dowhy_cina.estimate_effect(frame, t, y, target_units=np.arange(len(x)) < 300)
    assert whole.value == pytest.approx(result.value, rel=1e-9)
    assert elsewhere.value == pytest.approx(inside.value, abs=0.05 * inside.standard_error)


def test_many_tables_are_what_each_is_by_itself():
    """Tables of one shape with additions of one kind, with others and with none go through the model as they should."""
    rng = np.random.default_rng(0)
    plain = [(rng.normal(size=(400, 4)), rng.integers(0, 2, 400), rng.normal(size=400)) for _ in range(2)]
    tables = [*plain, *(law(seed, 400, 4) for law, *_ in LAWS for seed in range(3))]
    shapes = [None if (own := analyse(*table)._state.added) is None else own.shape for table in tables]
    assert None in shapes
    assert len(set(shapes)) > 3
    for ours, table in zip(dowhy_cina.estimate_effects(tables), tables, strict=True):
        alone = dowhy_cina.estimate_effect(*table)
        assert (ours.labels, ours.waves, ours.differences) == (alone.labels, alone.waves, alone.differences)
        assert ours.steps.equals(alone.steps)
        assert ours.value == pytest.approx(alone.value, rel=1e-9)
        assert ours.standard_error == pytest.approx(alone.standard_error, rel=1e-9)
        np.testing.assert_allclose(
            ours.conditional_effects(table[0][:9]), alone.conditional_effects(table[0][:9]), rtol=1e-6
        )


@pytest.mark.parametrize(
    ("law", "kind", "further"),
    [
        (jumps, "steps", lambda x: np.sign(x[:, 0] * x[:, 2])),
        (season, "waves", lambda x: np.cos(2 * np.pi * x[:, 0])),
        (before_and_after, "differences", lambda x: np.abs(x[:, 1] - x[:, 0])),
        (partial(practices, levels=11), "labels", lambda x: x[:, 3]),
    ],
)
def test_refits_hold_what_their_table_has(law, kind, further):
    x, t, y = law(4, 120, 3)  # all rows are landmarks, whatever their order
    y = y + 4 * further(x)
    encoded = Preprocessor().fit_transform(x)
    names, order = tuple(f"column {place}" for place in range(encoded.shape[1])), (2, *range(3, encoded.shape[1]), 0, 1)
    table = EncodedTable(encoded, t, y, "ate", names)
    held = HeldSettings.of(table, EstimatorOptions())
    assert getattr(held.added, kind) is not None
    turned = EncodedTable(encoded[:, order], t, y, "ate", tuple(names[k] for k in order))
    found = values_encoded([table, turned], EstimatorOptions(), held)
    assert found[0] == pytest.approx(values_encoded([table], EstimatorOptions())[0], rel=1e-9)
    assert found[1] == pytest.approx(found[0], rel=1e-9)


@pytest.mark.parametrize("law", [jumps, season, before_and_after, practices])
def test_an_exact_solution_has_none(law):
    x, t, y = law(5, 400, 3)
    assert analyse(x, t, y)._state.added is not None
    assert analyse(x, t, y, options=EstimatorOptions(checkpoint="exact"))._state.added is None


def test_a_season_inside_clusters_is_found():
    """Of thirty stores with levels of their own, labels and clusters at once: they do not drown what weeks do."""
    held, errors = 0, []
    for seed in range(6):
        x, t, y, store = stores(seed)
        result = dowhy_cina.estimate_effect(x, t, y, cluster=store)
        assert any("x0" in text for text in (*result.waves, *result.steps.index))
        low, high = result.confidence_interval
        held += low <= 0.5 <= high
        errors.append(abs(result.value - 0.5) / y.std())
    assert held == 6
    assert np.mean(errors) < 0.1


def test_among_many_covariates_one_that_goes_both_ways_is_found():
    """Regressions of a hundred covariates hardly change along it."""
    errors = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(1000, 100))
        drive = 1.5 * np.abs(x[:, 0]) - 1.2
        t = (rng.random(1000) < 1 / (1 + np.exp(-drive))).astype(int)
        y = drive + 0.5 * t + rng.normal(size=1000)
        result = dowhy_cina.estimate_effect(x, t, y)
        assert any("x0" in text for text in (*result.waves, *result.steps.index))
        errors.append(abs(result.value - 0.5) / y.std())
    assert np.mean(errors) < 0.12


@pytest.mark.parametrize("law", [law[0] for law in LAWS])
def test_doubled_rows_change_nothing(law):
    """Clusters name the pairs, and each row has half the sampling weight."""
    x, t, y = law(6)
    alone = dowhy_cina.estimate_effect(x, t, y)
    pairs = np.arange(len(t)).repeat(2)
    weights = np.full(len(pairs), 0.5)
    twice = dowhy_cina.estimate_effect(x[pairs], t[pairs], y[pairs], cluster=pairs, sample_weight=weights)
    assert twice.value == pytest.approx(alone.value, abs=1e-6 * alone.standard_error)
    assert twice.standard_error == pytest.approx(alone.standard_error, rel=1e-6)
    assert (twice.labels, twice.differences, twice.waves) == (alone.labels, alone.differences, alone.waves)
