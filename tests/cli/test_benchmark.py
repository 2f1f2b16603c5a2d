"""``dowhy-cina benchmark`` and the plan that ``info`` shows."""

from __future__ import annotations

import re

import pytest

from dowhy_cina.cli import main


def test_it_prints_a_line_for_each_size(capsys):
    assert main(["benchmark", "--rows", "300,1e3", "--columns", "3", "--tables", "2", "--repeats", "1"]) == 0
    text = capsys.readouterr().out
    lines = re.findall(r"^ +(\d+) +3 +([\d.]+) +([\d.]+) +([\d.]+)$", text, re.MULTILINE)
    assert [int(line[0]) for line in lines] == [300, 1000]
    assert all(0 < float(line[1]) < 60 and float(line[2]) < 0.5 for line in lines)
    assert "2 tables of 500 x 3 in one call" in text


@pytest.mark.parametrize("options", [["--rows", "many"], ["--rows", "3"], ["--tables", "0"], ["--columns", "0"]])
def test_sizes_that_are_none(options, capsys):
    assert main(["benchmark", *options]) == 1
    assert "expected rows of at least 10" in capsys.readouterr().err


def test_info_shows_the_plan(capsys):
    assert main(["info"]) == 0
    assert re.search(
        r"exact up to 128 rows.*memory_limit: \d\S+B on .*kept in memory", capsys.readouterr().out, re.DOTALL
    )
