"""The command line: one module for each command, listed in ``COMMANDS``.

A command is a module with ``add_parser(commands)``, which adds its arguments and sets ``run``, the function that is
called with them. pandas, DoWhy and torch are imported inside the functions that need them, so that --help answers at
once.

Exit codes: 0 done; 1 the input was refused, one line on standard error says why; 2 the command was not understood.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

import dowhy_cina
from dowhy_cina.cli import benchmark, demo, estimate, evaluate, info, pretrain, refute
from dowhy_cina.errors import CinaError

#: Modules of the commands, in the order of the help text.
COMMANDS = (demo, estimate, refute, pretrain, evaluate, benchmark, info)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of the process if None.

    Returns
    -------
    int
        Exit code 0 or 1. A command that is not understood ends the process with code 2, as argparse does.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may hold letters that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # head or less has read enough; Python must not fail again when it closes the stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (CinaError, ImportError, NotImplementedError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"dowhy-cina: error: {reason}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dowhy-cina", description="Zero-shot treatment effects by covariate balancing with a pretrained model."
    )
    parser.add_argument("--version", action="version", version=f"dowhy-cina {dowhy_cina.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
