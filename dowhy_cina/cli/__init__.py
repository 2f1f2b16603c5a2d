"""The command line: one module for each command, listed in ``COMMANDS``.

A command is a module with ``add_parser(commands)``, which adds its arguments and sets ``run``, the function that is
called with them. pandas, DoWhy and torch are imported inside the functions that need them, so that --help answers at
once.

Exit codes: 0 done; 2 the command or its input was refused, one line on standard error says why; 130 interrupted; 1 a
fault of the program, which a line names, and ``--traceback`` shows where it is.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence

import dowhy_cina
from dowhy_cina.cli import benchmark, demo, estimate, evaluate, info, paper, pretrain, refute
from dowhy_cina.cli.arguments import INTERRUPTED
from dowhy_cina.cli.parsing import Parser
from dowhy_cina.cli.spelling import in_options
from dowhy_cina.errors import CinaError, RunStoppedError

#: Modules of the commands, in the order of the help text.
COMMANDS = (demo, estimate, refute, pretrain, evaluate, benchmark, paper, info)
#: Letters of a reason that are printed.
_LONGEST_REASON = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of the process if None.

    Returns
    -------
    int
        Exit code. A command that is not understood ends the process with code 2, as argparse does.
    """
    if sys.stdout is None:
        _say("error: standard output is closed, so that nothing can be printed: leave it open, or send it to a file")
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may hold letters that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # head or less has read enough; Python must not fail again when it closes the stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except RunStoppedError as error:
        _say(str(error))
        return INTERRUPTED
    except MemoryError as error:
        _say(f"error: out of memory ({str(error) or 'nothing more is known'}): take fewer rows or columns")
        return 2
    except (CinaError, ImportError, NotImplementedError, OSError) as error:
        _say(f"error: {in_options(str(error)) or type(error).__name__}")
        return 2
    except Exception as error:  # a fault of ours or of a library: the line is for people, the option for its repair
        if arguments.traceback:
            traceback.print_exc()
        _say(f"fault: {type(error).__name__}: {error} (dowhy-cina --traceback COMMAND ... shows where)")
        return 1
    return 0


def _say(text: str) -> None:
    """Print one line on standard error, whatever the text holds."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    if len(line) > _LONGEST_REASON:
        line = f"{line[:_LONGEST_REASON]} ..."
    print(f"dowhy-cina: {line}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="dowhy-cina", description="Zero-shot treatment effects by covariate balancing with a pretrained model."
    )
    parser.add_argument("--version", action="version", version=f"dowhy-cina {dowhy_cina.__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where a fault of the program is")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
