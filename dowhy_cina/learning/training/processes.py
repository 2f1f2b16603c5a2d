"""One process or several under torchrun, and signals that ask a run to stop."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from dowhy_cina.config import TrainingConfig
from dowhy_cina.errors import InputError
from dowhy_cina.model.network import CinaModel


def world() -> tuple[int, int]:
    """Number of this process and how many torchrun has started: 0 and 1 without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    return int(os.environ.get("RANK", "0")) if size > 1 else 0, size


class ProcessGroup:
    """The processes that torchrun has started, or the only one; a context manager.

    Attributes
    ----------
    rank, size : int
        Number of this process and how many there are.
    device : torch.device
        Where this process computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size = world()
        if device.type == "cuda" and self.size > 1:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        self.device = device

    def __enter__(self) -> ProcessGroup:
        if self.size > 1:
            # First imported while there is a group, this module keeps it until the interpreter ends, where a thread
            # of gloo's that still drops a tensor now and then aborts the process.
            importlib.import_module("torch._dynamo")
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        return self

    def __exit__(self, *_: object) -> None:
        if self.size > 1:
            distributed.destroy_process_group()
            gc.collect()  # the wrapped module refers to the group, and to itself

    def share(self, count: int) -> int:
        """How many of ``count`` batches each process takes.

        Raises
        ------
        InputError
            If they cannot be shared evenly.
        """
        if count % self.size:
            raise InputError(f"batches_per_step must be a multiple of the {self.size} processes, got {count}.")
        return count // self.size

    def wrap(self, module: nn.Module) -> nn.Module:
        """Average gradients over the processes, where there are several."""
        return DistributedDataParallel(module) if self.size > 1 else module

    def total(self, *numbers: float) -> list[float]:
        """Sums over the processes."""
        return self._reduce(numbers, distributed.ReduceOp.SUM)

    def largest(self, *numbers: float) -> list[float]:
        """Largest values over the processes: what all of them go by."""
        return self._reduce(numbers, distributed.ReduceOp.MAX)

    def _reduce(self, numbers: tuple[float, ...], operation: Any) -> list[float]:
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor, operation)
        return [float(number) for number in tensor]


#: Signals that ask a run to stop.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds within which a second signal is the first one again: one to the process, and one to its group.
SAME_REQUEST = 1.0


class StopRequest:
    """Notes the first Ctrl-C or SIGTERM instead of dying of it; a later one acts as usual. A context manager."""

    def __init__(self) -> None:
        self.asked = False
        self._noted = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # others cannot have signal handlers
            self._before = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked, self._noted = True, time.monotonic()
        elif time.monotonic() - self._noted > SAME_REQUEST:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
    """Hold back what asks a run to stop; processes that are begun meanwhile never hear of it: the run ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
