"""Benchmarks of time write nothing while the machine is busy, take ratios within a turn, and give the right slopes."""

from __future__ import annotations

import math
import subprocess
import sys

import measuring
import numpy as np
import pandas as pd
import pytest
import scale


@pytest.mark.skipif(measuring.busy_cores(0.01) is None, reason="the system does not say how busy it is")
def test_another_process_makes_the_machine_busy():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            assert measuring.busy_cores(0.3) > 0.15
        finally:
            other.kill()


def test_nothing_is_written_on_a_busy_machine(monkeypatch, tmp_path):
    seen = iter([0.0, 0.4, 0.0])
    monkeypatch.setattr(measuring, "busy_cores", lambda: next(seen))
    idleness = measuring.Idleness(tmp_path / "figures.csv", None)
    idleness.look()
    idleness.look()
    with pytest.raises(SystemExit, match=r"used 0\.40 of .* cores.*figures\.csv stay as they are"):
        idleness.refuse()


def test_a_busy_machine_is_refused_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(measuring, "busy_cores", lambda: 1.5)
    monkeypatch.setattr(scale, "in_a_process", None)
    with pytest.raises(SystemExit, match="the machine is busy"):
        scale.main(["--csv", str(tmp_path / "scale.csv")])
    assert not list(tmp_path.iterdir())
    measuring.Idleness(None).refuse()  # figures that are only looked at


def test_ratios_and_slopes():
    def row(method, rows, threads, seconds):
        size = {"grows": "rows", "rows": rows, "columns": 10, "tables": 1, "threads": threads}
        return {**size, "method": method, "seconds": seconds, "peak_gb": 1e-6 * rows}

    table = pd.DataFrame(
        [
            row(method, rows, threads, factor * rows**power / threads)
            for method, factor, power in ((scale.OURS, 3.0, 1.0), (scale.LINEAR, 2.0, 0.5))
            for threads in (1, 2)
            for rows in (100, 10_000)
        ]
    )
    found = scale.with_ratios(table).set_index(["method", "threads", "rows"])
    assert found.times_linear[scale.OURS, 2, 10_000] == pytest.approx(150)
    assert found.bytes_per_row.to_numpy() == pytest.approx(np.full(8, 1000.0))
    assert found.slope[scale.OURS, 1, 10_000] == pytest.approx(1)
    assert found.slope[scale.LINEAR, 2, 10_000] == pytest.approx(0.5)
    assert math.isnan(found.slope[scale.LINEAR, 2, 100])


def test_the_child_measures_medians_beside_a_yardstick(monkeypatch):
    monkeypatch.setattr(measuring, "YARDSTICK_ROWS", 50)
    ours, linear = (scale.measure(method, 300, 3, 2, 2) for method in (scale.OURS, scale.LINEAR))
    for found in (ours, linear):
        assert found["times_yardstick"] > 0
        assert found["error"] < 0.5
        assert found["seconds"] > 0
