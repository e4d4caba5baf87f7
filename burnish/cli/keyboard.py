"""Questions in a terminal that one key answers."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


def say(text: str) -> None:
    """Questions go to stderr: stdout is for what was found."""
    print(text, file=sys.stderr, flush=True)


def read_key() -> str:
    """One key, without Enter where the terminal allows it; "" at the end of the input."""
    with _single_keys():
        key = sys.stdin.read(1)
        while key.isspace():
            key = sys.stdin.read(1)
    return key.lower()


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """The terminal hands over each key at once; Windows has no termios, there a key needs Enter."""
    if not sys.stdin.isatty() or os.name == "nt":
        yield
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
