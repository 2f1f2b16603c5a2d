"""Effects by group, row by row and under a rule, from the command line."""

import json

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina import cli


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    c = rng.normal(size=200)
    t = rng.integers(0, 2, 200)
    rule = (c > 0).astype(int)
    y = t * (1 + c) + rng.normal(size=200)
    return pd.DataFrame({"c": c, "g": rng.integers(0, 3, 200), "t": t, "y": y, "r": rule})


@pytest.fixture
def csv(table, tmp_path):
    path = tmp_path / "data.csv"
    table.to_csv(path, index=False)
    return str(path)


def estimate(*arguments):
    return cli.main(["estimate", *arguments, "--treatment", "t", "--outcome", "y"])


def test_groups_rows_and_rules_are_the_library_s(csv, tmp_path, capsys):
    out = tmp_path / "deeper" / "rows.csv"
    assert estimate(csv, "--effects-by", "g", "--policy", "r", "--conditional", str(out)) == 0
    printed = capsys.readouterr().out
    read = pd.read_csv(csv)
    found = dowhy_cina.estimate_effect(read[["c", "g", "r"]], read["t"], read["y"])
    assert str(found.group_effects(read["g"], simultaneous=True)) in printed
    assert policy_of(found, read) in printed
    pd.testing.assert_frame_equal(pd.read_csv(out), found.conditional_effects(read[["c", "g", "r"]]))


def policy_of(found, read):
    return found.policy_value(read["r"]).to_string(float_format="{:.4g}".format)


@pytest.mark.parametrize(
    ("arguments", "covariates"), [([], "cgr"), (["--covariates", "c,r"], "cr"), (["--covariates", "c"], "c")]
)
def test_a_rule_changes_no_covariates(csv, tmp_path, capsys, arguments, covariates):
    """It may be one, or a column of recommendations beside them; the effect is the same as without it."""
    values = []
    for rule in ([], ["--policy", "r"]):
        assert estimate(csv, *arguments, *rule, "--json", str(tmp_path / "o.json")) == 0
        values.append(json.loads((tmp_path / "o.json").read_text())["value"])
    read = pd.read_csv(csv)
    found = dowhy_cina.estimate_effect(read[list(covariates)], read["t"], read["y"])
    assert values == [found.value] * 2
    assert policy_of(found, read) in capsys.readouterr().out


def test_a_rule_that_a_graph_leaves_out_is_a_column_of_recommendations(csv, tmp_path, capsys):
    graph = tmp_path / "graph.dot"
    graph.write_text("digraph { c -> t; c -> y; t -> y }")
    assert estimate(csv, "--graph", str(graph), "--policy", "r") == 0
    read = pd.read_csv(csv)
    assert policy_of(dowhy_cina.estimate_effect(read[["c"]], read["t"], read["y"]), read) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--effects-by", "nobody"], "expected the columns 'nobody'"),
        (["--policy", "nobody"], "expected the columns 'nobody'"),
        (["--policy", "c"], "got 0 missing and 200 other (such as '"),
        (
            ["--policy", "gaps"],
            "in every row of --policy 'gaps', got 2 missing and 1 other (such as '3.0') of 200 values",
        ),
        (["--policy", "words"], "got 0 missing and 200 other (such as 'yes')"),
        (["--effects-by", "t"], "which is the treatment"),
        (["--effects-by", "y"], "which is the outcome"),
        (["--policy", "t"], "which is the treatment"),
        (["--policy", "y"], "which is the outcome"),
        (["--policy", "g", "--cluster", "g"], "which is the cluster"),
        (["--augmentation", "none", "--conditional", "rows.csv"], "leave one out"),
    ],
)
def test_refusals(table, csv, capsys, monkeypatch, arguments, reason):
    monkeypatch.setattr("dowhy_cina.calls.direct.estimate_effect", lambda *_, **__: pytest.fail("the work began"))
    gaps = table["r"].astype(float).where(table.index > 1).mask(table.index == 2, 3.0)
    table.assign(gaps=gaps, words="yes").to_csv(csv, index=False)
    assert estimate(csv, *arguments) == 2
    streams = capsys.readouterr()
    assert reason in streams.err
    assert streams.out == ""


def test_a_rule_may_be_one_of_truth_values(table, csv, capsys):
    table.assign(r=table["r"] == 1).to_csv(csv, index=False)
    assert estimate(csv, "--policy", "r") == 0
    assert "mean outcome if r decides" in capsys.readouterr().out


def test_groups_of_a_covariate_are_read_as_the_estimate_reads_it(table, csv, capsys):
    """A column beside the covariates is taken as it is."""
    far = table.assign(c=(100 * table["c"]).round().mask(table.index % 20 == 0, -99_999))
    far.to_csv(csv, index=False)
    assert estimate(csv, "--effects-by", "c") == 0
    printed = capsys.readouterr().out
    assert "-99999 in 'c'" in printed
    assert "-99999 to" not in printed
    assert "\nmissing " in printed
    assert estimate(csv, "--effects-by", "c", "--covariates", "g") == 0
    assert "-99999 to" in capsys.readouterr().out
