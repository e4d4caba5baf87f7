"""What the arguments of several commands have in common: flags, and the kinds of their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable

Command = Callable[[str, str, str], argparse.ArgumentParser]  # name, help, example -> its parser


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="DIR", help="the run's folder (default: a new one under ./runs)")


def add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", metavar="a.b=c", action="append", default=[], help="change any field of the recipe; may be repeated"
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    add_set(parser)
    parser.add_argument("--seed", metavar="N", type=int, help="of every random choice (default: the recipe's, 13)")
    add_require(parser)


def add_require(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--require",
        choices=("better", "goals", "gates"),
        help="exit with 1 unless the verdict is better, every goal of the recipe is reached, or every gate is passed",
    )


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a number of 1 or more: {text!r}")
    return int(text)


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"not a share from 0 to 1: {text!r}")
    return value


def temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f"not a number from 0 to 10: {text!r}")
    return value
