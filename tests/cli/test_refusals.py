"""Wrong command lines, all kinds: each ends in one line on standard error and exit code 2, before any work is done."""

import json

import numpy as np
import pandas as pd
import pytest

from dowhy_cina import cli
from dowhy_cina.cli.spelling import in_options
from dowhy_cina.errors import RunStoppedError

ROLES = ["--treatment", "t", "--outcome", "y"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of tables, graphs and collections, sound and broken."""
    folder = tmp_path_factory.mktemp("wrong")
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 40))
    t = np.arange(40) % 2
    sound = pd.DataFrame({"c": x, "t": t, "y": x + t + noise})
    tables = {
        "ok": sound,
        "text": sound.assign(t=np.where(t == 1, "treated", "untreated")),
        "three": sound.assign(t=np.arange(40) % 3),
        "dose": sound.assign(t=x),
        "gap_t": sound.assign(t=np.where(np.arange(40) == 3, np.nan, t)),
        "gap_y": sound.assign(y=np.where(np.arange(40) == 3, np.nan, x)),
        "infinite": sound.assign(y=np.where(np.arange(40) == 3, np.inf, x)),
        "words": sound.assign(y="a"),
        "one_arm": sound.assign(t=1),
        "one_row": sound.head(1),
        "roles": sound.assign(minus=-1.0, same=1, none=np.nan, word="a"),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    texts = {
        "empty.csv": b"",
        "header.csv": b"t,y,c\n",
        "twice.csv": b"t,y,c,c\n1,2,3,4\n0,1,2,3\n",
        "ragged.csv": b"t,y,c\n1,2,3,4\n0,1,2,3\n",
        "bytes.csv": bytes(range(256)),
        "semicolons.csv": b"t;y;c\n1;2;3\n",
        "quote.csv": b't,y,c\n"1,2,3\n',
        "bad.parquet": b"PAR1",
        "bad.safetensors": b"abc",
        "bad.dot": b"digraph { c -> ",
        "empty.gml": b"",
        "bad.gml": b"graph [ node [ id x ] ]",
        "absent.dot": b"digraph { c -> y }",
        "no_effect.dot": b"digraph { c -> t; c -> y }",
        "cycle.dot": b"digraph { c -> t; t -> y; y -> c }",
        "bad.toml": b"x =",
        "collection/collection.toml": b"treatment = 3\n",
        "no_tables/collection.toml": b'treatment = "t"\n',
        "directory/x": b"",
    }
    for name, content in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


TABLES = "none empty header twice ragged bytes semicolons quote text three dose gap_t gap_y infinite words one_arm"
ESTIMATE = """--covariates x|--covariates t|--covariates y,c|--covariats c|--graph none.dot|--graph bad.dot
--graph cycle.dot|--graph empty.gml|--graph bad.gml|--graph absent.dot|--graph no_effect.dot|--graph directory
--graph x.png
--graph bad.dot --covariates c|--treatment-value 3|--treatment-value 1 --control-value 1|--treatment-value nan
--treatment-value ''|--control-value yes|--target all|--target|--sample-weight w|--cluster g|--cluster t
--sample-weight c --augmentation none|--augmentation linear|--refine 0|--refine nan|--refine x|--refine -1
--landmarks 1|--landmarks x|--landmarks 9999999999999999999999|--memory-limit x|--memory-limit 0GB
--memory-limit -4GB|--memory-limit 1B|--memory-limit ''|--checkpoint none|--checkpoint ''|--checkpoint bad.safetensors
--checkpoint directory|--checkpoint ok.csv|--device quantum|--device cuda:99|--device mps|--device ''
--confidence-level 95|--confidence-level nan|--confidence-level x|--json directory|--json ok.csv/x|--json ''
--json ok.csv|--conditional ok.csv|--json x --report x|--json -|--rows|--simulations 3|--effects-by y|--effects-by t
--plots ok.csv|--plots ok.csv/x|--report directory|--report ''|--report x.html --refuters none|--report x.html --jobs 0
--outcome t|--treatment T|--treatment ''|--outcome c --treatment c|extra|--nothing|--rows=3|--json"""
ROLE_OPTIONS = """--sample-weight minus|--sample-weight none|--sample-weight word|--cluster same|--cluster none
--cluster minus --sample-weight minus"""
REFUTE = """--refuters placebo|--refuters ''|--refuters ,|--simulations 1|--simulations x|--seed -1|--seed 1.5|--jobs 0
--jobs -2|--jobs x|--json directory|--plots ok.csv|--graph absent.dot|--checkpoint none|--covariates t|--target all
--confidence-level 1|--report x.html|--outcome t|--memory-limit x|--augmentation linear|--sample-weight w"""
OTHERS = """|estmate|--nothing|estimate|estimate ok.csv|refute|evaluate|pretrain|info none|info bad.safetensors
info directory|info ''|info cina-small x|info --nothing|demo --output ok.csv|demo --output ok.csv/x|demo x
demo --nothing
evaluate cina-small|evaluate none scm|evaluate cina-small none|evaluate cina-small scm --tables 0
evaluate cina-small scm --rows 0|evaluate cina-small scm --columns 1|evaluate cina-small scm --seed -1
evaluate cina-small scm --device x|evaluate cina-small scm --csv directory|evaluate cina-small collection
evaluate cina-small no_tables|evaluate cina-small directory|benchmark --tables 0|benchmark --columns 0
benchmark --repeats -1|benchmark --families scm|benchmark --conditional --families none
benchmark --conditional --families ''|pretrain none.toml|pretrain bad.toml|pretrain directory|pretrain ok.csv"""


def lines():
    for name in f"{TABLES} one_row".split():
        yield ["estimate", f"{name}.csv", *ROLES]
    yield ["estimate", "bad.parquet", *ROLES]
    yield ["estimate", "directory", *ROLES]
    for text, head in (
        (ESTIMATE, ["estimate", "ok.csv", *ROLES]),
        (ROLE_OPTIONS, ["estimate", "roles.csv", *ROLES, "--covariates", "c"]),
        (REFUTE, ["refute", "ok.csv", *ROLES]),
        (OTHERS, []),
    ):
        for options in text.replace("\n", "|").split("|"):
            yield [*head, *(part.strip("'") for part in options.split())]


@pytest.mark.parametrize("arguments", list(lines()), ids=" ".join)
def test_one_line_and_exit_code_2(arguments, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    try:
        code = cli.main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    streams = capsys.readouterr()
    assert code == 2, streams.err
    assert streams.out == ""
    assert streams.err.startswith("dowhy-cina")
    assert streams.err.count("\n") == 1
    assert "error: " in streams.err
    assert len(streams.err) < 2100
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_there_are_enough_of_them():
    assert len(list(lines())) >= 120


def refused(arguments, capsys):
    try:
        code = cli.main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["estimat", "ok.csv"], "'estimate'"),
        (["estimate", "ok.csv", *ROLES, "--tretment-value", "1"], "'--treatment-value'"),
        (["estimate", "ok.csv", *ROLES, "--covariates", "C"], "'c'"),
        (["refute", "ok.csv", *ROLES, "--refuters", "placebo_refuter"], "'placebo_treatment_refuter'"),
    ],
)
def test_the_nearest_is_named(arguments, meant, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert f"did you mean {meant}?" in refused(arguments, capsys)


def test_advice_is_in_options_and_leaves_the_direction_open(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    error = refused(["estimate", "text.csv", *ROLES], capsys)
    assert "--treatment-value" in error
    assert "--control-value" in error
    assert "treatment_value" not in error
    assert "--treatment-value untreated" not in error  # which the alphabet would have said
    assert "--drop-missing-treatment" in refused(["estimate", "gap_t.csv", *ROLES], capsys)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("how low, refine=1e-3 tells.", "how low, --refine 1e-3 tells."),
        ("(target_units='overlap')", "(--target overlap)"),
        ("memory_limit='4 GB' is", "--memory-limit '4 GB' is"),
        ("Leave sample_weight at None, or", "Leave --sample-weight out, or"),
        ("with augmentation='kernel' and a checkpoint", "with --augmentation kernel and a checkpoint"),
        ("a device, a cluster; my_refine=3", "a device, a cluster; my_refine=3"),
    ],
)
def test_spelling(text, spelled):
    assert in_options(text) == spelled


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("0.5 before (device=mobile) weighting", ["device"]),
        ("0.5 before (cluster=2) weighting", ["cluster"]),
        ("along sample_weight; along my random_state", ["sample_weight", "my random_state"]),
        ("expected the columns 'sample_weight', 'a random_state' in n_jobs.csv, which has 'device=mobile'", []),
        ("wrote data/n_jobs/x.png", []),
    ],
)
def test_names_of_the_user_stay_as_they_are(text, own):
    assert in_options(text, own) == text
    advice = "; how low, refine=1e-3 tells, or target_units='overlap'"
    assert in_options(text + advice, own) == f"{text}; how low, --refine 1e-3 tells, or --target overlap"


def test_a_fault_is_told_from_a_refusal(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)

    def fail(*_):
        raise ValueError("not\nforeseen")

    monkeypatch.setattr("dowhy_cina.cli.estimate.read_problem", fail)
    assert cli.main(["estimate", "ok.csv", *ROLES]) == 1
    assert capsys.readouterr().err.startswith("dowhy-cina: fault: ValueError: not foreseen (")
    assert cli.main(["--traceback", "estimate", "ok.csv", *ROLES]) == 1
    assert "read_problem" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RunStoppedError("the run saved its state")])
def test_interrupted_it_says_so(error, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)

    def stop(*_):
        raise error

    monkeypatch.setattr("dowhy_cina.cli.estimate.read_problem", stop)
    assert cli.main(["estimate", "ok.csv", *ROLES]) == 130
    assert capsys.readouterr().err == f"dowhy-cina: {str(error) or 'interrupted'}\n"


def test_rows_without_a_treatment_are_left_out_on_demand(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    left = tmp_path / "left.csv"
    pd.read_csv("gap_t.csv").dropna().to_csv(left, index=False)
    values = []
    for table, more in (("gap_t.csv", ["--drop-missing-treatment"]), (str(left), [])):
        assert cli.main(["estimate", table, *ROLES, *more, "--json", str(tmp_path / "o.json")]) == 0
        values.append(json.loads((tmp_path / "o.json").read_text())["value"])
    assert values[0] == values[1]
    assert "left out: 1 of 40 rows without a treatment" in capsys.readouterr().out


def test_without_matplotlib_pictures_are_refused_before_the_work(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.setattr("dowhy_cina.cli.estimate.read_problem", pytest.fail)
    monkeypatch.setattr("dowhy_cina.cli.refute.read_problem", pytest.fail)
    for command in (
        ["estimate", "ok.csv", *ROLES, "--plots", "p"],
        ["estimate", "ok.csv", *ROLES, "--report", "r.html"],
    ):
        assert "pip install 'dowhy-cina[plots]'" in refused(command, capsys)
    assert "pip install 'dowhy-cina[plots]'" in refused(["refute", "ok.csv", *ROLES, "--plots", "p"], capsys)
