"""Devices by name."""

from __future__ import annotations

import torch

from dowhy_cina.errors import InputError


def available_devices() -> list[str]:
    """Names of the devices of this machine that compute in float64."""
    return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]


def resolve_device(name: str) -> torch.device:
    """Device of a name; "auto" is a GPU if there is one.

    Raises
    ------
    InputError
        If it is not present.
    NotImplementedError
        For Apple's mps, which cannot compute in float64.
    """
    present = available_devices()
    if name == "auto":
        return torch.device(present[min(1, len(present) - 1)])
    if name == "cpu" or name in present or (name == "cuda" and len(present) > 1):
        return torch.device(name)
    if name == "mps":
        raise NotImplementedError("device='mps' is not in this release: it has no float64. Use device='cpu'.")
    raise InputError(f"device {name!r} is not present; expected 'auto' or one of {present}.")
