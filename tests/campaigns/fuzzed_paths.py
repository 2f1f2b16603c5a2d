"""Ways from a fuzzed table to an effect, and what must hold on each of them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import random
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch

import dowhy_cina
from dowhy_cina.errors import CinaError
from tests.campaigns.fuzzed_tables import Case

#: Errors that the package documents beside its own.
OURS = (CinaError, NotImplementedError)
#: Fields of a result that hold no number where nothing tells one; a step of one covariate has no other.
OPTIONAL = {"standard_error", "confidence_interval", "p_value", "cluster", "clusters", "even_size", "reason"}
OPTIONAL |= {"other", "other_threshold"}
#: Largest difference, in standard errors, of the answers of two ways.
TOLERANCE = 1e-4


def check(case: Case, path: str) -> bool:
    """Send a case through a path; whether it was answered.

    Raises
    ------
    AssertionError, or whatever came out of the path
        If it ends in anything but finite numbers or an error of the package.
    """
    frame, given_options = case.frame(), case.given()
    before, state = copy.deepcopy(frame), global_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)
            PATHS[path](case, frame, given_options)
        answered = True
    except OURS:
        answered = False
    assert global_state() == state, "the global state changed"
    pd.testing.assert_frame_equal(frame, before)
    return answered


def global_state() -> list[object]:
    """What no estimate may change."""
    numbers = np.random.get_state()
    return [
        (*(part.tolist() if isinstance(part, np.ndarray) else part for part in numbers),),
        random.getstate(),
        torch.get_rng_state().tolist() if torch.get_default_device().type == "cpu" else None,
        (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads(), torch.is_grad_enabled()),
        np.geterr(),
        (logging.root.level, pd.get_option("mode.copy_on_write")),
    ]


@contextlib.contextmanager
def surroundings(name: str) -> Iterator[None]:
    """Settings of numpy and torch that a caller may have chosen."""
    dtype = {"float16": torch.float16, "float64": torch.float64}.get(name, torch.float32)
    with contextlib.ExitStack() as stack:
        if name == "arithmetic raises":
            stack.enter_context(np.errstate(all="raise"))
        if name == "meta":
            torch.set_default_device("meta")
            stack.callback(torch.set_default_device, None)
        torch.set_default_dtype(dtype)
        stack.callback(torch.set_default_dtype, torch.float32)
        yield


def arguments(case: Case, frame: pd.DataFrame, options: dict[str, Any]) -> tuple[tuple[Any, Any, Any], dict[str, Any]]:
    """Table, treatment and outcome in the shape that the case wants, and its options."""
    options = dict(options)
    x = frame.drop(columns=["t", "y"])
    by_name = {"rows": x[: max(len(x) // 3, 1)], "other rows": x.iloc[::-1][:5].reset_index(drop=True)}
    options["target_units"] = (
        by_name.get(options.get("target_units", "ate"), options.get("target_units", "ate"))
        if (isinstance(options.get("target_units", "ate"), str))
        else options["target_units"]
    )
    t, y = frame["t"], frame["y"]
    if "covariates" in options:
        return (frame, "t", "y"), options
    shaped: Any = {
        "array": lambda: x.to_numpy(),
        "list": lambda: x.to_numpy().tolist(),
        "odd index": lambda: x.set_axis(np.zeros(len(x)), axis="index"),
        "many blocks": lambda: pd.concat([x[[name]] for name in x], axis="columns") if x.shape[1] else x,
        "repeated names": lambda: x.set_axis(["c"] * x.shape[1], axis="columns"),
        "ragged": lambda: [[1.0] * (1 + k % 2) for k in range(len(x))],
        "sparse": lambda: scipy.sparse.csr_matrix(np.eye(len(x), 3)),
        "empty": lambda: x[:0],
        "series": lambda: x.iloc[:, 0] if x.shape[1] else x,
        "nothing": lambda: None,
        "masked": lambda: np.ma.masked_array(np.eye(len(x), 3), np.eye(len(x), 3) > 0),
        "read only": lambda: x,
    }.get(case.shape, lambda: x)()
    if case.shape == "list":
        t, y = t.tolist(), y.tolist()
    if isinstance(shaped, np.ndarray) and shaped.dtype != object:
        shaped.setflags(write=False)
    return (shaped, t, y), options


def direct(case: Case, frame: pd.DataFrame, options: dict[str, Any]) -> None:
    """The direct call, and everything that can be asked of its result."""
    table, options = arguments(case, frame, options)
    with surroundings(case.surroundings):
        result = dowhy_cina.estimate_effect(*table, **options)
        check_result(result)
        assert np.isfinite(result.weights).all()
        outside = ~np.isin(result.treatment, (0, 1))
        assert np.isfinite(result.propensity[~outside]).all()
        text = result.summary()
        assert not {"nan", "inf"} & set(text.split()), text
        given = table[0]
        questions = [
            lambda: result.balance_of("interactions" if len(result.balance) < 4 else "squares"),
            lambda: result.sensitivity(),
            *(lambda name=name: result.group_effects(name).table["effect"] for name in names_of(result.covariates)),
            lambda: result.group_effects(names_of(result.covariates)[:2]).table["effect"],
            *(lambda name=name: result.effect_curve(name) for name in names_of(result.covariates)),
            *(lambda name=name: result.best_linear_projection(name).params for name in names_of(result.covariates)),
            lambda: result.conditional_effects((given.to_frame() if isinstance(given, pd.Series) else given)[:3]),
        ]
        for ask in questions:
            with contextlib.suppress(*OURS):
                answer = ask()
                if isinstance(answer, pd.DataFrame | pd.Series) and "variance_ratio_before" not in answer:
                    assert np.isfinite(answer.to_numpy(np.float64)).all(), answer.to_string()


def names_of(covariates: Any) -> list[Any]:
    """Covariates to ask groups of."""
    if isinstance(covariates, pd.DataFrame):
        return list(covariates.columns)[:4]
    return [f"x{k}" for k in range(covariates.shape[1])][:4]


def check_result(result: Any) -> None:
    """Finite numbers, and strict JSON that says nothing else."""
    content = result.to_dict()
    json.dumps(content, allow_nan=False)
    missing = [name for name in numberless(content) if name.rsplit(".")[-1] not in OPTIONAL]
    set_aside = result.rows_set_aside or result.rows_without_weight or result.target == "rows"
    missing = [
        name for name in missing if not (set_aside and name in ("propensity", "pseudo_outcomes", "control_scores"))
    ]
    assert not missing, missing
    for name, value in vars(result).items():
        if isinstance(value, float):
            assert np.isfinite(value), f"{name} = {value}"
    if result.standard_error is not None:
        assert np.isfinite([*result.confidence_interval, result.p_value]).all(), result.confidence_interval
        assert result.confidence_interval[0] <= result.value <= result.confidence_interval[1]


def numberless(content: Any, name: str = "") -> set[str]:
    """Names of the entries of JSON that are null."""
    if content is None:
        return {name}
    if isinstance(content, dict):
        return set().union(*(numberless(part, f"{name}.{key}".strip(".")) for key, part in content.items()), set())
    return set().union(*(numberless(part, name) for part in content), set()) if isinstance(content, list) else set()


def many(case: Case, frame: pd.DataFrame, options: dict[str, Any]) -> None:
    """Several tables in one call, of which one is the case: the same numbers as the direct call."""
    table, options = arguments(case, frame, options)
    options.pop("covariates", None)
    with surroundings(case.surroundings):
        results = dowhy_cina.estimate_effects([table, table, (None, None, None)], on_error="return", **options)
        assert isinstance(results[2], OURS), results[2]
        for result in results[:2]:
            if isinstance(result, Exception):
                raise result
            check_result(result)
        assert_close(results[0], dowhy_cina.estimate_effect(*table, **options))


def assert_close(one: Any, other: Any) -> None:
    """Two ways to the same answer."""
    unit = one.standard_error or one.outcome_scale
    assert abs(one.value - other.value) <= TOLERANCE * unit, f"{one.value} and {other.value}, in units of {unit}"
    apart = abs((one.standard_error or 0) - (other.standard_error or 0))
    assert apart <= TOLERANCE * unit, f"standard errors {one.standard_error} and {other.standard_error}"


def dask(case: Case, frame: pd.DataFrame, options: dict[str, Any]) -> None:
    """Partitions of Dask: finite numbers, and those of the direct call where all rows span the kernels."""
    import dask as engine
    import dask.dataframe as dd

    lacking = ("target_units", "sample_weight", "cluster", "refine", "memory_limit", "augmentation")
    own = {name: value for name, value in options.items() if name not in lacking}
    if options.get("target_units") in ("att", "atc") if isinstance(options.get("target_units"), str) else False:
        own["target_units"] = options["target_units"]
    frame = frame.drop(columns=[name for name in frame if has_own_type(frame[name])])
    if not {"t", "y"} <= set(frame.columns):
        return
    with surroundings(case.surroundings), engine.config.set(scheduler="synchronous"):
        result = dowhy_cina.estimate_effect(dd.from_pandas(frame, npartitions=3, sort=False), "t", "y", **own)
        check_result(result)
        assert abs(result.weights.compute().sum() - 2) < 1e-6
        if case.rows <= result.plan.landmarks:
            assert_close(result, dowhy_cina.estimate_effect(frame, "t", "y", **own))


def has_own_type(column: pd.Series) -> bool:
    """Whether Dask itself cannot take a column apart."""
    return isinstance(column.dtype, pd.SparseDtype) or (
        column.dtype == object and any(not isinstance(value, str) for value in column)
    )


def console(case: Case, frame: pd.DataFrame, options: dict[str, Any]) -> None:
    """The command line in this process: exit code 0 and strict JSON, or one line that says why not."""
    from dowhy_cina.cli import main

    with tempfile.TemporaryDirectory() as folder:
        table, answer = Path(folder, "table.csv"), Path(folder, "answer.json")
        with contextlib.suppress(UnicodeEncodeError):
            frame.to_csv(table, index=False)
        words = ["estimate", str(table), "--treatment", "t", "--outcome", "y", "--json", str(answer)]
        for name in ("target_units", "refine", "checkpoint", "memory_limit", "confidence_level", "treatment_value"):
            if isinstance(options.get(name), str | float | int):
                flag = "target" if name == "target_units" else name.replace("_", "-")
                words += [f"--{flag}={options[name]}"]
        told, complaint = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(complaint):
            try:
                code = main(words)
            except SystemExit as leaving:  # argparse
                code = int(leaving.code or 0)
        if code == 0:
            content = json.loads(answer.read_text(), parse_constant=lambda name: 1 / 0)
            assert np.isfinite(content["value"])
            return
        lines = complaint.getvalue().strip().splitlines()
        assert code == 2, (code, lines)
        assert len(lines) == 1, lines
        raise CinaError(complaint.getvalue())


def host(case: Case, frame: pd.DataFrame, options: dict[str, Any]) -> None:
    """DoWhy's estimator with conditional estimates, interval and test; what DoWhy itself refuses does not count."""
    from dowhy import CausalModel

    names = [name for name in frame if name not in ("t", "y")]
    init = {name: options[name] for name in ("augmentation", "refine", "landmarks", "memory_limit") if name in options}
    asked = {name: options[name] for name in ("treatment_value", "control_value") if name in options}
    if (
        options.get("target_units") in ("att", "atc", "overlap")
        if isinstance(options.get("target_units"), str)
        else False
    ):
        asked["target_units"] = options["target_units"]
    logging.getLogger("dowhy").setLevel(logging.ERROR)
    with surroundings(case.surroundings), contextlib.redirect_stdout(io.StringIO()):
        try:
            model = CausalModel(frame, "t", "y", common_causes=names, effect_modifiers=names[:1])
            estimand = model.identify_effect(proceed_when_unidentifiable=True)
            estimate = model.estimate_effect(
                estimand,
                method_name="backdoor.cina",
                confidence_intervals=True,
                test_significance=True,
                method_params={"init_params": init},
                **asked,
            )
        except Exception as error:
            if isinstance(error, OURS) or "dowhy_cina" in "".join(traceback.format_tb(error.__traceback__)):
                raise
            raise CinaError("refused by DoWhy") from error
        if estimate is None or estimate.value is None:
            return
        assert np.isfinite(estimate.value)
        check_result(estimate.cina_result)
        str(estimate)


PATHS: dict[str, Callable[[Case, pd.DataFrame, dict[str, Any]], None]] = {
    "direct": direct,
    "many": many,
    "dask": dask,
    "console": console,
    "host": host,
}
