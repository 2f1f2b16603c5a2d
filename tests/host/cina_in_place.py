"""Plugin of pytest: DoWhy's own tests with ``CinaEstimator`` in place of its estimators for binary treatments.

Those tests are loose (least squares passes them all), so each one must also have fitted ``CinaEstimator`` at least
once, have got finite estimates, and have got intervals that contain the effect it simulated.

``run.py`` loads it; ``deselected.toml`` beside it says which tests are left out and why.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import time
from pathlib import Path
from typing import Any

import dowhy.datasets
import pytest
from named_tests import with_reasons

from dowhy_cina import CinaEstimator

#: Estimators of DoWhy for one binary treatment by adjustment, which the tests name by class or as "backdoor.<module>".
REPLACED = (
    "DoublyRobustEstimator",
    "LinearRegressionEstimator",
    "PropensityScoreMatchingEstimator",
    "PropensityScoreStratificationEstimator",
    "PropensityScoreWeightingEstimator",
)
#: Marks that DoWhy's pyproject.toml declares.
MARKS = ("advanced", "econml", "flaky", "focused", "notebook")
#: Two-sided 99.9 %: over a hundred intervals are checked, and 95 % ones would miss a few of their effects.
QUANTILE = 3.29


@dataclasses.dataclass(frozen=True)
class Interval:
    """An interval beside the effect that was simulated."""

    test: str
    value: float
    effect: float
    error: float  # standard error of their difference
    is_warned: bool  # the estimate itself says that the arms are hardly comparable

    def contains(self, quantile: float) -> bool:
        return abs(self.value - self.effect) <= quantile * self.error

    def __str__(self) -> str:
        warned = ", with a warning" if self.is_warned else ""
        return f"{self.value:.5g} +- {self.error:.2g}, effect {self.effect:.5g}{warned}: {self.test}"


@dataclasses.dataclass
class Record:
    """What went through ``CinaEstimator`` in one test."""

    test: str = ""
    fits: int = 0
    estimates: int = 0
    analysis: float = 0.0  # seconds
    seconds: float = 0.0
    intervals: list[Interval] = dataclasses.field(default_factory=list)
    complaints: list[str] = dataclasses.field(default_factory=list)


RECORDS: list[Record] = []
LEFT_OUT: dict[str, list[str]] = {}


class Watched(CinaEstimator):
    """The estimator, with its answers noted."""

    def fit(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        RECORDS[-1].fits += 1
        return super().fit(data, *args, **kwargs)

    def estimate_effect(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        estimate = super().estimate_effect(data, *args, **kwargs)
        RECORDS[-1].estimates += 1
        if not math.isfinite(estimate.value):
            RECORDS[-1].complaints.append(f"estimate {estimate.value}")
        # A refuter's refit has another effect than the simulated one, or the same one on purpose: not checked.
        if not self._is_refit and "simulated_effect" in data.attrs:
            check_interval(estimate.cina_result, *data.attrs["simulated_effect"])
        return estimate

    def _analyse(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return super()._analyse(*args, **kwargs)
        finally:
            RECORDS[-1].analysis += time.perf_counter() - start


def check_interval(result: Any, effect: float, effect_error: float) -> None:
    """Complain if the effect is not in the interval; DoWhy simulates the effect, too, with an error of its own.

    Where an estimate warns that the arms do not overlap, its interval is for an extrapolation: noted, not asserted.
    """
    error = math.hypot(result.standard_error, effect_error)
    interval = Interval(RECORDS[-1].test, result.value, effect, error, bool(result.warnings))
    RECORDS[-1].intervals.append(interval)
    if not interval.is_warned and not interval.contains(QUANTILE):
        RECORDS[-1].complaints.append(f"the interval does not contain the effect: {interval}")


def with_effect_noted(draw: Any) -> Any:
    """Let a simulator of DoWhy's leave the effect, and the error of that effect, in the attributes of its table."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        data = draw(*args, **kwargs)
        frame = data["df"]
        outcome = frame[data["outcome_name"]]
        noise = 0.5 if outcome.dtype == bool else kwargs.get("stddev_outcome_noise", 0.01)
        frame.attrs["simulated_effect"] = (float(data["ate"]), noise * math.sqrt(2 / len(frame)))
        return data

    return wrapped


def pytest_addoption(parser: pytest.Parser) -> None:
    own = Path(__file__).with_name("deselected.toml")
    parser.addoption("--deselected", type=Path, default=own, help="tests that are left out, by reason (TOML)")


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", f"{mark}: declared by DoWhy")
    for name in REPLACED:
        module = "dowhy.causal_estimators." + "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
        if importlib.util.find_spec(module):  # DoWhy 0.13 has no doubly robust estimator
            setattr(importlib.import_module(module), name, Watched)
    dowhy.datasets.linear_dataset = with_effect_noted(dowhy.datasets.linear_dataset)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept, dropped = [], []
    for item, reason in with_reasons(config.getoption("deselected"), items, config):
        if reason:
            LEFT_OUT.setdefault(reason, []).append(item.nodeid.removeprefix("tests/"))
            dropped.append(item)
        else:
            kept.append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    RECORDS.append(Record(item.nodeid.removeprefix("tests/")))  # before the fixtures, some of which estimate


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Any:
    record, start = RECORDS[-1], time.perf_counter()
    try:
        answer = yield
    finally:
        record.seconds = time.perf_counter() - start
    assert record.fits, "no CinaEstimator was fitted: this test says nothing about it"
    assert not record.complaints, "; ".join(record.complaints)
    return answer


def pytest_terminal_summary(terminalreporter: Any) -> None:
    write = terminalreporter.write_line
    terminalreporter.section("CinaEstimator in DoWhy's tests")
    for reason, names in LEFT_OUT.items():
        write(f"deselected, {reason}:")
        for name in names:
            write(f"    {name}")
    write("slowest:")
    for record in sorted(RECORDS, key=lambda record: -record.seconds)[:8]:
        write(f"    {record.seconds:.1f} s, {record.analysis:.1f} s of them in analyses: {record.test}")
    # Tests that draw the same table repeat its interval.
    intervals = list({str(i).partition(": ")[0]: i for record in RECORDS for i in record.intervals}.values())
    write("95 % intervals without the effect:")
    for interval in intervals:
        if not interval.contains(1.96):
            write(f"    {interval}")
    for text, chosen in {
        "": intervals,
        " of estimates without a warning": [interval for interval in intervals if not interval.is_warned],
    }.items():
        write(f"{sum(i.contains(1.96) for i in chosen)} of {len(chosen)} 95 % intervals{text} contain the effect")
    fits, estimates = (sum(getattr(record, name) for record in RECORDS) for name in ("fits", "estimates"))
    write(f"{fits} fits, {estimates} estimates through CinaEstimator")
    passed = sum(len(terminalreporter.stats.get(name, [])) for name in ("passed", "xpassed"))
    write(f"DoWhy {dowhy.__version__}: {passed} passed, {sum(map(len, LEFT_OUT.values()))} deselected")
