"""Kinds of rows that one arm lacks: named, and taken for like the other arm's rows of that kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.model.lacking import lacking_rows


def excluded(seed, rows=1000, share=0.08, shift=3.0, always=False):
    """Rows with a contraindication, whose outcomes are others and of whom none is treated, or all are; effect 1."""
    rng = np.random.default_rng(seed)
    x, ill = rng.normal(size=(rows, 3)), rng.random(rows) < share
    t = np.where(ill, always, rng.random(rows) < 1 / (1 + np.exp(-0.8 * x[:, 0]))).astype(int)
    y = x[:, 0] + 0.5 * x[:, 1] + shift * ill + t + rng.normal(size=rows)
    return pd.DataFrame(x, columns=list("abc")).assign(ill=ill.astype(int)), t, y


def warned(result):
    return [text for text in result.warnings if text.startswith("No ")]


@pytest.mark.parametrize("always", [False, True])
def test_nobody_of_a_kind_in_an_arm(always):
    """Ten tables: a regression of the arm alone takes such rows for like its others, and errs by .08 times 3."""
    tables = [excluded(seed, always=always) for seed in range(10)]
    found = dowhy_cina.estimate_effects(tables)
    errors = np.array([result.value - 1 for result in found])
    assert np.abs(errors).mean() < 0.12
    assert sum(low < 1 < high for low, high in (result.confidence_interval for result in found)) >= 9
    for (table, _, _), result in zip(tables, found, strict=True):
        (text,) = warned(result)
        arm, other = ("control", "treated") if always else ("treated", "control")
        assert text.startswith(f"No {arm} row is like {table['ill'].sum()} {other} rows in 'ill':")


def test_arms_pairs_and_the_column_itself_may_change():
    table, t, y = excluded(3)
    found = dowhy_cina.estimate_effect(table, t, y)
    close = 1e-6 * found.standard_error
    assert dowhy_cina.estimate_effect(table, 1 - t, y).value == pytest.approx(-found.value, abs=close)
    text = table.assign(ill=np.where(table["ill"] == 1, "yes", "no"))
    assert dowhy_cina.estimate_effect(text, t, y).value == pytest.approx(found.value, abs=close)
    pairs = np.arange(len(t)).repeat(2)
    options = {"cluster": pairs, "sample_weight": np.full(len(pairs), 0.5)}
    doubled = dowhy_cina.estimate_effect(table.iloc[pairs].reset_index(drop=True), t[pairs], y[pairs], **options)
    assert doubled.value == pytest.approx(found.value, abs=close)
    assert doubled.standard_error == pytest.approx(found.standard_error, rel=1e-6)


def test_levels_of_a_text_that_are_never_treated():
    rng = np.random.default_rng(2)
    site, x = rng.integers(0, 40, 1500), rng.normal(size=1500)
    t = np.where(site < 4, 0, rng.random(1500) < 1 / (1 + np.exp(-x))).astype(int)
    y = x + 2 * (site < 4) + t + rng.normal(size=1500)
    found = dowhy_cina.estimate_effect(pd.DataFrame({"x": x, "site": [f"s{place:02}" for place in site]}), t, y)
    assert found.value == pytest.approx(1, abs=0.25)
    (text,) = warned(found)
    assert all(f"'site=s{place:02}'" in text for place in range(4))


def test_few_rows_of_a_kind_may_lack_by_chance():
    """Twenty rows of a hundred treated ones in a thousand: two would be expected."""
    rng = np.random.default_rng(4)
    t = np.r_[np.ones(100), np.zeros(900)]
    kind = np.zeros(1000)
    kind[rng.choice(np.arange(100, 1000), 20, replace=False)] = 1
    columns = torch.from_numpy(np.column_stack([rng.normal(size=1000), kind]))[None]
    arm, places = torch.from_numpy(t)[None], torch.arange(100)[None]
    assert not lacking_rows(columns, places, arm).any()
    kind[100:200] = 1
    columns = torch.from_numpy(np.column_stack([rng.normal(size=1000), kind]))[None]
    assert lacking_rows(columns, places, arm).tolist() == [[0, kind.sum()]]


def test_of_many_columns_one_may_lack_by_chance():
    """Ten rows of a kind: none of them is treated in one of a thousand columns, where half of all rows are."""
    rng = np.random.default_rng(4)
    t = np.r_[np.ones(200), np.zeros(200)]
    kind = np.r_[np.zeros(200), np.ones(10), np.zeros(190)]
    arm, places = torch.from_numpy(t)[None], torch.arange(200)[None]
    few = torch.from_numpy(np.column_stack([kind, rng.normal(size=(400, 4))]))[None]
    assert lacking_rows(few, places, arm)[0].tolist() == [10, 0, 0, 0, 0]
    constant = torch.ones(1, 400, 100, dtype=few.dtype)
    assert lacking_rows(torch.cat([few, constant], 2), places, arm)[0, 0] == 10
    many = torch.from_numpy(np.column_stack([kind, rng.normal(size=(400, 99))]))[None]
    assert not lacking_rows(many, places, arm).any()


def test_so_few_rows_that_they_hardly_move_the_answer_are_no_kind():
    rng = np.random.default_rng(4)
    t = np.r_[np.ones(2000), np.zeros(2000)]
    arm, places = torch.from_numpy(t)[None], torch.arange(2000)[None]
    for rows in (20, 40):
        kind = np.r_[np.zeros(2000), np.ones(rows), np.zeros(2000 - rows)]
        columns = torch.from_numpy(np.column_stack([kind, rng.normal(size=4000)]))[None]
        assert lacking_rows(columns, places, arm)[0, 0] == (rows if rows > 0.5 * 4000**0.5 else 0)


def test_a_kind_leaves_what_the_arm_knows_of_others():
    """Effects that bend: the error is about that of a table in which both arms have such rows."""
    errors, widths = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, kind = rng.normal(size=(800, 2)), np.arange(800) < 24
        t = (rng.random(800) < 1 / (1 + np.exp(-1.2 * x[:, 0]))).astype(int)
        t[kind] = 0
        y = x.sum(1) + t * x[:, 0] ** 2 + 2 * kind + 0.5 * rng.normal(size=800)
        table, truth = pd.DataFrame(x, columns=["a", "b"]), (x[:, 0] ** 2).mean()
        for column in (kind, rng.permutation(kind)):
            clear = y - 2 * kind * (column is not kind)
            result = dowhy_cina.estimate_effect(table.assign(kind=column.astype(int)), t, clear)
            errors.append(result.value - truth)
            widths.append(result.standard_error)
    lacking, both = np.reshape(errors, (-1, 2)).T
    assert np.sqrt((lacking**2).mean()) < 1.5 * np.sqrt((both**2).mean()) + 0.02
    assert np.median(widths[::2]) < 1.5 * np.median(widths[1::2])


def test_weights_alone_say_nothing_of_regressions():
    assert warned(dowhy_cina.estimate_effect(*excluded(0), augmentation="none")) == []
