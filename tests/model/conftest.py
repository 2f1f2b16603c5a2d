"""Models in double precision: an untrained network, and one that corrects."""

from __future__ import annotations

import pytest
import torch

from dowhy_cina.config import ModelConfig
from dowhy_cina.model.network import CinaModel

SMALL = ModelConfig(width=16, layers=1, heads=2)


@pytest.fixture(scope="module")
def untrained():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CinaModel(SMALL).double().eval()


@pytest.fixture(scope="module")
def model():
    """A network that corrects: its output layers are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CinaModel(SMALL).double().eval()
        for output in (network.encoder.column_output, network.encoder.table_output):
            torch.nn.init.normal_(output.weight, std=0.1)
    return network
