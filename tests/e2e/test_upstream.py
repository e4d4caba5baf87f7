"""`burnish serve --upstream`: one server in front, another one that computes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("openai")

import openai

from burnish.lifecycle.service import open_service
from burnish.registry.keys import create_key

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]


@contextlib.contextmanager
def server(home: Path, *arguments: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    command = [sys.executable, "-m", "burnish", "serve", "--port", "0", "--json", "--no-worker", *arguments]
    home.mkdir(exist_ok=True)
    with (home / "stderr").open("wb") as errors:
        environment = {**os.environ, "BURNISH_HOME": str(home), **environment}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors)
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (home / "stderr").read_text()
            yield json.loads(line)["base_url"], process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


def test_a_server_in_front_of_another_one(language_base: Path, tmp_path: Path) -> None:
    computing, front = tmp_path / "computing", tmp_path / "front"
    key = create_key(open_service(home=computing).registry, role="inference")[1]
    model, messages = f"tiny={language_base}", [{"role": "user", "content": "where is my card"}]
    with (
        server(computing, "--model", model) as (url, process),
        server(front, "--model", model, "--upstream", f"tiny={url}", BURNISH_UPSTREAM_KEY=key) as (here, _),
        openai.OpenAI(base_url=url, api_key=key, max_retries=0) as inside,
        openai.OpenAI(base_url=here, api_key="none", max_retries=0) as client,
    ):
        asked = {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 20}
        expected = inside.chat.completions.create(**asked).choices[0].message.content
        assert client.chat.completions.create(**asked).choices[0].message.content == expected
        chunks = client.chat.completions.create(**asked, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
        process.kill()
        process.wait(timeout=60)
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(**asked)
        assert (refused.value.status_code, refused.value.code) == (503, "upstream_away")
        assert refused.value.response.headers["retry-after"] == "5"
    secret = key.split("_", 2)[2].encode()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]
