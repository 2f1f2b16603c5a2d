"""``dowhy-cina refute``: a table and a graph in, a report, JSON and a picture out."""

import json

import numpy as np
import pandas as pd
import pytest

from dowhy_cina.adapter.refutation.refuters import NAMES
from dowhy_cina.cli import main
from dowhy_cina.cli.arguments import INTERRUPTED

GRAPH = "digraph {x -> t; x -> y; z -> y; flag -> t; flag -> y; t -> y}"


@pytest.fixture
def files(frame, tmp_path):
    frame.to_csv(tmp_path / "data.csv", index=False)
    (tmp_path / "graph.dot").write_text(GRAPH)
    return tmp_path


def call(files, *options):
    return main(["refute", str(files / "data.csv"), "--treatment", "t", "--outcome", "y", *options])


def test_prints_and_writes_the_report(files, capsys):
    options = ["--graph", str(files / "graph.dot"), "--simulations", "4", "--seed", "1", "--target", "att"]
    assert call(files, *options, "--json", str(files / "new" / "report.json"), "--plots", str(files / "pictures")) == 0
    printed = capsys.readouterr()
    assert "DoWhy's backdoor set: x, flag" in printed.out
    content = json.loads((files / "new" / "report.json").read_text())
    assert [row["refuter"] for row in content["refutations"]] == list(NAMES)
    for row in content["refutations"]:
        assert row["meaning"].split()[0] in printed.out
    assert (files / "pictures" / "refutations.png").stat().st_size > 10_000


def test_the_seed_decides(files, capsys):
    def effects(seed):
        path = files / f"{seed}.json"
        options = ["--covariates", "x", "--refuters", "dummy_outcome_refuter", "--simulations", "2"]
        assert call(files, *options, "--seed", seed, "--json", str(path)) == 0
        return json.loads(path.read_text())["refutations"][0]["effects"]

    assert effects("1") == effects("1") != effects("2")


@pytest.mark.parametrize("third", [False, True])
def test_arms_of_any_values(files, frame, capsys, third):
    """The same answer as of a treatment of 0 and 1; where a third value has to be set aside, the arms are named."""
    options = ["--covariates", "x", "--refuters", "data_subset_refuter", "--simulations", "2", "--seed", "1"]

    def report(table, *more):
        table.to_csv(files / "data.csv", index=False)
        assert call(files, *options, *more, "--json", str(files / "report.json")) == 0
        return json.loads((files / "report.json").read_text())

    plain, other = report(frame), frame.assign(t=np.where(frame.t == 1, 5, 3))
    if third:
        other = pd.concat([other, frame.head(50).assign(t=4)])
    found = report(other, *(["--treatment-value", "5", "--control-value", "3"] if third else []))
    assert found["estimated_effect"] == pytest.approx(plain["estimated_effect"], rel=1e-9)
    effects = [content["refutations"][0]["effects"] for content in (found, plain)]
    assert len(effects[0]) == len(effects[1]) == 2
    if not third:
        assert effects[0] == pytest.approx(effects[1], rel=1e-6)


def test_refuses_in_one_line(files, capsys):
    assert call(files, "--covariates", "x", "--refuters", "placebo_treatment") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "did you mean 'placebo_treatment_refuter'?" in error


def test_takes_the_options_of_an_estimate(files, frame, capsys):
    """The battery is about the estimate that ``estimate`` prints with the same options."""
    rng = np.random.default_rng(0)
    table = frame.assign(w=rng.uniform(0.5, 2, len(frame)), g=rng.integers(0, 40, len(frame)))
    table.to_csv(files / "data.csv", index=False)
    given = ["--covariates", "x,z", "--target", "overlap", "--sample-weight", "w", "--cluster", "g"]
    given += [
        "--landmarks",
        "60",
        "--memory-limit",
        "2GB",
        "--confidence-level",
        "0.9",
        "--json",
        str(files / "o.json"),
    ]
    assert call(files, *given, "--refuters", "dummy_outcome_refuter", "--simulations", "2") == 0
    found = json.loads((files / "o.json").read_text())
    assert main(["estimate", str(files / "data.csv"), "--treatment", "t", "--outcome", "y", *given]) == 0
    expected = json.loads((files / "o.json").read_text())
    assert found["estimated_effect"] == pytest.approx(expected["value"], rel=1e-9)
    assert found["confidence_interval"] == pytest.approx(expected["confidence_interval"], rel=1e-9)
    assert expected["plan"]["landmarks"] <= 60


def test_interrupted_it_prints_what_was_finished(files, capsys, monkeypatch):
    from dowhy_cina.adapter.refutation import refits

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(refits, "_run_batch", interrupt)
    with pytest.raises(SystemExit) as stopped:
        call(files, "--covariates", "x")
    assert stopped.value.code == INTERRUPTED
    assert "interrupted; not finished: random_common_cause" in capsys.readouterr().out
