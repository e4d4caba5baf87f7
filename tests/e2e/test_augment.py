"""`burnish augment` against a server on the loopback, and a check of what it wrote beside the user's own rows."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from burnish.settings import settings

Burnish = Callable[..., Any]


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[str]]]:
    """Repeats what it is told with two words more; its address and the texts it was sent."""
    seen: list[str] = []

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][1]["content"]
            seen.append(text)
            self.send_response(200)
            self.end_headers()
            answer = {"choices": [{"message": {"content": f"{text} they told somebody\n{text}"}}]}
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", seen
    server.shutdown()
    server.server_close()


def test_paraphrases_are_written_and_only_train(
    burnish: Burnish, endpoint: tuple[str, list[str]], toy: Path, tmp_path: Path
) -> None:
    url, seen = endpoint
    output = tmp_path / "more.jsonl"
    words = ("augment", toy, "--endpoint", url, "--model", "m", "--rows", "30", "--output", output)
    shown = burnish(*words, "--json")
    assert shown.code == 0
    found = json.loads(shown.out)
    assert (found["asked"], found["written"], found["stopped"]) == (30, 30, None)
    assert found["refused"] == {"like a training row": 30}
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert {tuple(row) for row in rows} == {("body", "intent", "origin")}
    assert {row["origin"] for row in rows} == {"synthetic"}
    assert sorted(row["body"].removesuffix(" they told somebody") for row in rows) == sorted(seen)
    assert len({row["intent"] for row in rows}) == 3

    before = json.loads(burnish("check", toy, "--json").out)["splits"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{train: [{toy}, {output}]}}\n")
    after = json.loads(burnish("check", recipe, "--json").out)
    assert after["splits"] == {**before, "train": before["train"] + 30}
    assert "train: 30 synthetic rows" in after["notes"]
    again = burnish(*words)
    assert (again.code, again.out) == (2, "")
    assert "[data/file-exists]" in again.err


def test_an_endpoint_that_is_not_there(burnish: Burnish, toy: Path, tmp_path: Path) -> None:
    output = tmp_path / "more.jsonl"
    shown = burnish("augment", toy, "--endpoint", "http://127.0.0.1:1/v1", "--model", "m", "--output", output)
    assert (shown.code, shown.out) == (2, "")
    assert "http://127.0.0.1:1/v1: the endpoint does not answer: " in shown.err
    assert "[data/endpoint-failed]" in shown.err
    assert not output.exists()


def test_nothing_is_sent_where_the_settings_say_offline(
    burnish: Burnish, endpoint: tuple[str, list[str]], toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = endpoint
    output = tmp_path / "more.jsonl"
    monkeypatch.setenv("BURNISH_OFFLINE", "1")
    settings.cache_clear()
    shown = burnish("augment", toy, "--endpoint", url, "--model", "m", "--output", output)
    assert (shown.code, shown.out, seen) == (2, "", [])
    monkeypatch.undo()
    settings.cache_clear()
    assert f"{url}: lies in the network, which the settings forbid" in shown.err
    assert not output.exists()


@pytest.mark.parametrize("words", [["--rows", "0"], ["--copies", "x"], []])
def test_arguments_that_are_refused(burnish: Burnish, toy: Path, words: list[str]) -> None:
    assert burnish("augment", toy, "--model", "m", *words).code == 2
