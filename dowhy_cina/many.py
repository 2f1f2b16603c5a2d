"""Many tables in one call."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal

import torch

from dowhy_cina.errors import InputError, InputTypeError, check_known
from dowhy_cina.inference import estimate_effect
from dowhy_cina.results import EffectResult

#: Tables that wait for each thread: enough that none is idle, few enough that a long iterable need not fit in memory.
QUEUE_PER_THREAD = 4
_OPTIONS = {
    name: parameter
    for name, parameter in inspect.signature(estimate_effect).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}


def estimate_effects(
    tables: Iterable[tuple[Any, Any, Any]], *, on_error: Literal["raise", "return"] = "raise", **options: Any
) -> list[EffectResult | Exception]:
    """Estimate the effects of many tables in one call: the same numbers as one by one, on all cores.

    Parameters
    ----------
    tables : iterable of (X, treatment, outcome)
        Of any shapes, each as :func:`dowhy_cina.estimate_effect` takes it; a generator is read as it is needed.
    on_error : {"raise", "return"}
        Raise the error of the first table that allows no estimate, or return it in that table's place.
    **options
        Those of :func:`dowhy_cina.estimate_effect`, the same for all tables.

    Returns
    -------
    list of EffectResult
        In the order of the tables; with ``on_error="return"`` errors stand in the place of results.

    Raises
    ------
    UnknownOptionError
        If an option does not exist.
    InputError, InputTypeError
        If ``on_error`` is another word, ``tables`` are no triples, or a table allows no estimate; the message begins
        with the table's number.
    """
    if on_error not in ("raise", "return"):
        raise InputError(f"on_error must be 'raise' or 'return', got {on_error!r}.")
    check_known(options, _OPTIONS, "option of estimate_effects")
    results: list[EffectResult | Exception] = []
    threads = max(1, min(torch.get_num_threads(), os.cpu_count() or 1))
    with _one_thread_each(threads), ThreadPoolExecutor(threads, "dowhy-cina") as pool:
        waiting: list[Future[EffectResult]] = []
        try:
            for table in tables:
                waiting.append(pool.submit(_estimate, table, options))
                if len(waiting) >= QUEUE_PER_THREAD * threads:
                    results.append(_collect(waiting.pop(0), len(results), on_error))
            while waiting:
                results.append(_collect(waiting.pop(0), len(results), on_error))
        finally:
            for future in waiting:
                future.cancel()
    return results


def _estimate(table: Any, options: dict[str, Any]) -> EffectResult:
    try:
        covariates, treatment, outcome = table
    except (TypeError, ValueError):
        kind = f"{len(table)} values" if hasattr(table, "__len__") else type(table).__name__
        raise InputTypeError(f"expected tables as triples (X, treatment, outcome), got {kind}.") from None
    return estimate_effect(covariates, treatment, outcome, **options)


def _collect(future: Future[EffectResult], table: int, on_error: str) -> EffectResult | Exception:
    """Result of a table, or its error in its place; raised, the error says whose it is."""
    error = future.exception()
    if error is None:
        return future.result()
    if on_error == "return" and isinstance(error, Exception):
        return error
    if isinstance(error, InputError | InputTypeError):
        raise type(error)(f"table {table}: {error}") from error
    raise error


@contextmanager
def _one_thread_each(threads: int) -> Iterator[None]:
    """Let every table have one thread of torch; on several tables at once that is faster than several on each."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else before)
        yield
    finally:
        torch.set_num_threads(before)
