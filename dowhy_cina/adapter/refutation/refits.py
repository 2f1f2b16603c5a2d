"""Running refits: in batches, on threads, with what fails counted, and stopped at once when interrupted.

A refit's data depend on the seed, the refuter and the refit's number alone, so neither batches nor threads change it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dowhy_cina.adapter.refutation.refuters import Refits
from dowhy_cina.adapter.refutation.tables import RefitSetting, RefitTable
from dowhy_cina.calls.batch import values_encoded
from dowhy_cina.mathematics.devices import one_thread_each, stay_inside

#: Entries (rows times columns) of the tables in a batch, and the most tables in one: what a batch needs of memory stays
#: small, and it ends within the second in which an interrupted battery should stop.
BATCH_ENTRIES = 200_000
BATCH_TABLES = 16


@dataclass(frozen=True)
class Batch:
    """Refits of one refuter that share a forward pass."""

    refuter: int
    refits: Refits
    numbers: range


@dataclass(frozen=True)
class Outcome:
    """What came of a batch: effects by the refit's number, reasons of those that failed, seconds."""

    batch: Batch
    effects: dict[int, float]
    failures: dict[int, str]
    seconds: float


@dataclass
class Tally:
    """What a refuter's refits have given so far, or why it has none."""

    refits: Refits | None = None
    reason: str = ""
    effects: dict[int, float] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Take in a batch."""
        self.effects |= outcome.effects
        self.failures |= outcome.failures
        self.seconds += outcome.seconds

    @property
    def missing(self) -> int:
        """Refits that were planned and not run."""
        return 0 if self.refits is None else self.refits.count - len(self.effects) - len(self.failures)


def batches(setting: RefitSetting, plans: Sequence[tuple[int, Refits]]) -> list[Batch]:
    """Cut the refits of all refuters into batches, refuter by refuter."""
    entries = max(1, setting.table.numbers.size + setting.table.codes.size)
    size = max(1, min(BATCH_TABLES, BATCH_ENTRIES // entries))
    return [
        Batch(refuter, refits, range(start, min(start + size, refits.count)))
        for refuter, refits in plans
        for start in range(0, refits.count, size)
    ]


def run(setting: RefitSetting, work: Sequence[Batch], entropy: int, n_jobs: int) -> Generator[Outcome, None, None]:
    """Run batches and give the outcome of each as it comes.

    Parameters
    ----------
    setting : RefitSetting
    work : sequence of Batch
    entropy : int
        Seed that every refit's generator is derived from.
    n_jobs : int
        Threads, at least 1.
    """

    def one(batch: Batch) -> Outcome:
        return _run_batch(setting, batch, entropy)

    with one_thread_each():
        yield from map(one, work) if n_jobs == 1 else _on_threads(one, work, n_jobs)


def _on_threads(one: Callable[[Batch], Outcome], work: Sequence[Batch], n_jobs: int) -> Generator[Outcome, None, None]:
    pool = ThreadPoolExecutor(n_jobs, "dowhy-cina-refute", stay_inside)
    try:
        futures: list[Future[Outcome]] = [pool.submit(one, batch) for batch in work]
        for future in as_completed(futures):
            yield future.result()
    finally:  # also when interrupted: the batches in flight end by themselves, nobody waits for them
        pool.shutdown(wait=False, cancel_futures=True)


def _run_batch(setting: RefitSetting, batch: Batch, entropy: int) -> Outcome:
    started = time.perf_counter()
    tables: dict[int, RefitTable] = {}
    failures: dict[int, str] = {}
    for number in batch.numbers:
        seed = np.random.SeedSequence(entropy, spawn_key=(batch.refuter, number))
        tables[number] = batch.refits.draw(number, np.random.default_rng(seed))
    if setting.takes_batches:
        effects = _in_one_pass(setting, tables, failures, batch.refits)
    else:
        effects = _each(setting.estimate, tables, failures)
    for number in [number for number, effect in effects.items() if not np.isfinite(effect)]:
        failures[number] = f"the effect was {effects.pop(number)}"
    return Outcome(batch, effects, failures, time.perf_counter() - started)


def _in_one_pass(
    setting: RefitSetting, tables: dict[int, RefitTable], failures: dict[int, str], refits: Refits
) -> dict[int, float]:
    held, options = setting.held if refits.held else None, setting.options
    most = refits.most_landmarks(options, len(setting.table.rows))
    encoded = {}
    for number, table in tables.items():
        try:
            encoded[number] = setting.encode(table)
        except Exception as error:  # whatever is wrong with a refit's data must not stop the others
            failures[number] = _reason(error)
    if not encoded:
        return {}
    try:
        return dict(zip(encoded, values_encoded(list(encoded.values()), options, held, most), strict=True))
    except Exception:  # a single table can break the pass of all: find out which
        return _each(lambda table: values_encoded([table], options, held, most)[0], encoded, failures)


def _each(estimate: Callable[[Any], float], tables: Mapping[int, Any], failures: dict[int, str]) -> dict[int, float]:
    effects = {}
    for number, table in tables.items():
        try:
            effects[number] = estimate(table)
        except Exception as error:  # counted and told in the report
            failures[number] = _reason(error)
    return effects


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
