"""Optional speed: bfloat16 and compilation change the transformer's last digits, and nothing else."""

from __future__ import annotations

import functools

import pytest
import torch

from dowhy_cina.config import ModelConfig, TrainingConfig
from dowhy_cina.learning.training.processes import speed_up, use_bfloat16
from dowhy_cina.model.network import CinaModel

CPU = torch.device("cpu")
CONFIG = ModelConfig(width=16, layers=2, heads=2)


@pytest.fixture
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = CinaModel(CONFIG).double().encoder
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return encoder


def tokens():
    return torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_bfloat16_is_near_and_differentiable(encoder):
    exact = encoder.transformer(tokens())
    names = list(encoder.state_dict())
    use_bfloat16(encoder.transformer, CPU)
    near = encoder.transformer(tokens())
    assert near.dtype == torch.float64
    assert not torch.equal(near, exact)
    torch.testing.assert_close(near, exact, rtol=0.1, atol=0.1)
    near.sum().backward()
    assert all(parameter.grad.dtype == torch.float64 for parameter in encoder.transformer.parameters())
    assert any(parameter.grad.any() for parameter in encoder.transformer.parameters())
    assert list(encoder.state_dict()) == names


def test_bfloat16_is_for_cuda_alone():
    model = CinaModel(CONFIG).double()
    forward = model.encoder.transformer.forward
    speed_up(model, TrainingConfig(bfloat16=True), CPU)
    assert model.encoder.transformer.forward == forward


def test_compiled_is_the_same(encoder, monkeypatch):
    """Traced as for the compiler, whose minutes are spared here."""
    eager = functools.partialmethod(torch.nn.Module.compile, backend="eager")
    monkeypatch.setattr(torch.nn.Module, "compile", eager)
    model = CinaModel(CONFIG).double()
    model.encoder = encoder
    columns, table = torch.rand(2, 5, 26, dtype=torch.float64), torch.rand(2, 12, dtype=torch.float64)
    before = encoder(columns, table)
    speed_up(model, TrainingConfig(compile=True), CPU)
    assert model.encoder._compiled_call_impl is not None
    after = model.encoder(columns, table)
    torch.testing.assert_close(after[0], before[0])
    assert after[1].keys() == before[1].keys()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_in_bfloat16_on_a_gpu(tmp_path):
    from dowhy_cina.learning.training import pretrain

    config = TrainingConfig(steps=2, device="cuda", bfloat16=True, max_rows=200, max_columns=6, validation_tables=2)
    header = pretrain(config, ["scm"], output=tmp_path / "x.safetensors", model_config=CONFIG, progress=False)
    assert header["tables"] > 0
