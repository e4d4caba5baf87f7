"""Figures for Prometheus in its text format; labels are routes, methods and status codes, never what clients send."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterable, Mapping

BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})

Sample = tuple[str, Mapping[str, str], float]  # name, labels, value
Source = Callable[[], Iterable[Sample]]


class Metrics:
    """Counts requests, and asks others for their figures when it is read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, int], int] = {}
        self._times: dict[tuple[str, str], tuple[list[int], float]] = {}
        self._sources: list[Source] = []

    def add_source(self, source: Source) -> None:
        """Figures of another part, asked for on each reading; their names begin with "burnish_"."""
        self._sources.append(source)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answered request."""
        method = method if method in METHODS else "other"
        with self._lock:
            key = (method, route, status)
            self._requests[key] = self._requests.get(key, 0) + 1
            counts, total = self._times.setdefault((method, route), ([0] * (len(BOUNDS_SECONDS) + 1), 0.0))
            counts[bisect.bisect_left(BOUNDS_SECONDS, seconds)] += 1
            self._times[method, route] = (counts, total + seconds)

    def text(self) -> str:
        """All figures, as Prometheus reads them."""
        lines = ["# TYPE burnish_requests_total counter"]
        with self._lock:
            for (method, route, status), count in sorted(self._requests.items()):
                which = {"method": method, "route": route, "status": str(status)}
                lines.append(_line("burnish_requests_total", which, count))
            lines.append("# TYPE burnish_request_seconds histogram")
            for (method, route), (counts, total) in sorted(self._times.items()):
                lines += _histogram({"method": method, "route": route}, counts, total)
        declared: set[str] = set()
        for source in self._sources:
            for name, labels, value in source():
                if name not in declared:
                    declared.add(name)
                    lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
                lines.append(_line(name, labels, value))
        return "\n".join(lines) + "\n"


def _histogram(labels: Mapping[str, str], counts: list[int], total: float) -> Iterable[str]:
    below = 0
    for bound, count in zip((*map(str, BOUNDS_SECONDS), "+Inf"), counts, strict=True):
        below += count
        yield _line("burnish_request_seconds_bucket", {**labels, "le": bound}, below)
    yield _line("burnish_request_seconds_sum", labels, total)
    yield _line("burnish_request_seconds_count", labels, below)


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value:g}" if inner else f"{name} {value:g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
