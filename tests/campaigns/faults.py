"""Kills, full disks, read-only folders, damaged files, impossible commands, forks: ``make faults`` counts what breaks.

Everything is drawn from ``--seed``. The exit code is 1 unless every count of failures is zero. POSIX only.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from command_lines import command_lines, write_tables
from damage import damaged, setting_bits
from running import Count, begin, finished, said
from safetensors.torch import load_file

from dowhy_cina.cli import info
from dowhy_cina.config import ModelConfig, TrainingConfig
from dowhy_cina.errors import CheckpointError, CinaError
from dowhy_cina.learning.training import Simulators, pretrain, state
from dowhy_cina.model import checkpoint

SMALL = ModelConfig(width=8, layers=1, heads=2)
QUICK = TrainingConfig(
    steps=40,
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
    workers=1,
)
_SETTINGS = "\n".join(
    f"{name} = {value}" for name, value in vars(QUICK).items() if value != getattr(TrainingConfig, name)
)
_NETWORK = "width = 8\nlayers = 1\nheads = 2"
RECIPE = f'[training]\n{_SETTINGS}\n[model]\n{_NETWORK}\n[[collections]]\nsimulators = ["additive", "scm"]\n'
ONLY = Simulators(("additive", "scm"))
#: Seconds that reading a damaged file may take.
READ_LIMIT = 2.0
#: Seconds that a whole run may take on a busy machine.
RUN_LIMIT = 600.0
#: Ways to end a run: one process or its whole group, once, or at once to both.
ENDINGS = ("SIGTERM to the group", "kill", "Ctrl-C", "kill the group", "SIGTERM", "SIGTERM to both", "worker killed")
#: What a run says that was ended and can go on.
SAID = ("has saved its state", "draws tables has died")


def flips(count, content, bits, path, read):
    """Flip single bits of a file; none may go unnoticed."""
    for bit in map(int, bits):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            read()
            count.add(f"bit {bit} of {path.name} was accepted")
        except CheckpointError as error:
            count.add(None if path.name in str(error) else f"bit {bit}: {error}")
    path.write_bytes(content)


def damaged_files(count, content, number, path, read, rng):
    """Damage a file in one way after another; it is ours to say so, soon."""
    for _ in range(number):
        kind, changed = damaged(content, rng)
        path.write_bytes(changed)
        began, failure = time.process_time(), None
        try:
            read()
        except CinaError as error:
            failure = None if path.name in str(error) else f"{kind}: does not name the file: {error}"
        except BaseException as error:
            failure = f"{kind}: {type(error).__name__}: {str(error)[:200]}"
        seconds = time.process_time() - began  # of this process: the machine may be busy
        count.add(failure or (f"{kind}: {seconds:.1f} s" if seconds > READ_LIMIT else None))
    path.write_bytes(content)


def read_files(folder, rng, number, bits):
    """Flip bits of and damage a checkpoint and the state of a run."""
    output = folder / "read" / "x.safetensors"
    config = torch_quick(steps=4, workers=0)
    pretrain(config, ONLY, output=output, model_config=SMALL, progress=False)
    saved = state.state_path(output)

    def read_checkpoint():
        _, header = checkpoint.read(output)
        list(info._card(header, output.stat().st_size))

    def read_state():
        state.resume(config, SMALL, ONLY.names, output, torch.device("cpu"))

    content, parts = output.read_bytes(), []
    for name, places, path, read in (
        ("single bits of a checkpoint's settings accepted", setting_bits(content), output, read_checkpoint),
        ("single bits of a checkpoint accepted", np.arange(8 * len(content)), output, read_checkpoint),
        ("single bits of a state accepted", np.arange(8 * saved.stat().st_size), saved, read_state),
    ):
        parts.append(Count(name))
        chosen = places if len(places) <= bits else np.sort(rng.choice(places, bits, replace=False))
        flips(parts[-1], path.read_bytes(), chosen, path, read)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parts.append(Count("damaged files with another error than ours, or after more than 2 s"))
    damaged_files(parts[-1], content, number - number // 3, output, read_checkpoint, rng)
    damaged_files(parts[-1], saved.read_bytes(), number // 3, saved, read_state, rng)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"memory that damaged files took beyond what it was before: {grown:.0f} MB")
    return parts


def torch_quick(**changes):
    """Settings of the campaign's runs, with changes."""
    return TrainingConfig(**(vars(QUICK) | changes))


def send(process, ending):
    """End a run, in one of the ways."""
    if ending == "worker killed":
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(children[0]) if children else process.pid, signal.SIGKILL)
        return
    number = {"k": signal.SIGKILL, "S": signal.SIGTERM, "C": signal.SIGINT}[ending[0]]
    if not ending.endswith("group") or ending.endswith("both"):
        os.kill(process.pid, number)
    if ending.endswith(("group", "both")):
        os.killpg(process.pid, number)


def ended_group(group):
    """Wait until no process of a group is left, torch's notice within five seconds; false after 40."""
    for _ in range(800):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def steps_of(output):
    """Steps of the last validation that stands in a run's curve."""
    with contextlib.suppress(OSError, ValueError, KeyError), state.curve_path(output).open(newline="") as file:
        return max((int(row["steps"]) for row in csv.DictReader(file)), default=-1)
    return -1


def kills(folder, rng, number):
    """End runs at random moments, resume them, and compare the weights with those of a run that was left alone."""
    recipe, errors = folder / "quick.toml", folder / "errors"
    recipe.write_text(RECIPE)
    places = [folder / "whole", folder / "broken"]
    for place in places:
        place.mkdir()
    whole, broken = (place / "m.v1" for place in places)
    code, _, failure = finished("pretrain", recipe, "--output", whole, folder=folder, errors=errors, limit=RUN_LIMIT)
    assert code == 0, failure
    count, done = Count("kills and signals that cost weights or left something behind"), 0
    while done < number:
        for file in broken.parent.iterdir():
            file.unlink()
        ways = []
        while True:
            resume = ["--resume"] if state.state_path(broken).exists() else []
            process = begin("pretrain", recipe, "--output", broken, *resume, folder=folder, errors=errors)
            if done + len(ways) >= number or len(ways) >= 8:
                break
            ending = ENDINGS[(done + len(ways)) % len(ENDINGS)]
            failure, way = interrupted(process, ending, broken, errors, rng)
            if way is None and process.exitcode and steps_of(broken) >= QUICK.steps:
                continue  # it had trained and written everything, and was ended while it left
            if way is None:
                break
            ways.append(way)
            if failure:
                count.add(failure)
        process.join(RUN_LIMIT)
        if process.exitcode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        done += len(ways)
        failure = compared(process, whole, broken, errors)
        for way in ways:
            count.add(f"{way}: {failure}" if failure else None)
    return [count]


def interrupted(process, ending, output, errors, rng):
    """End a run once it has validated, or a kill at any time; returns what was wrong, and how it ended, if it did."""
    before, delay = steps_of(output), rng.uniform(0, 0.6)
    while not ending.startswith("kill") and process.is_alive() and steps_of(output) <= before:
        time.sleep(0.01)
    process.join(delay)
    if not process.is_alive():
        return None, None
    send(process, ending)
    process.join(RUN_LIMIT)
    if process.exitcode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return f"{ending}: the run did not end", ending
    if process.exitcode == 0 or (not ending.startswith("kill") and steps_of(output) >= QUICK.steps):  # at its end
        return None, None
    text, failure = said(errors)
    if ending == "kill" and "ConnectionResetError" in text:  # of torch's orphaned worker, whose trainer is gone
        failure = None
    if not failure and not ending.startswith("kill") and not any(words in text for words in SAID):
        failure = f"not saved, exit code {process.exitcode}: {text[-300:]}"
    if not failure and not ended_group(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
        failure = "processes were left behind"
    return failure and f"{ending}: {failure}", ending


def compared(process, whole, broken, errors):
    """What differs between a run and one that was interrupted, if anything does."""
    if process.exitcode != 0:
        return f"not resumed: {errors.read_text()[-300:]}"
    names = sorted(file.name for file in broken.parent.iterdir())
    if names != sorted(file.name for file in whole.parent.iterdir()):
        return f"left behind: {', '.join(names)}"
    for one, other in ((whole, broken), (state.state_path(whole), state.state_path(broken))):
        ours, theirs = load_file(one), load_file(other)
        if list(ours) != list(theirs) or not all(torch.equal(ours[name], theirs[name]) for name in ours):
            return f"other weights in {other.name}"
    return None


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of so many bytes; where none can be mounted, a folder whose files may not grow beyond a size."""
    folder.mkdir()
    mounted = not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], stderr=subprocess.DEVNULL
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.check_call(["umount", str(folder)])


def full_disks(folder, rng, number):
    """Let the disk fill while a run goes on: all its earlier files stay as they were, and it can go on with room."""
    count, disk, recipe, errors = (
        Count("full disks that changed or left a file"),
        folder / "disk",
        "q.toml",
        folder / "e",
    )
    with small_disk(disk, 2**20) as mounted:
        (disk / recipe).write_text(RECIPE)
        output, ballast = disk / "x.safetensors", disk / "ballast"
        command = ("pretrain", recipe, "--output", output)
        code, _, failure = finished(*command, "--set", "steps=4", folder=disk, errors=errors, limit=RUN_LIMIT)
        assert code == 0, failure
        files = [output, state.state_path(output), state.curve_path(output)]
        before, most = [file.read_bytes() for file in files], sum(file.stat().st_size for file in files)
        for free in (0, *rng.integers(1, most, number - 1)):
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            if mounted:
                room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                ballast.write_bytes(bytes(max(0, room - int(free) // 4096 * 4096)))
            else:
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(free) // 3, limits[1]))
            code, _, failure = finished(
                *command, "--set", "steps=8", "--resume", folder=disk, errors=errors, limit=RUN_LIMIT
            )
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            ballast.unlink(missing_ok=True)
            if code != 0 and [file.read_bytes() for file in files] != before:
                failure = f"with {free} bytes free a file is another"
            if sorted(disk.iterdir()) != sorted([*files, disk / recipe]):
                failure = f"with {free} bytes free something was left: {[file.name for file in disk.iterdir()]}"
            count.add(failure)
            for file, content in zip(files, before, strict=True):
                file.write_bytes(content)
    return [count]


def read_only(folder, rng, number):
    """Commands that write, where nothing can be written: one line, exit code 1 or 2."""
    count, disk, errors = Count("read-only folders with another error than ours"), folder / "locked", folder / "e"
    with small_disk(disk, 2**20) as mounted:
        (disk / "q.toml").write_text(RECIPE)
        write_tables(disk)
        checkpoint.write(disk / "x.safetensors", *checkpoint.read("cina-small"))
        if mounted:
            subprocess.check_call(["mount", "-o", "remount,ro", str(disk)])
        else:
            disk.chmod(0o500)
        estimate = ("estimate", "good.csv", "--treatment", "t", "--outcome", "y")
        for command in (
            ("pretrain", "q.toml", "--output", disk / "new.safetensors"),
            ("pretrain", "q.toml", "--output", disk / "deeper" / "new"),
            ("pretrain", "q.toml", "--output", disk / "x.safetensors", "--set", "tensorboard=true"),
            (*estimate, "--json", disk / "r.json"),
            (*estimate, "--plots", disk / "plots"),
            ("evaluate", "cina-small", "additive", "--tables", "1", "--rows", "60", "--csv", disk / "r.csv"),
            ("demo", "--output", disk / "demo"),
        )[:number]:
            code, _, failure = finished(*command, folder=disk, errors=errors)
            failure = failure or ("it was not refused" if code == 0 else None)
            count.add(failure and f"{' '.join(map(str, command))}: {failure}")
        if not mounted:
            disk.chmod(0o700)
    return [count]


def commands(folder, rng, number):
    """Impossible command lines: refused, in time, without a traceback."""
    count, errors = Count("command lines with a traceback, or without an answer"), folder / "e"
    here = folder / "commands"
    here.mkdir()
    write_tables(here)
    lines = command_lines(here, RECIPE)
    for place in np.sort(rng.choice(len(lines), min(number, len(lines)), replace=False)):
        _, _, failure = finished(*lines[place], folder=here, errors=errors)
        count.add(failure and f"{' '.join(lines[place])[:120]}: {failure}")
    return [count]


def forks(folder, rng, number):
    """Children of a process one of whose threads estimates: they wait for nothing that this thread held."""
    count, script = (
        Count("forks beside a busy thread that hang or find another effect"),
        Path(__file__).with_name("forks.py"),
    )
    run = subprocess.run(
        [sys.executable, script, str(number)], capture_output=True, text=True, timeout=RUN_LIMIT, check=False
    )
    said = run.stdout.split()
    for place in range(number):
        ending = said[place] if place < len(said) else f"nothing: {run.stderr[-300:]}"
        count.add(None if ending == "same" else f"fork {place} said {ending}")
    return [count]


#: Parts of the campaign: how many a whole one tries, and a quick one.
PARTS = {
    read_files: ((1000, 3000), (40, 60)),
    kills: ((40,), (2,)),
    full_disks: ((12,), (2,)),
    read_only: ((9,), (2,)),
    commands: ((160,), (8,)),
    forks: ((20,), (20,)),
}


def campaign(seed, quick, only):
    """Run the campaign and print its counts; returns whether every one is zero."""
    torch.set_num_threads(1)
    counts = []
    for part, sizes in PARTS.items():
        if only and part.__name__ not in only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            began, rng = time.monotonic(), np.random.default_rng(seed)
            found = part(Path(folder), rng, *sizes[quick])
        counts += found
        print(f"{part.__name__}, {time.monotonic() - began:.0f} s", *found, sep="\n", flush=True)
    return not any(count.failures for count in counts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few of each")
    parser.add_argument("--only", nargs="*", choices=[part.__name__ for part in PARTS], help="parts of the campaign")
    given = parser.parse_args()
    sys.exit(not campaign(given.seed, given.quick, given.only))
