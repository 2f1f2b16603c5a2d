"""What type checkers are told of the direct calls."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import dowhy_cina
from dowhy_cina.calls.direct import EffectOptions

ROOT = Path(__file__).resolve().parents[2]
CALLS = """
import numpy as np
import pandas as pd
from typing_extensions import assert_type

import dowhy_cina
from dowhy_cina import EffectResult
from dowhy_cina.calls.partitioned import PartitionedResult
from dowhy_cina.results.effect import AverageEffect


class Partitioned:
    npartitions = 3

    def to_delayed(self) -> list[object]:
        return []


x, t = np.zeros((9, 2)), np.zeros(9)
frame, parts = pd.DataFrame(x), Partitioned()
assert_type(dowhy_cina.estimate_effect(x, t, t), EffectResult)
assert_type(dowhy_cina.estimate_effect(X=frame, treatment="t", outcome="y", landmarks=64), EffectResult)
assert_type(dowhy_cina.estimate_effect(parts, "t", "y", target_units="att"), PartitionedResult)
assert_type(dowhy_cina.estimate_effects([(x, t, t)], device="cpu"), list[EffectResult])
assert_type(dowhy_cina.estimate_effects([(frame, t, t)], on_error="return"), list[EffectResult | Exception])
assert_type(dowhy_cina.estimate_effects([(parts, "t", "y")]), list[PartitionedResult])
assert_type(dowhy_cina.estimate_effects([(parts, "t", "y")], on_error="return"), list[PartitionedResult | Exception])
either: list[AverageEffect] = [dowhy_cina.estimate_effect(x, t, t), dowhy_cina.estimate_effect(parts, "t", "y")]
text: str = either[0].summary()
"""
WRONG = """
import numpy as np

import dowhy_cina

x, t = np.zeros((9, 2)), np.zeros(9)
dowhy_cina.estimate_effect(x, t, t, landmarks="64")
dowhy_cina.estimate_effects([(x, t, t)], landmark=64)
dowhy_cina.estimate_effects([(x, t, t)], on_error="ignore")
"""


def test_options_of_type_checkers_are_those_of_the_call():
    parameters = inspect.signature(dowhy_cina.estimate_effect).parameters.values()
    own = {parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    assert set(EffectOptions.__annotations__) == own


@pytest.mark.slow
def test_results_have_their_types(tmp_path):
    for name, text in (("calls", CALLS), ("wrong", WRONG)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    paths = [str(tmp_path / f"{name}.py") for name in ("calls", "wrong")]
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *paths]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    places = {line.partition(": error")[0] for line in run.stdout.splitlines() if ": error" in line}
    assert places == {f"{paths[1]}:{number}" for number in (7, 8, 9)}, run.stdout + run.stderr
