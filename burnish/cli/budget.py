"""--max-time and --max-cost of `train` and `resume`."""

from __future__ import annotations

import argparse
import re

SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-time",
        metavar="T",
        type=duration,
        help="of training, e.g. 90s, 30m, 1h30m; then the best checkpoint is judged",
    )
    parser.add_argument(
        "--max-cost",
        metavar="C",
        type=_amount,
        help="of training, in the currency of training.price_per_hour; ends it like --max-time",
    )


def budget_of(options: argparse.Namespace) -> dict[str, float]:
    """The fields of the section `training` that the command line sets."""
    found = {"max_seconds": options.max_time, "max_cost": options.max_cost}
    return {field: value for field, value in found.items() if value is not None}


def duration(text: str) -> float:
    """Seconds of 90s, 30m, 2h, 1h30m.

    >>> duration("1h30m")
    5400.0
    """
    parts = re.fullmatch(r"((?:\d+(?:\.\d+)?[dhms])+)", text.strip().lower())
    found = re.findall(r"(\d+(?:\.\d+)?)([dhms])", parts.group(1)) if parts else []
    seconds = sum(float(number) * SECONDS[unit] for number, unit in found)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"not a time like 90s, 30m or 1h30m: {text!r}")
    return float(seconds)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"not an amount of money: {text!r}")
    return value
