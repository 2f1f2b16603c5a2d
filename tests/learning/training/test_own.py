"""Pretraining on a folder of one's own tables: what it writes and says, and what it refuses without a trace."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from dowhy_cina import cli
from dowhy_cina.errors import InputError
from dowhy_cina.learning.simulators.clinics import COLUMNS, draw_clinics
from dowhy_cina.learning.training import OWN, Folder, pretrain, pretrain_folder
from dowhy_cina.learning.training import own as module
from dowhy_cina.learning.training.folders import Tables
from dowhy_cina.learning.training.own import SEED_OFFSETS, compare
from dowhy_cina.learning.training.own_tables import read_tables
from dowhy_cina.learning.training.validation import validation_batches
from dowhy_cina.model import checkpoint

SHORT = dataclasses.replace(
    OWN,
    steps=2,
    tables_per_batch=1,
    batches_per_step=1,
    validation_every=1,
    validation_tables=4,
    workers=0,
    min_rows=40,
    max_rows=60,
)
KEPT = [*COLUMNS[:4], "sex"]


def write(folder, tables=8, **changes):
    """Clinics with few columns, their treatment and an outcome."""
    folder.mkdir(exist_ok=True)
    for index, table in enumerate(draw_clinics(np.random.default_rng(0), tables, rows=(60, 90))):
        frame = pd.DataFrame(table.covariates, columns=list(COLUMNS))[KEPT]
        frame = frame.assign(treated=table.treatment.astype(int), died=table.outcome > 0, **changes)
        if index % 2:
            frame.to_parquet(folder / f"{index}.parquet", index=False)
        else:
            frame.to_csv(folder / f"{index}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("own") / "registry", note=1.0)


@pytest.fixture(scope="module")
def report(folder):
    return pretrain_folder(
        folder,
        treatment="treated",
        outcome="died",
        config=SHORT,
        output=folder.parent / "r.safetensors",
        progress=False,
    )


def test_half_trains_a_quarter_stops_and_a_quarter_judges(report, folder):
    assert report.tables == (4, 2, 2)
    assert report.treatment == "treated"
    assert report.covariates == (*KEPT, "note")
    header = checkpoint.read_header(report.output)
    assert header["figures"]["held-out tables, error before"] == pytest.approx(report.held_out.before)
    assert header["figures"]["held-out tables, error after"] == pytest.approx(report.held_out.after)
    assert f"{report.held_out.before:.4f} before, {report.held_out.after:.4f} after" in str(report)
    assert f"(ratio {report.held_out.ratio:.2f})" in str(report)
    assert ("weights of the start are kept" in str(report)) != report.kept
    model, start = checkpoint.read(report.output)[0], checkpoint.read("cina-small")[0]
    same = all(torch.equal(*pair) for pair in zip(model.parameters(), start.parameters(), strict=True))
    assert same != report.kept


@pytest.mark.parametrize("better", [True, False])
def test_the_start_is_kept_unless_other_outcomes_agree(folder, tmp_path, monkeypatch, better):
    found = {}

    def compared(models, tables, config, offset):
        found[offset] = models, {table.name for table in tables.tables}
        difference = (-0.3 if better else -0.05) if offset == SEED_OFFSETS["validation"] else 0.0
        return module.Comparison(0.2, 0.1, difference, 0.1)

    monkeypatch.setattr(module, "compare", compared)
    output = tmp_path / "x.safetensors"
    said = pretrain_folder(folder, outcome="died", config=SHORT, output=output, progress=False)
    assert said.kept == better
    validation, judge = found[SEED_OFFSETS["validation"]], found[SEED_OFFSETS["report"]]
    assert not validation[1] & judge[1]
    (start, trained), written = validation[0], checkpoint.read(output)[0]
    kept = trained if better else start
    assert all(torch.equal(*pair) for pair in zip(written.parameters(), kept.parameters(), strict=True))
    assert judge[0] == (start, kept)


def test_an_outcome_is_never_read(report, folder, tmp_path):
    """Other values of it, of another kind, change nothing: neither weights nor figures."""
    other = tmp_path / "registry"
    other.mkdir()
    for file in folder.iterdir():
        text = file.suffix == ".csv"
        frame = pd.read_csv(file, float_precision="round_trip") if text else pd.read_parquet(file)
        frame = frame.assign(died="unknown")
        getattr(frame, "to_csv" if text else "to_parquet")(other / file.name, index=False)
    again = pretrain_folder(
        other, treatment="treated", outcome="died", config=SHORT, output=tmp_path / "r.safetensors", progress=False
    )
    assert again.held_out == report.held_out
    assert again.validation == report.validation
    models = [checkpoint.read(path)[0] for path in (report.output, again.output)]
    assert all(torch.equal(*pair) for pair in zip(*(model.parameters() for model in models), strict=True))
    assert "died" not in read_tables(other, "treated", "died").covariates


def test_the_treatment_is_guessed_by_its_name_among_columns_of_two_values(folder, caplog):
    with caplog.at_level("INFO"):
        assert read_tables(folder, "", "died").treatment == "treated"
    assert "taken to be 'treated'" in caplog.text


def test_whole_tables_are_those_of_the_estimate(folder):
    tables = read_tables(folder, "treated", "died").tables
    whole = Tables(("registry",), tables[:2], tables, whole=True)
    sizes = {len(table.treatment) for table in tables[:2]}
    config = dataclasses.replace(SHORT, max_rows=4000)
    batches = validation_batches(config, whole, 6)
    assert {batch.table.covariates.shape[1] for batch in batches} == sizes
    assert {batch.table.covariates.shape[2] for batch in batches} == {tables[0].covariates.shape[1]}
    assert all(batch.labels is not None for batch in batches)
    start = checkpoint.read("rule")[0]
    same = compare((start, start), whole, SHORT, 1)
    assert (same.ratio, same.difference) == (1.0, 0.0)


def refused(folder, message, capsys, *options):
    """The command line says why, in one line, and writes nothing."""
    before = set(folder.parent.rglob("*"))
    output = folder.parent / "out" / "x.safetensors"
    assert cli.main(["pretrain", str(folder), "--output", str(output), *options]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert message in told
    assert set(folder.parent.rglob("*")) == before


def test_bad_folders(tmp_path, capsys):
    folder = tmp_path / "registry"
    folder.mkdir()
    refused(folder, "no file ends in .csv", capsys)
    write(folder, tables=7)
    refused(folder, "at least 8 usable tables", capsys, "--outcome", "died")
    write(folder, tables=8)
    (folder / "0.csv").write_text("treated,age\n" + "1,60\n" * 30)
    (folder / "2.csv").write_text("")
    refused(folder, "0.csv (", capsys, "--treatment", "treated")
    refused(folder, "2.csv (", capsys, "--treatment", "treated")
    (folder / "2.csv").write_text("hospital,days\n1,2\n")
    refused(folder, "share columns, no column is in all 8", capsys)


def test_bad_roles(folder, capsys):
    refused(folder, "as the outcome, found none (did you mean 'died'?)", capsys, "--outcome", "dead")
    refused(folder, "as the treatment, found none (did you mean 'treated'?)", capsys, "--treatment", "treatd")
    refused(folder, "for both", capsys, "--treatment", "treated", "--outcome", "treated")
    refused(folder, "expected a positive number of minutes", capsys, "--minutes", "0", "--outcome", "died")
    refused(folder, "unknown training setting", capsys, "--set", "sedd=1")
    refused(folder, "got --set model.width", capsys, "--set", "model.width=8")
    refused(folder, "expected outcomes = false for a folder of tables, got true", capsys, "--set", "outcomes=true")
    told = "expected random_outcomes = true for a folder of tables, got false"
    refused(folder, told, capsys, "--set", "random_outcomes=false")
    with pytest.raises(InputError, match="must be the path of a checkpoint"):
        pretrain_folder(folder, output=folder)


def test_a_covariate_that_no_table_has(tmp_path, capsys):
    folder = write(tmp_path / "registry")
    (folder / "collection.toml").write_text(f'treatment = "treated"\ncovariates = ["{KEPT[0]}", "sexx"]\n')
    refused(folder, "a column 'sexx'", capsys, "--outcome", "died")
    refused(folder, "as the covariate, found none (did you mean 'sex'?)", capsys, "--outcome", "died")


@pytest.mark.parametrize("output", [[], ["--output", "0.safetensors"]])
def test_nothing_is_written_among_the_tables(tmp_path, monkeypatch, capsys, output):
    """The curve would be read as a table by the next run, or replace one."""
    folder = write(tmp_path / "registry")
    monkeypatch.chdir(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert cli.main(["pretrain", ".", "--outcome", "died", "--set", "steps=1", *output]) == 2
    assert "expected an output outside of the folder of tables" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_table_beside_the_folder_is_no_place_for_the_curve(folder, tmp_path, monkeypatch, capsys):
    """By default the output is called as the folder is, and so is its curve."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry.csv").write_text("hospital,days\n1,2\n")
    assert cli.main(["pretrain", str(folder), "--treatment", "treated", "--set", "steps=1"]) == 2
    assert "registry.csv is not the curve of an earlier run" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["registry.csv"]
    assert (tmp_path / "registry.csv").read_text() == "hospital,days\n1,2\n"


def test_a_recipe_writes_nothing_among_its_tables(tmp_path, capsys):
    folder = write(tmp_path / "mine")
    (folder / "collection.toml").write_text('treatment = "treated"\n')
    collections = '[[collections]]\npath = "mine"\n[[collections]]\nsimulators = ["scm"]\n'
    (tmp_path / "mine.toml").write_text(f"[training]\nsteps = 1\nworkers = 0\n{collections}")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for name in ("0", "new"):
        output = str(folder / f"{name}.safetensors")
        assert cli.main(["pretrain", str(tmp_path / "mine.toml"), "--output", output]) == 2
        assert "expected an output outside of the folder of tables" in capsys.readouterr().err
        given = {"config": SHORT, "output": output, "progress": False}
        for one in ({"collections": [Folder(folder)]}, {"collections": "scm", "validation": Folder(folder)}):
            with pytest.raises(InputError, match="outside of the folder of tables"):
                pretrain(**given, **one)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_on_own_tables_is_calibrated_on_demand(folder, tmp_path, monkeypatch):
    better = module.Comparison(0.2, 0.1, -0.3, 0.1)
    monkeypatch.setattr(module, "compare", lambda *_: better)
    config = dataclasses.replace(SHORT, calibration_samples=12, landmarks=16)
    output = tmp_path / "x.safetensors"
    pretrain_folder(folder, outcome="died", config=config, output=output, progress=False)
    header = checkpoint.read_header(output)
    assert header["recipe"]["calibration_samples"] == 12
    assert 0 <= header["calibration"]["coverage"] <= 1
    header = pretrain(dataclasses.replace(config, outcomes=True), "scm", output=output, progress=False)
    written = checkpoint.read_header(output)
    assert written["calibration"] == header["calibration"]


def test_a_treatment_that_cannot_be_told(tmp_path, capsys):
    folder = write(tmp_path / "registry")
    for file in folder.iterdir():
        read, write_ = (pd.read_csv, "to_csv") if file.suffix == ".csv" else (pd.read_parquet, "to_parquet")
        frame = read(file).rename(columns={"treated": "surgery"})
        getattr(frame, write_)(file, index=False)
    refused(folder, "'sex', 'surgery' have two: name it with --treatment", capsys, "--outcome", "died")


def test_options_of_a_folder_are_no_recipes(tmp_path, capsys):
    assert cli.main(["pretrain", "cina-small", "--minutes", "1"]) == 2
    assert "expected a folder of tables with --minutes" in capsys.readouterr().err


def test_the_command_line(folder, tmp_path, capsys):
    output = tmp_path / "mine.safetensors"
    names = ("steps", "tables_per_batch", "batches_per_step", "validation_tables", "workers", "min_rows", "max_rows")
    settings = [part for name in names for part in ("--set", f"{name}={getattr(SHORT, name)}")]
    given = ["--treatment", "treated", "--outcome", "died", "--minutes", "0.5", "--output", str(output), *settings]
    assert cli.main(["pretrain", str(folder), *given]) == 0
    printed = capsys.readouterr().out
    assert "tables: 4 to train on, 2 to stop by, 2 held out" in printed
    assert f"wrote {output}" in printed
    assert checkpoint.read(output)[0].config.width == 48
