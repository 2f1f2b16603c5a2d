"""The pretraining loop: draw tables, forward, backward, step; validate, keep the best, save so that it can go on.

Letters: B tables.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from dowhy_cina.config import ModelConfig, TrainingConfig, check_config
from dowhy_cina.errors import RunStoppedError, as_path
from dowhy_cina.learning.training import state
from dowhy_cina.learning.training.calibration import SEED_OFFSET, calibrate_checkpoint
from dowhy_cina.learning.training.collections import (
    Collection,
    Prefetched,
    TableStream,
    as_collection,
    check_collection,
    training_families,
)
from dowhy_cina.learning.training.folders import check_outside
from dowhy_cina.learning.training.objectives import Objective, TrainingBatch, check_objectives
from dowhy_cina.learning.training.processes import ProcessGroup, StopRequest, speed_up
from dowhy_cina.learning.training.state import Run, RunLog
from dowhy_cina.learning.training.validation import score, validate, validation_parts
from dowhy_cina.mathematics.devices import resolve_device
from dowhy_cina.model import checkpoint
from dowhy_cina.model.files import clear_partials, write_together

logger = logging.getLogger(__name__)


def learning_rate(config: TrainingConfig, step: int, elapsed: float) -> float:
    """Linear warm-up by steps, then a cosine over the run's steps or, without a number of them, its seconds."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    done = step / config.steps if config.steps else elapsed / config.seconds
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def pretrain(
    config: TrainingConfig,
    collections: Collection | Sequence[Collection | str] | str | None = None,
    *,
    output: str | Path = Path("cina.safetensors"),
    model_config: ModelConfig | None = None,
    start: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    validation: Collection | None = None,
) -> dict[str, Any]:
    """Train a model on collections of tables and write it to ``output``.

    The weights' moving average with the best validation is kept. Beside ``output`` stand the validation curve
    (``.csv``) and the state from which the run can be resumed (``.state``).

    Variance heads are fitted after the run where the settings ask for ``calibration_samples``.

    Parameters
    ----------
    config : TrainingConfig
    collections : Collection, sequence of collections and names of simulators, or one name, optional
        Tables to train on; by default all simulators that validation does not keep for itself.
    output : str or Path
        Checkpoint to write.
    model_config : ModelConfig
        The defaults if not given; with ``start`` the checkpoint's own, which must be no other than what is given.
    start : str or Path, optional
        Checkpoint to start from with a fresh optimiser, the recipe's by default; its totals are carried on.
    resume : bool
        Go on from the state beside ``output``: with a number of steps, on a CPU with as many threads, the weights
        become bit for bit those of a run that was never interrupted.
    progress : bool
        Show a progress bar.
    validation : Collection, optional
        Tables that choose the checkpoint; by default other draws of those trained on.

    Returns
    -------
    dict
        The header of the checkpoint.

    Raises
    ------
    InputError
        If the output is no file for a checkpoint, stands among the tables or would replace a file that is none of a
        run's, no objective has a weight, the tables to train on or to validate on cannot be used, or the recipe does
        not fit the run to resume or the checkpoint to start from.
    InputTypeError
        If the settings, a collection or a path are none.
    CheckpointError
        If ``start`` or the state cannot be read, or a file cannot be written; earlier files are as they were.
    RunStoppedError
        After Ctrl-C or SIGTERM, once the state is saved; or if a process that draws tables has died.
    """
    check_config(config, TrainingConfig, "config")
    if model_config is not None:
        check_config(model_config, ModelConfig, "model_config")
    if validation is not None:
        check_collection(validation)
    output, start = as_path(output, "output"), None if start is None else as_path(start, "start")
    state.check_output(output)
    check_objectives(config, labelled=config.outcomes or config.random_outcomes)
    collection = as_collection(collections, config)
    for read in (collection, validation):
        if read is not None:
            check_outside(output, read)
    state.read_curve(state.curve_path(output))
    start = start or (Path(config.start) if config.start else None)
    with ProcessGroup(resolve_device(config.device)) as group:
        if resume:
            run = state.resume(config, model_config, collection.names, output, group.device)
        else:
            run = state.new_run(config, model_config, start, group.device)
        # Rows of the curve that this run goes on from: all of the checkpoint's own, or those up to the state.
        kept = run.totals["steps"] if resume else math.inf if start == output else 0
        keeper = None if group.rank else _Keeper(config, (collection, validation), output, kept)
        try:
            _train(run, config, collection, group, keeper, progress)
        except (RuntimeError, EOFError, ConnectionError) as error:  # raised wherever the run just is, or from a pipe
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise RunStoppedError(
                "a process that draws tables has died, perhaps for want of memory: the same command with --resume goes "
                "on from the last validation."
            ) from error
    if config.calibration_samples and not group.rank:
        figures = _calibrate(config, output)
        return {**run.header, "calibration": figures}
    return run.header


def _calibrate(config: TrainingConfig, output: Path) -> dict[str, float]:
    """Fit the variance heads of what the run has written."""
    families, seed = training_families(config), config.seed + SEED_OFFSET
    return calibrate_checkpoint(output, families, config.calibration_samples, config.landmarks, seed)


def _train(
    run: Run,
    config: TrainingConfig,
    collection: Collection,
    group: ProcessGroup,
    keeper: _Keeper | None,
    progress: bool,
) -> None:
    share = group.share(config.batches_per_step)
    objective = group.wrap(Objective(speed_up(run.model, config, group.device), config))
    waited_before = run.waited
    first = run.totals["steps"] * config.batches_per_step + group.rank
    with (
        StopRequest() as request,
        _progress_bar(config, run, shown=progress and keeper is not None) as bar,
        Prefetched(TableStream(config, collection, first, group.size), config.workers) as batches,
    ):
        while True:
            elapsed, asked = group.largest(0.0 if group.rank else run.elapsed, request.asked)
            # Preparing and a first validation may take all the time that was asked for: one step is always taken.
            ended = run.step >= config.steps if config.steps else run.step > 0 and elapsed >= config.seconds
            if asked and not ended:
                raise RunStoppedError(keeper.stopped(run) if keeper is not None else "the run was asked to stop.")
            if run.step % config.validation_every == 0 or ended:
                out_of_patience = keeper.validate(run, bar) if keeper is not None else False
                ended = ended or bool(group.largest(out_of_patience)[0])
            if ended:
                break
            for parameters in run.optimiser.param_groups:
                parameters["lr"] = learning_rate(config, run.step, elapsed)
            step_batches = [next(batches).to(group.device) for _ in range(share)]
            run.waited = waited_before + batches.waited
            run.loss += accumulate(objective, step_batches, group, run)
            norm = nn.utils.clip_grad_norm_(run.model.parameters(), config.clip)
            if torch.isfinite(norm):
                run.optimiser.step()
                run.average.update_parameters(run.model)
            else:
                logger.warning("step %d: gradient is not finite, skipped", run.step)
            run.optimiser.zero_grad()
            run.step += 1
            bar.update(1 if config.steps else round(elapsed) - bar.n)


def accumulate(objective: nn.Module, batches: list[TrainingBatch], group: ProcessGroup, run: Run) -> float:
    """Leave the gradient of the mean loss over all processes' tables in the model; returns that mean."""
    (count,) = group.total(sum(map(len, batches)))
    run.tables += int(count)
    loss = 0.0
    for position, batch in enumerate(batches, start=1):
        last = position == len(batches)
        # Gradients are averaged over the processes once per step, with the last batch.
        quiet = contextlib.nullcontext() if last or group.size == 1 else objective.no_sync()  # type: ignore[operator]
        with quiet:
            part = objective(batch) * (group.size / count)
            part.backward()
        loss += float(part.detach()) / group.size
    return group.total(loss)[0]


class _Keeper:
    """Validates, logs, keeps the best weights and saves the state: the first process's work."""

    def __init__(
        self, config: TrainingConfig, collections: tuple[Collection, Collection | None], output: Path, kept: float
    ) -> None:
        self.config, self.collection, self.output = config, collections[0], output
        self.parts = validation_parts(config, *collections)
        check_objectives(config, labelled=any(batch.labels is not None for batch in self.parts["inside"]))
        clear_partials((output, state.state_path(output), state.curve_path(output)))
        self.log = RunLog(state.curve_path(output), kept, config.tensorboard)

    def validate(self, run: Run, bar: tqdm[Any]) -> bool:
        """Validate the averaged weights, write what the run has to say; true if they have not improved for too long."""
        # The state of before, so that a run that is resumed begins with this very validation.
        files = {state.state_path(self.output): state.content(run, self.config, self.collection.names)}
        figures = {name: validate(run.averaged, batches) for name, batches in self.parts.items()}
        totals = run.totals
        loss = run.loss / (run.step - run.validated) if run.step > run.validated else math.nan
        self.log.add({**totals, "loss": loss}, figures)
        files[self.log.path] = self.log.content()
        run.validated, run.loss = run.step, 0.0
        found = score(figures["inside"], self.config)
        outside = figures["outside"]["augmented_scaled"]
        bar.set_postfix(loss=f"{loss:.3f}", score=f"{found:.3f}", outside=f"{outside:.3f}")
        run.stale += 1
        if found < run.best:
            run.best, run.stale = found, 0
            run.header = {
                "model": dataclasses.asdict(run.model.config),
                "recipe": dataclasses.asdict(self.config),
                "families": list(self.collection.names),
                "validation": figures,
                "waiting_share": run.waited / max(run.elapsed, 1e-9),
                **totals,
            }
            files[self.output] = checkpoint.content(run.averaged, run.header)
        write_together(files)
        return 0 < self.config.patience <= run.stale

    def stopped(self, run: Run) -> str:
        """Save the state of a run that was asked to stop; returns how to go on."""
        write_together({state.state_path(self.output): state.content(run, self.config, self.collection.names)})
        return (
            f"the run was asked to stop and has saved its state after step {run.step} in "
            f"{state.state_path(self.output)}: the same command with --resume goes on."
        )


def _progress_bar(config: TrainingConfig, run: Run, shown: bool) -> tqdm[Any]:
    """Show the steps or the seconds of the whole run, those before an interruption included."""
    total, done, unit = config.steps, run.step, "step"
    if not config.steps:
        total, done, unit = round(config.seconds), round(run.elapsed), "s"
    return tqdm(total=total, initial=done, unit=unit, disable=not shown, desc="pretraining")
