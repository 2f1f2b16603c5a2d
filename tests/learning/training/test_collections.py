"""Collections: folders of a user's tables, mixtures, and training that never reads an outcome."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from dowhy_cina.config import CollectionConfig, ModelConfig, TrainingConfig
from dowhy_cina.errors import InputError, UnknownOptionError
from dowhy_cina.learning.simulators import draw_table
from dowhy_cina.learning.training import Folder, Mixture, Simulators, main, pretrain
from dowhy_cina.learning.training.collections import Prefetched, TableStream, draw_batch
from dowhy_cina.learning.training.objectives import Objective, estimates, losses
from dowhy_cina.learning.training.recipes import build_collection, parse_recipe
from dowhy_cina.learning.training.state import blind_to_outcomes
from dowhy_cina.learning.training.validation import score, validate, validation_parts
from dowhy_cina.model import checkpoint
from dowhy_cina.model.network import CinaModel

SMALL = ModelConfig(width=8, layers=1, heads=2)
QUICK = TrainingConfig(
    steps=3,
    min_rows=40,
    max_rows=80,
    max_columns=6,
    landmarks=16,
    tables_per_batch=2,
    batches_per_step=2,
    validation_tables=4,
    workers=0,
)
RANDOM = dataclasses.replace(QUICK, outcomes=False)
BLIND = dataclasses.replace(RANDOM, random_outcomes=False, gap_weight=1.0)
ONLY = Simulators(("additive", "scm"))


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CinaModel(SMALL).double()
        for parameter in model.encoder.parameters():  # an untrained network corrects nothing
            torch.nn.init.normal_(parameter, std=0.3)
        return model


def frame(seed, rows=150):
    table = draw_table(np.random.default_rng(seed), rows, 4, families=["additive"])
    columns = {f"x{k}": column for k, column in enumerate(table.covariates.T)}
    group = pd.Series(np.random.default_rng(seed).choice(["north", "south", "west"], rows))
    dose = np.where(table.treatment == 1, "yes", "no")
    return pd.DataFrame({**columns, "group": group, "dose": dose}), table


@pytest.fixture
def folder(tmp_path):
    """Three tables without an outcome."""
    path = tmp_path / "mine"
    path.mkdir()
    (path / "collection.toml").write_text('treatment = "dose"\ntreated = "yes"\ncontrol = "no"\n')
    for seed in range(3):
        frame(seed)[0].to_csv(path / f"{seed}.csv", index=False)
    return path


# Folders


def test_a_folder_is_read_as_an_estimate_reads_a_table(folder):
    found = Folder(folder)
    assert [table.name for table in found.tables] == ["0.csv", "1.csv", "2.csv"]
    for seed, table in enumerate(found.tables):
        assert table.covariates.shape == (150, 7)  # four numbers and three levels
        np.testing.assert_array_equal(table.treatment, frame(seed)[1].treatment)
        assert table.outcome is None
    frame(3)[0].to_parquet(folder / "3.parquet")
    assert len(Folder(folder).tables) == 4
    (folder / "collection.toml").write_text('treatment = "dose"\ntreated = "yes"\ncontrol = "no"\ncovariates = ["x1"]')
    assert Folder(folder).tables[0].covariates.shape == (150, 1)


@pytest.mark.parametrize("config", [BLIND, RANDOM, QUICK], ids=["blind", "random", "seeing"])
def test_batches_of_a_folder_are_subsamples_of_one_table(folder, config):
    found, shapes = Folder(folder), set()
    for index in range(60):
        batch = draw_batch(0, index, config, found)
        again = draw_batch(0, index, config, found)
        assert torch.equal(batch.table.covariates, again.table.covariates)
        assert torch.equal(batch.table.outcome, again.table.outcome)
        assert (batch.labels is None) == (config is BLIND)
        assert bool(batch.table.outcome.any()) == (config is not BLIND)
        tables, rows, columns = batch.table.covariates.shape
        assert tables == 2
        assert QUICK.min_rows <= rows <= QUICK.max_rows
        assert 1 <= columns <= QUICK.max_columns
        treated = batch.table.treatment.sum(1)
        assert ((treated >= 10) & (treated <= rows - 10)).all()
        shapes.add((rows, columns))
    assert len(shapes) > 10
    assert all(rows <= 90 for rows, _ in shapes if config is not BLIND)  # the other rows tell the propensity
    assert {columns for _, columns in shapes} == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("rare", ["no", "yes"])
def test_subsamples_keep_ten_rows_of_an_arm_that_is_rare(tmp_path, rare):
    (tmp_path / "collection.toml").write_text('treatment = "dose"\ntreated = "yes"\ncontrol = "no"\n')
    table = frame(0)[0].assign(dose="no" if rare == "yes" else "yes")
    table.loc[::12, "dose"] = rare  # 13 of 150
    table.to_csv(tmp_path / "0.csv", index=False)
    found, config = Folder(tmp_path), dataclasses.replace(QUICK, min_rows=40, max_rows=40)
    for index in range(5):
        treatment = draw_batch(0, index, config, found).table.treatment
        assert treatment.shape == (2, 40)
        assert (treatment == float(rare == "yes")).sum(1).tolist() == [10, 10]
    config = dataclasses.replace(BLIND, min_rows=150, max_rows=150)
    assert (draw_batch(0, 0, config, found).table.treatment == float(rare == "yes")).sum(1).tolist() == [13, 13]


def test_known_effects_make_labels(folder):
    effects = {}
    for seed in range(3):
        columns, table = frame(seed)
        columns.assign(y=table.outcome).to_csv(folder / f"{seed}.csv", index=False)
        effects[f"{seed}.csv"] = table.effect
    settings = (folder / "collection.toml").read_text() + 'outcome = "y"\n[effects]\n'
    (folder / "collection.toml").write_text(settings + f'"0.csv" = {effects["0.csv"]}\n')
    found = Folder(folder)
    assert found.tables[0].covariates.shape == (150, 7)
    labelled = []
    for index in range(20):
        batch = draw_batch(0, index, dataclasses.replace(QUICK, max_rows=150, random_outcomes=False), found)
        if batch.labels is None:
            continue
        labelled.append(index)
        assert batch.table.covariates.shape[2] == 7  # an effect holds for all covariates only
        np.testing.assert_allclose(batch.table.outcome.std(1, unbiased=False), 1)
        if batch.table.outcome.shape[1] == 150:
            scale = frame(0)[1].outcome.std()
            np.testing.assert_allclose(batch.labels.effect * scale, effects["0.csv"])
            t, y = batch.table.treatment[0].numpy() > 0, batch.table.outcome[0].numpy()
            error = np.sqrt(y[t].var() / t.sum() + y[~t].var() / (~t).sum())
            np.testing.assert_allclose(batch.labels.attainable, error)
    assert 2 <= len(labelled) <= 12
    blind = [draw_batch(0, index, dataclasses.replace(BLIND, max_rows=150), found) for index in labelled]
    assert all(batch.labels is None and not batch.table.outcome.any() for batch in blind)


BROKEN = {
    "empty.csv": "",
    "no_treatment.csv": "x0,x1\n1,2\n",
    "one_arm.csv": "dose,x0\n" + "yes,1\n" * 20,
    "few.csv": "dose,x0\n" + "yes,1\n" * 5 + "no,2\n" * 50,
    "constant.csv": "dose,x0\n" + "yes,1\n" * 20 + "no,1\n" * 20,
    "infinite.csv": "dose,x0\n" + "yes,inf\n" * 20 + "no,1\n" * 20,
    "damaged.parquet": "PAR1",
}


def test_broken_tables_are_counted_and_left_out_or_refused(folder, caplog):
    for name, content in BROKEN.items():
        (folder / name).write_text(content)
    assert len(Folder(folder).tables) == 3
    (record,) = caplog.records
    assert f"skipped {len(BROKEN)} of 10 tables" in record.message
    assert all(name in record.message for name in BROKEN)
    for name in BROKEN:
        others = [folder / other for other in BROKEN if other != name]
        for other in others:
            other.rename(other.with_suffix(".hidden"))
        with pytest.raises(InputError, match=rf"{name}: .*leave out --strict"):
            Folder(folder, strict=True)
        for other in others:
            other.with_suffix(".hidden").rename(other)


def test_a_folder_without_usable_tables_is_refused(tmp_path):
    (tmp_path / "collection.toml").write_text('treatment = "dose"')
    with pytest.raises(InputError, match=r"at least one usable table in .*no file ends in \.csv"):
        Folder(tmp_path)
    (tmp_path / "a.csv").write_text(BROKEN["one_arm.csv"])
    with pytest.raises(InputError, match=r"at least one usable table in .*a\.csv"):
        Folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, InputError, r"collection\.toml cannot be read.*treatment = "),
        ("treatment", InputError, "not valid TOML"),
        ("", InputError, "must name its treatment column"),
        ("treatment = 3", InputError, "must be of type str"),
        ('treatmnt = "dose"', UnknownOptionError, "did you mean 'treatment'"),
        ('treatment = "dose"\n[effects]\n"0.csv" = 1.0', InputError, "name the outcome's column"),
        ('treatment = "dose"\noutcome = "y"\neffects = 3', InputError, "table of file name = number"),
        ('treatment = "dose"\noutcome = "y"\n[effects]\n0 = 1.0', InputError, r"0\.csv, .* got '0':"),
        (
            'treatment = "dose"\noutcome = "y"\n[effects]\n"1.CSV" = 1.0',
            InputError,
            r"got '1\.CSV' \(did you mean '1\.csv'\?\)",
        ),
    ],
)
def test_wrong_settings(folder, text, error, message):
    (folder / "collection.toml").unlink()
    if text is not None:
        (folder / "collection.toml").write_text(text)
    with pytest.raises(error, match=message):
        Folder(folder)


# Recipes and worker processes


def test_streams_reach_workers_that_are_started_afresh(folder):
    """As on macOS and Windows, where nothing is inherited from the parent: batches are those of the parent itself."""
    collection = Mixture((Folder(folder), Simulators(("scm",))), (3.0, 1.0))
    stream = pickle.loads(pickle.dumps(TableStream(QUICK, collection, 2)))
    found, expected = next(iter(stream)), draw_batch(QUICK.seed, 2, QUICK, collection)
    assert torch.equal(found.table.covariates, expected.table.covariates)


def test_recipes_name_their_collections(folder, tmp_path):
    recipe = tmp_path / "r.toml"
    text = '[[collections]]\npath = "mine"\nweight = 3\n[[collections]]\nsimulators = ["scm"]\n'
    recipe.write_text(text)
    assert build_collection(parse_recipe(recipe)) == Mixture((Folder(folder), Simulators(("scm",))), (3.0, 1.0))
    recipe.write_text('[[collections]]\nsimulators = ["all"]\n')
    kept = QUICK.validation_families
    everything = build_collection(parse_recipe(recipe))
    assert not set(kept) & set(everything.names)
    assert everything == build_collection(parse_recipe("cina-small"))
    (folder / "broken.csv").write_text("")
    recipe.write_text('[[collections]]\npath = "mine"\n')
    assert len(build_collection(parse_recipe(recipe)).tables) == 3
    with pytest.raises(InputError, match=r"broken\.csv"):
        main(recipe, strict=True, output=tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("", "either simulators or the path"),
        ('path = "mine"\nsimulators = ["scm"]', "either simulators or the path"),
        ('simulators = ["forest"]', "got 'forest'"),
        (f'simulators = ["{QUICK.validation_families[0]}"]', "training does not see"),
        ('simulators = ["scm"]\nweight = 0', "weight of a collection must be positive"),
        ('path = "elsewhere"', "elsewhere.*cannot be read"),
    ],
)
def test_wrong_collections(tmp_path, entry, message):
    recipe = tmp_path / "r.toml"
    recipe.write_text(f"[[collections]]\n{entry}\n")
    with pytest.raises(InputError, match=message):
        build_collection(parse_recipe(recipe))


# Training without outcomes


def test_simulated_batches_without_outcomes():
    blind, seeing = draw_batch(0, 1, BLIND, ONLY), draw_batch(0, 1, QUICK, ONLY)
    assert blind.labels is None
    assert not blind.table.outcome.any()
    assert seeing.labels is not None
    for part in ("covariates", "treatment", "landmarks"):
        assert torch.equal(getattr(blind.table, part), getattr(seeing.table, part))
    parts = validation_parts(BLIND, ONLY)
    assert all(batch.labels is None for batch in parts["inside"])
    assert all(batch.labels is not None for batch in parts["outside"])


def test_objective_and_score_without_outcomes(model):
    batch = draw_batch(0, 1, BLIND, ONLY)
    config = dataclasses.replace(BLIND, hinge_weight=2.0)
    result = estimates(model, batch)
    assert set(result) == {"gap", "hinge"}
    assert ((result["gap"] > 0) & (result["gap"] < 1)).all()
    assert ((result["hinge"] > 0) & (result["hinge"] <= 1)).all()  # zero values lose one per row
    torch.testing.assert_close(losses(model, batch, config), result["gap"] + 2 * result["hinge"])
    Objective(model, config)(batch).backward()
    gradients = [parameter.grad for parameter in model.encoder.parameters()]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.abs().max() > 1e-6 for gradient in gradients)
    figures = validate(model, [batch])
    assert score(figures, config) == pytest.approx(figures["gap"] + 2 * figures["hinge"])


def test_a_blind_model_sets_everything_without_the_outcome(model):
    batch = draw_batch(0, 1, QUICK, ONLY)
    other = dataclasses.replace(batch.table, outcome=batch.table.outcome.roll(1, dims=1) ** 3)

    def settings():
        with torch.no_grad():
            found = [model.settings(table, model.pilot(table)) for table in (batch.table, other)]
        return [torch.stack([found[k].log_multipliers[name] for name in found[k].log_multipliers]) for k in (0, 1)]

    assert not torch.allclose(*settings())
    blind_to_outcomes(model.encoder)
    torch.testing.assert_close(*settings(), rtol=0, atol=1e-12)
    assert model.encoder.column_input.weight.any()
    losses(model, batch, QUICK).sum().backward()
    for layer in (model.encoder.column_input, model.encoder.table_input):
        assert layer.weight.grad.any()
        assert not layer.weight.grad[layer.weight == 0].any()


@pytest.mark.parametrize("random", [True, False])
def test_training_without_an_outcome_column(folder, tmp_path, random):
    """The tables have none, so nothing of one can have been read."""
    output = tmp_path / "x.safetensors"
    config = dataclasses.replace(QUICK, validation_every=2, steps=2, random_outcomes=random)
    header = pretrain(config, [Folder(folder)], output=output, model_config=SMALL, progress=False)
    assert header["families"] == [str(folder)]
    assert ("augmented_scaled" in header["validation"]["inside"]) == random
    assert "augmented" in header["validation"]["outside"]
    assert checkpoint.read(output)[0].config == SMALL


@pytest.mark.parametrize("random", [True, False])
def test_the_selfsupervised_recipe_never_looks_at_a_simulators_outcome(tmp_path, monkeypatch, random):
    """Neither at the outcome nor at what only its simulator knows: as numbers that are none they would be found out."""
    sizes = ["min_rows=40", "max_rows=80", "max_columns=4", "tables_per_batch=1", "batches_per_step=1"]
    settings = ["steps=2", "validation_tables=2", "workers=0", "model.width=8", "model.heads=2", "model.layers=1"]
    settings += [f"random_outcomes={str(random).lower()}", "calibration_samples=0"]
    seen = main("cina-selfsup", [*sizes, *settings], output=tmp_path / "x.safetensors")
    hidden = ("outcome", "mu0", "mu1", "propensity", "noise_sd")
    if not random:  # the target's weights do not depend on it, those of the labels are worked out beside them
        hidden = hidden[:3]

    def draw(*arguments, families):
        table = draw_table(*arguments, families=families)
        if set(families) <= set(QUICK.validation_families):  # these only ever report
            return table
        return dataclasses.replace(table, **dict.fromkeys(hidden, np.full(len(table.outcome), np.nan)))

    monkeypatch.setattr("dowhy_cina.learning.training.tables.draw_table", draw)
    blind = main("cina-selfsup", [*sizes, *settings], output=tmp_path / "y.safetensors")
    (model, header), (other, _) = checkpoint.read(seen), checkpoint.read(blind)
    assert header["recipe"]["outcomes"] is False
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), other.parameters(), strict=True))
    taken_away = (model.encoder.column_input.weight[:, [1, 2, 9, 20]] == 0).all()
    assert bool(taken_away) != random  # Algorithm 2 alone is blind to the outcome of a later estimate, too
    assert model.encoder.column_input.weight[:, [0, 3, 8, 21]].all()


def test_a_collection_is_simulators_or_a_folder():
    with pytest.raises(InputError, match="either simulators or the path"):
        CollectionConfig()


def test_a_mixture_draws_by_its_weights():
    class Source:
        def __init__(self, name):
            self.names = (name,)

        def batch(self, rng, config):
            return self.names[0]

    mixture = Mixture((Source("a"), Source("b")), (3.0, 1.0))
    assert mixture.names == ("a", "b")
    drawn = [draw_batch(0, index, QUICK, mixture) for index in range(400)]
    assert drawn == [draw_batch(0, index, QUICK, mixture) for index in range(400)]
    assert drawn.count("a") == pytest.approx(300, abs=40)
    for weights in ((1.0,), (1.0, 0.0), (1.0, math.inf), (1.0, math.nan)):
        with pytest.raises(InputError, match="positive weight for each"):
            Mixture(mixture.parts, weights)


def test_worker_processes_end_with_the_run():
    """Also where an error keeps its frames alive: they ignore signals, and the interpreter would wait for them."""
    before = multiprocessing.active_children()
    with Prefetched(TableStream(QUICK, ONLY), workers=1) as batches:
        next(batches)
        (worker,) = (child for child in multiprocessing.active_children() if child not in before)
    worker.join(20)
    assert not worker.is_alive()
