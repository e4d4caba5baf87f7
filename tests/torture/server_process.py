"""`burnish serve` with all it starts, in processes that are killed and started again on the same home."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from service_jobs import PATIENCE_SECONDS

BOUNDARY = "B"


class Server:
    """A server with its worker and the worker's trainer."""

    def __init__(self, home: Path, base: Path, log: Path) -> None:
        self.home, self.base, self.log = home, base, log
        self.left: list[psutil.Process] = []  # whom the server left behind when it was killed
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Returns when requests are taken."""
        command = [sys.executable, "-m", "burnish", "serve", "--port", "0", "--json", "--model", f"tiny={self.base}"]
        own = {**os.environ, "BURNISH_HOME": str(self.home), "BURNISH_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=stream)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.log.read_text()[-3000:])
        self.port = int(json.loads(line)["url"].rsplit(":", 1)[1])

    def kill(self, *, everything: bool) -> None:
        """SIGKILL to the server, and where the machine lost its power to all that it started."""
        assert self.process is not None
        started = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        if everything:
            for each in started:
                if each.is_running():
                    each.kill()
        else:
            self.left += started
        self.process.communicate()

    def stop(self) -> int:
        """SIGTERM; gives the exit code when all it ever started has ended."""
        assert self.process is not None
        self.left += psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_SECONDS)
        _, alive = psutil.wait_procs(self.left, timeout=PATIENCE_SECONDS)
        if alive:
            raise RuntimeError(f"still running: {alive}")
        return self.process.returncode

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of an answer."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if sent is not None and "Content-Type" not in headers else {}
        connection = self.connection()
        try:
            connection.request(method, path, sent, {**kind, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def asked(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """What an answer says that must be a right one."""
        status, content = self.ask(method, path, body, **headers)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {content[:500]!r}")
        return json.loads(content)


def form(field: str, content: bytes, **others: str) -> tuple[bytes, dict[str, str]]:
    """A form with one file, and the header that says so."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in others.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="rows.jsonl"\r\n\r\n'.encode()
    body = b"".join([*parts, head, content, f"\r\n--{BOUNDARY}--\r\n".encode()])
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
