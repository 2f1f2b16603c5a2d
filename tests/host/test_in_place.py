"""The suite of DoWhy's tests can fail: what its plugin asks for beyond their own assertions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = """
import dataclasses
import dowhy.datasets
import numpy as np
import pytest
from dowhy import CausalModel
from dowhy_cina import CinaEstimator

def estimate(shift=0.0, **options):
    np.random.seed(0)
    data = dowhy.datasets.linear_dataset(
        beta=1, num_common_causes=2, num_samples=500, treatment_is_binary=True, stddev_outcome_noise=1
    )
    data["df"].y += shift * data["df"].v0
    model = CausalModel(data["df"], data["treatment_name"], data["outcome_name"], graph=data["gml_graph"])
    return model.estimate_effect(model.identify_effect(), method_name="backdoor.propensity_score_weighting", **options)

def test_sound():
    assert "dowhy_cina" in type(estimate().estimator).__mro__[1].__module__

def test_nothing_of_ours():
    pass

def test_interval_misses():
    estimate(shift=1.0)

def test_not_finite(monkeypatch):
    effect = CinaEstimator._effect
    monkeypatch.setattr(CinaEstimator, "_effect", lambda *a: dataclasses.replace(effect(*a), value=float("nan")))
    estimate()

@pytest.mark.parametrize("size", [1, 2])
def test_left_out(size):
    raise AssertionError
"""


def run(folder, deselected):
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests" / "test_file.py").write_text(TESTS, encoding="utf-8")
    (folder / "deselected.toml").write_text(deselected, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(folder), "-p", "cina_in_place"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent.parent)])}
    return subprocess.run(
        [*command, "--deselected", "deselected.toml", "-W", "ignore", "tests"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_what_the_plugin_lets_pass(tmp_path):
    output = run(tmp_path, '"it always fails" = ["test_file.py::test_left_out[?]"]').stdout
    failed = set(re.findall(r"^FAILED tests/test_file.py::(\w+)", output, re.MULTILINE))
    assert failed == {"test_nothing_of_ours", "test_interval_misses", "test_not_finite"}, output
    assert "no CinaEstimator was fitted" in output
    assert "the interval does not contain the effect" in output
    assert "estimate nan" in output
    assert (
        "deselected, it always fails:\n    test_file.py::test_left_out[1]\n    test_file.py::test_left_out[2]" in output
    )
    assert "1 passed, 2 deselected" in output


def test_a_name_that_no_test_has_is_an_error(tmp_path):
    finished = run(tmp_path, '"it always fails" = ["test_left_out*"]')
    assert finished.returncode == 4
    assert "test_left_out*" in finished.stderr
