"""The paper's experiments: designs, figures of errors, claims, and a whole run of the smallest size."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from dowhy_cina import CinaPerDataset
from dowhy_cina.cli import main
from dowhy_cina.errors import InputError
from dowhy_cina.learning.evaluation import paper
from dowhy_cina.learning.evaluation.classical import double_machine_learning, horvitz_thompson
from dowhy_cina.learning.evaluation.paper import amortised
from dowhy_cina.learning.evaluation.paper import claims as judging
from dowhy_cina.learning.evaluation.paper.designs import DESIGNS, LINEAR, NONLINEAR
from dowhy_cina.learning.evaluation.paper.many import SELF_SUPERVISED, SUPERVISED
from dowhy_cina.learning.evaluation.paper.methods import EXACT, METHODS, summarise
from dowhy_cina.learning.evaluation.paper.single import distance
from dowhy_cina.learning.evaluation.published import realisations
from dowhy_cina.mathematics.balancing import weights_from_alpha

SMALLEST = paper.Scale(
    descent_tables=2,
    rows=(200,),
    tables=2,
    training=(8, 240),
    transfer=16,
    training_rows=60,
    test_tables=8,
    realisations=2,
)


@pytest.mark.parametrize("design", DESIGNS.values(), ids=list(DESIGNS))
def test_designs_are_confounded_and_their_tables_differ(design):
    tables = list(design.tables(40, 0, 300))
    assert all(table.covariates.shape == (300, design.columns) for table in tables)
    naive = [
        table.outcome[table.treatment == 1].mean() - table.outcome[table.treatment == 0].mean() for table in tables
    ]
    errors = [abs(a - table.effect) / table.outcome.std() for a, table in zip(naive, tables, strict=True)]
    assert np.mean(errors) > 0.15  # an experiment of so many rows would err by .09
    assert len({table.effect for table in tables}) == 40


def test_the_mechanism_is_what_it_is_called():
    """On 4,000 rows a linear regression with interactions explains all but the noise and bends of linear designs."""

    def unexplained(design):
        shares = []
        for table in design.tables(8, 0, 4000):
            x = np.column_stack([np.ones(4000), table.covariates])
            rest = table.mu0 - x @ np.linalg.lstsq(x, table.mu0, rcond=None)[0]
            shares.append(rest.var() / table.mu0.var())
        return np.array(shares)

    assert unexplained(LINEAR).max() < 1e-9
    assert np.median(unexplained(NONLINEAR)) > 0.05


@pytest.fixture(scope="module")
def problems():
    tables = list(LINEAR.tables(3, 5, 60))
    found = [amortised.problem(table.covariates, table.treatment) for table in tables]
    return tables, *(torch.cat(parts) for parts in zip(*found, strict=True))


def test_algorithm_2_gives_feasible_values_that_follow_the_rows_and_not_the_names_of_the_arms(problems):
    _, gram, signs = problems
    torch.manual_seed(0)
    model, order = amortised.Amortised().double(), torch.randperm(60)
    alpha = model(gram, signs).detach()
    assert float(alpha.min()) >= 0
    assert float(alpha.max()) <= 1
    assert float((alpha * signs).sum(1).abs().max()) < 1e-9
    assert float(alpha.std()) > 0
    moved = model(gram[:, order][:, :, order], signs[:, order])
    torch.testing.assert_close(moved, alpha[:, order], rtol=0, atol=1e-9)
    torch.testing.assert_close(model(gram, -signs), alpha, rtol=0, atol=1e-9)


def test_its_loss_is_that_of_the_exact_solution_or_more(problems):
    tables, gram, signs = problems
    exact = torch.stack([torch.from_numpy(CinaPerDataset().fit(t.covariates, t.treatment).alpha_) for t in tables])
    least = amortised.balancing_loss(gram, signs, exact)
    torch.manual_seed(0)
    found = amortised.balancing_loss(gram, signs, amortised.Amortised().double()(gram, signs))
    assert bool((found > least).all())
    weights = weights_from_alpha(exact, signs)
    errors = [
        abs(float(w @ torch.from_numpy((2 * t.treatment - 1) * t.outcome)) - t.effect) / t.outcome.std()
        for w, t in zip(weights, tables, strict=True)
    ]
    assert amortised.effect_error(signs, exact, tables).tolist() == pytest.approx(errors)


def test_every_method_finds_an_easy_effect():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 3))
    t = (rng.random(1500) < 1 / (1 + np.exp(-0.8 * x[:, 0]))).astype(float)
    y = x[:, 0] + 2 * t + rng.normal(size=1500)
    found = {name: method(x, t, y) for name, method in METHODS.items()}
    naive = found.pop("difference in means")
    assert naive > 2.4
    assert all(abs(value - 2) < 0.5 * (naive - 2) for value in found.values()), found


def test_unnormalised_weights_and_dml_by_hand():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 2))
    t = (rng.random(4000) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    y = 3 + x[:, 0] + t + 0.5 * rng.normal(size=4000)
    propensity = 1 / (1 + np.exp(-x[:, 0]))
    by_hand = np.mean(t * y / propensity - (1 - t) * y / (1 - propensity))
    value, error = horvitz_thompson(x, t, y)
    assert value == pytest.approx(by_hand, abs=0.15)
    shifted = horvitz_thompson(x, t, y + 100)[0] - value
    assert abs(shifted) > 0.01  # a normalised one would not move
    value, error = double_machine_learning(x, t, y)
    assert value == pytest.approx(1, abs=4 * error)
    assert 0.01 < error < 0.03  # .5 / sqrt(4000 x .2) = .018


def test_errors_are_summed_up_as_by_hand():
    records = [
        {"rows": rows, "method": name, "table": table, "error": error}
        for rows, name, table, error in [
            (1, EXACT, 0, 1.0),
            (1, EXACT, 1, 3.0),
            (1, "other", 0, 2.0),
            (1, "other", 1, 2.0),
            (2, "other", 0, 5.0),
        ]
    ]
    table = summarise(records, ["rows", "method"]).set_index(["rows", "method"])
    assert table.loc[(1, "other"), ["tables", "error", "error_se", "ratio"]].tolist() == [2, 2.0, 0.0, 1.0]
    assert table.loc[(1, EXACT), "error_se"] == pytest.approx(1.0)
    assert table.loc[(1, "other"), "ratio_se"] == pytest.approx(np.sqrt(2) / 2 / np.sqrt(2))
    assert np.isnan(table.loc[(2, "other"), "ratio"])


def test_distance_of_weights():
    one, other = np.array([0.5, 0.5, 0, 1.0, 0]), np.array([0, 0.5, 0.5, 0, 1.0])
    assert distance(one, one) == 0
    assert distance(one, other) == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize(
    ("figure", "error", "verdict"),
    [
        (0.9, 0.04, judging.AGREES),
        (0.9, 0.06, judging.WITHIN_NOISE),
        (1.1, 0.06, judging.WITHIN_NOISE),
        (1.1, 0.04, judging.DISAGREES),
        (float("nan"), 0.1, judging.WITHIN_NOISE),
    ],
)
def test_verdicts(figure, error, verdict):
    assert judging.below(figure, error, 1) == verdict


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of the smallest size, with two published collections of two tables each that are made up."""
    folder, output = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("paper")
    (folder / "load.py").write_text(
        "import numpy as np\n"
        "def load(name, onehot):\n"
        "    for seed in range(2):\n"
        "        rng = np.random.default_rng(seed)\n"
        "        x = rng.normal(size=(80, 2)); t = rng.random(80) < .5\n"
        "        yield x, t, x[:, 0] + t + rng.normal(size=80), {'ate': 1.0}\n"
    )
    return output, paper.run(output, scale=SMALLEST, data=folder)


@pytest.mark.slow
def test_a_run_writes_a_table_and_a_figure_for_each_experiment(whole):
    output, found = whole
    names = {"duality", "single", "seconds", "training", "transfer", "published"}
    assert {path.stem for path in output.glob("*.png")} == names
    assert {path.stem for path in output.glob("*.csv")} == names | {"claims"}
    for name in names - {"seconds"}:
        table = pd.read_csv(output / f"{name}.csv")
        assert {"tables"} < set(table)
        assert len(table) == len(found[name])
        assert any(column.endswith("_se") for column in table)
    versions = json.loads((output / "versions.json").read_text())
    assert versions["scale"]["seed"] == 0
    assert versions["torch"][0].isdigit()
    assert versions["processor_seconds"] > 0


@pytest.mark.slow
def test_what_a_run_says(whole):
    _, found = whole
    descent = found["duality"]["distance"].iloc[:-1]
    assert (np.diff(descent) < 0).all()
    assert descent.iloc[-1] < 0.02
    assert found["duality"]["distance"].iloc[-1] < 1e-3  # of scikit-learn's machine
    training = found["training"]
    assert training["training_tables"].tolist() == [0, 0, 8, 240, 8, 240]
    assert training.loc[training["method"] == EXACT, "departure"].item() == 0
    distances = training.set_index(["method", "training_tables"])["distance"]
    for how in (SELF_SUPERVISED, SUPERVISED):
        assert distances[how, 240] < 0.8 * distances[how, 8]
    assert set(found["claims"]["verdict"]) <= {judging.AGREES, judging.DISAGREES, judging.WITHIN_NOISE}
    assert found["claims"]["claim"].nunique() == 8


def test_a_folder_without_a_loader_is_refused_before_anything_runs(tmp_path, capsys):
    with pytest.raises(InputError, match=r"expected a load\.py"):
        list(realisations(tmp_path, "ihdp"))
    output = tmp_path / "paper"
    assert main(["paper", "--output", str(output), "--data", str(tmp_path)]) == 2
    assert "expected a load.py" in capsys.readouterr().err
    assert not output.exists()
