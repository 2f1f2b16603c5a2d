"""A few fuzzed tables of each path, and that the campaign finds what it looks for."""

from __future__ import annotations

import numpy as np
import pytest

from tests.campaigns import fuzz, fuzzed_paths
from tests.campaigns.fuzzed_tables import Case, Column


@pytest.mark.parametrize("path", fuzzed_paths.PATHS)
def test_a_few_tables(path):
    campaign = fuzz.Campaign(2, seconds=60, size=8)
    campaign.run(path, 0)
    assert not campaign.failures, campaign.report()
    assert campaign.counts[path, "answered"] > 0
    assert f"{campaign.counts.total()} tables, 0 failures" in campaign.report()


def foreign(case, frame, options):
    if case.rows >= 60:
        raise ZeroDivisionError


def not_finite(case, frame, options):
    assert np.isfinite(np.inf), "a number that is none"


def random(case, frame, options):
    np.random.seed(1)


def in_place(case, frame, options):
    frame.loc[0, "y"] = 7.5


def warning(case, frame, options):
    np.float64(1e308) * 10


@pytest.mark.parametrize("way", [foreign, not_finite, random, in_place, warning])
def test_what_is_wrong_is_found_and_made_small(way, monkeypatch, capsys):
    monkeypatch.setitem(fuzzed_paths.PATHS, "direct", way)
    campaign = fuzz.Campaign(0, seconds=60, size=60)
    state = np.random.get_state()
    campaign.run("direct", 0)
    np.random.set_state(state)
    ((case, text),) = campaign.failures.values()
    assert campaign.counts["direct", "failed"] == 1
    if way is foreign:
        assert case == Case(rows=60, outcome=Column("binary"))
    assert "check(Case(" in capsys.readouterr().out
    assert text


def test_a_known_failure_is_not_shrunk_again(monkeypatch):
    monkeypatch.setitem(fuzzed_paths.PATHS, "direct", foreign)
    campaign = fuzz.Campaign(0, seconds=60, size=60)
    campaign.run("direct", 0)
    campaign.run("direct", 1)
    assert len(campaign.failures) == campaign.counts["direct", "failed"] == 1
