"""Counts of a campaign, and commands in processes of their own that need not import everything again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading

from tqdm import tqdm

from dowhy_cina.cli import main

#: Seconds that a command may take.
COMMAND_LIMIT = 60.0


class Count:
    """Failures of a part of the campaign, out of how many."""

    def __init__(self, name: str) -> None:
        self.name, self.tried, self.failures = name, 0, []

    def add(self, failure: str | None) -> None:
        self.tried += 1
        if failure:
            self.failures.append(failure)
            print(f"  {self.name}: {failure}", file=sys.stderr)

    def __str__(self) -> str:
        return f"{self.name:66s}{len(self.failures):6,d} of {self.tried:,}"


def begin(*arguments, folder, errors):
    """Run a command in a process and a group of its own, begun from this one: torch is not imported again."""

    def command():
        os.setsid()
        os.chdir(folder)
        for stream, mode, number in ((os.devnull, "r", 0), (os.devnull, "w", 1), (errors, "w", 2)):
            with open(stream, mode) as file:
                os.dup2(file.fileno(), number)
        tqdm.set_lock(threading.RLock())  # the one that all share is lost with a process that is killed
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.exit(main([str(argument) for argument in arguments]))

    process = multiprocessing.get_context("fork").Process(target=command)
    process.start()
    return process


def finished(*arguments, folder, errors, limit=COMMAND_LIMIT):
    """Exit code and standard error of a command, and what is wrong with them, if anything is."""
    process = begin(*arguments, folder=folder, errors=errors)
    process.join(limit)
    if process.exitcode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return None, "", f"no answer after {limit:.0f} s"
    text, failure = said(errors)
    if process.exitcode not in (0, 1, 2) or (process.exitcode and not text.strip()):
        failure = failure or f"exit code {process.exitcode}: {text[-300:]}"
    return process.exitcode, text, failure


def said(errors):
    """What a command that has ended wrote on standard error, and what is wrong with it, if anything is."""
    text = errors.read_text(errors="replace")
    # What Python says of a destructor, torch's after the death of one of its processes, ends nothing.
    broken = "dowhy-cina: fault" in text or ("Traceback (most recent" in text and "Exception ignored in" not in text)
    return text, f"a traceback: {text[-300:]}" if broken else None
