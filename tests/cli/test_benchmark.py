"""``dowhy-cina benchmark`` and the plan that ``info`` shows."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dowhy_cina.cli import benchmark, main
from dowhy_cina.learning.evaluation import evaluate_conditional


def test_it_prints_a_line_for_each_size(capsys):
    assert main(["benchmark", "--rows", "300,1e3", "--columns", "3", "--tables", "2", "--repeats", "1"]) == 0
    text = capsys.readouterr().out
    lines = re.findall(r"^ +(\d+) +3 +([\d.]+) +([\d.]+) +([\d.]+)$", text, re.MULTILINE)
    assert [int(line[0]) for line in lines] == [300, 1000]
    assert all(0 < float(line[1]) < 60 and float(line[2]) < 0.5 for line in lines)
    assert "2 tables of 500 x 3 in one call" in text


def test_conditional_effects_by_family(capsys):
    options = ["--rows", "120,200", "--columns", "3", "--tables", "2", "--families", "linear,skewed"]
    assert main(["benchmark", "--conditional", *options]) == 0
    text = capsys.readouterr().out
    number = r" +([\d.]+)"
    pattern = rf"^(\w+) +(\d+){number} \+- [\d.]+{number} \+- [\d.]+{number}{number}{number}$"
    lines = re.findall(pattern, text, re.MULTILINE)
    assert [line[:2] for line in lines] == [(name, rows) for rows in ("120", "200") for name in ("linear", "skewed")]
    for line in lines:
        ours, theirs, ratio, coverage = map(float, line[2:6])
        assert ratio == pytest.approx(ours / theirs, abs=0.01)
        assert 0 <= coverage <= 1
    found = evaluate_conditional(families=["skewed"], rows=200, columns=3, tables=2, progress=False)
    assert float(lines[3][2]) == pytest.approx(found["pehe"].iloc[0], abs=5e-4)
    means = [float(number) for number in re.findall(r"^geometric mean +\d+ +([\d.]+)$", text, re.MULTILINE)]
    ratios = np.array([float(line[4]) for line in lines]).reshape(2, 2)
    # Ratios and means are rounded to two digits.
    lower, upper = (np.sqrt((ratios + by).clip(0).prod(axis=1)) for by in (-0.005, 0.005))
    assert ((lower - 0.005 <= means) & (means <= upper + 0.005)).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--conditional", "--families", "forest"], "expected simulators (mixed"),
        (["--conditional", "--rows", "19"], "expected rows of at least 20"),
        (["--families", "linear"], "expected --conditional with --families"),
    ],
)
def test_refusals_of_conditional_effects(options, reason, capsys):
    assert main(["benchmark", *options]) == 2
    streams = capsys.readouterr()
    assert reason in streams.err
    assert streams.out == ""


@pytest.mark.parametrize("rows", ["many", "3", "", "1e400", "nan", "10.9,1e3"])
def test_sizes_that_are_none(rows, capsys):
    assert main(["benchmark", "--rows", rows]) == 2
    assert "expected rows of at least 10" in capsys.readouterr().err


def test_the_median_of_two_runs_lies_between_them(monkeypatch):
    clock = iter([0.0, 1.0, 10.0, 13.0])
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    assert benchmark._median(lambda: "result", 2) == (2.0, "result")


def test_info_shows_the_plan(capsys):
    assert main(["info"]) == 0
    assert re.search(
        r"exact up to 128 rows.*memory_limit: \d\S+B on .*are kept, those of longer tables",
        capsys.readouterr().out,
        re.DOTALL,
    )
