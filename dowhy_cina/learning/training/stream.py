"""Batches by number: reproducible from (seed, index) alone, drawn ahead by worker processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dowhy_cina.config import TrainingConfig
from dowhy_cina.learning.training.collections import Collection
from dowhy_cina.learning.training.objectives import TrainingBatch

#: Batches that each worker process draws ahead.
AHEAD = 8


def draw_batch(seed: int, index: int, config: TrainingConfig, collection: Collection) -> TrainingBatch:
    """Batch number ``index`` of the stream of a seed."""
    return collection.batch(np.random.default_rng([seed, index]), config)


class TableStream(IterableDataset[TrainingBatch]):
    """Every ``stride``-th batch from an index on.

    They are dealt to worker processes in turn, so that the number of workers does not change the order.
    """

    def __init__(self, config: TrainingConfig, collection: Collection, start: int = 0, stride: int = 1) -> None:
        super().__init__()
        self.config, self.collection, self.start, self.stride = config, collection, start, stride

    def __iter__(self) -> Iterator[TrainingBatch]:
        worker = get_worker_info()
        offset, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        index = self.start + offset * self.stride
        while True:
            yield draw_batch(self.config.seed, index, self.config, self.collection)
            index += workers * self.stride


def _leave_interrupts_to_the_trainer(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Prefetched(Iterator[TrainingBatch]):
    """Batches of a stream, drawn ahead, with the seconds that were spent waiting for them."""

    def __init__(self, stream: TableStream, workers: int) -> None:
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            generator=torch.Generator(),  # the caller's random state stays as it was
            worker_init_fn=_leave_interrupts_to_the_trainer,
        )
        self._batches, self.waited = iter(loader), 0.0

    def __next__(self) -> TrainingBatch:
        mark = time.monotonic()
        batch: TrainingBatch = next(self._batches)
        self.waited += time.monotonic() - mark
        return batch
