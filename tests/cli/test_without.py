"""The command line where something optional is missing: a package, letters of the terminal's encoding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dowhy_cina import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def csv(tmp_path):
    rng = np.random.default_rng(0)
    age, treated = rng.normal(size=200), rng.random(200) < 0.5
    table = pd.DataFrame({"возраст": age, "t": treated.astype(int), "y": age + treated + rng.normal(size=200)})
    path = tmp_path / "data.csv"
    table.to_csv(path, index=False, encoding="utf-8")
    return path


def test_parquet_without_pyarrow_names_the_extra(csv, monkeypatch, capsys):
    path = csv.with_suffix(".parquet")
    pd.read_csv(csv).to_parquet(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert cli.main(["estimate", str(path), "--treatment", "t", "--outcome", "y"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "data.parquet" in told
    assert "pip install 'dowhy-cina[parquet]'" in told


def test_letters_that_the_terminal_lacks_stop_nothing(csv):
    command = [sys.executable, "-m", "dowhy_cina.cli", "estimate", str(csv), "--treatment", "t", "--outcome", "y"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=120)
    assert rb"\u0432\u043e\u0437" in done.stdout
