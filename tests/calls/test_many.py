"""Many tables in one call: the numbers of one by one, errors in their place, nothing large left behind."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.calls import batch, many
from dowhy_cina.calls.batch import forward_together
from dowhy_cina.errors import InputError, InputTypeError, UnknownOptionError
from dowhy_cina.estimating import pipeline
from dowhy_cina.model import search


def table(seed, rows=120, columns=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    t = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    return x, t, x[:, 0] + t + rng.normal(size=rows)


def mixed():
    x, t, y = table(7)
    frame = pd.DataFrame(x, columns=list("abc")).assign(group=np.where(x[:, 1] > 0, "u", "v"))
    return [table(0), table(1, rows=300), table(2, columns=6), table(3), (frame, t, y), table(4)]


@pytest.mark.parametrize("options", [{}, {"target_units": "att", "confidence_level": 0.8, "augmentation": "none"}])
def test_the_same_numbers_as_one_by_one(options):
    tables = mixed()
    together = dowhy_cina.estimate_effects(iter(tables), **options)
    assert len(together) == len(tables)
    for ours, one in zip(together, tables, strict=True):
        alone = dowhy_cina.estimate_effect(*one, **options)
        for name in ("value", "standard_error", "p_value", "duality_gap", "worst_case_bias"):
            assert getattr(ours, name) == pytest.approx(getattr(alone, name), rel=1e-6, abs=1e-12)
        assert ours.confidence_interval == pytest.approx(alone.confidence_interval, rel=1e-6)
        np.testing.assert_allclose(ours.weights, alone.weights, atol=1e-9)
        assert ours.target == options.get("target_units", "ate")


def test_tables_of_one_shape_whose_arms_ask_for_other_landmarks():
    x, t, y = table(0, rows=2800)
    few = np.where(np.arange(2800) < 900, 0, t)
    together = dowhy_cina.estimate_effects([(x, t, y), (x, few, y), (x, 1 - t, y)])
    assert [ours.plan.landmarks for ours in together] == [144, 128, 144]
    for ours, arm in zip(together, (t, few, 1 - t), strict=True):
        alone = dowhy_cina.estimate_effect(x, arm, y)
        assert ours.value == pytest.approx(alone.value, rel=1e-6)
        assert ours.standard_error == pytest.approx(alone.standard_error, rel=1e-6)


def counting(shared):
    return lambda tables: shared.append(len(tables)) or forward_together(tables)


def test_tables_of_one_shape_share_forward_passes_and_balancing(monkeypatch):
    monkeypatch.setattr(search, "find_steps", lambda *_: None)  # of other numbers of steps they would not
    shared, balanced, balance = [], [], pipeline.balance_arms
    monkeypatch.setattr(pipeline, "balance_arms", lambda *given: balanced.append(1) or balance(*given))
    monkeypatch.setattr(
        batch, "forward_together", lambda tables: shared.append(len(tables)) or forward_together(tables)
    )
    tables = [table(seed, rows=90 if seed % 3 else 110) for seed in range(12)]
    together = dowhy_cina.estimate_effects(iter(tables))
    assert sorted(shared) == [3, 3, 5]  # of the first eight and of the last four
    assert len(balanced) == 4  # one table is alone
    for ours, one in zip(together, tables, strict=True):
        alone = dowhy_cina.estimate_effect(*one)
        assert ours.value == pytest.approx(alone.value, rel=1e-9)
        assert ours.plan == alone.plan
        np.testing.assert_allclose(
            ours.conditional_effects(one[0][:5]), alone.conditional_effects(one[0][:5]), rtol=1e-6
        )


def skewed(seed, arms, rows=250):
    """A table in whose arms of these numbers the logarithm of the outcome is a line."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    t = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    level = x[:, 0] + 0.4 * rng.normal(size=rows)
    return x, t, np.where(np.isin(t, arms), np.exp(1.3 * level), level + t)


def test_only_some_tables_have_logarithms(monkeypatch):
    """In one arm, in both or in none: they share a forward pass and have the numbers of one by one."""
    shared, shares = [], []
    monkeypatch.setattr(
        batch, "forward_together", lambda tables: shared.append(len(tables)) or forward_together(tables)
    )
    arms = [[], [1], [0, 1], [], [0], [0, 1], [], [1]]
    tables = [skewed(6 + place % 2, which) for place, which in enumerate(arms)]
    together = dowhy_cina.estimate_effects(iter(tables))
    assert shared == [len(tables)]
    for ours, one, which in zip(together, tables, arms, strict=True):
        alone, logarithms = dowhy_cina.estimate_effect(*one), []
        for name in ("value", "standard_error", "p_value", "degrees_of_freedom"):
            assert getattr(ours, name) == pytest.approx(getattr(alone, name), rel=1e-7)
        theirs = alone.conditional_effects(one[0][:5])
        np.testing.assert_allclose(ours.conditional_effects(one[0][:5]), theirs, rtol=1e-6)
        for arm, fitted in enumerate(alone.function.state.outcomes):
            if fitted.regression.own.logarithms:
                logarithms.append(arm)
                shares.extend(float(log.share) for log in fitted.regression.own.logarithms)
        assert logarithms == which
    assert min(shares) == 0
    assert max(shares) > 0.3


def test_a_pass_that_fails_leaves_each_table_to_itself(monkeypatch):
    def broken(tables):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(batch, "forward_together", broken)
    tables = [table(seed) for seed in range(3)]
    found = dowhy_cina.estimate_effects(iter(tables))
    assert [result.value for result in found] == [dowhy_cina.estimate_effect(*one).value for one in tables]


def test_chunks_leave_no_thread_idle():
    few, large = [table(seed, rows=40) for seed in range(4)], [table(seed, rows=3000) for seed in range(3)]
    assert [len(chunk) for chunk in many._chunks(few, 2)] == [1, 1, 1, 1]
    assert [len(chunk) for chunk in many._chunks(iter(few * 5), 2)] == [8, 8, 4]
    assert [len(chunk) for chunk in many._chunks(iter(large), 2)] == [1, 1, 1]
    assert [len(chunk) for chunk in many._chunks([*few, None] * 40, 1)] == [8] * 25
    frame = pd.DataFrame(large[0][0], columns=list("abc"))  # named columns: as long as the frame
    assert [len(chunk) for chunk in many._chunks(iter([[frame, "a", "b"]] * 3), 2)] == [1, 1, 1]


def test_errors_in_their_place():
    x, t, y = table(0)
    bad = [(x, np.zeros(len(t)), y), (x, t, y[:-1]), (x, t), None, (x, t, y)]
    results = dowhy_cina.estimate_effects(bad, on_error="return")
    kinds = [type(result) for result in results]
    assert kinds == [InputError, InputError, InputTypeError, InputTypeError, dowhy_cina.EffectResult]
    assert "no treated row" in str(results[0])
    assert "triples" in str(results[2])


def test_the_first_error_is_raised_with_its_table():
    x, t, y = table(0)
    with pytest.raises(InputError, match=r"^table 2: no treated row"):
        dowhy_cina.estimate_effects([(x, t, y), (x, t, y), (x, 0 * t, y), (x, t, y[:-1])])


@pytest.mark.parametrize("tables", [None, 5, "table.csv", {"a": 1}, pd.DataFrame()])
def test_tables_are_an_iterable(tables):
    with pytest.raises(InputTypeError, match=rf"triples .*got {type(tables).__name__}: put it in a list"):
        dowhy_cina.estimate_effects(tables)


def test_options_are_checked_before_any_table():
    def never():
        raise AssertionError("read")
        yield

    with pytest.raises(UnknownOptionError, match=r"target_unit'.*did you mean 'target_units'"):
        dowhy_cina.estimate_effects(never(), target_unit="att")
    with pytest.raises(InputError, match="on_error"):
        dowhy_cina.estimate_effects(never(), on_error="ignore")
    assert dowhy_cina.estimate_effects([]) == []


@pytest.mark.parametrize("bad", [False, True])
def test_threads_are_as_before(bad):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        x, t, y = table(0)
        dowhy_cina.estimate_effects([(x, 0 * t if bad else t, y)] * 3, on_error="return")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def held(value, seen):
    """Bytes of the distinct arrays and memories of tensors that an object keeps alive, the model's aside."""
    if id(value) in seen or isinstance(value, torch.nn.Module):
        return 0
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        place = ("storage", storage.data_ptr())
        is_new = place not in seen  # both arms' halves may lie in one
        seen.add(place)
        return storage.nbytes() if is_new else 0
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(held(item, seen) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(held(item, seen) for item in value)
    return held(vars(value), seen) if hasattr(value, "__dict__") else 0


def test_a_result_keeps_no_features_of_rows():
    """What stays alive grows by a few numbers per row, not by the landmarks of each."""
    (small, large) = dowhy_cina.estimate_effects([table(0, rows=400), table(0, rows=2400)])
    growth = held(large, set()) - held(small, set())
    assert growth < 8 * 2000 * 10
    assert held(large, set()) < 800_000
    before = large.conditional_effects(np.zeros((2, 3)))
    assert np.isfinite(before.to_numpy()).all()
    assert len(pickle.dumps(large)) < 500_000
