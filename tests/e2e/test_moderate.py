"""`burnish check --moderator`: an endpoint for moderation, a classifier of one's own, and what goes wrong with both;
`burnish augment` on documents."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from burnish.lifecycle.train import train

Burnish = Callable[..., Any]


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Flags texts with "refund"; answers chats with a question about the library."""

    class Judge(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/moderations"):
                results = [
                    {"flagged": "refund" in t, "categories": {"money": True, "x": False}} for t in asked["input"]
                ]
                answer: dict[str, Any] = {"results": results}
            else:
                pair = {"question": f"Question {len(asked['messages'][1]['content'])}?", "answer": "The library opens."}
                answer = {"choices": [{"message": {"content": json.dumps(pair)}}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def found_by(shown: Any) -> dict[str, Any]:
    findings = json.loads(shown.out)["findings"]
    return {finding["code"]: finding for finding in findings}


def test_an_endpoint_says_what_is_unsafe(
    burnish: Burnish, endpoint: str, toy: Path, toy_rows: list[tuple[str, str]]
) -> None:
    found = found_by(burnish("check", toy, "--moderator", endpoint, "--json"))["data/unsafe"]
    lines = [number for number, (text, _) in enumerate(toy_rows, start=2) if "refund" in text]
    assert found["count"] == len(lines) > 0
    assert found["places"] == [f"{toy}:{line}" for line in lines]
    assert "money" in found["what"]


def test_a_classifier_of_ones_own_says_it(burnish: Burnish, toy: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    run = train(toy, overrides=list(quick), output=tmp_path / "run")
    words = ("check", toy, "--moderator", run.path, "--json")
    found = found_by(burnish(*words, "--unsafe-label", "refund"))["data/unsafe"]
    assert 50 <= found["count"] <= 70, "a third of 180 rows"
    shown = burnish(*words)
    assert shown.code == 2
    assert "cli/unsafe-labels" in shown.out
    shown = burnish(*words, "--unsafe-label", "refnd")
    assert 'did you mean \\"refund\\"?' in shown.out


def test_an_endpoint_that_does_not_judge_is_said(burnish: Burnish, toy: Path) -> None:
    shown = burnish("check", toy, "--moderator", "http://127.0.0.1:9/v1")
    assert shown.code == 2
    assert "http://127.0.0.1:9/v1: the endpoint does not judge" in shown.err
    shown = burnish("check", toy, "--moderator", "ftp://x")
    assert "an endpoint is an http or https address" in shown.err
    assert "--moderator http://localhost" in shown.err


def test_documents_become_conversations(burnish: Burnish, endpoint: str, tmp_path: Path) -> None:
    section = "The library opens at nine on weekdays and at eleven on Sundays. " * 5
    (tmp_path / "guide.md").write_text("".join(f"# Part {i}\n{section}{'word ' * i}\n" for i in range(4)))
    output = tmp_path / "questions.jsonl"
    words = ("augment", tmp_path / "guide.md", "--endpoint", endpoint, "--model", "m", "--output", output, "--json")
    found = json.loads(burnish(*words).out)
    assert (found["asked"], found["written"]) == (4, 4)
    row = json.loads(output.read_text().splitlines()[1])
    assert row["messages"][1] == {"role": "assistant", "content": "The library opens."}
    assert (row["origin"], row["document"]) == ("synthetic", f"{tmp_path}/guide.md:3")
    own = tmp_path / "own.jsonl"
    lines = []
    for i in range(30):
        turns = [{"role": "user", "content": f"{i * 7919}?"}, {"role": "assistant", "content": f"{i * 104729}"}]
        lines.append(json.dumps({"messages": turns}) + "\n")
    own.write_text("".join(lines))
    checked = json.loads(burnish("check", tmp_path / "*.jsonl", "--json").out)
    assert (checked["task"], checked["rows"]) == ("chat", 34)
