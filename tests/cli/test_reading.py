"""The table that a command reads: pipes, delimiters, columns without a name, values of the treatment."""

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dowhy_cina import cli

ROOT = Path(__file__).resolve().parents[2]
ROLES = ["--treatment", "t", "--outcome", "y"]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    c, noise = rng.normal(size=(2, 80))
    t = (rng.random(80) < 1 / (1 + np.exp(-c))).astype(int)
    return pd.DataFrame({"c": c, "t": t, "y": 2.0 * t + c + 0.3 * noise})


@pytest.fixture(scope="module")
def plain(table, tmp_path_factory):
    """Content of the file, and its answer."""
    folder = tmp_path_factory.mktemp("plain")
    table.to_csv(folder / "a.csv", index=False)
    return (folder / "a.csv").read_bytes(), value(folder / "a.csv", folder)


def value(path, folder, *options):
    assert cli.main(["estimate", str(path), *ROLES, *options, "--json", str(folder / "out.json")]) == 0
    return json.loads((folder / "out.json").read_text())["value"]


def refusal(path, capsys, *options):
    assert cli.main(["estimate", str(path), *ROLES, *options]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    return streams.err


def test_an_index_without_a_name_is_no_covariate(table, tmp_path, capsys):
    """Of rows that are sorted by treatment it would tell the arms apart."""
    table.sort_values("t").reset_index(drop=True).to_csv(tmp_path / "idx.csv")
    error = refusal(tmp_path / "idx.csv", capsys)
    assert "idx.csv: expected a name for each column, got none for column 1 of 4" in error
    assert "without it (index=False)" in error


@pytest.mark.parametrize("header", ['"",t,y', "t, ,y", "t,y,"])
def test_every_column_has_a_name(tmp_path, capsys, header):
    (tmp_path / "a.csv").write_text(f"{header}\n1,0,1\n")
    assert "expected a name for each column" in refusal(tmp_path / "a.csv", capsys)


def test_a_name_may_stand_for_a_missing_value(table, tmp_path, plain):
    table.rename(columns={"c": "NA"}).to_csv(tmp_path / "a.csv", index=False)
    assert value(tmp_path / "a.csv", tmp_path) == plain[1]


def test_a_column_of_a_parquet_file_has_a_name(table, tmp_path, capsys):
    table.rename(columns={"c": ""}).to_parquet(tmp_path / "a.parquet")
    assert "expected a name for each column" in refusal(tmp_path / "a.parquet", capsys)


@pytest.mark.parametrize(
    ("name", "option", "told"),
    [
        ("none.csv", "", "expected a table in none.csv, but there is no such file: check its name"),
        ("none.parquet", "", "expected a table in none.parquet, but there is no such file: check its name"),
        ("folder", "", "expected a file with a table, got the folder folder: name a file in it"),
        ("utf16.csv", "", "utf16.csv: expected text in UTF-8, got bytes that are zero"),
        (
            "utf16le.csv",
            "",
            "utf16le.csv: expected text in UTF-8, got bytes that are zero, as UTF-16 has them: save the",
        ),
        ("latin.csv", "", "expected a table as text in UTF-8 in latin.csv, got another encoding ("),
        ("a.csv", "none.dot", "expected a causal graph in none.dot, but there is no such file: check its name"),
        ("a.csv", "folder.gml", "expected a file with a causal graph, got the folder folder.gml: name a file in it"),
        ("a.csv", "utf16.dot", "expected a causal graph as text in UTF-8 in utf16.dot, got another encoding ("),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_do(table, tmp_path, monkeypatch, capsys, name, option, told):
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "folder.gml"):
        Path(folder).mkdir()
    table.to_csv("a.csv", index=False)
    table.to_csv("utf16.csv", index=False, encoding="utf-16")
    table.to_csv("utf16le.csv", index=False, encoding="utf-16-le")
    table.assign(word="Zürich").to_csv("latin.csv", index=False, encoding="latin-1")
    Path("utf16.dot").write_text("digraph { c -> t; c -> y; t -> y }", encoding="utf-16")
    assert told in refusal(name, capsys, *(["--graph", option] if option else []))


def test_standard_input(tmp_path, plain, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(plain[0])))
    assert value("-", tmp_path) == plain[1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
    capsys.readouterr()
    assert "expected the columns 't', 'y' in standard input" in refusal("-", capsys)
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input: expected a table" in refusal("-", capsys)


def test_a_pipe_is_read_once(tmp_path, plain):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(plain[0],), daemon=True)
    writer.start()
    assert value(pipe, tmp_path) == plain[1]
    writer.join(20)


@pytest.mark.parametrize("name", ["/dev/stdin", "-"])
def test_a_pipeline(tmp_path, plain, name):
    command = [sys.executable, "-m", "dowhy_cina.cli", "estimate", name, *ROLES, "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=ROOT, input=plain[0], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["value"] == plain[1]


@pytest.mark.parametrize("ending", ["tsv", "tab", "TSV"])
def test_tabs_by_the_ending(table, tmp_path, plain, ending):
    table.to_csv(tmp_path / f"a.{ending}", sep="\t", index=False)
    assert value(tmp_path / f"a.{ending}", tmp_path) == plain[1]


@pytest.mark.parametrize(
    ("ending", "sep"), [("csv.gz", ","), ("tsv.gz", "\t"), ("CSV.GZ", ","), ("csv.bz2", ","), ("csv.xz", ",")]
)
def test_packed_files_by_their_ending(table, tmp_path, plain, capsys, ending, sep):
    packing = {"gz": "gzip"}.get(ending.lower()[4:], ending[4:])
    table.to_csv(tmp_path / f"a.{ending}", sep=sep, index=False, compression=packing)
    assert value(tmp_path / f"a.{ending}", tmp_path) == plain[1]
    (tmp_path / f"a.{ending}").rename(tmp_path / "a.csv")
    capsys.readouterr()
    assert "a.csv: expected text in UTF-8, got a packed file: unpack it" in refusal(tmp_path / "a.csv", capsys)


def test_a_file_that_is_packed_by_its_name_alone(table, tmp_path, capsys):
    table.to_csv(tmp_path / "a.csv.gz", index=False, compression=None)
    assert "a.csv.gz, could not read it (Not a gzipped file" in refusal(tmp_path / "a.csv.gz", capsys)


@pytest.mark.parametrize(
    ("name", "written", "told"),
    [
        ("a.csv", {"sep": ";", "decimal": ","}, "';' in its name"),
        ("a.csv", {"sep": "\t"}, r"'\t' in its name"),
        ("a.tsv", {"sep": ","}, "',' in its name"),
    ],
)
def test_another_delimiter_is_named(table, tmp_path, capsys, name, written, told):
    table.to_csv(tmp_path / name, index=False, **written)
    error = refusal(tmp_path / name, capsys)
    assert f"{name}: expected" in error
    assert told in error


@pytest.mark.parametrize("names", [("true", "false"), ("TRUE", "False"), ("1", "0")])
def test_truth_values_in_any_case(table, tmp_path, plain, names):
    table.assign(t=table["t"] == 1).to_csv(tmp_path / "a.csv", index=False)
    given = ("--treatment-value", names[0], "--control-value", names[1])
    assert value(tmp_path / "a.csv", tmp_path, *given) == pytest.approx(plain[1], rel=1e-9)
