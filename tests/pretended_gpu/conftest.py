"""A GPU in pretence: tensors that compute on the CPU, say that they are on ``cuda`` and are as touchy as those."""

from __future__ import annotations

import threading

import pytest
import torch
from torch.overrides import TorchFunctionMode

GPU = torch.device("cuda", 0)
TO_NUMPY = (torch.Tensor.numpy, torch.Tensor.__array__)
MOVES = {torch.Tensor.cpu: torch.device("cpu"), torch.Tensor.cuda: GPU}
#: What may have tensors of both devices, beside what names a device.
CROSSING = (torch.Tensor.to, torch.Tensor.copy_, torch.Tensor.grad.__set__, torch.Tensor.data.__set__)
#: What takes no CPU tensor at all beside others, not even one number.
JOINING = (torch.cat, torch.stack, torch.concat, torch.vstack, torch.hstack)
ANSWERS = {
    torch.Tensor.device.__get__: GPU,
    torch.Tensor.is_cuda.__get__: True,
    torch.Tensor.is_cpu.__get__: False,
    torch.Tensor.get_device: 0,
    torch._has_compatible_shallow_copy_type: False,  # a module's parameters are replaced by those that are there
}


class PretendedTensor(torch.Tensor):
    """A tensor on the GPU."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        return call(function, arguments, options or {})

    def __deepcopy__(self, memo):
        copied = moved(self, GPU).detach().requires_grad_(self.requires_grad)
        copied.__dict__.update(self.__dict__)  # that it is a parameter
        return memo.setdefault(id(self), copied)

    def __reduce_ex__(self, protocol):
        return moved(self, torch.device("cpu")).__reduce_ex__(protocol)


class PretendedGpu(TorchFunctionMode):
    """Makes whatever asks for a GPU a :class:`PretendedTensor`."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        return call(function, arguments, options or {})


def leaves(values):
    """Tensors among arguments."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from leaves(value)


def call(function, arguments, options):
    """Compute on the CPU and place the result."""
    given = list(leaves([*arguments, *options.values()]))
    there = any(isinstance(tensor, PretendedTensor) for tensor in given)
    if there and function in ANSWERS:
        return ANSWERS[function]
    if there and function in TO_NUMPY:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor first.")
    if function in MOVES:
        function, arguments = torch.Tensor.to, (arguments[0], MOVES[function])
    device, arguments, options = asked_for(function, arguments, options)
    if there and device is None and function not in CROSSING:
        refuse_mixture(function, given)
    with torch._C.DisableTorchFunctionSubclass():
        result = function(*arguments, **options)
        return placed(result, device or (GPU if there else None), function is torch.Tensor.to)


def asked_for(function, arguments, options):
    """The device that a call names, none if it names none; its arguments with the CPU in its place."""
    found = None
    others = arguments[1:] if function is torch.Tensor.to else ()
    for value in [*others, options.get("device"), options.get("other")]:
        if isinstance(value, torch.Tensor):
            found = GPU if isinstance(value, PretendedTensor) else torch.device("cpu")
        elif isinstance(value, str | torch.device):
            found = torch.device(value)
    if found is None or found.type != "cuda":
        return found, arguments, options
    arguments = [torch.device("cpu") if isinstance(part, str | torch.device) else part for part in arguments]
    return GPU, arguments, {**options, "device": "cpu"} if "device" in options else options


def refuse_mixture(function, given):
    """Raise as CUDA does for tensors of both devices; numbers without dimensions may be anywhere but in a list."""
    here = [tensor for tensor in given if not isinstance(tensor, PretendedTensor)]
    name = getattr(function, "__name__", str(function))
    in_place = name.endswith("_") and not name.endswith("__") and not isinstance(given[0], PretendedTensor)
    if in_place or any(tensor.dim() or function in JOINING for tensor in here):
        raise RuntimeError(f"Expected all tensors to be on the same device, found cuda:0 and cpu in {name}.")


def placed(result, device, moving):
    """The result on the device; on none, as it is."""
    if isinstance(result, torch.Tensor):
        if device is None or device.type == "meta":
            return result
        is_there = isinstance(result, PretendedTensor)
        if is_there == (device.type == "cuda"):
            return result
        return (
            moved(result, device) if moving else result.as_subclass(PretendedTensor if device == GPU else torch.Tensor)
        )
    if isinstance(result, list | tuple):
        return type(result)([placed(part, device, moving) for part in result])
    return result


def moved(tensor, device):
    """A copy on the other device, which shares no memory."""
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.clone().as_subclass(PretendedTensor if device == GPU else torch.Tensor)


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A machine with one GPU, in this thread and in all that are started."""
    load, run = torch.load, threading.Thread.run

    def load_to(file, map_location=None, **options):
        def put(content):
            if isinstance(content, torch.Tensor):
                return content.to(map_location)
            if isinstance(content, dict):
                return type(content)((key, put(value)) for key, value in content.items())
            return type(content)(map(put, content)) if isinstance(content, list | tuple) else content

        return put(load(file, map_location="cpu", **options))

    def run_inside(thread):
        with PretendedGpu():
            run(thread)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**10, 10**10))
    monkeypatch.setattr(torch, "load", load_to)
    monkeypatch.setattr(threading.Thread, "run", run_inside)
    with PretendedGpu():
        yield
