"""The commands, their arguments and their exit codes. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from burnish import __version__
from burnish.cli import (
    backup,
    compare,
    curve,
    data_arguments,
    export,
    gc,
    import_model,
    import_openai,
    keys,
    log,
    models,
    monitor,
    plan,
    reproduce,
    runs,
    serve,
    sweep,
    train_arguments,
    use_arguments,
    verify,
    worker,
)
from burnish.errors import (
    BurnishError,
    DivergedError,
    GoalNotReachedError,
    InterruptedRunError,
    OutOfMemoryError,
    nearest,
)

DESCRIPTION = """\
Fine-tune a pretrained model on your own rows, and get a verdict: is it better than what
you could have had without fine-tuning, by how much, and how sure is that?"""
EPILOG = """\
start here:  burnish demo              then:  burnish train your.csv
exit codes:  0 ok, 1 the answer is no, 2 usage or unreadable input, 3 diverged or self-test failed,
             4 out of memory, 5 disk full, 6 damaged store, 75 temporary,
             130/143 stopped by a signal (checkpoint saved)"""


AGREED = (InterruptedRunError, DivergedError, OutOfMemoryError)  # ends that all processes of a training come to


class _Terminated(KeyboardInterrupt):
    """SIGTERM outside of the training loop, which finishes its step first."""


def _terminate(number: int, _: object) -> NoReturn:
    """One signal is enough: another one would end in the middle of what the first one set off."""
    _ignore_signals()
    raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _stopped(stop: KeyboardInterrupt) -> int:
    print("stopped", file=sys.stderr)
    return 143 if isinstance(stop, _Terminated) else 130


def entry() -> NoReturn:
    """Console script: runs a command and ends the process with its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as a shell has it for what runs in the background
            signal.signal(number, _terminate)
    try:
        code = main(sys.argv[1:])
        _ignore_signals()  # nothing is left to be stopped
    except KeyboardInterrupt as stop:  # between the end of the command and the line above
        code = _stopped(stop)
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Runs one command; gives its exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        from burnish.cli import commands

        code = commands.COMMANDS[options.command](options)
        sys.stdout.flush()
        return code
    except BurnishError as error:
        _show_error(error, options)
        return error.exit_code
    except KeyboardInterrupt as stop:
        return _stopped(stop)
    except BrokenPipeError:  # the reader of our output went away; that is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        traceback.print_exc()
        print(
            f"\nThis is a bug in burnish {__version__} ({type(error).__name__}), not in what you did."
            " Please report it with the lines above.",
            file=sys.stderr,
        )
        return 70


class _Parser(argparse.ArgumentParser):
    """argparse that says which word was probably meant."""

    def error(self, message: str) -> NoReturn:
        match = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        close = nearest(match.group(1), re.findall(r"[\w-]+", match.group(2))) if match else None
        super().error(f'{message}; did you mean "{close}"?' if close else message)


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="burnish",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"burnish {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, help_: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=help_,
            description=f"{help_[0].upper()}{help_[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
        sub.add_argument("--traceback", action="store_true", help="show where in the code an error was raised")
        return sub

    train_arguments.demo(command)
    data_arguments.init(command)
    data_arguments.check(command)
    train_arguments.train(command)
    train_arguments.resume(command)
    train_arguments.stop(command)
    use_arguments.evaluate(command)
    compare.arguments(command)
    use_arguments.predict(command)
    plan.arguments(command)
    curve.arguments(command)
    sweep.arguments(command)
    use_arguments.chat(command)
    reproduce.arguments(command)
    import_model.arguments(command)
    import_openai.arguments(command)
    runs.arguments(command)
    data_arguments.audit(command)
    data_arguments.augment(command)
    data_arguments.datasets(command)
    models.arguments(command)
    export.arguments(command)
    monitor.arguments(command)
    serve.arguments(command)
    keys.arguments(command)
    log.arguments(command)
    backup.arguments(command)
    verify.arguments(command)
    gc.arguments(command)
    worker.arguments(command)
    return parser


def _show_error(error: BurnishError, options: argparse.Namespace) -> None:
    if options.traceback:
        traceback.print_exc()
    from burnish.lifecycle.follow import follows

    if follows():  # the first of several processes speaks for all
        if not isinstance(error, AGREED):
            print(f"process {os.environ['RANK']}: {error}", file=sys.stderr)
        return
    if options.json and not isinstance(error, GoalNotReachedError):  # that one follows a result on stdout
        shown: dict[str, Any] = {"error": error.as_dict(), "exit_code": error.exit_code}
        print(json.dumps(shown, ensure_ascii=False))
    print(str(error), file=sys.stderr)
