"""The demonstration, run for real with few simulations."""

import re

import pytest

from dowhy_cina.cli import demonstration as demo
from dowhy_cina.tables.data import load_nsw

BENCHMARK = demo.Benchmark(1_794.0, 671.0)


def test_experiment_is_the_published_one():
    benchmark = demo.experiment()
    assert benchmark.value == pytest.approx(1_794.34, abs=0.01)
    assert benchmark.standard_error == pytest.approx(671.0, abs=0.05)


def test_graph_makes_every_covariate_a_confounder():
    graph = demo.causal_graph()
    assert set(graph.predecessors("training")) == set(graph.predecessors("re78")) - {"training"}
    assert set(graph) == set(load_nsw())


@pytest.mark.slow
def test_run(tmp_path, capsys):
    outcomes = demo.run(tmp_path, simulations=2)
    printed = capsys.readouterr().out
    pictures = [f"{group}-{picture}.png" for group in ("cps", "psid") for picture in ("love", "overlap", "weights")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*pictures, "comparison.png"])
    for refuter in ("random common cause", "placebo treatment", "subset of the data"):
        assert printed.count(refuter) == 2
    groups = [outcome.estimates.values() for outcome in outcomes.values()]
    figures = [value for group in groups for value in group]
    figures = [f"{value:,.0f}" for value in (*figures, *(value - demo.experiment().value for value in figures))]
    for figure in figures:
        # DoWhy's weighting differs from run to run, and two figures may be the same by chance.
        assert len(re.findall(rf"(?<![\d,-]){figure}(?![\d,])", printed.replace("+", ""))) == figures.count(figure)
    for group, naive in (("psid", -15_204.8), ("cps", -8_497.5)):
        estimates = outcomes[group].estimates
        assert estimates["difference in means"] == pytest.approx(naive, abs=0.1)
        assert abs(estimates[demo.CINA] - 1_794) < abs(naive - 1_794) / 2
    for line in demo.verdicts(demo.experiment(), outcomes):
        assert line in printed


def _outcome(cina, regression, interval=(0.0, 2_000.0)):
    return demo.Outcome({"difference in means": -9_000.0, "linear regression": regression, demo.CINA: cina}, interval)


def test_verdict_says_who_is_closer():
    text, _ = demo.verdicts(BENCHMARK, {"cps": _outcome(cina=700.0, regression=1_600.0)})
    assert text.startswith("CPS: cina loses to linear regression. Its 95 % interval, 0 to 2,000, ")
    assert "holds" in text


def test_verdict_says_that_cina_is_closest():
    text, _ = demo.verdicts(BENCHMARK, {"psid": _outcome(cina=1_700.0, regression=0.0, interval=(1_600.0, 1_780.0))})
    assert "cina is the closest." in text
    assert "MISSES" in text


def test_table_has_a_line_for_each_method():
    lines = demo.format_table(BENCHMARK, {"psid": _outcome(700.0, 1_600.0), "cps": _outcome(800.0, 1.0)}).splitlines()
    assert len(lines) == 4
    assert lines[3].split() == ["cina", "700", "-1,094", "800", "-994"]
