"""Settings: unknown names, wrong types and impossible values raise and say what to do."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dowhy_cina.config import (
    CollectionConfig,
    EstimatorOptions,
    FolderConfig,
    ModelConfig,
    TrainingConfig,
    from_mapping,
)
from dowhy_cina.errors import InputError, InputTypeError, UnknownOptionError

CONFIGS = [ModelConfig, EstimatorOptions, TrainingConfig]


@pytest.mark.parametrize("cls", CONFIGS)
def test_defaults_survive_json(cls):
    stored = json.loads(json.dumps(dataclasses.asdict(cls())))
    assert from_mapping(cls, stored, "setting") == cls()


@pytest.mark.parametrize("cls", CONFIGS)
def test_frozen(cls):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(cls(), dataclasses.fields(cls)[0].name, 1)


def test_lists_and_whole_numbers():
    config = from_mapping(TrainingConfig, {"seconds": 3, "validation_families": ["scm"]}, "setting")
    assert config.seconds == 3.0
    assert isinstance(config.seconds, float)
    assert config.validation_families == ("scm",)


def test_unknown_names_point_to_the_nearest():
    with pytest.raises(UnknownOptionError, match=r"unknown training setting.*'lerning_rate'.*'learning_rate'"):
        from_mapping(TrainingConfig, {"lerning_rate": 1e-3}, "training setting")


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (TrainingConfig, "seconds", "abc"),
        (TrainingConfig, "seed", 1.5),
        (TrainingConfig, "seed", True),
        (TrainingConfig, "validation_families", "scm"),
        (ModelConfig, "width", "48"),
        (ModelConfig, "key_width", None),
        (EstimatorOptions, "device", 0),
    ],
)
def test_wrong_types(cls, name, value):
    with pytest.raises(InputError, match=f"setting '{name}' must be of type"):
        from_mapping(cls, {name: value}, "setting")


@given(st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers())))
def test_not_a_table(values):
    with pytest.raises(InputError, match="expected setting as a table"):
        from_mapping(ModelConfig, values, "setting")


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (ModelConfig, {"width": 10, "heads": 4}, "multiple of heads, got 10 and 4"),
        (ModelConfig, {"heads": 0}, "heads must be at least 1"),
        (EstimatorOptions, {"augmentation": "ridge"}, "augmentation must be 'kernel' or 'none', got 'ridge'"),
        (EstimatorOptions, {"landmarks": 1}, "landmarks must be a whole number of at least 2, got 1"),
        (EstimatorOptions, {"landmarks": 64.0}, "landmarks must be a whole number of at least 2, got 64.0"),
        (EstimatorOptions, {"refine": 1.0}, r"refine must be a relative duality gap in \(0, 1\) such as 1e-3, got 1.0"),
        (TrainingConfig, {"landmarks": 1}, "landmarks must be at least 2, got 1"),
        (TrainingConfig, {"min_rows": 10}, "20 <= min_rows <= max_rows, got 10"),
        (TrainingConfig, {"min_rows": 200, "max_rows": 100}, "got 200 and 100"),
        (TrainingConfig, {"seconds": 0.0}, "seconds must be positive and finite"),
        (TrainingConfig, {"seconds": float("nan")}, "seconds must be positive and finite"),
        (TrainingConfig, {"seconds": float("inf")}, "seconds must be positive and finite"),
        (TrainingConfig, {"validation_tables": 1}, "validation_tables must be at least 2, got 1"),
        (TrainingConfig, {"batches_per_step": 0}, "batches_per_step must be at least 1"),
        (TrainingConfig, {"warmup_steps": 0}, "warmup_steps must be at least 1"),
        (TrainingConfig, {"validation_every": 0}, "validation_every must be at least 1"),
        (TrainingConfig, {"workers": -1}, "workers must be at least 0"),
        (TrainingConfig, {"seed": 2**70}, "seed must be at most"),
        (TrainingConfig, {"seed": 1.5}, "seed must be of type int, such as 0; got 1.5"),
        (TrainingConfig, {"learning_rate": float("nan")}, "learning_rate must be a number from .* got nan"),
        (TrainingConfig, {"learning_rate": "1e-3"}, "learning_rate must be of type float, such as 0.001; got '1e-3'"),
        (TrainingConfig, {"learning_rate": 0.0}, "learning_rate must be a number"),
        (TrainingConfig, {"clip": 0.0}, "clip must be a number"),
        (TrainingConfig, {"average_decay": 1.0}, "average_decay must be a number from 0"),
        (TrainingConfig, {"gap_weight": -1.0}, "gap_weight must be a number from 0"),
        (TrainingConfig, {"outcomes": "no"}, "outcomes must be of type bool, such as True; got 'no'"),
        (TrainingConfig, {"compile": "yes"}, "compile must be of type bool"),
        (TrainingConfig, {"seconds": True}, "seconds must be of type float"),
        (TrainingConfig, {"device": 3}, "device must be of type str"),
        (TrainingConfig, {"start": 4}, "start must be of type str"),
        (TrainingConfig, {"validation_families": 5}, "validation_families must be of type tuple"),
        (TrainingConfig, {"validation_families": (5,)}, r"validation_families must be of type tuple, of texts.*\(5,\)"),
        (TrainingConfig, {"calibration_samples": 1}, "calibration_samples must be at least 10, got 1"),
        (CollectionConfig, {"simulators": "scm"}, "simulators must be of type tuple"),
        (CollectionConfig, {"path": 3}, "path must be of type str"),
        (CollectionConfig, {"path": "x", "weight": "1"}, "weight must be of type float"),
        (FolderConfig, {"treatment": 5}, "treatment must be of type str"),
        (FolderConfig, {"treatment": "t", "covariates": 5}, "covariates must be of type tuple"),
        (FolderConfig, {"treatment": "t", "covariates": (5,)}, "covariates must be of type tuple, of texts"),
        (FolderConfig, {"treatment": "t", "outcome": "y", "effects": 5}, "effects must be pairs of a file name"),
        (FolderConfig, {"treatment": "t", "outcome": "y", "effects": ("ab",)}, "effects must be pairs"),
        (FolderConfig, {"treatment": "t", "outcome": "y", "effects": (("a", "1"),)}, "effects must be pairs"),
        (FolderConfig, {"treatment": "t", "outcome": "t"}, "'t' more than once"),
        (FolderConfig, {"treatment": "t", "covariates": ("x", "t")}, "'t' more than once"),
        (FolderConfig, {"treatment": "t", "covariates": ("x", "x")}, "'x' more than once"),
        (FolderConfig, {"treatment": "t", "outcome": "y", "covariates": ("y",)}, "'y' more than once"),
        (FolderConfig, {"treatment": "t", "covariates": ("",)}, "without a name"),
        (FolderConfig, {"treatment": "t", "treated": "1", "control": "1"}, "two values"),
        (FolderConfig, {"treatment": "t", "outcome": "y", "effects": (("a", np.nan),)}, "finite numbers, got a = nan"),
    ],
)
def test_impossible_values(cls, values, message):
    with pytest.raises(InputError, match=message):
        cls(**values)


@pytest.mark.parametrize("cls", [*(config for config in CONFIGS if config is not EstimatorOptions), CollectionConfig])
def test_numpys_numbers_are_pythons(cls):
    """In every field that holds a number, so that a new one cannot be forgotten; those of options are None."""
    kinds = {int: np.int64, float: np.float64}
    filled = {"simulators": ("scm",)} if cls is CollectionConfig else {}
    plain = cls(**filled)
    numbers = {
        field.name: kinds[type(field.default)](field.default)
        for field in dataclasses.fields(cls)
        if type(field.default) in kinds
    }
    assert numbers
    config = cls(**numbers, **filled)
    assert config == plain
    assert hash(config) == hash(plain)
    assert repr(config) == repr(plain)
    assert json.dumps(dataclasses.asdict(config)) == json.dumps(dataclasses.asdict(plain))


def test_a_config_made_directly_has_the_types_of_one_that_was_read(tmp_path):
    config = TrainingConfig(seconds=3, validation_families=["scm"], start=tmp_path)
    assert config == from_mapping(
        TrainingConfig, {"seconds": 3.0, "validation_families": ["scm"], "start": str(tmp_path)}, "setting"
    )
    assert json.dumps(dataclasses.asdict(config))
    assert FolderConfig(treatment="t", covariates=["a", "b"]).covariates == ("a", "b")
    assert TrainingConfig(calibration_samples=10).calibration_samples == 10


def test_options_that_are_none_take_numpys_numbers_too():
    options = EstimatorOptions(landmarks=np.int64(64), refine=np.float32(1e-3))
    assert repr(options) == repr(EstimatorOptions(landmarks=64, refine=float(np.float32(1e-3))))


@pytest.mark.parametrize("value", [True, np.True_, np.float64(64), "64"])
def test_landmarks_are_whole_numbers(value):
    with pytest.raises(InputError, match="landmarks must be a whole number of at least 2"):
        EstimatorOptions(landmarks=value)


@pytest.mark.parametrize("value", [None, 3, ["kernel"], np.array(["kernel", "none"]), pd.DataFrame({"a": [1, 2]})])
def test_an_augmentation_is_a_word(value):
    with pytest.raises(InputTypeError, match="augmentation must be 'kernel' or 'none', got"):
        EstimatorOptions(augmentation=value)


@pytest.mark.parametrize("value", [True, np.True_, np.int64(1), np.float32("nan")])
def test_a_gap_is_a_share(value):
    with pytest.raises(InputError, match="refine must be a relative duality gap"):
        EstimatorOptions(refine=value)


class TestLandmarks:
    def test_grow_with_the_smaller_arm_and_not_beyond_what_time_allows(self):
        numbers = [EstimatorOptions().landmarks_for(arm, arm) for arm in (10, 1024, 1300, 2048, 4096, 20_000, 30_000)]
        assert numbers == [128, 128, 144, 176, 256, 256, 208]
        assert EstimatorOptions().landmarks_for(50_000, 50_000) == 128

    def test_are_the_same_with_the_arms_exchanged_and_few_where_an_arm_is_small(self):
        options = EstimatorOptions()
        assert options.landmarks_for(10_000, 2000) == options.landmarks_for(2000, 10_000) == 176
        assert options.landmarks_for(16_000, 160) == 128

    def test_are_those_that_were_asked_for(self):
        assert EstimatorOptions(landmarks=40).landmarks_for(4096, 4096) == 40
