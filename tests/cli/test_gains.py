"""Effects by group, row by row and under a rule, from the command line."""

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
    found = dowhy_cina.estimate_effect(read[["c", "g"]], read["t"], read["y"])  # the rule is no covariate
    assert str(found.group_effects(read["g"], simultaneous=True)) in printed
    assert found.policy_value(read["r"]).to_string(float_format="{:.4g}".format) in printed
    pd.testing.assert_frame_equal(pd.read_csv(out), found.conditional_effects(read[["c", "g"]]))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--effects-by", "nobody"], "expected the columns 'nobody'"),
        (["--policy", "nobody"], "expected the columns 'nobody'"),
        (["--policy", "c"], "truth values"),
        (["--augmentation", "none", "--conditional", "rows.csv"], "leave one out"),
    ],
)
def test_refusals(csv, capsys, arguments, reason):
    assert estimate(csv, *arguments) != 0
    assert reason in capsys.readouterr().err
