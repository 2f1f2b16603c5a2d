"""What a command writes: never what it has read, never two things into one file, and nothing where it would be lost."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dowhy_cina import cli

ROOT = Path(__file__).resolve().parents[2]
ROLES = ["--treatment", "t", "--outcome", "y"]
FEW = ["--refuters", "random_common_cause", "--simulations", "2"]


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


@contextlib.contextmanager
def room_for(size):
    """No file may grow beyond so many bytes: what a full disk does, as the writers meet it."""
    resource = pytest.importorskip("resource")  # of POSIX systems
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["estimate", "keep.csv", *ROLES, "--json", "out/big.json", "--rows"], "out/big.json"),
        (["estimate", "keep.csv", *ROLES, "--conditional", "out/rows.csv"], "out/rows.csv"),
        (["estimate", "keep.csv", *ROLES, "--plots", "out"], "out/love.png"),
        (["refute", "keep.csv", *ROLES, *FEW, "--plots", "out"], "out/refutations.png"),
        (["refute", "keep.csv", *ROLES, *FEW, "--json", "out/r.json"], "out/r.json"),
    ],
)
def test_a_full_disk_leaves_the_earlier_result(folder, capsys, arguments, output):
    Path(output).parent.mkdir()
    Path(output).write_text("earlier")
    with room_for(200):
        assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert re.search(rf"({output}|pictures for out) cannot be written .* as (it was|they were)\. Free space", error)
    assert [(str(path), path.read_text()) for path in Path("out").iterdir()] == [(output, "earlier")]


def test_a_full_disk_leaves_an_earlier_measurement(folder, monkeypatch):
    monkeypatch.setattr("dowhy_cina.learning.evaluation.evaluate", lambda *_, **__: pd.DataFrame({"a": range(99)}))
    Path("found.csv").write_text("earlier")
    with room_for(200):
        assert cli.main(["evaluate", "cina-small", "scm", "--csv", "found.csv"]) == 2
    assert Path("found.csv").read_text() == "earlier"
    assert not list(Path().glob("*.partial"))
    assert cli.main(["evaluate", "cina-small", "scm", "--csv", "found.csv"]) == 0
    assert len(pd.read_csv("found.csv")) == 99


def test_links_streams_and_pipes_stay_what_they_are(folder):
    Path("link.json").symlink_to("inner/target.json")
    given = [sys.executable, "-m", "dowhy_cina.cli", "estimate", str(folder / "keep.csv"), *ROLES, "--json"]
    assert cli.main([*given[3:], "link.json"]) == 0
    Path("inner/target.json").chmod(0o600)
    assert cli.main([*given[3:], "link.json"]) == 0
    assert Path("inner/target.json").stat().st_mode & 0o777 == 0o600
    assert Path("link.json").is_symlink()
    assert json.loads(Path("inner/target.json").read_text())["value"]
    printed = subprocess.run([*given, "/dev/stdout"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert printed.returncode == 0, printed.stderr
    assert '"value": ' in printed.stdout
    os.mkfifo("pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE) as reader:
        assert cli.main([*given[3:], "pipe"]) == 0
        assert b'"value": ' in reader.communicate(timeout=60)[0]
    assert Path("pipe").is_fifo()


def test_a_full_device_is_named(folder, capsys):
    if not Path("/dev/full").exists():
        pytest.skip("of Linux")
    assert cli.main(["estimate", "keep.csv", *ROLES, "--json", "/dev/full"]) == 2
    assert "/dev/full cannot be written (No space left on device): name another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "output"), [("--json", "/proc/x.json"), ("--report", "/proc/new/x.html"), ("--plots", "/proc/p")]
)
def test_a_place_that_takes_no_files_is_refused_before_the_work(folder, capsys, option, output):
    error = refused(["estimate", "keep.csv", *ROLES, option, output], capsys)
    assert f"expected a place for '{output}', but nothing can be written into '/proc'" in error


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
