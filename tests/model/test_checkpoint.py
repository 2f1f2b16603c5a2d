"""Checkpoints: round trip, every kind of damage, atomic writes, and no trace in the caller's process."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dowhy_cina.config import ModelConfig
from dowhy_cina.errors import CheckpointError
from dowhy_cina.model import checkpoint
from dowhy_cina.model.files import content_hash
from dowhy_cina.model.network import CinaModel

SMALL = ModelConfig(width=8, layers=1, heads=2, key_width=3.0)
CPU = torch.device("cpu")
HEADER = {"model": dataclasses.asdict(SMALL), "steps": 7}


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CinaModel(SMALL).double()


@pytest.fixture
def path(tmp_path, model):
    target = tmp_path / "runs" / "small.safetensors"
    checkpoint.write(target, model, HEADER)
    return target


def raises(path, reason):
    """Expect an error that names the file and the reason."""
    return pytest.raises(CheckpointError, match=f"(?s){path.name}.*{reason}")


def rewrite(path, change_header=lambda header: header, change_tensors=lambda tensors: tensors, hashed=True):
    """Write the file anew with another header or other tensors, and with the hash that these have."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["header"])
        tensors = change_tensors({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    header = change_header(header)
    old = header.pop("sha256")
    text = json.dumps(header)
    digest = content_hash(tensors, "" if header.get("format_version", 0) in (1, 2, 3) else text) if hashed else old
    save_file(tensors, path, metadata={"header": json.dumps({"sha256": digest, **header})})


def test_round_trip(path, model):
    read, header = checkpoint.read(path)
    assert header["steps"] == 7
    assert header["format_version"] == checkpoint.FORMAT_VERSION
    assert header["licence"] == "MIT"
    assert read.config == SMALL
    assert not read.training
    ours, theirs = read.state_dict(), model.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert tensor.dtype == torch.float64
        assert torch.equal(tensor, theirs[name].float().double())
    trained = [[parameter.requires_grad for parameter in each.parameters()] for each in (read, model)]
    assert trained[0] == trained[1]


def test_header_without_tensors(path):
    assert checkpoint.read_header(path) == checkpoint.read(path)[1]


def test_a_name_and_a_path_as_text(path):
    assert checkpoint.read_header(str(path))["steps"] == 7
    assert checkpoint.bundled() == ["cina-selfsup", "cina-small", "rule"]
    assert checkpoint.resolve(Path("rule")) == checkpoint.resolve("rule")
    for name in checkpoint.bundled():
        model, header = checkpoint.read(name)
        assert header["format_version"] == checkpoint.FORMAT_VERSION
        assert header["model"] == dataclasses.asdict(model.config)
        assert checkpoint.resolve(name).stat().st_size <= 8e6


def test_loaded_once_until_the_file_changes(path, model):
    first = checkpoint.load(path, CPU)
    assert checkpoint.load(str(path), CPU) is first
    checkpoint.write(path, model, HEADER | {"steps": 8})
    os.utime(path, ns=(1, 1))
    assert checkpoint.load(path, CPU) is not first


def test_a_relative_name_is_that_of_the_folder(tmp_path, model, monkeypatch):
    """Two files of one name, size and time; of one path they would be told apart by the size or the file's number."""
    found = []
    for folder in ("one", "two"):
        target = tmp_path / folder / "m.safetensors"
        checkpoint.write(target, model, HEADER | {"steps": len(found)})
        os.utime(target, ns=(1, 1))
        monkeypatch.chdir(target.parent)
        found.append(checkpoint.load("m.safetensors", CPU))
    assert found[0] is not found[1]
    assert found[1] is checkpoint.load(tmp_path / "one" / ".." / "two" / "m.safetensors", CPU)


def test_another_file_of_the_same_time_is_read(path, model):
    first = checkpoint.load(path, CPU)
    modified = path.stat().st_mtime_ns
    checkpoint.write(path, model, HEADER)
    os.utime(path, ns=(modified, modified))
    assert checkpoint.load(path, CPU) is not first


def test_reading_leaves_random_state_and_dtype_alone(path):
    state = torch.get_rng_state()
    checkpoint.read(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("keep", [0, 5, 300, -1, -100])
def test_truncated(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    for read in (checkpoint.read, checkpoint.read_header, partial(checkpoint.load, device=CPU)):
        with raises(path, "truncated"):
            read(path)


@pytest.mark.parametrize("place", [-1, -500])
def test_flipped_byte(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with raises(path, "sha256.*damaged"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"header": "no JSON"}, {"header": "[]"}, {"header": "{}"}]
)
def test_foreign_safetensors(path, metadata):
    save_file({"weight": torch.zeros(3)}, path, metadata=metadata)
    with raises(path, "without a dowhy-cina header"):
        checkpoint.read(path)


def test_another_format(path):
    rewrite(path, lambda header: header | {"format": "other"})
    with raises(path, "expected format 'dowhy-cina', got 'other'"):
        checkpoint.read(path)


def test_pickle_is_never_loaded(path):
    torch.save({"weight": torch.zeros(3)}, path)
    with raises(path, "pickle, which is never loaded"):
        checkpoint.read(path)


def test_newer_format(path):
    rewrite(path, lambda header: header | {"format_version": checkpoint.FORMAT_VERSION + 1})
    with raises(path, "newer than 5.*upgrade"):
        checkpoint.read(path)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_older_versions(path, model, version):
    """No setting counts iterations any more; variance heads had fewer parts and powers, and single rows had none."""
    added = ("variance.columns", "conditional.coefficients") if version == 1 else ()
    kept = {1: [0, 1, 2, 3, 4], 2: [0, 1, 2, 3, 4, 6]}.get(version, [0, 1, 2, 3, 4, 5, 6])

    def older(header):
        settings = {"target_layers": 8} if version == 1 else {}
        return header | {"format_version": version, "model": header["model"] | settings}

    def shorter(tensors):
        weights, growth, columns = (tensors[f"variance.{name}"] for name in ("log_weights", "growth", "columns"))
        grown = 6 if version > 2 else 5
        cut = {"variance.log_weights": weights[kept], "variance.growth": growth[:grown], "variance.columns": columns[6]}
        cut = {name: tensor.clone() for name, tensor in cut.items()}
        return {name: tensor for name, tensor in (tensors | cut).items() if name not in added}

    rewrite(path, older, shorter, hashed=False)
    with raises(path, "sha256"):
        checkpoint.read(path)
    rewrite(path)
    read, header = checkpoint.read(path)
    assert header["format_version"] == version
    assert read.config == SMALL
    # What is added is that of a model that was never calibrated.
    for name, tensor in read.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], atol=1e-6, rtol=0)
    assert not any(
        parameter.requires_grad for parameter in (*read.variance.parameters(), *read.conditional.parameters())
    )
    newer = {"format_version": checkpoint.FORMAT_VERSION, "model": dataclasses.asdict(SMALL)}
    rewrite(path, lambda header: header | newer)
    with pytest.raises(CheckpointError, match="do not fit"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "settings", [None, 3, {"width": 8, "depth": 2}, {"width": "8"}, {"width": 9, "heads": 2}, {"width": 0}]
)
def test_settings_of_another_release(path, settings):
    def change(header):
        header.pop("model")
        return header if settings is None else header | {"model": settings}

    rewrite(path, change)
    with raises(path, "model"):
        checkpoint.read(path)


def test_another_architecture(path):
    rewrite(path, lambda header: header | {"model": header["model"] | {"width": 16}})
    with raises(path, "do not fit the architecture"):
        checkpoint.read(path)


@pytest.mark.parametrize(("hashed", "reason"), [(False, "sha256"), (True, "do not fit the architecture")])
def test_missing_tensor(path, hashed, reason):
    def drop(tensors):
        tensors.pop("encoder.norm.weight")
        return tensors

    rewrite(path, change_tensors=drop, hashed=hashed)
    with raises(path, reason):
        checkpoint.read(path)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ModelConfig)])
@pytest.mark.parametrize("value", [-1, 10**12, float("nan"), float("inf"), 10**400, True, "1", None, [[]]])
def test_no_setting_is_taken_out_of_its_range(path, name, value):
    rewrite(path, lambda header: header | {"model": header["model"] | {name: value}})
    with raises(path, f"model settings of its header do not fit.*{name}"):
        checkpoint.read(path)


def test_a_header_without_end_is_refused_at_once(path):
    def nested(header, depth):
        for _ in range(depth):
            header = [header]
        return header

    began = time.monotonic()
    for depth in (30, 900):
        rewrite(path, lambda header, depth=depth: header | {"recipe": nested({}, depth)})
        with raises(path, "without a dowhy-cina header"):
            checkpoint.read(path)
    for text in ("[" * 500_000, " " * 2**21):
        save_file({"weight": torch.zeros(3)}, path, metadata={"header": text})
        with raises(path, "without a dowhy-cina header"):
            checkpoint.read(path)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("steps", value) for value in ("7", -1, 0.5)),
        *(("validation", value) for value in (3, {"inside": 3}, {"inside": {"gap": "x"}})),
        *(("recipe", value) for value in ([], {"validation_families": [3]})),
        *(("seconds", float("inf")), ("families", [1]), ("licence", 3)),
    ],
)
def test_entries_of_the_header(path, name, value):
    rewrite(path, lambda header: header | {name: value})
    with raises(path, f"{name}.* of its header is out of range"):
        checkpoint.read(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_weights_that_no_model_has(path, value):
    rewrite(path, change_tensors=lambda tensors: tensors | {"variance.growth": tensors["variance.growth"] * value})
    with raises(path, "expected finite numbers|out of range"):
        checkpoint.read(path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool, torch.bfloat16, torch.complex64])
def test_other_types_of_numbers(path, dtype):
    rewritten = {"encoder.norm.weight": torch.ones(8, dtype=dtype)}
    with safe_open(path, framework="pt") as file:
        header = file.metadata()["header"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors | rewritten, path, metadata={"header": header})
    with raises(path, "expected tensors|sha256"):
        checkpoint.read(path)


def test_every_bit_of_the_header_counts(path):
    """Of the settings, the hash and what is told of the training: the file's JSON is one run of characters."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    start = content.index(b"__metadata__")
    places = np.random.default_rng(0).integers(8 * start, 8 * (8 + length), 200)
    for place in (int(place) for place in places):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with raises(path, ""):
            checkpoint.read(path)


@pytest.mark.parametrize("name", ["cina-smal", "", "missing.safetensors", "."])
def test_unknown_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match=rf"one of cina-selfsup, cina-small.*path of a .safetensors file.*{name!r}"
    ):
        checkpoint.load(name, CPU)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(path, model, monkeypatch, step):
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"dowhy_cina.model.files.os.{step}", fail)
    with raises(path, "cannot be written.*No space.*as it was"):
        checkpoint.write(path, model, HEADER | {"steps": 8})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="a umask is POSIX's")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_follow_the_umask(tmp_path, model, mask):
    before = os.umask(mask)
    try:
        checkpoint.write(tmp_path / "x.safetensors", model, HEADER)
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


def test_models_are_loaded_once_and_leave_the_random_state_alone():
    before = torch.get_rng_state()
    checkpoint._untrained.cache_clear()
    exact = checkpoint.load_model("exact", CPU)
    assert exact is checkpoint.load_model("exact", CPU)
    assert not any(bool(value.any()) for value in exact.encoder.table_output.parameters())
    trained = checkpoint.load_model("cina-small", CPU)
    assert trained is not exact
    assert not trained.training
    assert {p.dtype for p in (*exact.parameters(), *trained.parameters())} == {torch.float64}
    assert torch.equal(torch.get_rng_state(), before)


def test_the_rule_is_bundled():
    """Its network corrects nothing: what is predicted in context is the fixed rule's, whatever the size."""
    rule, untrained = (checkpoint.load_model(name, CPU) for name in ("rule", "exact"))
    fixed = [field.name for field in dataclasses.fields(ModelConfig) if field.name not in ("width", "layers", "heads")]
    assert [getattr(rule.config, name) for name in fixed] == [getattr(untrained.config, name) for name in fixed]
    columns, table = torch.randn(1, 5, 26, dtype=torch.float64), torch.randn(1, 12, dtype=torch.float64)
    for model in (rule, untrained):
        scales, multipliers = model.encoder(columns, table)
        assert not bool(scales.any())
        assert not any(bool(value.any()) for value in multipliers.values())
    assert not torch.equal(rule.variance.log_weights, untrained.variance.log_weights)
    assert checkpoint.read_header("rule")["calibration"]["samples"] > 200
