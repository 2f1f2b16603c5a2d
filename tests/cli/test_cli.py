"""The command line: what it prints and writes, and how it refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina import cli
from dowhy_cina.model.checkpoint import read, read_header, write

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    confounder, noise = rng.normal(size=(2, 300))
    treatment = (rng.uniform(size=300) < 1 / (1 + np.exp(-confounder))).astype(int)
    outcome = 2.0 * treatment + 3.0 * confounder + 0.3 * rng.normal(size=300)
    return pd.DataFrame(
        {"c": confounder, "noise": noise, "t": treatment, "m": treatment + 0.1 * rng.normal(size=300), "y": outcome}
    )


@pytest.fixture
def csv(table, tmp_path):
    path = tmp_path / "data.csv"
    table.to_csv(path, index=False)
    return str(path)


def estimate(*arguments):
    return cli.main(["estimate", *arguments, "--treatment", "t", "--outcome", "y"])


def value_of(path):
    return json.loads(path.read_text())["value"]


@pytest.mark.parametrize("target", ["ate", "att", "atc", "overlap"])
def test_estimate_agrees_with_the_library(csv, table, tmp_path, capsys, target):
    out = tmp_path / "out.json"
    assert estimate(csv, "--covariates", "c, noise", "--target", target, "--json", str(out)) == 0
    result = dowhy_cina.estimate_effect(pd.read_csv(csv)[["c", "noise"]], table["t"], table["y"], target_units=target)
    written = json.loads(out.read_text())
    assert written["value"] == pytest.approx(result.value, rel=1e-9)
    assert written["confidence_interval"] == pytest.approx(result.confidence_interval, rel=1e-9)
    assert result.summary() in capsys.readouterr().out
    assert written["value"] == pytest.approx(2.0, abs=0.3)


def test_every_other_column_is_a_covariate_unless_named(table, tmp_path):
    path, out = tmp_path / "data.csv", tmp_path / "out.json"
    table.drop(columns="m").to_csv(path, index=False)
    assert estimate(str(path), "--json", str(out)) == 0
    adjusted = value_of(out)
    assert estimate(str(path), "--covariates", "", "--json", str(out)) == 0
    assert adjusted == pytest.approx(2.0, abs=0.3)
    means = table.groupby("t")["y"].mean()
    assert value_of(out) == pytest.approx(means[1] - means[0], rel=1e-6)


def test_weights_and_clusters_are_columns_of_their_own(table, tmp_path):
    path, out = tmp_path / "data.csv", tmp_path / "out.json"
    rng = np.random.default_rng(1)
    weight, cluster = rng.uniform(0.2, 3, len(table)), rng.integers(0, 30, len(table))
    table.drop(columns="m").assign(w=weight, g=cluster).to_csv(path, index=False)
    named = ("--sample-weight", "w", "--cluster", "g", "--refine", "1e-3", "--memory-limit", "1GB", "--json", str(out))
    assert estimate(str(path), *named) == 0
    written = json.loads(out.read_text())
    expected = dowhy_cina.estimate_effect(
        table[["c", "noise"]], table["t"], table["y"], sample_weight=weight, cluster=cluster, refine=1e-3
    )
    assert written["value"] == pytest.approx(expected.value, rel=1e-9)
    assert written["standard_error"] == pytest.approx(expected.standard_error, rel=1e-9)
    assert estimate(str(path), "--cluster", "absent") == 2


def test_parquet_gives_the_same(csv, tmp_path):
    parquet, out = tmp_path / "data.parquet", tmp_path / "out.json"
    pd.read_csv(csv).to_parquet(parquet)
    estimate(csv, "--covariates", "c", "--json", str(out))
    expected = value_of(out)
    assert estimate(str(parquet), "--covariates", "c", "--json", str(out)) == 0
    assert value_of(out) == expected


DOT = 'digraph { c -> "t"; c -> y; "t" -> m; m -> y; t -> y; noise -> y }\n'
GML = """graph [ directed 1
  node [ id 0 label "c" ] node [ id 1 label "t" ] node [ id 2 label "y" ] node [ id 3 label "m" ]
  edge [ source 0 target 1 ] edge [ source 0 target 2 ] edge [ source 1 target 2 ] edge [ source 1 target 3 ]
  edge [ source 3 target 2 ] ]
"""


@pytest.mark.parametrize(("name", "text"), [("g.dot", DOT), ("g.gml", GML)])
def test_dowhy_finds_the_backdoor_set_of_a_graph(csv, tmp_path, capsys, name, text):
    graph, out = tmp_path / name, tmp_path / "out.json"
    graph.write_text(text)
    assert estimate(csv, "--graph", str(graph), "--json", str(out)) == 0
    printed = capsys.readouterr().out
    chosen = printed.splitlines()[0].removeprefix("DoWhy's backdoor set: ").split(", ")
    assert "c" in chosen
    assert "m" not in chosen  # a mediator
    assert estimate(csv, "--covariates", ",".join(chosen), "--json", str(tmp_path / "named.json")) == 0
    assert value_of(out) == value_of(tmp_path / "named.json")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("digraph { u -> t; u -> y; t -> y }", "close every backdoor path"),
        ('digraph { c [observed="no"]; c -> t; c -> y; t -> y }', "close every backdoor path"),
        ("digraph { c -> t; c -> y }", "'t' causes 'y'"),
        ("digraph { c -> y }", "expected the nodes 't'"),
        ("digraph { c -> ", "could not read it: digraph { c -> ^ Expected"),
    ],
)
def test_graph_without_a_backdoor_set_is_refused(csv, tmp_path, capsys, text, reason):
    graph = tmp_path / "g.dot"
    graph.write_text(text)
    assert estimate(csv, "--graph", str(graph)) == 2
    assert reason in refusal(capsys)


def test_values_of_the_treatment_are_read_as_the_column_holds_them(table, tmp_path):
    path, out = tmp_path / "data.csv", tmp_path / "out.json"
    estimates = []
    for high, low in [("yes", "no"), (True, False), (2, 7), (0.5, 1.5)]:
        table.assign(t=np.where(table["t"] == 1, high, low)).to_csv(path, index=False)
        given = ["--covariates", "c", "--treatment-value", str(high), "--control-value", str(low), "--json", str(out)]
        assert estimate(str(path), *given) == 0
        estimates.append(value_of(out))
    assert estimates == pytest.approx([estimates[0]] * 4, rel=1e-9)
    assert estimates[0] == pytest.approx(2.0, abs=0.3)


def test_options_reach_the_estimate(csv, tmp_path):
    out = tmp_path / "out.json"
    widths, values = [], []
    for given in ([], ["--confidence-level", "0.5"], ["--augmentation", "none"], ["--checkpoint", "cina-small"]):
        assert estimate(csv, "--covariates", "c", "--json", str(out), *given) == 0
        low, high = json.loads(out.read_text())["confidence_interval"]
        widths.append(high - low)
        values.append(value_of(out))
    assert widths[1] < widths[0] / 2
    assert values[2] != values[0]
    assert values[3] == values[0] == values[1]


def test_memory_limit_reaches_the_plan(csv, table, tmp_path, capsys):
    """101 MB hold the features of one kernel of this table, without a limit three are kept; 1 MB holds none."""
    out, plans = tmp_path / "out.json", []
    for given in ([], ["--memory-limit", "101MB"]):
        assert estimate(csv, "--covariates", "c,noise", "--json", str(out), *given) == 0
        plans.append(json.loads(out.read_text())["plan"])
    limited = dowhy_cina.estimate_effect(table[["c", "noise"]], table["t"], table["y"], memory_limit="101MB")
    assert plans[1] == limited.to_dict()["plan"]
    assert [plan["kept_kernels"] for plan in plans] == [3, 1]
    capsys.readouterr()
    assert estimate(csv, "--covariates", "c,noise", "--memory-limit", "1MB") == 2
    assert "--memory-limit 1MB is too small for 300 rows x 2 columns" in refusal(capsys)


def test_plots_are_written(csv, tmp_path):
    assert estimate(csv, "--covariates", "c", "--plots", str(tmp_path / "pictures")) == 0
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["love.png", "overlap.png", "weights.png"]


def refusal(capsys):
    """The one line on standard error."""
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("dowhy-cina: error: ")
    assert streams.err.count("\n") == 1
    return streams.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--covariates", "c,income"], "'income'"),
        (["--treatment-value", "3", "--control-value", "0"], "3"),
        (["--checkpoint", "no-such-model"], "no-such-model"),
        (["--device", "quantum"], "quantum"),
        (["--graph", "missing.dot"], "missing.dot"),
        (["--graph", "graph.png"], ".dot or .gml"),
    ],
)
def test_refused_arguments(csv, capsys, arguments, reason):
    assert estimate(csv, *arguments) == 2
    assert reason in refusal(capsys)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "could not read it"),
        ("t,y,c\n", ""),
        ("t,y,c\n0,1,2\n1,2,x\n2,3,4\n", ""),
        ("t,y,c\n0,1,2\n1,text,3\n0,3,4\n", ""),
        ("t,y,c\n0,1,2\n0,2,3\n", ""),
        ("a,b\n1,2\n", "expected the columns 't', 'y'"),
    ],
)
def test_refused_tables(tmp_path, capsys, content, reason):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    assert estimate(str(path)) == 2
    assert reason in refusal(capsys)


def test_missing_and_damaged_files_are_refused(tmp_path, capsys):
    assert estimate(str(tmp_path / "none.csv")) == 2
    assert "none.csv" in refusal(capsys)
    damaged = tmp_path / "bad.parquet"
    damaged.write_bytes(b"PAR1 not really")
    assert estimate(str(damaged)) == 2
    assert "bad.parquet" in refusal(capsys)


def test_damaged_checkpoint_is_refused(csv, tmp_path, capsys):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"\x80\x04pickle")
    assert estimate(csv, "--checkpoint", str(path)) == 2
    assert "broken.safetensors" in refusal(capsys)
    assert cli.main(["info", str(path)]) == 2
    assert "broken.safetensors" in refusal(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["refute"],
        ["estimate", "data.csv"],
        ["estimate", "data.csv", "--treatment", "t", "--outcome", "y", "--target", "everyone"],
        ["estimate", "data.csv", "--treatment", "t", "--outcome", "y", "--confidence-level", "95"],
        ["estimate", "data.csv", "--treatment", "t", "--outcome", "y", "--covariates", "c", "--graph", "g.dot"],
    ],
)
def test_usage_errors_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("dowhy-cina")
    assert ": error: " in error
    assert error.count("\n") == 1


COMMANDS = ["demo", "estimate", "refute", "pretrain", "evaluate", "benchmark", "paper", "info"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([*command, "--help"])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert "usage: dowhy-cina" in printed
    assert "%%" not in printed
    assert "%(" not in printed


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom dowhy_cina import cli\n"
        "try:\n    cli.main(['estimate', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'dowhy', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_info(capsys):
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    header = read_header("cina-small")
    assert f"{header['tables']:,} tables in {header['steps']:,} steps" in printed
    assert header["sha256"] in printed
    for line in ("network", "kept for validation", "validation, inside", "licence MIT"):
        assert line in printed
    assert "cpu" in printed
    for package in ("dowhy-cina", "python", "torch"):
        assert package in printed


def test_info_as_json(capsys):
    assert cli.main(["info", "cina-small", "--header"]) == 0
    assert json.loads(capsys.readouterr().out) == read_header("cina-small")


def test_info_shows_measured_figures(tmp_path, capsys):
    model, header = read("cina-small")
    write(tmp_path / "x.safetensors", model, {"model": header["model"], "figures": {"goal of the day": 0.123456}})
    assert cli.main(["info", str(tmp_path / "x.safetensors")]) == 0
    assert re.search(r"goal of the day +0\.1235\n", capsys.readouterr().out)


def test_info_of_a_recipe_that_says_little(tmp_path, capsys):
    model, header = read("cina-small")
    write(tmp_path / "x.safetensors", model, {"model": header["model"], "recipe": {"min_rows": 5}})
    assert cli.main(["info", str(tmp_path / "x.safetensors")]) == 0
    assert "rows and columns" not in capsys.readouterr().out


def test_a_covariate_called_like_an_option_is_no_option(table, tmp_path, capsys):
    path = tmp_path / "data.csv"
    device = np.where(table["c"] > 0, "mobile", "desktop")
    table.assign(device=device).to_csv(path, index=False)
    assert estimate(str(path), "--covariates", "device") == 0
    printed = capsys.readouterr().out
    assert "(device=mobile)" in printed
    assert "--device" not in printed


def test_info_says_how_long_training_took(tmp_path, capsys):
    model, header = read("cina-small")
    run = {"model": header["model"], "tables": 27_000, "steps": 1_500, "seconds": 9_000.0, "waiting_share": 0.125}
    write(tmp_path / "x.safetensors", model, run)
    assert cli.main(["info", str(tmp_path / "x.safetensors")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"trained on +27,000 tables in 1,500 steps\n", printed)
    assert re.search(r"time +2\.50 hours, 3\.0 tables a second\n", printed)
    assert re.search(r"waiting for data +12\.5 % of the time\n", printed)


def test_pretrain_hands_its_arguments_on(monkeypatch, tmp_path):
    from dowhy_cina import training

    calls = []
    monkeypatch.setattr(training, "main", lambda *arguments: calls.append(arguments), raising=False)
    recipe = tmp_path / "r.toml"
    given = ["--set", "seed=1", "--set", "seconds=2", "--resume", "--strict", "--output", "out.safetensors"]
    assert cli.main(["pretrain", str(recipe), *given]) == 0
    assert calls == [(str(recipe), ["seed=1", "seconds=2"], True, Path("out.safetensors"), True)]


@pytest.mark.slow
def test_pretrain_makes_a_model_that_estimates(csv, tmp_path, capsys):
    model, settings = tmp_path / "tiny.safetensors", {"seconds": 1, "validation_tables": 2, "workers": 0}
    overrides = {**settings, "min_rows": 40, "max_rows": 80, "max_columns": 4, "calibration_samples": 10}
    given = [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]
    assert cli.main(["pretrain", "cina-small", *given, "--output", str(model)]) == 0
    assert f"wrote {model}" in capsys.readouterr().out
    assert estimate(csv, "--covariates", "c", "--checkpoint", str(model)) == 0
    assert "tiny.safetensors" in capsys.readouterr().out


def test_closed_pipe_is_no_error():
    code = "import sys; from dowhy_cina.cli import main; sys.exit(main(['info']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as run:
        run.stdout.close()
        assert run.wait(timeout=120) == 0
        assert run.stderr.read() == b""
