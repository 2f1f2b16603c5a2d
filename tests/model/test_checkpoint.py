"""Checkpoints: round trip, every kind of damage, atomic writes, and no trace in the caller's process."""

from __future__ import annotations

import dataclasses
import json
import os
from functools import partial

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dowhy_cina.config import ModelConfig
from dowhy_cina.errors import CheckpointError
from dowhy_cina.model import checkpoint
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


def rewrite(path, change_header=lambda header: header, change_tensors=lambda tensors: tensors):
    """Write the file anew with another header or other tensors."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["header"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(change_tensors(tensors), path, metadata={"header": json.dumps(change_header(header))})


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
    assert "cina-small" in checkpoint.bundled()
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
    with raises(path, "newer than 4.*upgrade"):
        checkpoint.read(path)


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions(path, model, version):
    """No setting counts iterations any more; variance heads had one or two parts less, and single rows had none."""
    added = ("variance.columns", "conditional.coefficients") if version == 1 else ()

    def older(header):
        settings = {"target_layers": 8} if version == 1 else {}
        return header | {"format_version": version, "model": header["model"] | settings}

    def shorter(tensors):
        weights, growth = tensors["variance.log_weights"], tensors["variance.growth"]
        kept = [0, 1, 2, 3, 4] if version == 1 else [0, 1, 2, 3, 4, 6]
        cut = {"variance.log_weights": weights[kept].clone(), "variance.growth": growth[:-1].clone()}
        return {name: tensor for name, tensor in (tensors | cut).items() if name not in added}

    rewrite(path, older, shorter)
    with raises(path, "sha256"):
        checkpoint.read(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    rewrite(path, lambda header: header | {"sha256": checkpoint._digest(tensors)})
    read, header = checkpoint.read(path)
    assert header["format_version"] == version
    assert read.config == SMALL
    # What is added is that of a model that was never calibrated.
    for name, tensor in read.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], atol=1e-6, rtol=0)
    assert not any(
        parameter.requires_grad for parameter in (*read.variance.parameters(), *read.conditional.parameters())
    )
    rewrite(path, lambda header: header | {"format_version": 3, "model": dataclasses.asdict(SMALL)})
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


def test_missing_tensor(path):
    def drop(tensors):
        tensors.pop("encoder.norm.weight")
        return tensors

    rewrite(path, change_tensors=drop)
    with raises(path, "sha256"):
        checkpoint.read(path)


@pytest.mark.parametrize("name", ["cina-smal", "", "missing.safetensors", "."])
def test_unknown_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match=rf"one of cina-selfsup, cina-small.*path of a .safetensors file.*{name!r}"
    ):
        checkpoint.load(name, CPU)


@pytest.mark.parametrize("step", ["save_file", "os.replace"])
def test_a_failing_write_leaves_the_old_file(path, model, monkeypatch, step):
    before = path.read_bytes()

    def fail(tensors, target, **_):
        if step == "save_file":
            target.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"dowhy_cina.model.checkpoint.{step}", fail)
    with raises(path, "cannot be written.*No space.*as it was"):
        checkpoint.write(path, model, HEADER | {"steps": 8})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


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
