"""What a server does about secrets, models and files of strangers, proxies, TLS and signals."""

from __future__ import annotations

import asyncio
import gzip
import io
import ipaddress
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from burnish.api import protocol
from burnish.api.app import make_app
from burnish.api.front import Rules
from burnish.errors import ModelError
from burnish.lifecycle.service import open_service
from burnish.registry.keys import create_key
from burnish.registry.log import ServiceLog

MARKER = "m4rkerS3cretThatMustNotBeKept"
MEGABYTE = 1024**2


def _pickled(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


def _with_code(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))


def _template(text: str) -> Callable[[Path], None]:
    return lambda base: (base / "chat_template.jinja").write_text(text) and None


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_pickled, "model/no-safetensors"),
        (_with_code, "model/remote-code"),
        (_template("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"), "bad-template"),
        (_template("{{ 'x' * 10**12 }}"), "model/bad-template"),
        (_template("{{ ''.__class__.__mro__[1].__subclasses__() }}"), "model/bad-template"),
    ],
    ids=["pickle", "code", "endless", "huge", "escape"],
)
def test_a_base_that_means_harm_is_not_served(
    spoil: Callable[[Path], None], code: str, language_base: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(language_base, base)
    open_service(home=tmp_path / "home", models=[f"tiny={base}"])
    spoil(base)
    with pytest.raises(ModelError) as caught:
        open_service(home=tmp_path / "home", models=[f"tiny={base}"])
    assert caught.value.code.endswith(code)
    assert str(base) in str(caught.value.where)


def _bombs() -> dict[str, bytes]:
    """Ten gigabytes in ten megabytes, and smaller ones under every name that might open them."""
    member = gzip.compress(b"\n" * (64 * MEGABYTE))
    text = gzip.compress(b'{"messages": [{"role": "user", "content": "' + b"a" * (32 * MEGABYTE), compresslevel=1)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as stream:
        stream.writestr("rows.jsonl", b"a" * (32 * MEGABYTE))
    raw = zlib.compress(b"a" * MEGABYTE)
    return {
        "rows.jsonl": member * (10 * 1024 // 64),
        "rows.csv.gz": member * 4,
        "long.jsonl.gz": text,
        "rows.zip": archive.getvalue(),
        "zipped.jsonl": archive.getvalue(),
        "deflated.jsonl": raw,
    }


@pytest.mark.skipif(sys.platform == "win32", reason="memory as POSIX counts it")
def test_files_that_expand_without_end_are_refused_before_they_fill_the_memory(
    language_base: Path, tmp_path: Path
) -> None:
    import resource

    service = open_service(home=tmp_path, models=[f"tiny={language_base}"])
    bombs = _bombs()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with TestClient(make_app(service), base_url="http://localhost") as client:
        for name, content in bombs.items():
            sent = {"file": (name, content)}
            file = client.post("/v1/files", files=sent, data={"purpose": "fine-tune"}).json()
            for task in ({}, {"burnish": {"task": "text-classification"}})[: 1 if name == "rows.jsonl" else 2]:
                asked = {"model": "tiny", "training_file": file["id"], **task}
                answer = client.post("/v1/fine_tuning/jobs", json=asked)
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_training_file"), name
                assert str(tmp_path) not in answer.text
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) // (
        1024 if sys.platform == "linux" else MEGABYTE
    )
    assert grown < 200  # megabytes; the bombs themselves are sent from this process


def test_a_template_comes_with_a_base_and_never_with_a_request(language_base: Path, tmp_path: Path) -> None:
    service = open_service(home=tmp_path, models=[f"tiny={language_base}"])
    bomb = "{{ 'x' * 10**12 }}"
    with TestClient(make_app(service), base_url="http://localhost") as client:
        asked = {"model": "tiny", "messages": [{"role": "user", "content": bomb}], "max_completion_tokens": 1}
        assert client.post("/v1/chat/completions", json=asked).status_code == 200  # a text like every other one
        for name in ("chat_template", "chat_template_kwargs", "template"):
            answer = client.post("/v1/chat/completions", json={**asked, name: bomb})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)
        rows = [{"messages": [{"role": "user", "content": bomb}, {"role": "assistant", "content": "no"}]}] * 12
        sent = {"file": ("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())}
        file = client.post("/v1/files", files=sent, data={"purpose": "fine-tune"}).json()
        for block in ({"model": {"chat_template": bomb}}, {"chat_template": bomb}):
            asked = {"model": "tiny", "training_file": file["id"], "burnish": block}
            answer = client.post("/v1/fine_tuning/jobs", json=asked)
            assert answer.status_code == 400, answer.text


def test_proxies_are_believed_only_when_declared(tmp_path: Path) -> None:
    service = open_service(home=tmp_path)
    forwarded = {"x-forwarded-for": "198.51.100.7, 203.0.113.9"}
    with TestClient(make_app(service), base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        assert client.get("/v1/models").status_code == 200
        answer = client.get("/v1/models", headers=forwarded)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "undeclared_proxy")
    headers = {**forwarded, "authorization": f"Bearer {create_key(service.registry, role='writer')[1]}"}
    seen = []
    for peer in ("10.0.0.5", "10.9.0.5"):
        rules = Rules(proxies=[ipaddress.ip_network("10.0.0.0/24")], only_proxies=True)
        app = make_app(service, rules=rules, open_without_keys=False)
        with TestClient(app, base_url="http://localhost", client=(peer, 1)) as client:
            seen.append(client.delete("/v1/files/file-0", headers=headers).status_code)
    assert seen == [404, 403]
    logged = [entry["ip"] for entry in ServiceLog(service.registry, service.folder).entries()]
    assert "203.0.113.9" in logged  # what the proxy added, not what the client made up
    assert "198.51.100.7" not in logged


def test_headers_that_never_end_are_answered_408(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.05)

    async def said() -> bytes:
        app = make_app(open_service(home=tmp_path))
        config = uvicorn.Config(app, http=protocol.Protocol, port=0, log_config=None, lifespan="on")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        try:
            return await asyncio.wait_for(reader.read(), 60)
        finally:
            writer.close()
            server.should_exit = True
            await serving

    answer = asyncio.run(said())
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


@pytest.mark.skipif(os.name == "nt" or shutil.which("openssl") is None, reason="signals of POSIX, and openssl")
def test_tls_behind_a_proxy_and_a_second_signal(tmp_path: Path) -> None:
    """A certificate of our own; half an upload is on its way, and the second signal does not wait for it."""
    home, made = tmp_path / "home", {name: str(tmp_path / name) for name in ("cert.pem", "key.pem", "stderr")}
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    request += ["-subj", "/CN=llm.example.org", "-addext", "subjectAltName=DNS:llm.example.org", "-days", "2"]
    request += ["-keyout", made["key.pem"], "-out", made["cert.pem"]]
    subprocess.run(request, check=True, capture_output=True)
    key = create_key(open_service(home=home).registry, role="writer")[1]
    command = [sys.executable, "-m", "burnish", "serve", "--port", "0", "--json", "--no-worker"]
    command += ["--certfile", made["cert.pem"], "--keyfile", made["key.pem"]]
    command += ["--behind-proxy", "127.0.0.1", "--name", "llm.example.org"]
    environment = {**os.environ, "BURNISH_HOME": str(home)}
    with Path(made["stderr"]).open("wb") as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors)
    with process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=made["cert.pem"])
        head = f"Host: llm.example.org\r\nAuthorization: Bearer {key}\r\nX-Forwarded-For: 203.0.113.9\r\n"

        def said(text: str) -> ssl.SSLSocket:
            plain = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60)
            connection = context.wrap_socket(plain, server_hostname="llm.example.org")
            connection.sendall(text.encode())
            return connection

        with said(f"GET /v1/models HTTP/1.1\r\n{head}Connection: close\r\n\r\n") as connection:
            assert connection.version() in ("TLSv1.2", "TLSv1.3")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        form = '--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf of it'
        kind = "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 9999\r\n\r\n"
        with said(f"POST /v1/files HTTP/1.1\r\n{head}{kind}{form}"):
            incoming = home / "service" / "incoming"
            _until(lambda: bool(list(incoming.glob("*"))), process)
            process.send_signal(signal.SIGTERM)
            with said(f"GET /ready HTTP/1.1\r\n{head}Connection: close\r\n\r\n") as connection:
                assert connection.recv(65_536).startswith(b"HTTP/1.1 503 ")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0  # less than it would wait for what has begun
    assert list(incoming.glob("*")) == []
    lines = Path(made["stderr"]).read_text()
    assert "203.0.113.9" in lines
    assert key.split("_", 2)[2] not in lines


def test_the_password_of_a_database_is_never_shown(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]  # bound and then closed: nobody answers there
    url = f"postgresql+pg8000://burnish:{MARKER}@127.0.0.1:{port}/burnish"
    environment = {**os.environ, "BURNISH_HOME": str(tmp_path), "BURNISH_DATABASE_URL": url}
    for words in (["serve", "--port", "0"], ["keys", "list"]):
        command = [sys.executable, "-m", "burnish", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode != 0
        assert MARKER not in done.stdout + done.stderr
        assert done.stderr.count("[registry/unreachable]") == 1, done.stderr


def _until(holds: Callable[[], Any], process: subprocess.Popen[bytes]) -> None:
    """Asks again until it holds; the process must live."""
    for _ in range(1200):
        if holds():
            return
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError("the server ended")
    raise AssertionError("it never held")
