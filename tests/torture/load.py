"""Many clients ask a server all at once while it trains: everybody is answered whole or refused clean.

    python tests/torture/load.py --requests 10000 --clients 256 --base FOLDER [--labels RUN]

A server with a worker beside it serves a small base (chat, and its tuned classifier); a job trains in the worker.
Requests are conversations (one of four streamed), texts to classify and texts to embed. Each must end with a whole
answer, or with 429 or 503, Retry-After and the protocol's error body; no connection may be cut. Meanwhile somebody asks
/health again and again. Then the server gets SIGTERM in the middle of another load: what it has begun it finishes, what
is new it refuses, and it ends with 0 and leaves no process behind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from service_jobs import QUICK, chat_rows, kept, service_at

from burnish.lifecycle.versions import store_model
from burnish.registry.served import serve_version
from burnish.storage.run_folder import RunFolder

WORDS = ("how", "do", "i", "cancel", "my", "order", "and", "get", "the", "money", "back", "today")
PATHS = {"chat": "/v1/chat/completions", "labels": "/v1/burnish/predict", "vectors": "/v1/embeddings"}
REFUSED = (429, 503)
PATIENCE_SECONDS = 300.0
GROWTH = 0.1  # of the server's memory over the load, after the first tenth
LIMITS = {"health": 1.0, "labels": 3.0, "vectors": 3.0, "chat": 30.0}  # seconds that 99 of 100 answers may take
DRAINED = 64  # requests on their way when the signal comes


@dataclass
class Load:
    """What was asked, and what came of it."""

    whole: int = 0
    refused: int = 0
    at_drain: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    growth: float = 0.0
    per_second: float = 0.0
    job: str = ""
    wrong: list[str] = field(default_factory=list)

    def p99(self, kind: str) -> float:
        """Seconds within which 99 of 100 were answered or refused."""
        times = sorted(self.seconds[kind])
        return times[max(0, int(len(times) * 0.99) - 1)]

    def figures(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            name: getattr(self, name) for name in ("whole", "refused", "at_drain", "growth", "per_second", "job")
        }
        for kind, times in self.seconds.items():
            p50 = statistics.median(times)
            shown[kind] = {"n": len(times), "p50_ms": round(1000 * p50), "p99_ms": round(1000 * self.p99(kind))}
        return shown


@dataclass(frozen=True, slots=True)
class Said:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def fault(self, kind: str, body: dict[str, Any]) -> str | None:
        """Why it is neither a whole answer nor a clean refusal."""
        try:
            if self.status in REFUSED:
                error = json.loads(self.body)["error"]
                clean = {"message", "type", "param", "code"} <= set(error) and int(self.headers["retry-after"]) > 0
                return None if clean else f"{kind}: refused with {self.body[:200]!r}"
            if self.status != 200:
                return f"{kind}: {self.status} {self.body[:200]!r}"
            return None if _is_whole(kind, body, self.body) else f"{kind}: not whole: {self.body[-200:]!r}"
        except (ValueError, KeyError, IndexError, TypeError) as error:
            return f"{kind}: {self.status} {error!r} {self.body[:200]!r}"


def _is_whole(kind: str, asked: dict[str, Any], said: bytes) -> bool:
    if asked.get("stream"):
        events = [line[6:] for line in said.split(b"\n") if line.startswith(b"data: ")]
        ends = [json.loads(each)["choices"][0]["finish_reason"] for each in events[:-1]]
        return events[-1] == b"[DONE]" and ends[-1] in ("length", "stop")
    found = json.loads(said)
    if kind == "chat":
        return found["choices"][0]["finish_reason"] in ("length", "stop")
    if kind == "labels":
        return len(found["data"]) == len(asked["input"]) and all(each["label"] for each in found["data"])
    return len(found["data"]) == len(asked["input"]) and all(len(each["embedding"]) > 1 for each in found["data"])


class Server:
    """`burnish serve` with a worker, as a process of its own."""

    def __init__(self, home: Path, base: Path, vectors: Path, log: Path) -> None:
        command = [sys.executable, "-m", "burnish", "serve", "--port", "0", "--json"]
        command += ["--model", f"tiny={base}", "--model", f"vectors={vectors}"]
        own = {**os.environ, "BURNISH_HOME": str(home), "OMP_NUM_THREADS": "1"}
        with log.open("ab") as stream:
            self.process = subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=stream)
        assert self.process.stdout is not None
        self.port = int(json.loads(self.process.stdout.readline())["url"].rpartition(":")[2])

    @property
    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)


class Client:
    """One connection that is kept; a bare one, so that this process is not what is measured."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, body: Any = None, head: str = "content-type: application/json") -> Said:
        """An answer.

        Raises:
            OSError, EOFError: the connection was cut.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        lines = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}\r\ncontent-length: {len(content)}\r\n\r\n"
        writer.write(lines.encode() + content)
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        if "content-length" in headers:
            said = await reader.readexactly(int(headers["content-length"]))
        else:
            said = b"".join([each async for each in _chunks(reader)])
        if headers.get("connection") == "close":
            self.close()
        return Said(int(first.split(" ")[1]), headers, said)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)


def questions(count: int, *, tokens: int = 16) -> Iterable[tuple[str, dict[str, Any]]]:
    """Requests of the three kinds, in turns, with texts of several lengths."""
    for n in range(count):
        text = " ".join(WORDS[(n * 5 + k * (n + 3)) % 12] for k in range(3 + n % 17))
        kind = ("labels", "vectors", "chat")[n % 3]
        if kind == "chat":
            messages = [{"role": "user", "content": text}]
            body = {"model": "tiny", "messages": messages, "max_tokens": tokens, "stream": n % 12 == 2}
        else:
            body = {"model": "ft:labels" if kind == "labels" else "vectors", "input": [text] * (1 + n % 2)}
        yield kind, body


async def ask_all(server: Server, asked: Iterable[tuple[str, Any]], clients: int, found: Load) -> None:
    """Sends requests from so many clients; whoever is refused asks the next question."""
    waiting = iter(asked)

    async def client() -> None:
        connection = Client(server.port)
        for kind, body in waiting:
            began = time.monotonic()
            try:
                said = await asyncio.wait_for(connection.ask(PATHS[kind], body), PATIENCE_SECONDS)
            except (OSError, EOFError, TimeoutError) as error:
                found.wrong.append(f"{kind}: {error!r}")
                connection.close()
                continue
            found.seconds.setdefault(kind, []).append(time.monotonic() - began)
            found.wrong += [fault] if (fault := said.fault(kind, body)) else []
            found.whole += said.status == 200
            found.refused += said.status in REFUSED
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))


async def watch_health(server: Server, found: Load) -> None:
    """Asks /health ten times a second."""
    connection = Client(server.port)
    try:
        while True:
            began = time.monotonic()
            said = await connection.ask("/health")
            found.seconds.setdefault("health", []).append(time.monotonic() - began)
            found.wrong += [] if said.status == 200 else [f"/health: {said.status}"]
            await asyncio.sleep(0.1)
    finally:
        connection.close()


async def begin_job(server: Server) -> str:
    """A job that trains as long as it is let; gives its id."""
    http = Client(server.port)
    part = b'--b\r\ncontent-disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    form = part % (b"purpose", b"", b"fine-tune") + part % (b"file", b'; filename="a.jsonl"', chat_rows(512).encode())
    sent = await http.ask("/v1/files", form + b"--b--\r\n", "content-type: multipart/form-data; boundary=b")
    about = {"model": "tiny", "training_file": json.loads(sent.body)["id"], "seed": 7}
    about["hyperparameters"] = {"n_epochs": 50, "batch_size": 1}
    about["burnish"] = {**QUICK, "training": {"max_steps": 1_000_000, "patience": 1_000_000}}
    said = await http.ask("/v1/fine_tuning/jobs", about)
    name = str(json.loads(said.body)["id"])
    await _until(http, name, ("running",))
    http.close()
    return name


async def _until(http: Client, job: str, wanted: Iterable[str]) -> str:
    for _ in range(int(PATIENCE_SECONDS * 10)):
        status = str(json.loads((await http.ask(f"/v1/fine_tuning/jobs/{job}")).body)["status"])
        if status in wanted:
            return status
        if status == "failed":
            break
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the job is {status}")


async def drain(server: Server, found: Load) -> None:
    """SIGTERM while requests are on their way: those end whole, new ones are refused or find nobody."""
    outcome: Counter[str] = Counter()
    asked = list(questions(DRAINED, tokens=64))

    async def one(kind: str, body: Any) -> None:
        connection = Client(server.port)
        try:
            said = await connection.ask(PATHS[kind], body)
        finally:
            connection.close()
        fault = said.fault(kind, body)
        outcome["whole" if said.status == 200 else "refused"] += 1
        found.wrong += [f"while it stops: {fault}"] if fault else []

    children = psutil.Process(server.process.pid).children(recursive=True)
    begun = [asyncio.create_task(one(*each)) for each in asked]
    watching = Client(server.port)
    while await _running(watching) < DRAINED // 8 and not all(each.done() for each in begun):
        await asyncio.sleep(0)
    server.process.send_signal(signal.SIGTERM)
    await _until_stopping(watching)
    watching.close()
    late = [asyncio.create_task(one(*each)) for each in asked[:8]]
    for end in await asyncio.gather(*begun, return_exceptions=True):
        found.wrong += [f"cut off while it stops: {end!r}"] if isinstance(end, BaseException) else []
    for late_end in await asyncio.gather(*late, return_exceptions=True):
        outcome["nobody there"] += isinstance(late_end, OSError | EOFError)
    code = await asyncio.to_thread(server.process.wait, 120)
    found.wrong += [f"it ended with {code}"] if code else []
    _, left = psutil.wait_procs(children, timeout=10)
    found.wrong += [f"left behind: {each}" for each in left]
    found.at_drain = dict(outcome)


async def _running(http: Client) -> float:
    lines = (await http.ask("/metrics")).body.decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith("burnish_inference_running "))


async def _until_stopping(http: Client) -> None:
    try:
        while (await http.ask("/ready")).status != 503:
            pass
    except (OSError, EOFError):  # it has ended already
        return


async def _loaded(server: Server, requests: int, clients: int, *, training: bool) -> Load:
    found = Load()
    job = await begin_job(server) if training else ""
    first = Load()
    await ask_all(server, questions(max(clients, requests // 10)), clients, first)
    found.wrong += first.wrong
    before, began = server.memory, time.monotonic()
    watching = asyncio.create_task(watch_health(server, found))
    await ask_all(server, questions(requests), clients, found)
    found.per_second = round(requests / (time.monotonic() - began), 1)
    watching.cancel()
    for end in await asyncio.gather(watching, return_exceptions=True):
        found.wrong += [] if isinstance(end, asyncio.CancelledError) else [f"/health: {end!r}"]
    found.growth = round(server.memory / before - 1, 3)
    if job:
        http = Client(server.port)
        about = json.loads((await http.ask(f"/v1/fine_tuning/jobs/{job}")).body)
        found.job = str(about["status"])
        found.wrong += [] if found.job == "running" else [f"the job is {found.job}: {about['error']}"]
        http.close()
    await drain(server, found)
    return found


def load(folder: Path, base: Path, labels: Path, vectors: Path, *, requests: int, clients: int, training: bool) -> Load:
    """Loads a server in a folder of its own.

    Args:
        base: a small language model with a template.
        labels: run folder of a tuned text classifier.
        vectors: a small encoder.
        training: a job runs in the worker meanwhile.
    """
    home = folder / "home"
    service = service_at(home, base)
    version = store_model(service.registry, RunFolder(labels), name="labels")
    serve_version(service.registry, "ft:labels", "default", version.id, job=None, task="text-classification")
    service.registry.engine.dispose()
    server = Server(home, base, vectors, folder / "server.log")
    try:
        found = asyncio.run(_loaded(server, requests, clients, training=training))
    finally:
        if server.process.poll() is None:
            server.process.terminate()
            server.process.wait(60)
        assert server.process.stdout is not None
        server.process.stdout.close()
    if found.whole + found.refused != requests:
        found.wrong.append(f"{found.whole + found.refused} of {requests} answered")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--base", type=Path, required=True, help="folder of a small language model with a template")
    parser.add_argument("--labels", type=Path, required=True, help="run folder of a tuned text classifier")
    parser.add_argument("--vectors", type=Path, required=True, help="folder of a small encoder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        places = (options.base, options.labels, options.vectors)
        found = load(Path(folder), *places, requests=options.requests, clients=options.clients, training=True)
        if found.growth > GROWTH:
            found.wrong.append(f"memory grew by {found.growth:.1%}")
        found.wrong += [f"{kind}: {found.p99(kind):.1f} s" for kind, most in LIMITS.items() if found.p99(kind) > most]
        if found.wrong:
            lines = (Path(folder) / "server.log").read_text("utf-8").splitlines()
            print("\n".join([line for line in lines if '"level": "info"' not in line][-30:]), file=sys.stderr)
    asked = {"requests": options.requests, "clients": options.clients, "limits": LIMITS}
    raise SystemExit(kept("load", {**asked, **found.figures()}, found.wrong, seed=0))


if __name__ == "__main__":
    main()
