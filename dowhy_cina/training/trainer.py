"""The pretraining loop: draw tables, one forward pass, one step; validate, keep the best, save atomically.

Letters: B tables.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

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
    """Mean absolute error against the effect in sd of the outcome, mean error in attainable standard errors, median gap."""
    results: dict[str, list[torch.Tensor]] = {}
    for batch in batches:
        for name, value in estimates(model, batch).items():
            if name == "gap":
                results.setdefault("gap", []).append(value)
                continue
            error = (value - batch.effect).abs()
            results.setdefault(name, []).append(error)
            results.setdefault(f"{name}_scaled", []).append(((value - batch.label).abs() / (batch.attainable + FLOOR)).clamp_max(10))
    figures = {name: float(torch.cat(parts).mean()) for name, parts in results.items() if name != "gap"}
    figures["gap"] = float(torch.cat(results["gap"]).median())
    return figures


def pretrain(
    config: TrainingConfig,
    collections: Sequence[str] | None = None,
    *,
    output: Path,
    model_config: ModelConfig | None = None,
    start: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a model on simulated tables and write it to ``output``; the best by validation on training-like families is kept.

    Parameters
    ----------
    config : TrainingConfig
    collections : sequence of str, optional
        Simulator families to train on, names of :data:`dowhy_cina.simulators.REGISTRY`; by default all that validation does not
        keep for itself. Folders of tables are not in this release.
    model_config : ModelConfig
        The defaults if not given; the checkpoint's own when ``start`` is given.
    output : Path
        Checkpoint to write; a log ``<output>.csv`` with the validation curve stands beside it.
    start : Path, optional
        Checkpoint to continue from; its totals are carried on.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        The header of the checkpoint.
    """
    torch.manual_seed(config.seed)
    model, header = (CinaModel(model_config or ModelConfig()), {}) if start is None else checkpoint.read(start)
    model = model.double().train()
    totals = {key: header.get(key, 0) for key in ("steps", "tables", "seconds")}
    families = training_families(config, collections)
    inside = validation_batches(config, families, config.validation_tables)
    outside = validation_batches(config, config.validation_families, config.validation_tables // 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay))
    stream = TableStream(config, families, start=totals["steps"] * config.batches_per_step)
    loader = DataLoader(stream, batch_size=None, num_workers=config.workers, prefetch_factor=8 if config.workers else None)
    bar = tqdm(total=round(config.seconds), unit="s", disable=not progress, desc="pretraining")
    log = _ValidationLog(output.with_suffix(".csv"), append=start is not None)
    best, began, tables, waited = math.inf, time.monotonic(), 0, 0.0
    batches = iter(loader)
    for step in range(10**9):
        elapsed = time.monotonic() - began
        finished = elapsed >= config.seconds
        if step % config.validation_every == 0 or finished:
            figures = {"inside": validate(average.module, inside), "outside": validate(average.module, outside)}
            run = {"steps": totals["steps"] + step, "tables": totals["tables"] + tables, "seconds": totals["seconds"] + elapsed}
            log.write(run, figures)
            score = figures["inside"]["augmented_scaled"] + 0.3 * figures["inside"]["weights_only_scaled"]
            bar.set_postfix(score=f"{score:.3f}", outside=f"{figures['outside']['augmented_scaled']:.3f}")
            if score < best:
                best = score
                header = _header(config, families, average.module, run, figures)
                checkpoint.write(output, average.module, header)
        if finished:
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step, elapsed)
        optimiser.zero_grad()
        for _ in range(config.batches_per_step):
            mark = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - mark
            (objective(model, batch, config) / config.batches_per_step).backward()  # type: ignore[no-untyped-call]
            tables += len(batch.label)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        if not torch.isfinite(norm):
            # One table with a degenerate factorisation must not end a run of hours.
            logger.warning("step %d: gradient is not finite, skipped", step)
            continue
        optimiser.step()
        average.update_parameters(model)
        bar.update(round(elapsed) - bar.n)
    bar.close()
    logger.info("waited for data %.1f %% of the time", 100 * waited / config.seconds)
    return header


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
