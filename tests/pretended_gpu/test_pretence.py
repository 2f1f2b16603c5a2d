"""The pretended GPU itself: as touchy as a real one."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("pretended_gpu")


def there(*shape):
    return torch.ones(*shape, dtype=torch.float64, device="cuda")


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(3, device="cuda"),
        lambda: torch.arange(3, device=torch.device("cuda")),
        lambda: torch.eye(3, device="cuda:0"),
        lambda: torch.full((3,), 1.0, device="cuda"),
        lambda: torch.tensor([1.0, 2.0, 3.0], device="cuda"),
        lambda: torch.as_tensor(np.ones(3), device="cuda"),
        lambda: torch.from_numpy(np.ones(3)).to("cuda"),
        lambda: torch.ones(3).to(device="cuda", dtype=torch.float64),
        lambda: torch.ones(3).to(there(2)),
        lambda: torch.ones(3).cuda(),
        lambda: there(3).new_zeros(3),
        lambda: torch.zeros_like(there(3)),
        lambda: torch.zeros_like(torch.ones(3), device="cuda"),
        lambda: torch.linalg.cholesky_ex(torch.eye(3).to("cuda")).L,
        lambda: there(3, 3).mT[0] + 1,
        lambda: copy.deepcopy(there(3)),
        lambda: torch.nn.Linear(2, 3).to("cuda").weight[:, 0],
    ],
)
def test_what_is_there(make):
    made = make()
    assert made.device == torch.device("cuda:0")
    assert made.is_cuda
    assert not made.is_cpu
    assert len(made.cpu()) == 3
    assert made.cpu().device.type == made.to("cpu").device.type == made.to(torch.ones(1)).device.type == "cpu"


@pytest.mark.parametrize(
    "use",
    [
        lambda here: there(3) + here,
        lambda here: here @ there(3),
        lambda here: torch.cat([there(3), here]),
        lambda here: torch.stack([there(3)[0], here[0]]),
        lambda here: torch.where(there(3) > 0, here, there(3)),
        lambda here: here.add_(there(3)),
        lambda here: here[0].add_(there(3)[0]),
        lambda here: torch.linalg.solve(there(3, 3), here),
        lambda here: here[there(3).long() - 1],
        lambda here: there(3).addcmul_(there(3), here),
    ],
)
def test_mixtures_are_refused(use):
    with pytest.raises(RuntimeError, match="same device"):
        use(torch.ones(3, dtype=torch.float64))


def test_single_numbers_and_copies_cross():
    assert (there(3) * torch.tensor(2.0)).sum() == 6
    assert there(3).copy_(torch.zeros(3)).is_cuda
    assert torch.zeros(3, dtype=torch.float64).copy_(there(3)).sum() == 3


def test_nothing_of_it_is_an_array():
    for convert in (np.asarray, lambda tensor: tensor.numpy(), np.sqrt):
        with pytest.raises(TypeError, match="cuda:0"):
            convert(there(3))
    array = np.ones(3)
    torch.from_numpy(array).to("cuda").zero_()
    assert array.sum() == 3  # no memory is shared


def test_gradients_and_parameters_are_there_too():
    layer = torch.nn.Linear(3, 1).double().to("cuda")
    assert [type(part) for part in layer.parameters()] == [type(there(1))] * 2
    layer(there(2, 3)).sum().backward()
    assert layer.weight.grad.device.type == "cuda"
    np.testing.assert_array_equal(layer.weight.grad.cpu(), [[2.0, 2.0, 2.0]])
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    assert torch.load(file, map_location=torch.device("cuda"), weights_only=True)["bias"].is_cuda
