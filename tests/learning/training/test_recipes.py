"""Recipes: what they say, what overrides change, and what is refused."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dowhy_cina.config import ModelConfig, TrainingConfig
from dowhy_cina.errors import CheckpointError, InputError, UnknownOptionError
from dowhy_cina.learning.training import main, pretrain, trainer
from dowhy_cina.learning.training.calibration import SEED_OFFSET
from dowhy_cina.learning.training.collections import Simulators, training_families
from dowhy_cina.learning.training.recipes import parse_recipe

RECIPE = "cina-small"
TABLES = Simulators(tuple(training_families(TrainingConfig())))


def test_bundled_recipe():
    recipe = parse_recipe(RECIPE)
    training, model = recipe.training, recipe.model
    assert training.validation_families == ("kang_schafer", "simulation_a", "quadratic_forms")
    assert model == ModelConfig()


def test_overrides():
    given = ["seconds=60", "training.seed = 4", "model.width=16", 'validation_families=["scm"]']
    recipe = parse_recipe(RECIPE, given)
    training, model = recipe.training, recipe.model
    assert (training.seconds, training.seed, training.validation_families) == (60.0, 4, ("scm",))
    assert model.width == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nlerning_rate = 1", "unknown training setting.*'lerning_rate'.*'learning_rate'"),
        ("[model]\nwidht = 1", "unknown model setting.*'widht'.*'width'"),
        ("[trainig]\nseed = 1", "unknown table.*'trainig'.*'training'"),
    ],
)
def test_unknown_keys(tmp_path, text, message):
    recipe = tmp_path / "r.toml"
    recipe.write_text(text)
    with pytest.raises(UnknownOptionError, match=message):
        parse_recipe(recipe)


@pytest.mark.parametrize("text", ["[training", "training = 3", "[training]\nseed = 'x'", "[training]\nseconds = -1"])
def test_bad_recipes(tmp_path, text):
    recipe = tmp_path / "r.toml"
    recipe.write_text(text)
    with pytest.raises(InputError):
        parse_recipe(recipe)


def test_a_recipe_that_is_no_text_file(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for path in (tmp_path, tmp_path / "missing.toml", tmp_path / "binary.toml"):
        with pytest.raises(InputError, match=f"recipe {re.escape(str(path))}"):
            parse_recipe(path)


def test_a_name_that_no_recipe_has():
    with pytest.raises(InputError, match=r"recipe cina-smal cannot be read.*or one of cina-selfsup, cina-small"):
        parse_recipe("cina-smal")


@pytest.mark.parametrize(
    "override", ["seconds", "", "seconds=abc", "seed=1.5", "seconds=-1", "validation_families=scm"]
)
def test_bad_overrides(override):
    with pytest.raises(InputError):
        parse_recipe(RECIPE, [override])


@pytest.mark.parametrize("override", ["secnds=1", "model.depth=1", "optimiser.lr=1", "=5"])
def test_unknown_overrides(override):
    with pytest.raises(UnknownOptionError):
        parse_recipe(RECIPE, [override])


@pytest.mark.parametrize("text", ["", "[training]\nseed = 1", "[model]"])
def test_a_recipe_that_says_nothing_of_the_model(tmp_path, text):
    recipe = tmp_path / "r.toml"
    recipe.write_text(text)
    assert parse_recipe(recipe).model is None


def test_a_run_from_a_checkpoint_has_its_network(tmp_path):
    """A model that differs from it is refused, before anything is written, and not passed over."""
    recipe, output = tmp_path / "r.toml", tmp_path / "x.safetensors"
    recipe.write_text('[training]\nstart = "cina-small"\nsteps = 1\n[model]\nwidth = 16\n')
    message = r"starts from cina-small has its network, with width = 48, and cannot have model\.width = 16"
    with pytest.raises(InputError, match=message):
        main(recipe, output=output)
    assert list(tmp_path.iterdir()) == [recipe]


def test_main_hands_the_recipe_to_the_loop(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("dowhy_cina.training.recipes.pretrain", lambda *given, **named: calls.append((given, named)))
    monkeypatch.chdir(tmp_path)
    assert main(RECIPE, ["seconds=2", 'start=""']) == Path("cina-small.safetensors")
    (training, collection), named = calls[0]
    assert (training.seconds, training.calibration_samples) == (2, 8800)
    assert collection == TABLES
    output = Path("cina-small.safetensors")
    assert named == {"model_config": ModelConfig(), "output": output, "start": None, "resume": False}
    main(RECIPE)
    assert calls.pop()[1]["start"] == Path("cina-small")
    main(RECIPE, ['start="mine.safetensors"'], resume=True, output=Path("other.safetensors"))
    named = calls[1][1]
    assert (named["start"], named["resume"], named["model_config"]) == (Path("mine.safetensors"), True, ModelConfig())
    assert named["output"] == Path("other.safetensors")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"expected the state of an earlier run in .*none\.state"):
        main(RECIPE, resume=True, output=tmp_path / "none.safetensors")


@pytest.mark.parametrize(("rank", "samples"), [(0, 50), (1, 50), (0, 0)])
def test_of_several_processes_the_first_alone_calibrates_on_demand(tmp_path, monkeypatch, rank, samples):
    calibrated = []
    group = SimpleNamespace(rank=rank, device=torch.device("cpu"))
    monkeypatch.setattr(trainer, "ProcessGroup", lambda _: contextlib.nullcontext(group))
    monkeypatch.setattr(trainer, "_Keeper", lambda *_: None)
    monkeypatch.setattr(trainer, "_train", lambda *_: None)
    monkeypatch.setattr(trainer, "calibrate_checkpoint", lambda *given: calibrated.append(given) or {"coverage": 0.9})
    config, output = TrainingConfig(seed=3, calibration_samples=samples), tmp_path / "x.safetensors"
    header = pretrain(config, model_config=ModelConfig(width=8, layers=1, heads=2), output=output)
    if samples and not rank:
        assert calibrated == [(output, training_families(config), samples, config.landmarks, 3 + SEED_OFFSET)]
        assert header["calibration"] == {"coverage": 0.9}
    else:
        assert (calibrated, header) == ([], {})
