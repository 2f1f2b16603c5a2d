"""Training: labels, reproducible batches, objectives by hand, recipes, and a run of seconds."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dowhy_cina.config import ModelConfig, TrainingConfig
from dowhy_cina.errors import InputError
from dowhy_cina.estimating.weighting import balance_arms
from dowhy_cina.learning.simulators import REGISTRY, draw_table
from dowhy_cina.learning.training import objectives, pretrain
from dowhy_cina.learning.training.collections import (
    Mixture,
    Simulators,
    TableStream,
    as_collection,
    draw_batch,
    training_families,
)
from dowhy_cina.learning.training.objectives import ESTIMATES, FLOOR, HUBER, Objective, estimates, huber, losses
from dowhy_cina.learning.training.state import new_run
from dowhy_cina.learning.training.tables import BATCH_ROWS, draw_shape, label, target_population
from dowhy_cina.learning.training.trainer import learning_rate
from dowhy_cina.learning.training.validation import validate, validation_batches
from dowhy_cina.mathematics.means import MeansTarget
from dowhy_cina.model import checkpoint
from dowhy_cina.model.network import CinaModel
from dowhy_cina.tables.preparation import stratified_rows

SMALL = ModelConfig(width=8, layers=1, heads=2)
CPU = torch.device("cpu")
QUICK = TrainingConfig(
    seconds=3,
    min_rows=40,
    max_rows=60,
    max_columns=4,
    landmarks=16,
    tables_per_batch=2,
    batches_per_step=2,
    warmup_steps=1,
    validation_every=5,
    validation_tables=4,
    workers=0,
)
FAMILIES = training_families(QUICK)
TABLES = Simulators(tuple(FAMILIES))


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CinaModel(SMALL).double()


def tensors(batch):
    parts = [batch.table, *([batch.labels] if batch.labels is not None else [])]
    found = [getattr(part, field.name) for part in parts for field in dataclasses.fields(part)]
    return [batch.target, *(tensor for tensor in found if isinstance(tensor, torch.Tensor))]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


# Tables


def test_batch_is_reproducible_from_seed_and_index():
    first = draw_batch(3, 7, QUICK, TABLES)
    assert equal(first, draw_batch(3, 7, QUICK, TABLES))
    for seed, index in ((3, 8), (4, 7)):
        assert not torch.equal(first.labels.label, draw_batch(seed, index, QUICK, TABLES).labels.label)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_order_does_not_depend_on_the_number_of_workers(workers):
    loader = DataLoader(TableStream(QUICK, TABLES, start=5), batch_size=None, num_workers=workers)
    for index, batch in enumerate(itertools.islice(loader, 7)):
        assert equal(batch, draw_batch(QUICK.seed, 5 + index, QUICK, TABLES))


def test_batch_is_standardised_and_labelled():
    for index in range(10):
        batch = draw_batch(0, index, QUICK, TABLES)
        table = batch.table
        tables, rows, columns = table.covariates.shape
        assert tables == QUICK.tables_per_batch
        assert QUICK.min_rows <= rows <= QUICK.max_rows
        assert 2 <= columns <= QUICK.max_columns
        assert table.landmarks.shape == (tables, QUICK.landmarks)
        assert {part.dtype for part in tensors(batch)} == {torch.float64, torch.int64}
        assert all(torch.isfinite(part).all() for part in tensors(batch))
        np.testing.assert_allclose(table.outcome.mean(1), 0, atol=1e-9)
        np.testing.assert_allclose(table.outcome.std(1, unbiased=False), 1)
        np.testing.assert_allclose(table.covariates.mean(1), 0, atol=0.2)  # exact but for cut outliers
        np.testing.assert_allclose(batch.target.sum(1), 1)
        assert (batch.target >= 0).all()
        assert ((batch.labels.attainable > 0) & (batch.labels.attainable <= 0.5)).all()


def test_shapes_cover_their_range_and_bound_a_batch():
    config = TrainingConfig()
    shapes = [draw_shape(np.random.default_rng(seed), config) for seed in range(500)]
    rows, columns, counts = map(np.array, zip(*shapes, strict=True))
    assert rows.min() < 110
    assert rows.max() > 3600
    assert 500 < np.median(rows) < 800  # the geometric mean of 100 and 4000 is 632
    assert columns.min() == 2
    assert columns.max() > 70
    assert (counts * rows <= np.maximum(BATCH_ROWS, rows)).all()
    assert counts.max() == config.tables_per_batch


@pytest.mark.parametrize("kind", ["ate", "att", "atc"])
def test_labels_are_unbiased(kind):
    """Over treatments and outcomes drawn anew at the same covariates; their noise is the attainable error."""
    rng = np.random.default_rng(0)
    table = draw_table(rng, 400, 3, families=["simulation_a"])
    table = dataclasses.replace(table, propensity=table.propensity.clip(0.1, 0.9))

    errors, attainable = [], []
    for _ in range(400):
        treatment = (rng.random(400) < table.propensity).astype(float)
        mean = np.where(treatment > 0, table.mu1, table.mu0)
        drawn = dataclasses.replace(table, treatment=treatment, outcome=mean + table.noise_sd * rng.normal(size=400))
        target, inverse = target_population(kind, drawn)
        assert target.sum() == pytest.approx(1)
        value, effect, error = label(drawn, target, inverse, 10 * table.outcome.std())
        errors.append(value - effect)
        attainable.append(error)
        assert effect == pytest.approx(target @ (table.mu1 - table.mu0) / (10 * table.outcome.std()))
    standard_error = np.std(errors) / 20
    assert abs(np.mean(errors)) < 4 * standard_error
    # Cut at twice its deviation a normal variable keeps 0.96 of it.
    assert np.std(errors) == pytest.approx(0.96 * np.sqrt(np.mean(np.square(attainable))), rel=0.15)


def test_ate_label_is_the_simulators_own_oracle():
    table = draw_table(np.random.default_rng(1), 400, 3, families=["kang_schafer"])
    n, e = 400, table.propensity
    scale = 1e6  # so large that nothing is bounded
    value, effect, _ = label(table, np.full(n, 1 / n), (1 / (1 - e) / n, 1 / e / n), scale)
    assert effect * scale == pytest.approx(table.effect)
    attainable = np.sqrt(np.sum((table.noise_sd / np.where(table.treatment > 0, e, 1 - e) / n) ** 2))
    noise = np.clip(table.oracle_label - table.effect, -2 * attainable, 2 * attainable)
    assert value * scale == pytest.approx(table.effect + noise)


@pytest.mark.parametrize(("treated", "size", "expected"), [(50, 20, 10), (4, 20, 4), (96, 20, 16), (50, 100, 50)])
def test_landmarks_are_of_both_arms(treated, size, expected):
    treatment = np.random.default_rng(0).permutation(np.arange(100) < treated).astype(float)
    rows = stratified_rows(treatment, size, np.random.default_rng(1))
    assert len(set(rows.tolist())) == size
    assert treatment[rows].sum() == expected


def test_families_for_training_and_validation_are_apart():
    assert set(FAMILIES) == set(REGISTRY) - set(QUICK.validation_families)
    assert training_families(QUICK, ["scm", "trees"]) == ["scm", "trees"]
    with pytest.raises(InputError, match=r"training does not see, got \['simulation_a'\] in both"):
        training_families(QUICK, ["scm", "simulation_a"])
    with pytest.raises(InputError, match=r"expected simulators .*, got 'forest'"):
        training_families(QUICK, ["forest"])
    with pytest.raises(InputError, match=r"expected simulators .*, got none"):
        training_families(QUICK, [])


def test_collections_of_every_form():
    assert as_collection(None, QUICK) == TABLES
    assert as_collection(["scm", "trees"], QUICK) == Simulators(("scm", "trees"))
    scm, trees = Simulators(("scm",)), Simulators(("trees",))
    assert as_collection(scm, QUICK) is as_collection([scm], QUICK) is scm
    assert as_collection(["trees", scm], QUICK) == Mixture((scm, trees), (1.0, 1.0))
    with pytest.raises(InputError, match=r"got 'my/folder'. A folder of tables is"):
        as_collection(["my/folder"], QUICK)
    with pytest.raises(InputError, match="got none"):
        as_collection([], QUICK)
    for kept in ("simulation_a", Simulators(("simulation_a",))):
        with pytest.raises(InputError, match=r"training does not see, got \['simulation_a'\] in both"):
            as_collection([scm, kept], QUICK)
    with pytest.raises(InputError, match=r"training does not see"):
        as_collection(Simulators(("simulation_a",)), QUICK)


@pytest.mark.parametrize("families", [(), ("ihdp",), tuple(REGISTRY), ("scm", "scm")])
def test_impossible_validation_families(families):
    with pytest.raises(InputError, match="validation_families must be some, not all"):
        training_families(dataclasses.replace(QUICK, validation_families=families))


# Objectives


def test_estimates_by_hand(model):
    batch = draw_batch(0, 1, QUICK, TABLES)
    with torch.no_grad():
        result = estimates(model, batch)
        state = model(batch.table)
        columns = model.balance_columns(batch.table.covariates, state.coordinate)
        features, means = ((batch.target[..., None] * part).sum(1) for part in (state.balance_features, columns))
        target = MeansTarget(features, means)
        weights = balance_arms(model, batch.table, state, target).weights.numpy()
    t, y, q = batch.table.treatment.numpy(), batch.table.outcome.numpy(), batch.target.numpy()
    mu0, mu1 = (mean.numpy() for mean in state.means)
    np.testing.assert_allclose(result["regression"], (q * (mu1 - mu0)).sum(1))
    np.testing.assert_allclose(result["weights_only"], (weights * t * y).sum(1) - (weights * (1 - t) * y).sum(1))
    corrections = (weights * t * (y - mu1)).sum(1) - (weights * (1 - t) * (y - mu0)).sum(1)
    noise = (weights**2 * state.loo_residuals.numpy() ** 2).sum(1)
    share = corrections**2 / (corrections**2 + noise)
    np.testing.assert_allclose(result["augmented"], (q * (mu1 - mu0)).sum(1) + share * corrections)
    assert (result["gap"] >= 0).all()


def test_huber_is_quadratic_then_linear():
    attainable = torch.full((3,), 0.08).double()
    small, edge, large = huber(torch.tensor([0.05, -HUBER * 0.1, 1.0]).double(), attainable).tolist()
    assert small == pytest.approx((0.05 / (0.08 + FLOOR)) ** 2 / 2)
    assert edge == pytest.approx(HUBER**2 / 2)
    assert large == pytest.approx(HUBER * (10 - HUBER / 2))


def test_objective_weighs_its_terms(model):
    batch = draw_batch(0, 2, QUICK, TABLES)
    names = (*ESTIMATES, "gap", "hinge")
    off = dataclasses.replace(QUICK, **{f"{name}_weight": 0.0 for name in names})
    with torch.no_grad():
        assert float(losses(model, batch, off).mean()) == 0
        terms = [
            float(losses(model, batch, dataclasses.replace(off, **{f"{name}_weight": 2.0})).mean()) for name in names
        ]
        result = estimates(model, batch)
        everything = dataclasses.replace(off, **{f"{name}_weight": 2.0 for name in names})
        assert float(losses(model, batch, everything).mean()) == pytest.approx(sum(terms))
        assert float(Objective(model, everything)(batch)) == pytest.approx(len(batch) * sum(terms))
    expected = huber(result["augmented"] - batch.labels.label, batch.labels.attainable).mean()
    assert terms[0] == pytest.approx(2 * float(expected))
    assert terms[-2] == pytest.approx(2 * float(result["gap"].mean()))
    assert terms[-1] == pytest.approx(2 * float(result["hinge"].mean()))


def test_a_step_against_the_gradient_lowers_the_objective(model):
    batch = draw_batch(0, 3, QUICK, TABLES)
    before = losses(model, batch, QUICK).sum()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad][-4:]
    gradients = torch.autograd.grad(before, parameters)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    with torch.no_grad():
        for sign in (-1, 1):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.add_(gradient, alpha=sign * 1e-4)
            if sign < 0:
                assert losses(model, batch, QUICK).sum() < before


def test_validation_by_hand(model):
    batches = validation_batches(QUICK, FAMILIES, 3)
    assert all(len(batch) == 1 for batch in batches)
    assert all(equal(one, two) for one, two in zip(batches, validation_batches(QUICK, FAMILIES, 3), strict=True))
    figures = validate(model, batches)
    with torch.no_grad():
        results = [estimates(model, batch) for batch in batches]
    errors = [abs(float(r["paper"] - b.labels.effect)) for r, b in zip(results, batches, strict=True)]
    units = [float(b.labels.attainable) + FLOOR for b in batches]
    excess = [abs(float(r["paper"] - b.labels.label)) for r, b in zip(results, batches, strict=True)]
    scaled = [min(10, error / unit) for error, unit in zip(excess, units, strict=True)]
    assert figures["paper"] == pytest.approx(np.mean(errors))
    assert figures["paper_scaled"] == pytest.approx(np.mean(scaled))
    assert figures["gap"] == pytest.approx(np.median([float(r["gap"]) for r in results]))


def test_learning_rate_warms_up_and_ends_at_zero():
    config = TrainingConfig(learning_rate=1.0, warmup_steps=10, seconds=100)
    assert learning_rate(config, 0, 0) == pytest.approx(0.1)
    assert learning_rate(config, 9, 0) == pytest.approx(1)
    assert learning_rate(config, 50, 50) == pytest.approx(0.5)
    assert learning_rate(config, 50, 100) == learning_rate(config, 50, 130) == pytest.approx(0)
    by_steps = dataclasses.replace(config, steps=200)
    assert learning_rate(by_steps, 100, 0) == learning_rate(by_steps, 100, 99) == pytest.approx(0.5)


# A run


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_run_and_its_continuation(tmp_path):
    output = tmp_path / "new" / "tiny.safetensors"
    state = torch.get_rng_state()
    header = pretrain(QUICK, output=output, model_config=SMALL, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    model, stored = checkpoint.read(output)
    assert model.config == SMALL
    assert stored["steps"] == header["steps"]
    assert stored["recipe"]["seconds"] == 3
    assert stored["families"] == FAMILIES
    assert set(stored["validation"]) == {"inside", "outside"}
    log = rows_of(output.with_suffix(".csv"))
    last = log[-1]
    # Steps of two batches of two tables, validated at the start and at the end at least.
    assert int(last["steps"]) > 0
    assert int(last["tables"]) == 4 * int(last["steps"])
    assert float(last["seconds"]) >= 3
    assert len(log) >= 2
    assert math.isfinite(float(last["inside_augmented_scaled"]))
    # The kept weights are the best of the log.
    scores = [float(row["inside_augmented_scaled"]) + 0.3 * float(row["inside_weights_only_scaled"]) for row in log]
    assert int(log[int(np.argmin(scores))]["steps"]) == stored["steps"]
    figures = validate(model, validation_batches(QUICK, FAMILIES, QUICK.validation_tables))
    assert figures["augmented"] == pytest.approx(stored["validation"]["inside"]["augmented"], abs=1e-4)

    again = pretrain(dataclasses.replace(QUICK, seconds=1), output=output, start=output, progress=False)
    assert rows_of(output.with_suffix(".csv"))[: len(log)] == log
    for key in ("steps", "tables", "seconds"):
        assert again[key] >= stored[key]
    first = rows_of(output.with_suffix(".csv"))[len(log)]
    assert int(first["steps"]) == stored["steps"]
    assert int(first["tables"]) == stored["tables"]
    assert float(rows_of(output.with_suffix(".csv"))[-1]["seconds"]) >= stored["seconds"] + 1


def test_a_run_whose_time_is_up_at_once_takes_a_step(tmp_path):
    output = tmp_path / "m.safetensors"
    pretrain(dataclasses.replace(QUICK, seconds=1e-6), output=output, model_config=SMALL, progress=False)
    assert [int(row["steps"]) for row in rows_of(output.with_suffix(".csv"))] == [0, 1]


def test_initial_weights_follow_from_the_seed():
    first, same, other = (
        new_run(dataclasses.replace(QUICK, seed=seed), SMALL, None, CPU).model.encoder.table_input.weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_the_log_has_the_mean_loss_of_the_steps_since_the_last_validation(tmp_path, monkeypatch):
    calls = itertools.count()

    def numbered(model, batch, config):
        """As many as there were steps before this one, of two batches each."""
        no_gradient = sum(parameter.sum() for parameter in model.parameters()) * 0
        return no_gradient + torch.full((len(batch),), next(calls) // 2)

    monkeypatch.setattr(objectives, "losses", numbered)
    options = {"steps": 5, "validation_every": 2, "validation_tables": 2, "validation_families": ("additive",)}
    config = dataclasses.replace(QUICK, **options)
    pretrain(config, ["linear"], output=tmp_path / "x.safetensors", model_config=SMALL, progress=False)
    rows = rows_of(tmp_path / "x.csv")
    assert [int(row["steps"]) for row in rows] == [0, 2, 4, 5]
    assert [float(row["loss"]) for row in rows] == pytest.approx([math.nan, 0.5, 2.5, 4.0], nan_ok=True)


@pytest.mark.parametrize("damage", ["not finite", "no factorisation"])
def test_a_degenerate_table_does_not_end_a_run(tmp_path, monkeypatch, caplog, damage):
    original, calls = objectives.losses, itertools.count()

    def damaged(model, batch, config):
        if next(calls) == 1:
            if damage == "no factorisation":
                raise torch.linalg.LinAlgError("not positive-definite")
            return original(model, batch, config) * math.nan
        return original(model, batch, config)

    monkeypatch.setattr(objectives, "losses", damaged)
    config = dataclasses.replace(QUICK, steps=3)
    pretrain(config, output=tmp_path / "x.safetensors", model_config=SMALL, progress=False)
    expected = {
        "not finite": "step 0: gradient is not finite, skipped",
        "no factorisation": "a batch was left out: not ",
    }
    assert len(caplog.records) == 1
    assert caplog.records[0].message.startswith(expected[damage])
    model, _ = checkpoint.read(tmp_path / "x.safetensors")
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
