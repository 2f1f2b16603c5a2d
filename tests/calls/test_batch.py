"""Many tables at once: the numbers of one table after the other, in any mixture of shapes and targets."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dowhy_cina.calls import batch
from dowhy_cina.calls.batch import EncodedTable, HeldSettings, values_encoded
from dowhy_cina.calls.direct import analyse
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError
from dowhy_cina.model.network import CinaModel
from dowhy_cina.tables import Preprocessor


def draw(rows, columns, seed, target):
    """A table as the user has it, and the target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    score = x[:, 0] if columns else np.zeros(rows)
    t = (rng.random(rows) < 1 / (1 + np.exp(-score))).astype(float)
    t[:4] = 0, 0, 1, 1
    y = 1e3 * (np.sin(score) + t * (1 + score) + rng.normal(size=rows))
    return x, t, y, (score > -0.5 if target == "mask" else target)


def encode(x, t, y, target):
    return EncodedTable(Preprocessor().fit_transform(x), t, y, target)


SHAPES = [(60, 3), (60, 3), (200, 5), (60, 3), (200, 5), (40, 0), (60, 3), (300, 1), (200, 5), (60, 3)]
TARGETS = ["ate", "att", "mask", "mask", "atc", "ate", "ate", "mask", "mask", "att"]


@pytest.fixture(scope="module")
def tables():
    return [draw(*shape, seed, target) for seed, (shape, target) in enumerate(zip(SHAPES, TARGETS, strict=True))]


@pytest.mark.parametrize(
    "options",
    [
        EstimatorOptions(),
        EstimatorOptions(augmentation="none"),
        EstimatorOptions(landmarks=30),
        EstimatorOptions(refine=1e-3),
        EstimatorOptions(augmentation="none", refine=1e-2),
    ],
    ids=["default", "weights", "landmarks", "refined", "refined weights"],
)
def test_together_is_one_by_one(tables, options):
    together = values_encoded([encode(*table) for table in tables], options)
    for (x, t, y, target), ours in zip(tables, together, strict=True):
        expected = analyse(x, t, y, options=options).effect(target)
        assert ours == pytest.approx(expected.value, abs=1e-6 * expected.outcome_scale)


def test_held_settings_follow_the_columns_by_name(monkeypatch):
    """Refits with the same columns in any order share a pass with the settings; others are predicted anew."""
    predicted, passes = [], []
    pilot, forward = CinaModel.pilot, CinaModel.forward
    monkeypatch.setattr(
        CinaModel, "pilot", lambda model, table: predicted.append(len(table.outcome)) or pilot(model, table)
    )
    monkeypatch.setattr(
        CinaModel,
        "forward",
        lambda model, table, held=None, pilot=None: (
            passes.append(len(table.outcome)) or forward(model, table, held, pilot)
        ),
    )
    x, t, y, _ = draw(120, 3, 0, "ate")  # all rows are landmarks, whatever their order
    x[:, 1] *= np.linspace(0.2, 2, 120)  # columns that differ in what they are to the kernels
    names, orders = ("a", "b", "c"), [(0, 1, 2), (2, 0, 1), (1, 2, 0)]
    encoded = Preprocessor().fit_transform(x)
    held = HeldSettings.of(EncodedTable(encoded, t, y, "ate", names), EstimatorOptions())
    turned = [EncodedTable(encoded[:, order], t, y, "ate", tuple(names[k] for k in order)) for order in orders]
    other = EncodedTable(encoded, t, y, "ate", ("a", "b", "d"))
    predicted.clear()
    found = values_encoded([*turned, other], EstimatorOptions(), held)
    assert (passes, predicted) == ([3, 1], [1])
    assert found == pytest.approx([found[3]] * 4, rel=1e-9)
    # Were the settings not put in order, the answer would be another one.
    wrong = dataclasses.replace(held, names=("b", "c", "a"), covariates=encoded[:, (1, 2, 0)])
    assert wrong.fits(turned[0])
    assert abs(values_encoded(turned[:1], EstimatorOptions(), wrong)[0] / found[0] - 1) > 1e-6
    # Of the same names, other rows have thresholds and directions of their own.
    assert not held.fits(EncodedTable(-encoded, t, y, "ate", names))


def test_tables_of_one_shape_share_a_pass(monkeypatch):
    passes = []
    original = CinaModel.forward

    def counted(model, table, *others):
        passes.append(len(table.treatment))
        return original(model, table, *others)

    monkeypatch.setattr(CinaModel, "forward", counted)
    encoded = [encode(*draw(60, 3, seed, "ate")) for seed in range(7)]
    together = values_encoded(encoded, EstimatorOptions())
    assert passes == [7]
    monkeypatch.setattr(batch, "BATCH_ENTRIES", 3 * 60 * 60)
    passes.clear()
    parted = values_encoded(encoded, EstimatorOptions())
    assert passes == [3, 3, 1]
    assert together == pytest.approx(parted, rel=1e-9)


def test_a_bound_on_the_landmarks():
    table = encode(*draw(200, 3, 1, "ate"))
    few, own = EstimatorOptions(landmarks=40), EstimatorOptions()
    assert values_encoded([table], own, most_landmarks=40) == values_encoded([table], few)
    assert values_encoded([table], few, most_landmarks=60) == values_encoded([table], few)
    assert values_encoded([table], own, most_landmarks=40) != values_encoded([table], own)


def test_order_of_tables_and_of_rows(tables):
    encoded = [encode(*table) for table in tables]
    first = values_encoded(encoded, EstimatorOptions())
    assert first == pytest.approx(values_encoded(encoded[::-1], EstimatorOptions())[::-1], rel=1e-9)
    order = np.random.default_rng(0).permutation(200)
    table = encoded[2]
    shuffled = EncodedTable(table.covariates[order], table.treatment[order], table.outcome[order], table.target[order])
    assert values_encoded([shuffled], EstimatorOptions()) == pytest.approx([first[2]], rel=1e-9)


def test_nothing_gives_nothing():
    assert values_encoded([], EstimatorOptions()) == []


def test_exact_solutions_are_refused():
    with pytest.raises(InputError, match="one by one"):
        values_encoded([], EstimatorOptions(checkpoint="exact"))
