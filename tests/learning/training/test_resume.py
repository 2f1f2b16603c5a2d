"""Interrupted runs: killed, asked to stop, resumed with another recipe, on a full disk, or shared by two processes."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from dowhy_cina.config import ModelConfig, TrainingConfig
from dowhy_cina.errors import CheckpointError, InputError, RunStoppedError
from dowhy_cina.learning.training import Simulators, pretrain, trainer
from dowhy_cina.learning.training.processes import StopRequest
from dowhy_cina.learning.training.state import FORMAT_NAME, FORMAT_VERSION, resume, state_path
from dowhy_cina.model import checkpoint
from dowhy_cina.model.files import packed, unpacked

ROOT = Path(__file__).resolve().parents[3]
SMALL = ModelConfig(width=8, layers=1, heads=2)
QUICK = TrainingConfig(
    steps=24,
    min_rows=40,
    max_rows=60,
    max_columns=4,
    landmarks=16,
    tables_per_batch=2,
    batches_per_step=2,
    warmup_steps=1,
    learning_rate=0.01,
    validation_every=4,
    validation_tables=2,
    workers=0,
)
ONLY = Simulators(("additive", "scm"))


def train(output, config=QUICK, **options):
    return pretrain(config, ONLY, output=output, model_config=SMALL, progress=False, **options)


def rows_of(output):
    with output.with_suffix(".csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def weights_of(output):
    return {name: tensor for name, tensor in load_file(state_path(output)).items() if name.startswith("model.")}


def equal(one, other):
    assert list(one) == list(other)
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def recipe(tmp_path):
    def lines(config):
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if value != field.default:
                yield f"{field.name} = {value!r}"

    path = tmp_path / "quick.toml"
    families = '[[collections]]\nsimulators = ["additive", "scm"]'
    path.write_text("\n".join(["[training]", *lines(QUICK), "[model]", *lines(SMALL), families]))
    return path


def start(*arguments, launcher=("-m", "dowhy_cina.cli", "pretrain")):
    # As many threads as this process has: sums in another order have other last bits.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, *launcher, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def run_to_its_end(*arguments):
    """In a process of its own: a library that was told its number of threads adds up otherwise than one left alone."""
    with start(*arguments) as run:
        message = run.communicate(timeout=120)[1]
    assert run.returncode == 0, message


def wait_for_step(run, output, step):
    for _ in range(3000):
        assert run.poll() is None, run.stderr.read()
        if output.with_suffix(".csv").exists() and any(int(row["steps"]) >= step for row in rows_of(output)):
            return
        time.sleep(0.01)
    raise AssertionError("the run did not get there")


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, recipe):
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    run_to_its_end(recipe, "--output", whole)
    with start(recipe, "--output", broken) as run:
        wait_for_step(run, broken, 8)
        run.kill()
    assert run.returncode
    assert not equal(weights_of(whole), weights_of(broken))
    run_to_its_end(recipe, "--output", broken, "--resume")
    assert equal(weights_of(whole), weights_of(broken))
    assert equal(load_file(whole), load_file(broken))
    assert rows_of(whole) == rows_of(broken)
    assert [int(row["steps"]) for row in rows_of(broken)] == list(range(0, 25, 4))
    assert not list(tmp_path.glob("*.partial"))


#: ``-m dowhy_cina.cli pretrain``; threads of a process group that outlives the run can abort the interpreter's end.
RUN_AND_LEAVE_NO_GROUP = """
import sys
from pathlib import Path
from dowhy_cina.cli import main

code = main(["pretrain", *sys.argv[1:]])
sys.exit(code or any("gloo" in task.read_text() for task in Path("/proc/self/task").glob("*/comm")))
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path, recipe):
    alone, shared = tmp_path / "alone.safetensors", tmp_path / "shared.safetensors"
    config = dataclasses.replace(QUICK, steps=6, validation_every=1)
    train(alone, config)
    script = tmp_path / "run.py"
    script.write_text(RUN_AND_LEAVE_NO_GROUP)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script)
    settings = ("--set", "steps=6", "--set", "validation_every=1")
    with start(recipe, "--output", shared, *settings, launcher=torchrun) as run:
        message = run.communicate(timeout=120)[1]
    assert run.returncode == 0, message
    losses = [[float(row["loss"]) for row in rows_of(output)[1:]] for output in (alone, shared)]
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert len(set(losses[0])) == 6
    assert [row["tables"] for row in rows_of(alone)] == [row["tables"] for row in rows_of(shared)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_the_state_and_says_how_to_go_on(tmp_path, monkeypatch, number):
    output, steps = tmp_path / "x.safetensors", []

    def interrupted(*given):
        steps.append(None)
        if len(steps) == 6:
            signal.raise_signal(number)
        return accumulate(*given)

    accumulate = trainer.accumulate
    handler = signal.getsignal(number)
    monkeypatch.setattr(trainer, "accumulate", interrupted)
    with pytest.raises(RunStoppedError, match=r"saved its state after step 6 in .*x\.state.*--resume"):
        train(output)
    assert signal.getsignal(number) is handler
    monkeypatch.undo()
    train(output, resume=True)
    train(tmp_path / "whole.safetensors")
    assert equal(weights_of(output), weights_of(tmp_path / "whole.safetensors"))
    assert rows_of(output) == rows_of(tmp_path / "whole.safetensors")


def test_another_thread_may_train(tmp_path):
    """Only the main thread can handle signals."""
    thread = threading.Thread(target=train, args=(tmp_path / "x.safetensors", dataclasses.replace(QUICK, steps=1)))
    thread.start()
    thread.join(60)
    assert rows_of(tmp_path / "x.safetensors")[-1]["steps"] == "1"


@pytest.fixture
def finished(tmp_path):
    output = tmp_path / "x.safetensors"
    train(output, dataclasses.replace(QUICK, steps=4))
    return output


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"seed": 1}, r"training\.seed = 0, the recipe 1"), ({"learning_rate": 0.1}, r"training\.learning_rate")],
)
def test_another_recipe_is_refused(finished, settings, message):
    before = weights_of(finished)
    with pytest.raises(InputError, match=f"does not fit the run to resume.*{message}"):
        train(finished, dataclasses.replace(QUICK, **settings), resume=True)
    with pytest.raises(InputError, match=r"model\.width = 8, the recipe 16"):
        pretrain(QUICK, ONLY, output=finished, model_config=ModelConfig(width=16), resume=True, progress=False)
    with pytest.raises(InputError, match="trained on additive, scm, the recipe names trees"):
        pretrain(QUICK, ["trees"], output=finished, model_config=SMALL, resume=True, progress=False)
    assert equal(before, weights_of(finished))


def test_a_finished_run_can_go_on_for_longer(finished):
    header = train(finished, dataclasses.replace(QUICK, steps=8), resume=True)
    assert header["steps"] in (0, 4, 8)
    assert [row["steps"] for row in rows_of(finished)] == ["0", "4", "8"]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half", "truncated"])
def test_a_damaged_state_is_refused(finished, damage):
    path = state_path(finished)
    path.write_bytes(path.read_bytes()[:-1000] if damage == "truncated" else damage)
    with pytest.raises(CheckpointError, match=r"x\.state: the state of the run cannot be read.*start it anew"):
        train(finished, resume=True)


def test_a_state_with_a_hash_that_fits_and_entries_that_do_not(finished):
    saved, tensors = unpacked(state_path(finished), FORMAT_NAME, FORMAT_VERSION)
    names = ("counters", "model_config", "header", "collections", "recipe", "earlier")
    wrong = [(name, value) for name in names for value in (None, 3, [3], "x")]
    wrong += [("header", {"steps": -1}), ("earlier", {"steps": 0.5}), ("counters", saved["counters"] | {"step": -1})]
    for name, value in wrong:
        state_path(finished).write_bytes(packed(FORMAT_NAME, FORMAT_VERSION, saved | {name: value}, tensors))
        with pytest.raises((CheckpointError, InputError), match=r"x\.state"):
            train(finished, resume=True)
    moment = next(name for name in tensors if name.endswith("exp_avg"))
    state_path(finished).write_bytes(
        packed(FORMAT_NAME, FORMAT_VERSION, saved, tensors | {moment: tensors[moment][..., :1].clone()})
    )
    with pytest.raises(CheckpointError, match=r"exp_avg of parameter .* has another shape"):
        train(finished, resume=True)


def test_runs_of_one_stem_are_apart(tmp_path):
    """Endings are added to names, not put in the place of what follows a point."""
    outputs = [tmp_path / name for name in ("m.v1", "m.v2", "m.v3.safetensors")]
    for seed, output in enumerate(outputs):
        train(output, dataclasses.replace(QUICK, steps=1, seed=seed))
    stems = ("m.v1", "m.v2", "m.v3")
    names = {*(output.name for output in outputs), *(stem + end for stem in stems for end in (".csv", ".state"))}
    assert {file.name for file in tmp_path.iterdir()} == names
    for seed, output in enumerate(outputs):
        train(output, dataclasses.replace(QUICK, steps=2, seed=seed), resume=True)
    with pytest.raises(InputError, match=r"m\.v1\.safetensors would share its state and curve with .*m\.v1:"):
        train(tmp_path / "m.v1.safetensors")
    with pytest.raises(InputError, match=r"m\.v3 would share .* with .*m\.v3\.safetensors"):
        train(tmp_path / "m.v3")


@pytest.mark.parametrize("name", ["", ".", "..", "m.csv", "m.STATE", "m.toml", ".safetensors", "folder", "taken"])
def test_places_that_are_no_output(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "taken.csv"):
        (tmp_path / folder).mkdir()
    with pytest.raises(
        InputError, match=r"the output must be the path of a checkpoint|taken\.csv, which is no plain file"
    ):
        train(Path(name))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "taken.csv"]


@pytest.mark.parametrize("outcomes", [True, False])
def test_a_run_without_an_objective_is_refused(tmp_path, outcomes):
    weights = [field.name for field in dataclasses.fields(QUICK) if field.name.endswith("_weight")]
    config = dataclasses.replace(QUICK, outcomes=outcomes, **dict.fromkeys(weights, 0.0))
    if not outcomes:
        config = dataclasses.replace(config, random_outcomes=False, augmented_weight=1.0)
    with pytest.raises(InputError, match="expected a positive number in at least one of gap_weight, hinge_weight"):
        train(tmp_path / "x.safetensors", config)
    assert not list(tmp_path.iterdir())


def test_what_is_no_curve_is_left_alone(finished):
    curve = finished.with_suffix(".csv")
    curve.write_text("date,entry\n1999-01-01,mine\n")
    with pytest.raises(InputError, match=r"x\.csv is not the curve of an earlier run"):
        train(finished, dataclasses.replace(QUICK, steps=8), resume=True)
    assert curve.read_text().endswith("mine\n")


@pytest.mark.parametrize(
    "content", ["date,entry\n1999-01-01,mine\n", "steps,age\n1,2\n", "steps,tables,seconds,loss\nx\n"]
)
def test_a_new_run_replaces_no_table_by_its_curve(tmp_path, monkeypatch, content):
    monkeypatch.setattr(trainer, "_train", lambda *_: pytest.fail("the run began"))
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(InputError, match=r"x\.csv is not the curve of an earlier run \(.*choose another output"):
        train(tmp_path / "x.safetensors")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.csv", content)]


def test_a_new_run_replaces_the_curve_of_another(finished):
    for wanted in (["0", "2"], ["0", "1"]):
        train(finished, dataclasses.replace(QUICK, steps=int(wanted[-1])))
        assert [row["steps"] for row in rows_of(finished)] == wanted


@pytest.mark.parametrize("steps", [8, 0])
def test_the_bar_of_a_resumed_run_begins_where_it_stopped(finished, monkeypatch, steps):
    shown = []

    def bar(**options):
        shown.append(options)
        return tqdm(**(options | {"disable": True}))

    monkeypatch.setattr(trainer, "tqdm", bar)
    run = resume(dataclasses.replace(QUICK, steps=4), SMALL, ONLY.names, finished, torch.device("cpu"))
    run.seconds = 1000.0
    trainer._progress_bar(dataclasses.replace(QUICK, steps=steps, seconds=2000.0), run, shown=True)
    assert (shown[0]["initial"], shown[0]["total"]) == ((4, 8) if steps else (1000, 2000))


def test_waiting_is_a_share_of_the_whole_run(tmp_path, monkeypatch):
    """Of a run that was resumed too, whose first process waited for most of its time."""
    output, draw = tmp_path / "x.safetensors", ONLY.batch

    def slow(self, rng, config):
        time.sleep(0.05)
        return draw(rng, config)

    with monkeypatch.context() as patched:
        patched.setattr(Simulators, "batch", slow)
        train(output, dataclasses.replace(QUICK, steps=4))
    monkeypatch.setattr(trainer, "score", lambda *_: -1.0)  # the best, so that the first validation after it is kept
    header = train(output, dataclasses.replace(QUICK, steps=5), resume=True)
    assert 0 < header["waiting_share"] < 1


def test_one_request_may_come_twice(monkeypatch):
    """``timeout`` and supervisors signal a process and then its group."""
    times = iter([0.0, 0.5, 2.0])
    monkeypatch.setattr("dowhy_cina.learning.training.processes.time.monotonic", lambda: next(times))
    # A shell that starts the tests in the background has them ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as request:
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
                assert request.asked
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_starting_from_a_checkpoint_carries_its_totals_on(finished, tmp_path):
    earlier = checkpoint.read_header(finished)["steps"]
    output = tmp_path / "next.safetensors"
    train(output, dataclasses.replace(QUICK, steps=4, start=str(finished)))
    assert [int(row["steps"]) - earlier for row in rows_of(output)] == [0, 4]
    first = {key: value for key, value in rows_of(output)[0].items() if key.startswith("outside")}
    kept = checkpoint.read_header(finished)["validation"]["outside"]
    assert {key: float(value) for key, value in first.items()} == pytest.approx(
        {f"outside_{name}": value for name, value in kept.items()}, abs=1e-4
    )


@contextlib.contextmanager
def room_for(size):
    """No file may grow beyond so many bytes: what a full disk does, as the writers meet it."""
    resource = pytest.importorskip("resource")  # of POSIX systems
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 5000])
def test_a_full_disk_leaves_earlier_files(finished, size):
    """The curve does not fit in 100 bytes, the state not in 5,000."""
    files = [finished, state_path(finished), finished.with_suffix(".csv")]
    before = [file.read_bytes() for file in files]
    assert len(before[0]) > 5000
    with pytest.raises(CheckpointError, match=r"cannot be written.*as it was"), room_for(size):
        train(finished, dataclasses.replace(QUICK, steps=8), resume=True)
    with pytest.raises(CheckpointError, match=r"x\.safetensors cannot be written.*as it was"), room_for(size):
        checkpoint.write(finished, *checkpoint.read(finished))
    assert [file.read_bytes() for file in files] == before
    assert sorted(finished.parent.iterdir()) == sorted(files)
    header = train(finished, dataclasses.replace(QUICK, steps=8), resume=True)
    assert [row["steps"] for row in rows_of(finished)] == ["0", "4", "8"]
    assert checkpoint.read_header(finished)["steps"] == header["steps"]


def test_a_run_without_progress_ends_early(tmp_path, monkeypatch):
    scores = iter([3.0, 2.0, 2.0, 2.5, 1.0])
    monkeypatch.setattr(trainer, "score", lambda *_: next(scores))
    header = train(tmp_path / "x.safetensors", dataclasses.replace(QUICK, validation_every=1, patience=2))
    assert header["steps"] == 1
    assert [row["steps"] for row in rows_of(tmp_path / "x.safetensors")] == ["0", "1", "2", "3"]


def test_batches_that_two_processes_cannot_share_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dowhy_cina.training.processes.distributed.init_process_group", lambda *_: None)
    monkeypatch.setattr("dowhy_cina.training.processes.distributed.destroy_process_group", lambda: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="batches_per_step must be a multiple of the 2 processes, got 3"):
        train(tmp_path / "x.safetensors", dataclasses.replace(QUICK, batches_per_step=3))
