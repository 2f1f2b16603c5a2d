"""Collections: streams of tables to train on, each reproducible from a random generator alone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dowhy_cina.config import TrainingConfig
from dowhy_cina.errors import InputError, InputTypeError, came
from dowhy_cina.learning.simulators import REGISTRY, simulator_names
from dowhy_cina.learning.training.objectives import TrainingBatch
from dowhy_cina.learning.training.processes import STOP_SIGNALS, held_signals
from dowhy_cina.learning.training.tables import simulated_batch


class Collection(Protocol):
    """A stream of tables.

    Attributes
    ----------
    names : tuple of str
        What the checkpoint's header says of the collection: names of simulators, or the place of a folder.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the collection's sources."""
        ...

    def batch(self, rng: np.random.Generator, config: TrainingConfig) -> TrainingBatch:
        """Draw tables of one shape; equal generators give equal batches."""
        ...


def check_collection(value: Any) -> None:
    """Refuse what is no collection of tables.

    Raises
    ------
    InputTypeError
        If it has no names or no batches.
    """
    if isinstance(value, type) or not (callable(getattr(value, "batch", None)) and hasattr(value, "names")):
        raise InputTypeError(
            f"expected a Collection of tables, or names of simulators in a list, got {came(value)}. A folder of tables "
            "is dowhy_cina.training.Folder(path)."
        )


@dataclass(frozen=True)
class Simulators:
    """Tables of simulators, by their names in :data:`dowhy_cina.simulators.REGISTRY`; text is one name.

    Raises
    ------
    InputError, InputTypeError
        If there is no name, or one that is not registered.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", simulator_names(self.names))

    def batch(self, rng: np.random.Generator, config: TrainingConfig) -> TrainingBatch:
        """Draw tables of one shape from the simulators."""
        return simulated_batch(rng, config, self.names)


@dataclass(frozen=True)
class Mixture:
    """Collections of which each batch comes from one, chosen with chances proportional to the weights.

    Raises
    ------
    InputError, InputTypeError
        If there is no collection, or the weights are not one positive number for each.
    """

    parts: tuple[Collection, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("parts", "weights"):
            given = getattr(self, name)
            if not isinstance(given, Sequence) or isinstance(given, str):
                raise InputTypeError(f"{name} of a mixture must be a tuple, got {came(given)}; (part,) is one of one.")
            object.__setattr__(self, name, tuple(given))
        for part in self.parts:
            check_collection(part)
        positive = all(isinstance(weight, Real) and 0 < weight < np.inf for weight in self.weights)
        if not self.parts or len(self.parts) != len(self.weights) or not positive:
            raise InputError(
                f"expected a positive weight for each collection, got {len(self.parts)} collections and the weights "
                f"{list(self.weights)}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parts' sources."""
        return tuple(name for part in self.parts for name in part.names)

    def batch(self, rng: np.random.Generator, config: TrainingConfig) -> TrainingBatch:
        """Draw a batch from one of the parts."""
        chances = np.array(self.weights) / sum(self.weights)
        return self.parts[int(rng.choice(len(self.parts), p=chances))].batch(rng, config)


def training_families(config: TrainingConfig, collections: Sequence[str] | None = None) -> list[str]:
    """Named families, or all registered ones without those that validation keeps for itself.

    Raises
    ------
    InputError
        If a family is not known, is both trained on and kept for validation, or none is left for one of them.
    """
    kept = [name for name in REGISTRY if name in config.validation_families]
    if len(kept) != len(config.validation_families) or not 0 < len(kept) < len(REGISTRY):
        given = list(config.validation_families)
        raise InputError(f"validation_families must be some, not all, of {', '.join(REGISTRY)}; got {given}.")
    if collections is None:
        return [name for name in REGISTRY if name not in kept]
    shared = sorted(set(collections) & set(config.validation_families))
    if shared:
        raise InputError(
            f"expected validation_families that training does not see, got {shared} in both; name them in one place."
        )
    return list(Simulators(tuple(collections)).names)


def as_collection(
    collections: Collection | Sequence[Collection | str] | str | None, config: TrainingConfig
) -> Collection:
    """One collection of what :func:`~dowhy_cina.training.pretrain` was given.

    Parameters
    ----------
    collections
        A collection; a sequence of collections and names of simulators, mixed with equal weights (all named simulators
        count as one); one name; or None for all simulators but those kept for validation.
    config : TrainingConfig

    Raises
    ------
    InputError
        As :func:`training_families`, or if a string names no simulator, or there is nothing in the sequence.
    InputTypeError
        If it is, or holds, something else.
    """
    if collections is None:
        return Simulators(tuple(training_families(config)))
    if isinstance(collections, str):
        collections = [collections]
    if not isinstance(collections, Sequence):
        check_collection(collections)
        training_families(config, [name for name in collections.names if name in REGISTRY] or None)
        return collections
    names = [part for part in collections if isinstance(part, str)]
    parts = [part for part in collections if not isinstance(part, str)]
    for part in parts:
        check_collection(part)
    foreign = [name for name in names if name not in REGISTRY]
    if foreign or not collections:
        raise InputError(
            f"collections must be names of simulators ({', '.join(REGISTRY)}) or Collection objects; got "
            f"{', '.join(map(repr, foreign)) or 'none'}. A folder of tables is dowhy_cina.training.Folder(path)."
        )
    trained = [*names, *(name for part in parts for name in part.names if name in REGISTRY)]
    training_families(config, trained or None)
    if names:
        parts.append(Simulators(tuple(names)))
    return parts[0] if len(parts) == 1 else Mixture(tuple(parts), (1.0,) * len(parts))


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


def _leave_signals_to_the_trainer(_: int) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Prefetched(Iterator[TrainingBatch]):
    """Batches of a stream, drawn ahead, with the seconds that were spent waiting for them; a context manager.

    On leaving it the worker processes end: they ignore signals, and an error that keeps the run's frames alive would
    keep them, too, and with them the interpreter.
    """

    def __init__(self, stream: TableStream, workers: int) -> None:
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            generator=torch.Generator(),  # the caller's random state stays as it was
            worker_init_fn=_leave_signals_to_the_trainer,
        )
        with held_signals():
            self._batches: Iterator[TrainingBatch] = iter(loader)
        self.waited = 0.0

    def __enter__(self) -> Prefetched:
        return self

    def __exit__(self, *_: object) -> None:
        self._batches = iter(())

    def __next__(self) -> TrainingBatch:
        mark = time.monotonic()
        batch = next(self._batches)
        self.waited += time.monotonic() - mark
        return batch
