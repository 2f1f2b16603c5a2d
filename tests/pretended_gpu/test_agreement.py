"""All that a GPU is used for, on the pretended one: the numbers of the CPU."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from dowhy import CausalModel

import dowhy_cina
from dowhy_cina.config import ModelConfig, TrainingConfig
from dowhy_cina.learning.training import pretrain
from dowhy_cina.learning.training.processes import speed_up
from dowhy_cina.learning.training.state import FORMAT_NAME, FORMAT_VERSION, state_path
from dowhy_cina.mathematics import memory
from dowhy_cina.mathematics.devices import resolve_device
from dowhy_cina.mathematics.solvers import factorise, solve_dual, solve_dual_svc
from dowhy_cina.model.files import unpacked
from dowhy_cina.model.network import CinaModel

pytestmark = pytest.mark.usefixtures("pretended_gpu")


def frame(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])
    table["group"] = rng.choice(["u", "v"], rows)
    table.loc[::7, "b"] = np.nan
    table["t"] = (table["a"] + rng.normal(size=rows) > 0).astype(int)
    table["y"] = 10 * (table["a"] + np.sin(table["c"]) + table["t"] + rng.normal(size=rows))
    return table


def on_both(run):
    """Results on the CPU and on the GPU."""
    return run("cpu"), run("cuda")


def same(cpu, gpu):
    np.testing.assert_allclose(gpu, cpu, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(cpu)))


def same_results(cpu, gpu):
    assert (cpu.plan.device, gpu.plan.device) == ("cpu", "cuda")
    for name in ("value", "standard_error", "worst_case_bias", "degrees_of_freedom", "confidence_interval"):
        same(getattr(cpu, name), getattr(gpu, name))
    for name in ("effective_sample_size", "weights", "propensity", "balance"):
        same(getattr(cpu, name), getattr(gpu, name))
    assert (gpu.p_value, gpu.duality_gap) == pytest.approx((cpu.p_value, cpu.duality_gap), rel=1e-9, abs=1e-12)
    assert cpu.warnings == gpu.warnings


OPTIONS = {
    "average": {},
    "treated": {"target_units": "att"},
    "overlap": {"target_units": "overlap"},
    "elsewhere": {"target_units": frame(40, seed=1).drop(columns=["t", "y"])},
    "a mask": {"target_units": np.arange(300) % 3 == 0},
    "weights alone": {"augmentation": "none"},
    "refined": {"refine": 1e-4},
    "solved": {"checkpoint": "exact"},
    "solved for the treated": {"checkpoint": "exact", "target_units": "att"},
    "sample weights": {"sample_weight": np.linspace(1, 3, 300)},
    "clusters": {"cluster": np.arange(300) // 10},
    "nothing kept": {"memory_limit": "101MB"},
    "all landmarks": {"landmarks": 400},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_estimate(options):
    table = frame()
    same_results(*on_both(lambda device: dowhy_cina.estimate_effect(table, "t", "y", device=device, **options)))


@pytest.mark.parametrize(
    "outcome", [lambda y: np.exp(y / 10), lambda y: (y > 5).astype(float)], ids=["positive", "binary"]
)
def test_an_outcome_of_another_kind(outcome):
    table = frame()
    table["y"] = outcome(table["y"])
    cpu, gpu = on_both(lambda device: dowhy_cina.estimate_effect(table, "t", "y", device=device))
    same_results(cpu, gpu)
    same(cpu.conditional_effects(table[:20]), gpu.conditional_effects(table[:20]))


def test_many_blocks(monkeypatch):
    """As after a lack of memory."""
    monkeypatch.setattr(memory, "GPU_BLOCK_ENTRIES", 2**13)
    options = {"refine": 1e-4, "cluster": np.arange(300) // 10}
    for limit in ("101MB", None):
        run = partial(dowhy_cina.estimate_effect, frame(), "t", "y", memory_limit=limit, **options)
        same_results(*on_both(lambda device, run=run: run(device=device)))


def test_many_tables():
    """Two of one shape in a forward pass, one alone, in threads."""
    tables = [(table.drop(columns=["t", "y"]), table.t, table.y) for table in map(frame, (150, 150, 200), range(3))]
    for cpu, gpu in zip(*on_both(lambda device: dowhy_cina.estimate_effects(iter(tables), device=device)), strict=True):
        same_results(cpu, gpu)


def test_dual_programs_that_are_solved():
    rng = np.random.default_rng(0)
    keys = torch.from_numpy(rng.normal(size=(2, 40, 3)))
    signs = torch.from_numpy(np.sign(keys[:, :, 0].numpy() + rng.normal(size=(2, 40))))
    gram, box = torch.exp(-torch.cdist(keys, keys).square() / 4), torch.full((2,), 0.02, dtype=torch.float64)

    def solve(device):
        there = [part.to(device) for part in (gram, signs, box)]
        found = [solve_dual_svc(*there), solve_dual(factorise(there[0]), *there[1:], tolerance=1e-9)]
        assert {solution.alpha.device.type for solution in found} == {device}
        return [part.cpu().numpy() for solution in found for part in (solution.alpha, solution.intercept)]

    for cpu, gpu in zip(*on_both(solve), strict=True):
        same(cpu, gpu)


def test_what_a_result_tells():
    table = frame()
    results = on_both(lambda device: dowhy_cina.estimate_effect(table, "t", "y", device=device))
    for ask in (
        lambda result: result.conditional_effects(frame(50, seed=1)),
        lambda result: result.group_effects("group").table,
        lambda result: result.group_effects("a", bins=3, simultaneous=True).table,
        lambda result: result.effect_curve("c"),
        lambda result: result.best_linear_projection(["a", "c"]).summary2().tables[1],
        lambda result: result.balance_of("interactions"),
    ):
        cpu, gpu = (ask(result).select_dtypes("number") for result in results)
        same(cpu, gpu)


def test_through_dowhy_with_refits():
    def through(device):
        table = frame(120).dropna()
        model = CausalModel(table, treatment="t", outcome="y", common_causes=["a", "b", "c"], effect_modifiers=["c"])
        estimand = model.identify_effect(proceed_when_unidentifiable=True)
        estimate = model.estimate_effect(
            estimand,
            "backdoor.cina",
            target_units=lambda rows: rows["a"] > -1,
            method_params={"init_params": {"device": device}, "num_simulations": 2},
        )
        np.random.seed(0)
        bounds = np.ravel(estimate.get_confidence_intervals(method="bootstrap"))
        report = dowhy_cina.refute(model, estimand, estimate, simulations=2, random_state=0, n_jobs=2, progress=False)
        return estimate.value, bounds, estimate.conditional_estimates, report.to_frame()

    cpu, gpu = on_both(through)
    for here, there in zip(cpu[:3], gpu[:3], strict=True):
        same(here, there)
    same(*(report[["new_effect", "p_value"]].astype(float) for report in (cpu[3], gpu[3])))
    assert list(cpu[3].verdict) == list(gpu[3].verdict)


def test_a_dask_dataframe_stays_on_the_cpu():
    dask, frames = pytest.importorskip("dask"), pytest.importorskip("dask.dataframe")
    whole = frame()
    table = frames.from_pandas(whole, npartitions=2)
    columns = {"treatment": "t", "outcome": "y", "covariates": ["a", "b", "c", "group"]}
    with dask.config.set(scheduler="threads"):
        found = dowhy_cina.estimate_effect(table, **columns, device="auto")
        same(dowhy_cina.estimate_effect(whole, **columns, device="cpu").weights, found.weights.compute())
        with pytest.raises(NotImplementedError, match="GPUs"):
            dowhy_cina.estimate_effect(table, **columns, device="cuda")


SMALL = ModelConfig(width=8, layers=1, heads=2)
QUICK = TrainingConfig(
    min_rows=40,
    max_rows=60,
    max_columns=4,
    landmarks=16,
    tables_per_batch=2,
    batches_per_step=2,
    warmup_steps=1,
    hinge_weight=0.1,
    validation_tables=2,
    workers=0,
)


@pytest.mark.parametrize("outcomes", [True, False])
def test_training_that_was_resumed(tmp_path, outcomes):
    def train(device):
        output = tmp_path / f"{device}.safetensors"
        for steps in (1, 2):
            config = replace(QUICK, device=device, steps=steps, outcomes=outcomes)
            header = pretrain(config, ["additive"], output=output, model_config=SMALL, resume=steps > 1, progress=False)
        weights = unpacked(state_path(output), FORMAT_NAME, FORMAT_VERSION)[1]
        return header["validation"], {name: tensor.numpy() for name, tensor in weights.items()}

    (cpu_figures, cpu), (gpu_figures, gpu) = on_both(train)
    for name, weights in cpu.items():
        same(weights, gpu[name])
    for part, figures in cpu_figures.items():
        same(list(figures.values()), list(gpu_figures[part].values()))


@pytest.mark.filterwarnings("ignore:.*CUDA is not available:UserWarning")
def test_a_transformer_in_bfloat16_finds_its_weights():
    """Without a GPU nothing is bfloat16 about it but where its tensors are: single precision is what remains."""
    model = CinaModel(SMALL).double()
    tokens = torch.linspace(-1, 1, 2 * 5 * 8, dtype=torch.float64).reshape(2, 5, 8)
    exact = model.encoder.transformer(tokens)
    device = resolve_device("cuda")
    speed_up(model.to(device), replace(QUICK, bfloat16=True), device)
    found = model.encoder.transformer(tokens.to(device))
    assert (found.device.type, found.dtype) == ("cuda", torch.float64)
    torch.testing.assert_close(found.cpu(), exact, rtol=1e-4, atol=1e-4)
