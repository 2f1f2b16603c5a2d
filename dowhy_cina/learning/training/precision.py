"""Optional speed: the column-token transformer in bfloat16, or compiled. The closed forms stay in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dowhy_cina.config import TrainingConfig
from dowhy_cina.model.network import CinaModel


def speed_up(model: CinaModel, config: TrainingConfig, device: torch.device) -> CinaModel:
    """Return the model with what the settings ask for: ``bfloat16`` on a CUDA device, ``compile`` anywhere."""
    if config.bfloat16 and device.type == "cuda":
        use_bfloat16(model.encoder.transformer, device)
    if config.compile:
        model.encoder.compile(dynamic=True)
    return model


def use_bfloat16(module: nn.Module, device: torch.device) -> None:
    """Let a module of one input and one output compute under autocast, while its weights stay in float64."""
    shape = copy.deepcopy(module).to("meta")  # the same computation, called with other weights

    def forward(tokens: Tensor) -> Tensor:
        weights = {name: parameter.float() for name, parameter in module.named_parameters()}
        with torch.autocast(device.type, dtype=torch.bfloat16):
            output: Tensor = functional_call(shape, weights, (tokens.float(),))
        return output.double()

    module.forward = forward
