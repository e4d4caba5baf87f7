"""Paraphrases: what is asked, what is refused, and an endpoint that misbehaves in every way a server can."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from burnish.data.endpoint import MAX_ANSWER_BYTES, Endpoint
from burnish.data.options import DataOptions
from burnish.data.paraphrase import paraphrase
from burnish.errors import UsageError
from burnish.types import Example, Origin, Provenance

OPTIONS = DataOptions(train="f")


def example(text: str, label: str = "card_lost", line: int = 2) -> Example:
    return Example({"text": text, "label": label}, Origin("f", line), {"user": "u1"})


def completion(content: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[str, list[Any]]]]:
    """A server on the loopback that gives one response to everything; its address and the requests it got."""
    servers = []

    def start(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> tuple[str, list[Any]]:
        seen: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                seen.append((self.path, dict(self.headers), json.loads(content)))
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1", seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_what_is_sent(serve: Callable[..., tuple[str, list[Any]]]) -> None:
    url, seen = serve(completion("one\ntwo"))
    assert Endpoint(f"{url}/", "small", "secret").ask("the task", "the text") == "one\ntwo"
    assert Endpoint(url, "small").ask("t", "x") == "one\ntwo"
    path, headers, body = seen[0]
    assert (path, headers["Authorization"]) == ("/v1/chat/completions", "Bearer secret")
    assert body["model"] == "small"
    assert [m["content"] for m in body["messages"]] == ["the task", "the text"]
    assert "Authorization" not in seen[1][1]


@pytest.mark.parametrize(
    ("body", "status", "headers"),
    [
        (b"no", 500, {}),
        (b"slow down", 429, {}),
        (b"", 302, {"Location": "http://127.0.0.1:1/elsewhere"}),
        (b"not json", 200, {}),
        (b"{}", 200, {}),
        (b"[]", 200, {}),
        (b"[" * 100_000, 200, {}),
        (completion(None), 200, {}),
        (b"\xff\xfe", 200, {}),
        (completion("x" * MAX_ANSWER_BYTES), 200, {}),
    ],
)
def test_what_is_no_answer(
    serve: Callable[..., tuple[str, list[Any]]], body: bytes, status: int, headers: dict[str, str]
) -> None:
    url, seen = serve(body, status, headers)
    with pytest.raises((OSError, ValueError)):
        Endpoint(url, "m").ask("t", "x")
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("file:///etc/passwd", None),
        ("ftp://a/v1", None),
        ("localhost:8000", None),
        ("http://far.example/v1", "k"),
        ("", None),
        ("http://localhost:many/v1", None),
        ("http://[::1", None),
    ],
)
def test_addresses_that_are_refused(url: str, key: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint(url, "m", key).check()
    assert (caught.value.code, caught.value.where) == ("data/bad-endpoint", url)
    for fine in (Endpoint("http://far.example/v1", "m"), Endpoint("https://far.example/v1", "m", "k")):
        fine.check()
    Endpoint("http://localhost:1/v1", "m", "k").check()


def test_good_answers_become_marked_rows() -> None:
    answer = '1. My card is gone\n\n- "I cannot find my plastic"\n* a third one'
    found = paraphrase([example("I lost my card")], [], lambda *_: answer, copies=2, options=OPTIONS)
    assert [row.row["text"] for row in found.rows] == ["My card is gone", "I cannot find my plastic"]
    assert {row.provenance for row in found.rows} == {Provenance.SYNTHETIC}
    assert [(row.row["label"], row.origin.line, row.extra["user"]) for row in found.rows] == [
        ("card_lost", 2, "u1")
    ] * 2
    assert (found.refused, found.stopped) == ({}, None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("where  IS my plastic?", "like a training row"),
        ("so long " * 20, "much longer"),
        ("this is about Card-Lost, right?", "names its label"),
        ("please tell me when the new one will be sent to me!", "like a row that is judged on"),
    ],
)
def test_bad_answers_are_refused_with_a_reason(answer: str, reason: str) -> None:
    judged = [example("Please tell me when the new one will be sent to me", line=9)]
    found = paraphrase([example("Where is my plastic?")], judged, lambda *_: answer, copies=2, options=OPTIONS)
    assert (found.rows, found.refused) == ([], {reason: 1})


def test_a_label_that_the_row_names_itself_may_be_named() -> None:
    found = paraphrase([example("my card lost")], [], lambda *_: "card lost, mine", copies=1, options=OPTIONS)
    assert len(found.rows) == 1


def test_an_endpoint_that_fails_is_given_up() -> None:
    answers = iter(["one", OSError("down"), "two", ValueError("odd\x1b"), OSError("down"), OSError("gone"), "never"])

    def ask(*_: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    rows = [example(f"row number {i}", line=i) for i in range(7)]
    found = paraphrase(rows, [], ask, copies=1, options=OPTIONS)
    assert [row.row["text"] for row in found.rows] == ["one", "two"]
    assert (found.refused, found.stopped) == ({"no answer": 4}, "gone")
    assert next(answers) == "never"
