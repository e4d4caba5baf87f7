"""Who may do what through HTTP: every route with every key, objects of others, and input that means harm."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from starlette.testclient import TestClient

from burnish.api import limits, routing
from burnish.api.access import KNOWN_SECONDS
from burnish.api.app import make_app
from burnish.api.limits import MAX_DEPTH, MAX_VALUES, parse
from burnish.api.routing import GuardedRoute, require_guarded
from burnish.errors import ServiceError
from burnish.lifecycle.service import Service, open_service
from burnish.registry.keys import ROLES, create_key, revoke_key
from burnish.registry.log import ServiceLog
from burnish.registry.served import serve_version
from burnish.registry.version import NewVersion

UNSAFE = ("POST", "DELETE", "PUT", "PATCH")
ROWS = b"".join(
    json.dumps({"text": f"my card was lost {n}", "label": "card" if n % 2 else "cash"}).encode() + b"\n"
    for n in range(24)
)
BLOCK = {"burnish": {"task": "text-classification"}}
MARKER = "m4rkerS3cretThatMustNotBeKept"


@dataclass(frozen=True, slots=True)
class Stage:
    """A service with two projects: the first one has keys of all roles and one object of each kind."""

    service: Service
    app: FastAPI
    client: TestClient
    keys: dict[str, str]  # role -> key of the project "a"
    stranger: str  # an admin of the project "b"
    objects: dict[str, str]  # parameter of a path -> id of an object of the project "a"

    def ask(self, method: str, path: str, key: str | None = None, **more: Any) -> Any:
        headers = {**({"authorization": f"Bearer {key}"} if key else {}), **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, sentence_base: Path) -> Iterator[Stage]:
    service = open_service(home=tmp_path_factory.mktemp("service"), models=[f"tiny={sentence_base}"])
    keys = {role: create_key(service.registry, role=role, project="a")[1] for role in ROLES}
    stranger = create_key(service.registry, role="admin", project="b")[1]
    app = make_app(service)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        made = Stage(service, app, client, keys, stranger, {})
        made.objects.update(_objects(made))
        yield made
    assert ServiceLog(service.registry, service.folder).damages() == []


def _objects(stage: Stage) -> dict[str, str]:
    writer = stage.keys["writer"]
    file = stage.ask("POST", "/v1/files", writer, files={"file": ("rows.jsonl", ROWS)}, data={"purpose": "fine-tune"})
    about = {"bytes": 3, "filename": "x", "mime_type": "text/plain", "purpose": "batch"}
    upload = stage.ask("POST", "/v1/uploads", writer, json=about)
    asked = {"model": "tiny", "training_file": file.json()["id"], **BLOCK}
    job = stage.ask("POST", "/v1/fine_tuning/jobs", writer, json=asked)
    assert [each.status_code for each in (file, upload, job)] == [200, 200, 200], job.text
    version = stage.service.registry.put(NewVersion("model", "m", facts={"n": 1}))
    serve_version(stage.service.registry, "ft:tiny:a::1", "a", version.id, job=job.json()["id"], task="chat")
    return {
        "file_id": file.json()["id"],
        "upload_id": upload.json()["id"],
        "job_id": job.json()["id"],
        "model": "ft:tiny:a::1",
    }


def routes(app: FastAPI) -> list[tuple[str, GuardedRoute]]:
    found = [context.original_route for context in iter_route_contexts(app.routes)]
    return sorted(
        ((method, route) for route in found for method in route.methods), key=lambda each: (each[1].path, each[0])
    )


def filled(path: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)(?::path)?\}", lambda match: values[match.group(1)], path)


def body(path: str) -> dict[str, Any]:
    """What lets a request get as far as the object it names."""
    if path.endswith("/parts"):
        return {"files": {"data": b"abc"}}
    return {"json": {"part_ids": ["part_0"]}} if path.endswith("/complete") else {}


def test_every_route_with_every_key_and_none(stage: Stage) -> None:
    nobody = dict.fromkeys(stage.objects, "nothing")
    told, wrong = {}, []
    for method, route in routes(stage.app):
        path = filled(route.path, nobody)
        identities = {"nobody": None, "unknown": f"bk_{'0' * 16}_{'x' * 43}", **stage.keys}
        for who, key in identities.items():
            answer = stage.ask(method, path, key, **body(path))
            if route.allowed.changes or answer.status_code in (401, 403):  # who asks a model changes nothing
                told[answer.headers["x-request-id"]] = (method, who)
            refused = {401, 403} & {answer.status_code}
            if "nobody" in route.allowed.roles:
                right = answer.status_code == 200
            elif who in ("nobody", "unknown"):
                right = answer.status_code == 401
            elif who in route.allowed.roles:
                right = not refused and answer.status_code < 500
            else:
                right = answer.status_code == 403
            if answer.status_code >= 400:
                error = answer.json()["error"]
                right = right and {"message", "type", "param", "code"} <= set(error) and bool(error["message"])
            if not right:
                wrong.append((method, route.path, who, answer.status_code, answer.text[:200]))
    assert wrong == []
    logged = {entry.get("request") for entry in ServiceLog(stage.service.registry, stage.service.folder).entries()}
    assert [each for request, each in told.items() if each[0] in UNSAFE and request not in logged] == []


def test_objects_of_another_project_do_not_exist(stage: Stage) -> None:
    owned = [(method, route) for method, route in routes(stage.app) if "{" in route.path]
    assert {match for _, route in owned for match in re.findall(r"\{(\w+)", route.path)} == set(stage.objects)
    for method, route in owned:
        path = filled(route.path, stage.objects)
        answer = stage.ask(method, path, stage.stranger, **body(path))
        assert answer.status_code == 404, (method, route.path, answer.text)
    for name, path in (
        ("file_id", "/v1/files/{}"),
        ("job_id", "/v1/fine_tuning/jobs/{}"),
        ("model", "/v1/models/{}"),
        ("job_id", "/v1/fine_tuning/jobs/{}/events"),
    ):  # they are there, for their owner
        assert stage.ask("GET", path.format(stage.objects[name]), stage.keys["reader"]).status_code == 200
    assert (
        stage.ask("GET", "/v1/files/{}/content".format(stage.objects["file_id"]), stage.keys["reader"]).content == ROWS
    )
    for path in ("/v1/files", "/v1/fine_tuning/jobs"):
        assert stage.ask("GET", path, stage.stranger).json()["data"] == []
        assert len(stage.ask("GET", path, stage.keys["reader"]).json()["data"]) == 1
    names = [model["id"] for model in stage.ask("GET", "/v1/models", stage.stranger).json()["data"]]
    assert "tiny" in names
    assert stage.objects["model"] not in names
    stolen = {"model": "tiny", "training_file": stage.objects["file_id"], **BLOCK}
    assert stage.ask("POST", "/v1/fine_tuning/jobs", stage.stranger, json=stolen).status_code == 400
    stolen = {"model": stage.objects["model"], "training_file": "file-0"}
    assert stage.ask("POST", "/v1/fine_tuning/jobs", stage.stranger, json=stolen).json()["error"]["param"] == "model"


def test_the_document_has_every_route_and_no_other(stage: Stage) -> None:
    document = stage.ask("GET", "/openapi.json", stage.keys["inference"]).json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    there = {(method, re.sub(r":path\}", "}", route.path)) for method, route in routes(stage.app)}
    assert described == there


def test_a_route_that_names_no_roles_cannot_be_added(stage: Stage) -> None:
    def open_to_all() -> None: ...

    with pytest.raises(TypeError, match="who may use it"):
        routing.router().get("/v1/secret")(open_to_all)
    for add in (
        lambda app: app.get("/v1/secret")(open_to_all),
        lambda app: app.add_route("/v1/secret", open_to_all),
        lambda app: app.mount("/v1/secret", FastAPI()),
    ):
        app = make_app(stage.service)
        add(app)
        with pytest.raises(TypeError, match="who may use it"):
            require_guarded(app)
        with pytest.raises(TypeError, match="who may use it"), TestClient(app):
            pass
        app.state.log.close()


def test_a_revoked_key_is_refused_at_most_a_second_later(stage: Stage) -> None:
    assert KNOWN_SECONDS <= 1
    key, text = create_key(stage.service.registry, role="admin", project="a")
    assert stage.ask("GET", "/v1/burnish/whoami", text).json()["role"] == "admin"
    revoke_key(stage.service.registry, key.id)
    _until(lambda: stage.ask("GET", "/v1/burnish/whoami", text).status_code == 401)


def test_limits_of_a_key_answer_429_and_when_to_come_back(stage: Stage) -> None:
    given = {"requests_per_minute": 3, "tokens_per_day": 100}
    _, text = create_key(stage.service.registry, role="reader", project="a", limits=given)
    assert [stage.ask("GET", "/v1/files", text).status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = stage.ask("GET", "/v1/files", text)
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    _, text = create_key(stage.service.registry, role="reader", project="a", limits={"tokens_per_day": 100})
    caller = asyncio.run(stage.app.user_middleware[0].kwargs["ring"].caller(f"Bearer {text}"))
    assert stage.ask("GET", "/v1/files", text).status_code == 200
    stage.app.state.meter.spend(caller, 100)
    answer = stage.ask("GET", "/v1/files", text)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    stage.app.state.meter.flush()


def test_pages_of_other_places_are_kept_out(stage: Stage) -> None:
    key = stage.keys["writer"]
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"sec-fetch-site": "cross-site"},
    ):
        answer = stage.ask("POST", "/v1/uploads", key, json={}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert stage.ask("POST", "/v1/uploads", key, json={}, headers={"origin": "http://localhost"}).status_code == 400
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.io", ""):
        answer = stage.ask("GET", "/health", key, headers={"host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")
    for host in ("127.0.0.1:9", "[::1]:9", "LOCALHOST", "localhost."):
        assert stage.ask("GET", "/health", key, headers={"host": host}).status_code == 200
    answer = stage.ask("GET", "/v1/files", key, headers={"origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "text",
    [
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * 100_000,
        b"[" + b"1," * MAX_VALUES + b"1]",
        b'{"seed": ' + b"9" * 5000 + b"}",
        b'{"seed": NaN}',
        b'{"seed": -Infinity}',
        b'{"model": "\\ud800"}',
        b'{"model": "a\\u0000b"}',
        b'{"model": "\xff"}',
        b'"' + b'\\"' * 50_000,
        b"",
    ],
    ids=["deep", "deeper", "many", "long", "nan", "infinite", "half", "nul", "bytes", "unclosed", "empty"],
)
def test_json_that_means_harm_is_refused(stage: Stage, text: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = stage.ask("POST", "/v1/fine_tuning/jobs", stage.keys["writer"], content=text, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]
    if text:
        with pytest.raises(ServiceError):
            parse(text)


def test_json_within_the_limits_is_read_as_it_is() -> None:
    deep: Any = "\U0001f600 \\ud800 [[[["
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert parse(json.dumps(deep).encode()) == deep
    assert parse(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert parse(b'"\\\\u0000"') == "\\u0000"


def test_too_much_and_too_slow(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MAX_JSON_BYTES", 1000)
    answer = stage.ask("POST", "/v1/uploads", stage.keys["writer"], json={"filename": "x" * 1000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    answer = stage.ask("GET", "/v1/files", stage.keys["writer"], headers={"x-long": "x" * 17_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (431, "headers_too_large")
    answer = stage.ask("GET", "/v1/files?after=" + "x" * 9_000, stage.keys["writer"])
    assert answer.status_code == 414
    for path in ("/v1/files/a%00b", "/v1/files?after=%00"):
        assert stage.ask("GET", path, stage.keys["writer"]).status_code == 400
    monkeypatch.setattr(limits, "GRACE_SECONDS", 0.05)

    async def never() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(ServiceError) as caught:
        asyncio.run(limits.paced(never, None)())
    assert caught.value.status == 408


def test_nothing_that_a_client_names_is_opened(stage: Stage, tmp_path: Path) -> None:
    """Addresses and paths in every field; a canary listens, and a file with a secret lies on the disk."""
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(ROWS)
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        url = f"http://127.0.0.1:{canary.getsockname()[1]}/rows.jsonl"
        writer, file = stage.keys["writer"], stage.objects["file_id"]
        for lure in (url, str(secret), f"file://{secret}", "../../../../etc/passwd", "s3://bucket/x", "\\\\host\\x"):
            for asked in (
                {"model": lure, "training_file": file},
                {"model": "tiny", "training_file": lure[:64]},
                {"model": "tiny", "training_file": file, "validation_file": lure[:64]},
                {"model": "tiny", "training_file": file, "burnish": {"data": {"train": lure}}},
                {"model": "tiny", "training_file": file, "burnish": {"data": {"test": lure}}},
                {"model": "tiny", "training_file": file, "burnish": {"model": {"base": lure}}},
                {"model": "tiny", "training_file": file, "burnish": {"evaluation": {"canaries": lure}}},
                {"model": "tiny", "training_file": file, "burnish": {"tracking": {"mlflow": {"url": lure}}}},
            ):
                answer = stage.ask("POST", "/v1/fine_tuning/jobs", writer, json=asked)
                assert answer.status_code == 400, (asked, answer.text)
            for path in ("/v1/files/{}/content", "/v1/models/{}", "/v1/burnish/jobs/{}/report"):
                encoded = lure.replace("/", "%2F").replace("\\", "%5C")
                assert stage.ask("GET", path.format(encoded), writer).status_code == 404
        with pytest.raises(BlockingIOError):
            canary.accept()


def test_markup_is_handed_out_as_data(stage: Stage) -> None:
    name = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>.jsonl"
    writer = stage.keys["writer"]
    sent = {"file": (name, b"<html><script>alert(1)</script>")}
    file = stage.ask("POST", "/v1/files", writer, files=sent, data={"purpose": "user_data"}).json()
    content = stage.ask("GET", f"/v1/files/{file['id']}/content", writer)
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["content-disposition"] == f'attachment; filename="{file["id"]}"'
    shown = stage.ask("GET", f"/v1/files/{file['id']}", writer)
    assert shown.headers["content-type"] == "application/json"
    assert stage.ask("DELETE", f"/v1/files/{file['id']}", writer).json()["deleted"] is True


@pytest.mark.parametrize("damage", ["cut", "no-boundary", "no-file", "two-files", "huge-field", "garbage"])
def test_a_broken_form_is_refused_and_leaves_nothing(stage: Stage, damage: str) -> None:
    part = b'--B\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    file = part % (b"file", b'; filename="a.jsonl"', ROWS)
    purpose = part % (b"purpose", b"", b"fine-tune")
    forms = {
        "cut": (purpose + file)[:-40],
        "no-boundary": purpose + file + b"--B--\r\n",
        "no-file": purpose + b"--B--\r\n",
        "two-files": purpose + file + file + b"--B--\r\n",
        "huge-field": part % (b"purpose", b"", b"x" * 5000) + file + b"--B--\r\n",
        "garbage": os.urandom(500),
    }
    kind = "multipart/form-data" + ("" if damage == "no-boundary" else "; boundary=B")
    before = stage.ask("GET", "/v1/files", stage.keys["writer"]).json()
    headers = {"content-type": kind}
    answer = stage.ask("POST", "/v1/files", stage.keys["writer"], content=forms[damage], headers=headers)
    assert answer.status_code == 400, answer.text
    assert stage.ask("GET", "/v1/files", stage.keys["writer"]).json() == before
    assert list(stage.service.registry.files.incoming.glob("*")) == []


def test_requests_made_from_the_document_break_nothing(stage: Stage) -> None:
    """Values of every kind for every parameter and body, right ones and wrong ones, by who may do everything."""
    schemathesis = pytest.importorskip("schemathesis")
    key = create_key(stage.service.registry, role="admin", project="c")[1]
    raw = stage.ask("GET", "/openapi.json", key).json()
    schema = schemathesis.openapi.from_dict(raw)
    broken: list[Any] = []
    asked = 0

    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        given = case.as_transport_kwargs(base_url="http://localhost")
        given["content" if isinstance(given.get("data"), bytes | str) else "data"] = given.pop("data", None)
        headers = {str(name): str(value).encode("latin-1", "replace") for name, value in given.pop("headers").items()}
        headers["authorization"] = f"Bearer {key}".encode()
        known = ("method", "url", "params", "json", "data", "content", "files")
        answer = stage.client.request(headers=headers, **{name: given.get(name) for name in known})
        if answer.status_code >= 500:
            broken.append((case.method, case.path, given, answer.text))

    calm = hypothesis_settings(
        max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
    )
    for result in schema.get_all_operations():

        @calm
        @given(case=result.ok().as_strategy())
        def each(case: Any) -> None:
            ask(case)

        each()
    assert broken == []
    assert asked >= 200


def test_no_error_of_ours_shows_itself(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(MARKER)

    monkeypatch.setattr("burnish.api.files.list_files", fails)
    answer = stage.ask("GET", "/v1/files", stage.keys["reader"])
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert answer.headers["x-should-retry"] == "false"
    assert MARKER not in answer.text + str(answer.headers)
    assert "Traceback" not in answer.text


class Served:
    """`burnish serve` in a process of its own."""

    def __init__(self, home: Path, *arguments: str) -> None:
        environment = {**os.environ, "BURNISH_HOME": str(home)}
        command = [sys.executable, "-m", "burnish", "serve", "--port", "0", "--json", "--no-worker", *arguments]
        self.errors = home.parent / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        self.url = json.loads(line)["url"]
        self.address = ("127.0.0.1", int(self.url.rsplit(":", 1)[1]))

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def say(self, text: bytes) -> socket.socket:
        """A connection on which something was said."""
        connection = socket.create_connection(self.address, timeout=60)
        connection.sendall(text)
        return connection

    def answer(self, text: bytes) -> bytes:
        with self.say(text) as connection:
            return read(connection)


def read(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(65_536):
        found += piece
    return found


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_server_finishes_what_it_has_begun_and_keeps_no_secret(tmp_path: Path) -> None:
    """Half an upload is on its way when SIGTERM comes."""
    home = tmp_path / "home"
    service = open_service(home=home)
    key = create_key(service.registry, role="writer")[1]
    with Served(home) as served:
        close = b"Host: localhost\r\nConnection: close\r\n"
        big = b"GET /health HTTP/1.1\r\n" + close + b"X-Big: " + b"x" * 100_000
        assert served.answer(big + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
        garbage = served.answer(b"\x00\x01 nonsense\r\n\r\n")
        assert garbage.startswith(b"HTTP/1.1 400 ")
        assert json.loads(garbage.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_request"
        marked = b"GET /v1/files?x=" + MARKER.encode() + b" HTTP/1.1\r\n" + close
        assert b" 401 " in served.answer(marked + b"Authorization: Bearer bk_" + MARKER.encode() + b"\r\n\r\n")
        form = b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        form += b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + ROWS + b"\r\n--B--\r\n"
        head = b"POST /v1/files HTTP/1.1\r\n" + close + b"Authorization: Bearer " + key.encode()
        head += b"\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: %d\r\n\r\n" % len(form)
        with served.say(head + form[:200]) as connection:
            _until(lambda: list(service.registry.files.incoming.glob("*")) != [])  # it is being received
            served.process.send_signal(signal.SIGTERM)
            ready = b"GET /ready HTTP/1.1\r\n" + close + b"\r\n"
            _until(lambda: served.answer(ready).startswith(b"HTTP/1.1 503 "))
            late = served.answer(b"GET /v1/files HTTP/1.1\r\n" + close + b"\r\n")
            assert late.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after:" in late
            connection.sendall(form[200:])
            assert read(connection).startswith(b"HTTP/1.1 200 ")
        assert served.process.wait(timeout=60) == 0
    log = ServiceLog(service.registry, service.folder)
    assert [(entry["what"], entry["status"]) for entry in log.entries()] == [("POST /v1/files", 200)]
    secret = key.split("_", 2)[2].encode()
    for path in [served.errors, *home.rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            assert MARKER.encode() not in content, path
            assert secret not in content, path
    lines = [json.loads(line) for line in served.errors.read_text().splitlines()]
    assert {"request_id", "route", "status", "seconds"} <= set(lines[-1])


def test_a_server_that_would_be_unsafe_does_not_start(tmp_path: Path) -> None:
    def refusal(*arguments: str) -> str:
        environment = {**os.environ, "BURNISH_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "burnish", "serve", "--json", "--no-worker", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 2, done.stderr
        return str(json.loads(done.stdout)["error"]["code"])

    assert refusal("--host", "0.0.0.0", "--port", "0") == "serve/needs-keys"
    assert refusal("--behind-proxy", "10.0.0.0/8", "--port", "0") == "serve/needs-keys"
    create_key(open_service(home=tmp_path).registry, role="admin")
    assert refusal("--host", "0.0.0.0", "--port", "0") == "serve/needs-tls"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert refusal("--port", str(taken.getsockname()[1])) == "serve/port-in-use"


def _until(holds: Callable[[], bool]) -> None:
    """Asks again until it holds; the machine may be slow, so only a very long wait is a failure."""
    waited = threading.Event()
    for _ in range(1200):
        if holds():
            return
        waited.wait(0.05)
    raise AssertionError("it never held")
