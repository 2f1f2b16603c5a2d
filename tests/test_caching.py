"""Properties that are computed once."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import dowhy_cina
from dowhy_cina._caching import cached_property


@dataclass(frozen=True)
class Sample:
    meeting: threading.Barrier

    @cached_property
    def value(self):
        """Two threads have to be here at once."""
        self.meeting.wait(timeout=10)
        return object()


def test_threads_do_not_wait_for_each_other():
    meeting = threading.Barrier(2)
    samples = [Sample(meeting), Sample(meeting)]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda sample: sample.value, samples)
    assert first is not second
    assert samples[0].value is first  # a second computation would wait in vain


def test_threads_that_ask_at_once_are_given_one_value():
    sample = Sample(threading.Barrier(2))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: sample.value, range(2))
    assert first is second is sample.value


def test_no_other_property_is_cached():
    modules = set(Path(dowhy_cina.__file__).parent.rglob("*.py"))
    with_lock = re.compile(r"from functools import .*cached_property|functools\.cached_property")
    assert {path.name for path in modules if with_lock.search(path.read_text(encoding="utf-8"))} == {"_caching.py"}
