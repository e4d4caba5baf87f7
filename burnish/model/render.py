"""Renders chat templates in a process of its own: a template comes with a model, is code, and is not trusted.

`python -m burnish.model.render` reads lines of JSON on stdin, {"template", "variables", "date"}, and answers each with
a line, {"text"} or {"error", "message"}. Jinja's sandbox keeps a template from the interpreter, the limits keep it from
the machine: two seconds of processor time for each text, and a bounded memory for the process.

Texts are those that transformers would render: the same environment, byte for byte.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NoReturn

CPU_SECONDS = 2.0  # of one text
MEMORY_BYTES = 256 * 2**20  # address space of the process; Python itself takes a fifth of it
MAX_CHARACTERS = 16 * 2**20  # of one text

try:
    import resource
    import signal
except ModuleNotFoundError:  # not POSIX: the parent's own patience is the only limit
    resource = signal = None  # type: ignore[assignment]


class TemplateRefusedError(Exception):
    """What a template says when it calls raise_exception: these messages are not for it."""


class OutOfTimeError(Exception):
    """The text took longer than a text may."""


def main() -> None:
    """Answers requests until stdin ends."""
    _limit_memory()
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(json.dumps(_answer(json.loads(line))).encode() + b"\n")
        sys.stdout.buffer.flush()


def _answer(request: dict[str, Any]) -> dict[str, str]:
    try:
        with _limited_time():
            text = _rendered(request["template"], request["variables"], request["date"])
    except TemplateRefusedError as refused:
        return {"error": "refused", "message": str(refused)[:300]}
    except OutOfTimeError:
        return {"error": "limit", "message": f"takes more than {CPU_SECONDS:g} seconds for one text"}
    except (MemoryError, OverflowError):
        return {"error": "limit", "message": "takes more memory than a template may"}
    except RecursionError:
        return {"error": "limit", "message": "calls itself too deeply"}
    except Exception as error:  # whatever a template does wrong, it is the template's fault and is said so
        return {"error": "broken", "message": f"{type(error).__name__}: {error}"[:300]}
    if len(text) > MAX_CHARACTERS:
        return {"error": "limit", "message": f"makes more than {MAX_CHARACTERS:,} characters of one text"}
    return {"text": text}


def _rendered(template: str, variables: dict[str, Any], date: str) -> str:
    now = datetime.datetime.fromisoformat(date)
    return str(_compiled(template).render(**variables, strftime_now=now.strftime))


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} blocks mark what the assistant says; to us they are their content."""

        tags = {"generation"}  # noqa: RUF012  # as jinja declares it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _as_json
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.message}") from error


def _as_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: object) -> NoReturn:
    raise TemplateRefusedError(message)


def _limit_memory() -> None:
    if resource is not None:
        with contextlib.suppress(OSError, ValueError):  # macOS takes no limit of this kind
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    """Raises OutOfTimeError inside the block after so much processor time."""
    if signal is None:
        yield
        return

    def out_of_time(*_: object) -> NoReturn:
        raise OutOfTimeError

    signal.signal(signal.SIGVTALRM, out_of_time)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


if __name__ == "__main__":
    main()
