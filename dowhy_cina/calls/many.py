"""Many tables in one call."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch

from dowhy_cina.calls.analysis import Analysis
from dowhy_cina.calls.batch import CHUNK_ROWS, shared_estimations
from dowhy_cina.calls.direct import DaskFrame, EffectOptions, estimate_effect, is_partitioned, prepare_columns
from dowhy_cina.calls.populations import check_request
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError, InputTypeError, check_known
from dowhy_cina.estimating.targets import NAMED
from dowhy_cina.mathematics.devices import one_thread_each, stay_inside
from dowhy_cina.results.effect import AverageEffect, EffectResult, PartitionedResult
from dowhy_cina.results.heterogeneity.scores import check_level
from dowhy_cina.tables.preparation import PreparedTable

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of typing itself from Python 3.11 on

#: Most tables that a thread takes at once: those of one shape share a forward pass, and threads wait less for the
#: interpreter between its operations.
LARGEST_CHUNK = 8
#: Chunks that wait for each thread: enough that none is idle, few enough that a long iterable need not fit in memory.
QUEUE_PER_THREAD = 4
_OPTIONS = {
    name: parameter
    for name, parameter in inspect.signature(estimate_effect).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}


@overload
def estimate_effects(
    tables: Iterable[tuple[DaskFrame, Any, Any]],
    *,
    on_error: Literal["raise"] = "raise",
    **options: Unpack[EffectOptions],
) -> list[PartitionedResult]: ...
@overload
def estimate_effects(
    tables: Iterable[tuple[DaskFrame, Any, Any]], *, on_error: Literal["return"], **options: Unpack[EffectOptions]
) -> list[PartitionedResult | Exception]: ...
@overload
def estimate_effects(
    tables: Iterable[tuple[Any, Any, Any]],
    *,
    on_error: Literal["raise"] = "raise",
    **options: Unpack[EffectOptions],
) -> list[EffectResult]: ...
@overload
def estimate_effects(
    tables: Iterable[tuple[Any, Any, Any]], *, on_error: Literal["return"], **options: Unpack[EffectOptions]
) -> list[EffectResult | Exception]: ...
def estimate_effects(
    tables: Iterable[tuple[Any, Any, Any]], *, on_error: Literal["raise", "return"] = "raise", **options: Any
) -> list[Any]:
    """Estimate the effects of many tables in one call: the same numbers as one by one, on all cores.

    Parameters
    ----------
    tables : iterable of (X, treatment, outcome)
        Of any shapes, each as :func:`dowhy_cina.estimate_effect` takes it; a generator is read as it is needed, and
        may fill the same arrays again for the next table.
    on_error : {"raise", "return"}
        Raise the error of the first table that allows no estimate, or return it in that table's place.
    **options
        Those of :func:`dowhy_cina.estimate_effect`, the same for all tables.

    Returns
    -------
    list of EffectResult
        In the order of the tables; :class:`~dowhy_cina.calls.partitioned.PartitionedResult` for those of Dask. With
        ``on_error="return"`` errors stand in the place of results.

    Raises
    ------
    UnknownOptionError
        If an option does not exist.
    InputError, InputTypeError
        If ``on_error`` is another word, ``tables`` are no triples, or a table allows no estimate; the message begins
        with the table's number.
    """
    if not isinstance(on_error, str) or on_error not in ("raise", "return"):
        raise InputError(f"on_error must be 'raise' or 'return', got {on_error!r}.")
    single = isinstance(tables, str | bytes | Mapping) or hasattr(tables, "columns")  # whose items are names
    if single or not isinstance(tables, Iterable):
        raise InputTypeError(
            f"expected a list of triples (X, treatment, outcome), got {type(tables).__name__}: put it in a list."
        )
    check_known(options, _OPTIONS, "option of estimate_effects")
    given = {name: parameter.default for name, parameter in _OPTIONS.items()} | options
    _options_of(given)
    check_level(given["confidence_level"], "confidence_level")
    if isinstance(given["covariates"], Iterator):
        options["covariates"] = list(given["covariates"])  # for every table
    results: list[AverageEffect | Exception] = []
    threads = max(1, min(torch.get_num_threads(), os.cpu_count() or 1))
    with one_thread_each(), ThreadPoolExecutor(threads, "dowhy-cina", stay_inside) as pool:
        waiting: deque[Future[list[AverageEffect | Exception]]] = deque()
        try:
            for chunk in _chunks(tables, threads):
                waiting.append(pool.submit(_estimate, chunk, options))
                if len(waiting) >= QUEUE_PER_THREAD * threads:
                    _collect(waiting.popleft(), results, on_error)
            while waiting:
                _collect(waiting.popleft(), results, on_error)
        finally:
            for future in waiting:
                future.cancel()
    return results


def _chunks(tables: Iterable[Any], threads: int) -> Iterator[list[Any]]:
    """Neighbouring tables that one thread takes at once: few rows in all, and enough chunks for all threads."""
    most = LARGEST_CHUNK
    if isinstance(tables, Sized):
        most = min(most, max(1, len(tables) // (QUEUE_PER_THREAD * threads)))
    chunk: list[Any] = []
    rows = 0
    held = isinstance(tables, list | tuple)
    for given in tables:
        table = given if held else _copied(given)
        length = _rows(table)
        if chunk and (len(chunk) == most or rows + length > CHUNK_ROWS):
            yield chunk
            chunk, rows = [], 0
        chunk.append(table)
        rows += length
    if chunk:
        yield chunk


def _copied(table: Any) -> Any:
    """A table for a thread that may come to it when its arrays have been filled with the next one."""
    if not isinstance(table, list | tuple):
        return table
    return tuple(np.array(part) if isinstance(part, memoryview) else _deep_copy(part) for part in table)


def _deep_copy(part: Any) -> Any:
    try:
        return part if is_partitioned(part) else copy.deepcopy(part)
    except RuntimeError:  # of tensors that a gradient flows through, which are refused in their turn
        return part


def _rows(table: Any) -> int:
    """Rows of a table as it came: none of what is no table, and a chunk's of one whose rows are on workers."""
    try:
        return CHUNK_ROWS if is_partitioned(table[0]) else len(table[0])
    except (TypeError, LookupError):
        return 0


def _estimate(tables: list[Any], options: dict[str, Any]) -> list[AverageEffect | Exception]:
    """Results of some tables, errors in their places; those of one shape share every step up to their results."""
    given = {name: parameter.default for name, parameter in _OPTIONS.items()} | options
    found: dict[int, PreparedTable] = {}
    results: dict[int, AverageEffect | Exception] = {}
    for place, table in enumerate(tables):
        try:
            covariates, treatment, outcome = _parts(table)
            if is_partitioned(covariates):
                results[place] = estimate_effect(covariates, treatment, outcome, **options)
            else:
                found[place] = _prepare(covariates, treatment, outcome, given)
        except Exception as error:  # collected in the table's place
            results[place] = error
    target = given["target_units"]
    shared = shared_estimations(found, target) if isinstance(target, str) and target in NAMED else {}
    for place, prepared in found.items():
        try:
            analysis = Analysis(prepared, known=shared.pop(place, None))
            results[place] = analysis.effect(target, given["confidence_level"])
        except Exception as error:  # collected in the table's place
            results[place] = error
    return [results[place] for place in range(len(tables))]


def _parts(table: Any) -> tuple[Any, Any, Any]:
    try:
        covariates, treatment, outcome = table
    except (TypeError, ValueError):
        kind = f"{len(table)} values" if hasattr(table, "__len__") else type(table).__name__
        raise InputTypeError(f"expected tables as triples (X, treatment, outcome), got {kind}.") from None
    return covariates, treatment, outcome


def _prepare(covariates: Any, treatment: Any, outcome: Any, given: Mapping[str, Any]) -> PreparedTable:
    roles = (treatment, outcome, given["sample_weight"], given["cluster"])
    values = (given["treatment_value"], given["control_value"])
    prepared = prepare_columns(covariates, roles, given["covariates"], values, _options_of(given))
    check_request(prepared, given["target_units"], given["confidence_level"])
    return prepared


def _options_of(given: Mapping[str, Any]) -> EstimatorOptions:
    names = [field.name for field in dataclasses.fields(EstimatorOptions)]
    return EstimatorOptions(**{name: given[name] for name in names if name in given})


def _collect(
    future: Future[list[AverageEffect | Exception]], results: list[AverageEffect | Exception], on_error: str
) -> None:
    """Add the results of a chunk; the first error is raised, and says whose it is, unless errors are to be returned."""
    for result in future.result():
        if isinstance(result, Exception) and on_error == "raise":
            if isinstance(result, InputError | InputTypeError):
                raise type(result)(f"table {len(results)}: {result}") from result
            raise result
        results.append(result)
