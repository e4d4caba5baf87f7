"""Progress for people: a line that moves on a terminal, plain lines elsewhere. Everything goes to stderr."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import TextIO

QUIET_SECONDS = 2.0  # shorter work shows no bar
REDRAW_SECONDS = 0.2
PLAIN_SECONDS = 20.0  # between lines where there is no terminal


class TerminalProgress:
    """Draws what the engine tells; satisfies `types.Progress`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.moving = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = self.moving and not os.environ.get("NO_COLOR")
        self.name = ""
        self.began = self.drawn = time.monotonic()
        self.first_done = 0
        self.line_open = False

    def stage(self, name: str) -> None:
        self._clear()
        self.name = name
        self.began = self.drawn = time.monotonic()
        self.first_done = -1
        print(f"{self._dim('▸')} {name}", file=self.stream, flush=True)

    def advance(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        if self.first_done < 0:
            self.first_done, self.began = done - 1, now - 1e-3
        pause = REDRAW_SECONDS if self.moving else PLAIN_SECONDS
        if now - self.began < QUIET_SECONDS or now - self.drawn < pause or done >= total:
            return
        self.drawn = now
        text = self._line(done, total, now, figures)
        if self.moving:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r\x1b[2K" + text[:width])
            self.stream.flush()
            self.line_open = True
        else:
            print(f"  {text.strip()}", file=self.stream, flush=True)

    def note(self, text: str) -> None:
        self._clear()
        print(f"  {text}", file=self.stream, flush=True)

    def warn(self, text: str) -> None:
        self._clear()
        word = "\x1b[33mwarning:\x1b[0m" if self.colour else "warning:"
        print(f"  {word} {text}", file=self.stream, flush=True)

    def _line(self, done: int, total: int, now: float, figures: Mapping[str, float]) -> str:
        spent = now - self.began
        pace = spent / max(1, done - self.first_done)
        left = pace * (total - done)
        parts = [f"{done}/{total}", f"{_clock(left)} left"]
        if "loss" in figures:
            parts.append(f"loss {figures['loss']:.4f}")
        if "rows_per_second" in figures:
            parts.append(f"{figures['rows_per_second']:.0f} rows/s")
        bar = ""
        if self.moving:
            filled = round(24 * done / max(1, total))
            bar = f"[{'━' * filled}{' ' * (24 - filled)}] "
        return f"  {bar}{'  '.join(parts)}"

    def _clear(self) -> None:
        if self.line_open:
            self.stream.write("\r\x1b[2K")
            self.line_open = False

    def _dim(self, text: str) -> str:
        return f"\x1b[36m{text}\x1b[0m" if self.colour else text


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
