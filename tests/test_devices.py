"""Devices by name, with and without a GPU."""

from __future__ import annotations

import pytest
import torch

from dowhy_cina.devices import available_devices, resolve_device
from dowhy_cina.errors import InputError


@pytest.fixture
def gpus(monkeypatch):
    """A machine with so many GPUs."""
    return lambda count: monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_without_gpu(gpus):
    gpus(0)
    assert available_devices() == ["cpu"]
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(InputError, match=f"device '{name}' is not present; expected 'auto' or one of .*cpu"):
            resolve_device(name)


def test_with_two_gpus(gpus):
    gpus(2)
    assert available_devices() == ["cpu", "cuda:0", "cuda:1"]
    assert resolve_device("auto") == torch.device("cuda:0")
    for name in ("cpu", "cuda", "cuda:1"):
        assert resolve_device(name) == torch.device(name)
    with pytest.raises(InputError, match="cuda:2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "xpu"])
def test_unknown(name):
    with pytest.raises(InputError, match="is not present"):
        resolve_device(name)


def test_mps_is_refused():
    with pytest.raises(NotImplementedError, match=r"mps.*float64.*device='cpu'"):
        resolve_device("mps")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_in_double_precision():
    assert torch.ones(3, dtype=torch.float64, device=resolve_device("auto")).sum() == 3
