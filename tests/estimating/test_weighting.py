"""Weights after the forward pass: refined to a gap, solved exactly, kept uniform; against scikit-learn's SVC."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.errors import InputError
from dowhy_cina.estimating.weighting import Balancing, Weighting, arm_against_arm, arm_to_target, balance_arms, uniform
from dowhy_cina.mathematics.balancing import imbalance
from dowhy_cina.mathematics.dual import ArmProblem
from dowhy_cina.mathematics.means import MeansTarget, balance_with_means
from dowhy_cina.mathematics.newton import balance_to_target
from dowhy_cina.model.network import CinaModel
from dowhy_cina.tables.preparation import CanonicalTable, table_batch


@pytest.fixture(scope="module")
def table(linear_table):
    return linear_table()


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        return CinaModel().double().eval()


@pytest.fixture(scope="module")
def case(model, linear_table):
    """Two tables, sampling weights included, and what the model says of them."""
    rng = np.random.default_rng(0)
    rows = [linear_table(rows=150, seed=seed) for seed in range(2)]
    tables = [CanonicalTable.of(x, t.astype(float), y, rng.choice([0.5, 2.0], 150)) for x, t, y in rows]
    table = table_batch(tables, 64, torch.device("cpu"))
    with torch.no_grad():
        state = model(table)
    features = torch.einsum("bn,bnm->bm", table.rows / 150, state.balance_features)
    columns = torch.einsum("bn,bnl->bl", table.rows / 150, columns_of(model, table, state))
    return table, state, MeansTarget(features, columns)


def columns_of(model, table, state):
    return model.balance_columns(table.covariates, state.coordinate)


class TestArms:
    def test_uniform_is_each_rows_share_of_its_arm(self, case):
        table = case[0]
        ours = uniform(table)
        for b in range(2):
            for arm in (0, 1):
                inside = (table.treatment[b] == arm).numpy()
                sampling = table.weights[b].numpy()[inside]
                np.testing.assert_allclose(ours.weights[b].numpy()[inside], sampling / sampling.sum())
        assert not ours.certificate.gap.any()
        assert ours.converged

    def test_both_arms_are_those_of_each(self, model, case):
        table, state, target = case
        both, columns = balance_arms(model, table, state, target), columns_of(model, table, state)
        one, other = (arm_to_target(state, table.arm(arm), columns, target, Balancing()) for arm in (0, 1))
        torch.testing.assert_close(both.weights, one.weights + other.weights, rtol=1e-9, atol=1e-12)
        larger = torch.maximum(one.certificate.gap, other.certificate.gap)
        torch.testing.assert_close(both.certificate.gap, larger, rtol=0, atol=1e-12)
        torch.testing.assert_close(both.certificate.imbalance, one.certificate.imbalance + other.certificate.imbalance)
        assert both.steps == max(one.steps, other.steps)
        assert (both.certificate.lowest_imbalance <= both.certificate.imbalance).all()
        np.testing.assert_allclose(both.weights.sum(1), 2)

    @pytest.mark.parametrize(("name", "arm"), [("att", 1), ("atc", 0)])
    def test_the_target_itself_keeps_its_weights(self, model, case, name, arm):
        table, state, target = case
        found = balance_arms(model, table, state, target, untouched=name).weights
        inside = table.treatment == arm
        torch.testing.assert_close(found[inside], uniform(table).weights[inside])
        assert (found[~inside] - uniform(table).weights[~inside]).abs().max() > 1e-3

    def test_weights_to_a_target_are_the_solution_with_the_means_beside_the_kernel(self, model, case):
        table, state, target = case
        arm, columns = table.arm(1), columns_of(model, table, state)
        found = arm_to_target(state, arm, columns, target, Balancing())
        problem = ArmProblem(state.balance_features, arm, target.features, state.balance_ridge)
        joined, weights, _ = balance_with_means(problem, columns, target.columns)
        torch.testing.assert_close(found.weights, weights, atol=1e-10, rtol=0)
        assert (found.certificate.gap < 1e-8).all()
        torch.testing.assert_close(found.certificate.imbalance, imbalance(joined.features, weights, joined.target))
        assert found.steps == 0
        assert found.converged

    def test_an_exact_solution_is_that_of_its_kernel_alone(self, model, case):
        table, state, target = case
        arm, columns = table.arm(1), columns_of(model, table, state)
        found = arm_to_target(state, arm, columns, target, Balancing(1e-7, 1.0))
        problem = ArmProblem(state.balance_features, arm, target.features, state.balance_ridge)
        torch.testing.assert_close(found.weights, balance_to_target(problem)[0], atol=1e-5, rtol=0)
        assert (problem.certificate(found.weights).gap <= 1e-7).all()
        assert found.steps > 0

    def test_a_table_does_not_depend_on_its_company(self, model, case):
        table, state, target = case
        arm, ridge = table.arm(1), state.balance_ridge * torch.tensor([1.0, 1e-3]).double()
        state, columns = dataclasses.replace(state, balance_ridge=ridge), columns_of(model, table, state)
        together = arm_to_target(state, arm, columns, target, Balancing())
        for b in range(2):
            own = dataclasses.replace(state, balance_features=state.balance_features[[b]], balance_ridge=ridge[[b]])
            goal = MeansTarget(target.features[[b]], target.columns[[b]])
            alone = arm_to_target(own, arm[[b]], columns[[b]], goal, Balancing())
            torch.testing.assert_close(alone.weights, together.weights[[b]], atol=1e-9, rtol=0)

    def test_arm_against_arm_in_a_batch_is_one_by_one(self, model, linear_table):
        rows = [linear_table(rows=150, seed=seed) for seed in range(3)]
        tables = [CanonicalTable.of(x, t.astype(float), y) for x, t, y in rows]
        with torch.no_grad():
            batch = table_batch(tables, 64, torch.device("cpu"))
            together = arm_against_arm(model, batch, model(batch), Balancing(1e-3))
            assert (together.certificate.gap <= 1e-3).all()
            for b in range(3):
                alone = table_batch([tables[b]], 64, torch.device("cpu"))
                found = arm_against_arm(model, alone, model(alone), Balancing(1e-3))
                torch.testing.assert_close(found.weights, together.weights[[b]], atol=1e-7, rtol=0)

    def test_given_weights_leave_nothing_open(self):
        found = Weighting.given(torch.ones(2, 3))
        assert found.steps == 0
        for value in (found.certificate.gap, found.certificate.imbalance, found.certificate.lowest_imbalance):
            assert not value.any()


class TestSolved:
    def test_refine_reaches_the_gap_that_was_asked_for(self, table):
        zero_shot = dowhy_cina.estimate_effect(*table, augmentation="none")
        goal = zero_shot.duality_gap / 10
        refined = dowhy_cina.estimate_effect(*table, augmentation="none", refine=goal)
        assert zero_shot.refinement_steps == 0 < refined.refinement_steps
        assert refined.duality_gap <= goal
        assert abs(refined.value - zero_shot.value) < 0.2

    def test_weights_to_a_target_leave_nothing_to_refine(self, table):
        zero_shot, refined = (dowhy_cina.estimate_effect(*table, refine=goal) for goal in (None, 1e-5))
        assert np.array_equal(zero_shot.weights, refined.weights)
        assert refined.refinement_steps == 0
        assert refined.duality_gap < 1e-8

    def test_refine_that_is_reached_already_takes_no_step(self, table):
        assert dowhy_cina.estimate_effect(*table, refine=0.5).value == dowhy_cina.estimate_effect(*table).value

    def test_refine_that_is_not_reached_is_said(self, table, monkeypatch):
        monkeypatch.setattr("dowhy_cina.estimating.weighting.MAX_STEPS", 5)
        found = dowhy_cina.estimate_effect(*table, augmentation="none", refine=1e-7)
        assert found.duality_gap > 1e-7
        assert any("1e-07" in warning for warning in found.warnings)

    @pytest.mark.parametrize("units", ["ate", "att", "atc"])
    def test_exact(self, table, units):
        for augmentation in ("kernel", "none"):
            found = dowhy_cina.estimate_effect(
                *table, checkpoint="exact", augmentation=augmentation, target_units=units
            )
            assert found.duality_gap <= 1e-6
            assert found.plan.route == "exact"
            assert found.value == pytest.approx(2.0, abs=0.6)

    def test_exact_is_the_support_vector_machine(self, table):
        from sklearn.svm import SVC

        x, t, y = table
        z = (x - x.mean(0)) / x.std(0)
        distances = np.linalg.norm(z[:, None] - z[None], axis=2)
        bandwidth = np.median(distances[np.triu_indices(len(z), 1)])
        machine = SVC(C=10.0, gamma=1 / (2 * bandwidth**2), tol=1e-7).fit(z, t)
        alpha = np.zeros(len(t))
        alpha[machine.support_] = np.abs(machine.dual_coef_[0])
        found = dowhy_cina.estimate_effect(x, t, y, checkpoint="exact", augmentation="none")
        for arm in (0, 1):
            expected = alpha[t == arm] / alpha[t == arm].sum()
            assert found.weights[t == arm] == pytest.approx(expected, abs=1e-4)

    def test_summary_says_what_the_gap_can_move(self, table):
        rough, fine, exact = (
            dowhy_cina.estimate_effect(*table, refine=gap, augmentation="none") for gap in (None, 1e-3, 1e-6)
        )
        for found in (rough, fine, exact):
            assert found.lowest_bias <= found.minimised_bias <= found.worst_case_bias * (1 + 1e-12)
            assert found.largest_weight == pytest.approx(found.weights.max())
            assert f"{100 * found.weights.max():.2g} % of its arm" in found.summary()
        assert exact.lowest_bias == pytest.approx(exact.minimised_bias, rel=1e-3)
        assert fine.lowest_bias == pytest.approx(fine.minimised_bias, rel=0.05)
        assert f"no weights as even bring it below {fine.lowest_bias:.4g}" in " ".join(fine.summary().split())
        assert rough.lowest_bias < fine.lowest_bias

    @pytest.mark.parametrize("units", ["ate", "att"])
    def test_summary_says_that_a_target_problem_is_solved(self, table, units):
        found = dowhy_cina.estimate_effect(*table, target_units=units)
        assert found.lowest_bias == pytest.approx(found.minimised_bias, rel=1e-4)
        assert found.minimised_bias > 0
        assert "(duality gap below 1e-06)" in found.summary()
        assert f"worst-case bias    {found.minimised_bias:.4g}, if outcomes" in found.summary()

    def test_exact_for_foreign_rows(self, table):
        x, t, y = table
        rows = x[:, 0] > 0
        inside = dowhy_cina.estimate_effect(x, t, y, checkpoint="exact", target_units=rows)
        foreign = dowhy_cina.estimate_effect(x, t, y, checkpoint="exact", target_units=pd.DataFrame(x[rows]))
        assert foreign.value == pytest.approx(inside.value, abs=0.1)
        # The arms are balanced to the same population; only predictions know no row's own outcome here.
        assert np.abs(foreign.weights - inside.weights).max() < 1e-6 * inside.weights.max()

    def test_exact_refuses_a_long_table(self, table, monkeypatch):
        monkeypatch.setattr("dowhy_cina.mathematics.solvers.MAX_ROWS", 500)
        with pytest.raises(InputError, match="landmark"):
            dowhy_cina.estimate_effect(*table, checkpoint="exact")
