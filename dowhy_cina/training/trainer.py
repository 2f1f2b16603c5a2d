"""The pretraining loop: draw tables, one forward pass, one step; validate, keep the best, save atomically.

Letters: B tables.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dowhy_cina import checkpoint
from dowhy_cina.config import ModelConfig, TrainingConfig
from dowhy_cina.nn.model import CinaModel
from dowhy_cina.training.objectives import FLOOR, LabelledBatch, estimates, objective
from dowhy_cina.training.tables import TableStream, draw_batch, training_families

logger = logging.getLogger(__name__)

#: Estimates whose errors a validation reports.
REPORTED = ("augmented", "weights_only", "regression", "paper")


def learning_rate(config: TrainingConfig, step: int, elapsed: float) -> float:
    """Linear warm-up by steps, then a cosine over the run's seconds."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, elapsed / config.seconds)))


def validation_batches(config: TrainingConfig, families: Iterable[str], count: int) -> list[LabelledBatch]:
    """Fixed single-table batches from a seed that training never uses."""
    single = dataclasses.replace(config, tables_per_batch=1)
    return [draw_batch(config.seed + 1_000_003, index, single, list(families)) for index in range(count)]


@torch.no_grad()
def validate(model: CinaModel, batches: list[LabelledBatch]) -> dict[str, float]:
    """Mean absolute errors of each estimate, and the median duality gap.

    Returns
    -------
    dict
        For each estimate ``name`` (error against the effect, in sd of the outcome) and ``name_scaled`` (against the
        label, in attainable standard errors, at most 10); ``gap``.
    """
    results: dict[str, list[torch.Tensor]] = {}
    for batch in batches:
        for name, value in estimates(model, batch).items():
            if name == "gap":
                results.setdefault("gap", []).append(value)
                continue
            error = (value - batch.effect).abs()
            results.setdefault(name, []).append(error)
            scaled = (value - batch.label).abs() / (batch.attainable + FLOOR)
            results.setdefault(f"{name}_scaled", []).append(scaled.clamp_max(10))
    figures = {name: float(torch.cat(parts).mean()) for name, parts in results.items() if name != "gap"}
    figures["gap"] = float(torch.cat(results["gap"]).median())
    return figures


def pretrain(
    config: TrainingConfig,
    collections: Sequence[str] | None = None,
    *,
    output: Path = Path("cina.safetensors"),
    model_config: ModelConfig | None = None,
    start: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a model on simulated tables and write it to ``output``.

    The best by validation on training-like families is kept.

    Parameters
    ----------
    config : TrainingConfig
    collections : sequence of str, optional
        Simulator families to train on, names of :data:`dowhy_cina.simulators.REGISTRY`; by default all that validation
        does not keep for itself. Folders of tables are not in this release.
    model_config : ModelConfig
        The defaults if not given; the checkpoint's own when ``start`` is given.
    output : Path
        Checkpoint to write; a log with the validation curve stands beside it, with the ending ``.csv``.
    start : Path, optional
        Checkpoint to continue from; its totals are carried on.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        The header of the checkpoint.

    Raises
    ------
    InputError, NotImplementedError
        If the families to train on or to validate on cannot be used.
    CheckpointError
        If ``start`` cannot be read.
    """
    model, header = _initial_model(config, model_config) if start is None else checkpoint.read(start)
    model = model.double().train()
    totals = {key: header.get(key, 0) for key in ("steps", "tables", "seconds")}
    families = training_families(config, collections)
    inside = validation_batches(config, families, config.validation_tables)
    outside = validation_batches(config, config.validation_families, config.validation_tables // 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay))  # type: ignore[no-untyped-call]
    averaged = cast(CinaModel, average.module)
    stream = TableStream(config, families, start=totals["steps"] * config.batches_per_step)
    bar = tqdm(total=round(config.seconds), unit="s", disable=not progress, desc="pretraining")
    log = _ValidationLog(output.with_suffix(".csv"), append=start is not None)
    batches = _Waiting(_loader(stream, config))
    best, began, tables = math.inf, time.monotonic(), 0
    for step in range(10**9):
        elapsed = time.monotonic() - began
        finished = elapsed >= config.seconds
        if step % config.validation_every == 0 or finished:
            figures = {"inside": validate(averaged, inside), "outside": validate(averaged, outside)}
            done = {"steps": step, "tables": tables, "seconds": elapsed}
            run = {name: totals[name] + value for name, value in done.items()}
            log.write(run, figures)
            score = figures["inside"]["augmented_scaled"] + 0.3 * figures["inside"]["weights_only_scaled"]
            bar.set_postfix(score=f"{score:.3f}", outside=f"{figures['outside']['augmented_scaled']:.3f}")
            if score < best:
                best = score
                header = _header(config, families, averaged, run, figures)
                checkpoint.write(output, averaged, header)
        if finished:
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step, elapsed)
        step_batches = [next(batches) for _ in range(config.batches_per_step)]
        tables += sum(len(batch.label) for batch in step_batches)
        if _accumulate(model, step_batches, config):
            optimiser.step()
            average.update_parameters(model)
        else:
            logger.warning("step %d: gradient is not finite, skipped", step)
        optimiser.zero_grad()
        bar.update(round(elapsed) - bar.n)
    bar.close()
    logger.info("waited for data %.1f %% of the time", 100 * batches.waited / config.seconds)
    return header


def _initial_model(config: TrainingConfig, model_config: ModelConfig | None) -> tuple[CinaModel, dict[str, Any]]:
    """Untrained model whose weights follow from the seed; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return CinaModel(model_config or ModelConfig()), {}


def _loader(stream: TableStream, config: TrainingConfig) -> DataLoader[LabelledBatch]:
    """Batches of the stream, drawn ahead by the configured number of processes."""
    ahead = 8 if config.workers else None
    return DataLoader(
        stream, batch_size=None, num_workers=config.workers, prefetch_factor=ahead, generator=torch.Generator()
    )


class _Waiting(Iterator[LabelledBatch]):
    """Batches of a loader, with the seconds that were spent waiting for them."""

    def __init__(self, loader: Iterable[LabelledBatch]) -> None:
        self.batches, self.waited = iter(loader), 0.0

    def __next__(self) -> LabelledBatch:
        mark = time.monotonic()
        batch = next(self.batches)
        self.waited += time.monotonic() - mark
        return batch


def _accumulate(model: CinaModel, batches: list[LabelledBatch], config: TrainingConfig) -> bool:
    """Leave the clipped mean gradient of the batches in the model; false if it is not finite.

    One table with a degenerate factorisation must not end a run of hours.
    """
    try:
        for batch in batches:
            (objective(model, batch, config) / len(batches)).backward()  # type: ignore[no-untyped-call]
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return False
    return bool(torch.isfinite(torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)))


def _header(
    config: TrainingConfig, families: list[str], model: CinaModel, run: dict[str, Any], figures: dict[str, Any]
) -> dict[str, Any]:
    """What the checkpoint says of itself."""
    return {
        "model": dataclasses.asdict(model.config),
        "recipe": dataclasses.asdict(config),
        "families": families,
        "validation": figures,
        **run,
    }


class _ValidationLog:
    """CSV with a row for each validation."""

    def __init__(self, path: Path, append: bool) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not append or not path.exists():
            path.write_text("")

    def write(self, run: dict[str, Any], figures: dict[str, dict[str, float]]) -> None:
        row = {**run, **{f"{part}_{name}": value for part, values in figures.items() for name, value in values.items()}}
        fresh = not self.path.stat().st_size
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
