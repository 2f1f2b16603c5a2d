"""What a command writes: never what it has read, never two things into one file, and nothing where it would be lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dowhy_cina import cli

ROOT = Path(__file__).resolve().parents[2]
ROLES = ["--treatment", "t", "--outcome", "y"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A table in the working directory, and links to it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    c, noise = rng.normal(size=(2, 60))
    t = np.arange(60) % 2
    pd.DataFrame({"c": c, "t": t, "y": c + t + noise}).to_csv("keep.csv", index=False)
    os.link("keep.csv", "hard.csv")
    Path("soft.csv").symlink_to("keep.csv")
    Path("g.dot").write_text("digraph { c -> t; c -> y; t -> y }")
    Path("inner").mkdir()
    return tmp_path


def refused(arguments, capsys):
    """The line on standard error of a command that leaves every file as it is."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert cli.main(arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    return streams.err


@pytest.mark.parametrize("option", ["--conditional", "--json", "--report"])
@pytest.mark.parametrize("name", ["keep.csv", "./inner/../keep.csv", "hard.csv", "soft.csv"])
def test_an_estimate_never_writes_over_its_table(folder, capsys, option, name):
    assert "that is not read" in refused(["estimate", "keep.csv", *ROLES, option, name], capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["refute", "keep.csv", *ROLES, "--json", "keep.csv"],
        ["refute", "keep.csv", *ROLES, "--graph", "g.dot", "--json", "g.dot"],
        ["estimate", "keep.csv", *ROLES, "--graph", "g.dot", "--json", "g.dot"],
        ["estimate", "keep.csv", *ROLES, "--checkpoint", "hard.csv", "--json", "hard.csv"],
        ["evaluate", "keep.csv", "scm", "--csv", "keep.csv"],
    ],
)
def test_nothing_that_is_read_is_written_over(folder, capsys, arguments):
    assert "that is not read" in refused(arguments, capsys)


@pytest.mark.parametrize(
    "outputs",
    [
        ["--json", "same", "--conditional", "same"],
        ["--report", "same", "--conditional", "inner/../same"],
        ["--json", "same", "--plots", "same"],
    ],
)
def test_each_output_has_a_place_of_its_own(folder, capsys, outputs):
    assert "a place of its own" in refused(["estimate", "keep.csv", *ROLES, *outputs], capsys)


@pytest.mark.parametrize("option", ["--conditional", "--json", "--report", "--plots"])
def test_no_output_is_called_like_standard_input(folder, capsys, option):
    assert "got '-'" in refused(["estimate", "keep.csv", *ROLES, option, "-"], capsys)


def test_outputs_beside_the_table_are_written_and_devices_may_be_shared(folder):
    given = ["estimate", "keep.csv", *ROLES, "--json", "keep.json", "--conditional", "effects.csv"]
    assert cli.main(given) == 0
    assert json.loads(Path("keep.json").read_text())["value"]
    assert len(pd.read_csv("effects.csv")) == 60
    assert cli.main(given) == 0  # over its own results
    assert cli.main(["estimate", "keep.csv", *ROLES, "--json", "/dev/null", "--conditional", "/dev/null"]) == 0


def test_a_measurement_does_not_land_among_the_tables(folder, capsys):
    Path("collection.toml").write_text('treatment = "t"\n')
    assert "outside of the folder" in refused(["evaluate", "cina-small", ".", "--csv", "found.csv"], capsys)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        (["--rows"], "--json with --rows"),
        (["--simulations", "5"], "--report with --simulations"),
        (["--seed", "1"], "--report with --seed"),
        (["--refuters", "dummy_outcome_refuter"], "--report with --refuters"),
        (["--jobs", "1"], "--report with --jobs"),
    ],
)
def test_options_of_an_output_that_is_not_asked_for_are_refused(folder, capsys, options, missing):
    assert missing in refused(["estimate", "keep.csv", *ROLES, *options], capsys)


def test_a_closed_standard_output_is_refused_in_words():
    code = "import sys; from dowhy_cina.cli import main; sys.exit(main(['info']))"
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" >&-', sys.executable, code], cwd=ROOT, stderr=subprocess.PIPE, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"dowhy-cina: error: standard output is closed")
    assert done.stderr.count(b"\n") == 1
