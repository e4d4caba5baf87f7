"""The unmodified `openai` package against `burnish serve` with its worker: the newest one, and one of the 2.x."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("openai")

import psutil

from burnish.lifecycle.service import open_service
from burnish.registry.keys import create_key
from burnish.registry.log import ServiceLog

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]
SCRIPT = Path(__file__).with_name("openai_user.py")
STORIES = Path(__file__).parents[2].parent / "shared" / "models" / "stories260k"
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
EXAMPLE = Path(__file__).parents[2] / "examples" / "openai_script"
SECRET = "s3cretOfTheEnvironment"
PRIVATE = ("pr1v4te", "r0wOfSomebody")  # in a prompt, in rows
OLDER = Path(sys.prefix) / "openai2"  # where the Makefile puts an openai of the 2.x


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    key: str
    home: Path
    process: subprocess.Popen[bytes]

    def limited_key(self) -> str:
        """A new key that may read, four times a minute."""
        registry = open_service(home=self.home).registry
        return create_key(registry, role="reader", limits={"requests_per_minute": 4})[1]


@pytest.fixture(scope="module")
def talking_base(tmp_path_factory: pytest.TempPathFactory, language_base: Path) -> Path:
    """A model of 260 thousand trained weights, given a template; random ones where it is absent."""
    if not STORIES.is_dir():
        return language_base
    base = tmp_path_factory.mktemp("base") / "stories"
    shutil.copytree(STORIES, base)
    (base / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return base


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, talking_base: Path, sentence_base: Path) -> Iterator[Server]:
    """A server with one worker; at its end nothing of it is left."""
    home = tmp_path_factory.mktemp("home")
    key = create_key(open_service(home=home).registry, role="writer")[1]
    environment = {**os.environ, "BURNISH_HOME": str(home), "BURNISH_MAX_UPLOAD_BYTES": "200000"}
    environment |= dict.fromkeys(("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"), SECRET)
    command = [sys.executable, "-m", "burnish", "serve", "--port", "0", "--json"]
    command += ["--model", f"tiny={talking_base}", "--model", f"words={sentence_base}"]
    command += ["--alias", "gpt-4o-mini=tiny"]
    with (home / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (home / "stderr").read_text()
        worker = _worker_of(process.pid)
        children = [worker, *worker.children(recursive=True)]
        worker.kill()  # another one is started in its place, or no job would ever run
        yield Server(json.loads(line)["base_url"], key, home, process)
        children += psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0, (home / "stderr").read_text()[-3000:]
    finally:
        process.kill()
        process.communicate()
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    _require_private(home, key)
    log = ServiceLog(open_service(home=home).registry, home / "service")
    assert log.damages() == []
    assert "POST /v1/fine_tuning/jobs" in {entry.get("what") for entry in log.entries()}


def _worker_of(server: int) -> psutil.Process:
    """The process that a server starts beside itself, perhaps a moment after it says where it listens."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(psutil.Error):  # a child that is just becoming another program
            for child in psutil.Process(server).children():
                if "worker" in child.cmdline():
                    return child
        time.sleep(0.05)
    raise AssertionError("the server started no worker")


def _require_private(home: Path, key: str) -> None:
    """Keys, the environment and prompts are nowhere; rows are in no log and not in the database."""
    nowhere = [each.encode() for each in (key.split("_", 2)[2], SECRET, PRIVATE[0])]
    found = set()
    for path in home.rglob("*"):
        if path.is_file():
            content, kept = path.read_bytes(), path.parent not in (home, home / "service")
            watched = nowhere if kept else [*nowhere, PRIVATE[1].encode()]
            found |= {(str(path.relative_to(home)), each) for each in watched if each in content}
    assert found == set()


def ran(server: Server, *arguments: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", str(SCRIPT), server.url, server.key]
    command += [server.limited_key(), *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{(server.home / 'stderr').read_text()[-3000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    """The rows as a file; one word in them is private."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows).replace(" my ", f" my {PRIVATE[1]} "))
    return str(path)


def test_the_newest_client(
    server: Server, conversations: list[dict[str, Any]], toy_rows: list[tuple[str, str]], tmp_path: Path
) -> None:
    chats = written(tmp_path / "chats.jsonl", conversations[:30])
    labelled = written(tmp_path / "labelled.jsonl", [{"text": text, "label": label} for text, label in toy_rows[:60]])
    assert ran(server, "tiny", chats, "words", labelled)["openai"] >= "3."


def test_an_older_client(server: Server, conversations: list[dict[str, Any]], tmp_path: Path) -> None:
    if not (OLDER / "openai").is_dir():
        pytest.skip(f"there is no older openai in {OLDER}; `make test` puts it there")
    chats = written(tmp_path / "chats.jsonl", conversations[:30])
    assert ran(server, "tiny", chats, PYTHONPATH=str(OLDER))["openai"].startswith("2.")


def test_scripts_of_the_public_guides(server: Server, tmp_path: Path) -> None:
    """Only the environment is ours, and for the classifier the name of a base that is there."""
    own = {**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": server.key}
    said = {}
    for script, *arguments in (["chat.py"], ["classify.py", "words"]):
        command = [sys.executable, str(EXAMPLE / script), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, f"{done.stdout}{done.stderr[-3000:]}"
        said[script] = done.stdout
    assert "dates_train.jsonl: 48 conversations, {'system': 48, 'user': 48, 'assistant': 48}" in said["chat.py"]
    assert "The job has successfully completed" in said["chat.py"]
    assert "in 12 steps: step_metrics.csv" in said["chat.py"]
    assert re.search(r"^ft:gpt-4o-mini:local:dates:\w+ says: ", said["chat.py"], re.MULTILINE)
    assert (tmp_path / "step_metrics.csv").read_text().startswith("step,train_loss,")
    assert re.search(r"^verdict: (better|same|worse|too little data)$", said["classify.py"], re.MULTILINE)
    guessed = said["classify.py"].splitlines()[-3:]
    assert {line.split()[0] for line in guessed} <= {"support", "customer", "nobody"}
