"""A process outside computes for a base: what clients are told is what they would be told without it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import uvicorn
from safetensors.torch import load_file
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from burnish.api.app import make_app
from burnish.data.endpoint import Endpoint
from burnish.lifecycle.run import Run
from burnish.lifecycle.service import Service
from burnish.lifecycle.train import train
from burnish.lifecycle.versions import store_model
from burnish.registry.keys import DEFAULT_PROJECT
from burnish.registry.served import find_served, serve_version
from burnish.registry.store import open_registry
from burnish.serving import relayed
from burnish.serving.decoding import Asked
from burnish.serving.upstream import Upstream

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by its old name
QUICK = ("training.epochs=1", "training.learning_rate=0.01", "evaluation.max_prompts=8", "training.threads=1")
ASKED = [{"role": "user", "content": "where is my card"}]
SECRET = "whatAnotherAsked"
KEY = "upstream-k3y"
LIMIT = 64  # answers that may wait, where the settings say nothing else


@pytest.fixture(scope="module", autouse=True)
def _in_fp32() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("burnish.engine.precision._native_bf16", lambda device: False)
        yield


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, lifespan="auto", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


def front(home: Path, bases: dict[str, Path], upstreams: dict[str, str]) -> Any:
    """A service whose bases are computed outside."""
    endpoints = {name: Endpoint(url, name, KEY) for name, url in upstreams.items()}
    return make_app(Service(open_registry(home), home, {"gpt-4o-mini": "tiny"}, bases, upstreams=endpoints))


def test_another_burnish_outside_answers_as_one_inside(
    language_base: Path, sentence_base: Path, tmp_path: Path
) -> None:
    bases = {"tiny": language_base, "vectors": sentence_base}
    inside = make_app(Service(open_registry(tmp_path / "inside"), tmp_path / "inside", {"gpt-4o-mini": "tiny"}, bases))
    chat = {"model": "gpt-4o-mini", "messages": ASKED, "max_tokens": 12, "temperature": 0}
    text = {"model": "tiny", "prompt": "the card", "max_tokens": 8, "temperature": 1, "seed": 4}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("chat/completions", chat),
        ("chat/completions", {**chat, "n": 2, "logprobs": True, "top_logprobs": 7, "logit_bias": {"9": 3}}),
        ("chat/completions", {**chat, "stop": ["e"], "frequency_penalty": 1}),
        ("chat/completions", {**chat, "stream": True, "stream_options": {"include_usage": True}}),
        ("completions", {**text, "logprobs": 2}),
        ("completions", {**text, "stream": True}),
        ("completions", {**text, "prompt": ["the card", "my refund"], "temperature": 0}),
        ("responses", {"model": "tiny", "input": "where is my card", "temperature": 0, "max_output_tokens": 5}),
        ("embeddings", {"model": "vectors", "input": ["where is my card", "late"], "dimensions": 3}),
        ("embeddings", {"model": "vectors", "input": [5, 6, 7]}),
        ("chat/completions", {**chat, "messages": [{"role": "user", "content": "x" * 400}]}),
    ]
    with served(inside) as url, httpx.Client(timeout=300) as http:
        app = front(tmp_path / "front", bases, {"tiny": url, "vectors": url})
        with served(app) as there:
            for path, body in asked:
                one, other = (http.post(f"{each}/{path}", json=body) for each in (url, there))
                assert _said(one) == _said(other), (path, body)
        assert not list(tmp_path.rglob("*.safetensors"))
        assert app.state.inference.pool.size_bytes == 0, "nothing was computed here, and all is closed"


def _said(answer: httpx.Response) -> Any:
    """Without what is new in each answer; texts of streams as a whole, for a piece may be told in two."""
    if "event-stream" not in answer.headers["content-type"]:
        said = json.loads(answer.text, parse_float=lambda number: round(float(number), 3))  # sums in other batches
        for item in said.get("output", ()):
            item.pop("id")
        return answer.status_code, {k: v for k, v in said.items() if k not in ("id", "created", "created_at")}
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [choice for event in events for choice in event["choices"]]
    texts = [
        "".join(c.get("text") or c.get("delta", {}).get("content", "") for c in choices if c["index"] == n)
        for n in (0, 1)
    ]
    return texts, [c["finish_reason"] for c in choices if c["finish_reason"]], events[-1].get("usage")


class Foreign:
    """What vLLM does, as far as it is asked for: one base, adapters that it reads from folders, tokens in and out.

    Computes with plain torch on the files, so that it shows what any other program makes of them.
    """

    def __init__(self, base: Path | None = None) -> None:
        self.base = base
        self.adapters: dict[str, str] = {}
        self.calls: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.answer: Response | None = None
        self.endless = False
        self.running = 0
        paths = {"models": self.models, "load_lora_adapter": self.load, "unload_lora_adapter": self.unload}
        paths |= {"completions": self.complete, "embeddings": self.complete}
        self.app = Starlette(
            routes=[Route(f"/v1/{path}", told, methods=["GET", "POST"]) for path, told in paths.items()]
        )

    async def models(self, request: Request) -> Response:
        names = ["tiny", "vectors", *self.adapters]
        return JSONResponse({"data": [{"id": name, "max_model_len": 64} for name in names]})

    async def load(self, request: Request) -> Response:
        body = await self._body(request)
        if body["lora_name"] in self.adapters:
            return JSONResponse({"error": {"message": SECRET}}, 400)
        self.adapters[body["lora_name"]] = body["lora_path"]
        return Response("Success")

    async def unload(self, request: Request) -> Response:
        body = await self._body(request)
        return Response("Success", 200 if self.adapters.pop(body["lora_name"], None) else 404)

    async def complete(self, request: Request) -> Response:
        body = await self._body(request)
        if self.answer is not None:
            return self.answer
        if body["model"] not in ("tiny", *self.adapters):
            return JSONResponse({"error": {"message": SECRET}}, 404)
        return StreamingResponse(self._events(request, body), media_type="text/event-stream")

    async def _events(self, request: Request, body: dict[str, Any]) -> AsyncIterator[str]:
        self.running += 1
        try:
            if self.endless:
                while not await request.is_disconnected():
                    yield ": ping\n\n"
                    await asyncio.sleep(0.01)
                return
            for token in self._written(body):
                ended = token in body["stop_token_ids"]
                choice = {"index": 0, "text": "?", "token_ids": [token], "finish_reason": "stop" if ended else None}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
            yield f"data: {json.dumps({'choices': [{**choice, 'token_ids': [], 'finish_reason': 'length'}]})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.running -= 1

    def _written(self, body: dict[str, Any]) -> Iterator[int]:
        from transformers import AutoModelForCausalLM

        assert self.base is not None
        model: Any = AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32).eval()
        if body["model"] in self.adapters:
            _apply(model, Path(self.adapters[body["model"]]))
        ids = list(body["prompt"])
        for _ in range(body["max_tokens"]):
            with torch.inference_mode():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            yield ids[-1]
            if ids[-1] in body["stop_token_ids"]:
                return

    async def _body(self, request: Request) -> Any:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        self.calls.append(request.url.path)
        self.bodies.append(await request.json())
        return self.bodies[-1]


def _apply(model: Any, folder: Path) -> None:
    """W + B A alpha / r, by the names of peft's format."""
    about = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    for name, down in tensors.items():
        if name.endswith(".lora_A.weight"):
            layer = model.get_submodule(name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"))
            up = tensors[name.replace(".lora_A.", ".lora_B.")]
            scale = about["lora_alpha"] / (about["r"] ** 0.5 if about.get("use_rslora") else about["r"])
            layer.weight.data += up @ down * scale


@pytest.fixture(scope="module")
def runs(_in_fp32: None, chats: Path, language_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    base = f"model.base={language_base}"
    return {m: train(chats, overrides=[*QUICK, base, f"method={m}"], output=folder / m) for m in ("lora", "full")}


def test_an_adapter_is_loaded_outside_and_unloaded_when_its_model_is_deleted(
    runs: dict[str, Run], language_base: Path, tmp_path: Path
) -> None:
    foreign = Foreign(language_base)
    chat = {"messages": ASKED, "temperature": 0, "max_tokens": 24}
    with served(foreign.app) as url, httpx.Client(timeout=300) as http:
        app = front(tmp_path, {"tiny": language_base}, {"tiny": url})
        registry = app.state.service.registry
        for name, run in runs.items():
            version = store_model(registry, run.folder, name=name).id
            serve_version(registry, f"ft:{name}", DEFAULT_PROJECT, version, job=None, task="chat")
        with served(app) as here:

            def asked(model: str, **more: Any) -> Any:
                return http.post(f"{here}/chat/completions", json={"model": model, **chat, **more}).json()

            (expected,) = runs["lora"].predict(["where is my card"])
            told = asked("ft:lora")
            assert _is_beginning(told, expected)
            assert (told["model"], told["usage"]["completion_tokens"]) == ("ft:lora", min(24, expected["tokens"]))
            (called,) = foreign.adapters
            assert called == f"burnish-{find_served(registry, 'ft:lora', DEFAULT_PROJECT).version}"
            assert not _is_beginning(asked("tiny"), expected)
            assert asked("tiny", messages=[{"role": "user", "content": "x" * 60}])["error"]["code"] == (
                "context_length_exceeded"
            ), "the process outside reads fewer tokens than the base"
            foreign.adapters.clear()  # it was started anew
            assert asked("ft:lora")["choices"] == told["choices"]
            assert foreign.calls.count("/v1/load_lora_adapter") == 2
            before = len(foreign.calls)
            (expected,) = runs["full"].predict(["where is my card"])
            assert expected["answer"].startswith(asked("ft:full")["choices"][0]["message"]["content"])
            assert len(foreign.calls) == before, "what is no adapter is computed here"
            assert http.delete(f"{here}/models/ft:lora").json()["deleted"]
            assert foreign.adapters == {}
        salts = {body["cache_salt"] for body in foreign.bodies if "cache_salt" in body}
        assert len(salts) == 1
        assert DEFAULT_PROJECT not in salts.pop()


def _is_beginning(told: Any, expected: Any) -> bool:
    """Of the answer of the run, which may be longer."""
    text = told["choices"][0]["message"]["content"]
    return len(text) > 4 and expected["answer"].startswith(text)


TOLD = {"token_logprobs": [-1.0], "top_logprobs": [{"token_id:5": -1.0}]}
GOOD: dict[str, Any] = {
    "choices": [{"index": 0, "text": "a", "token_ids": [5], "finish_reason": None, "logprobs": TOLD}]
}


def _stream(*lines: str | dict[str, Any]) -> Response:
    text = "".join(f"data: {line if isinstance(line, str) else json.dumps(line)}\n\n" for line in lines)
    return Response(text, media_type="text/event-stream")


ODD: list[Any] = [  # log-probabilities that are none
    None,
    {"token_logprobs": [float("nan")], "top_logprobs": [{}]},
    {"token_logprobs": [1e300], "top_logprobs": [{}]},
    {"token_logprobs": [-1], "top_logprobs": [{"token_id:99999999999999": -1}]},
    {"token_logprobs": [-1], "top_logprobs": [{"a": -1}]},
    {"token_logprobs": [], "top_logprobs": []},
]
FAILURES = [
    (Response(SECRET, 500), 502, "upstream_failed", "5"),
    (Response(SECRET, 400), 502, "upstream_failed", "5"),
    (Response(SECRET, 401), 502, "upstream_refused", "5"),
    (Response(SECRET, 404), 502, "upstream_unknown_model", "5"),
    (Response(SECRET, 429, {"retry-after": "7"}), 503, "upstream_busy", "7"),
    (Response(SECRET, 503, {"retry-after": "99999"}), 503, "upstream_busy", "60"),
    (Response("", 307, {"location": "/v1/models"}), 502, "upstream_failed", "5"),
    (_stream("{" + SECRET), 502, "upstream_broken", "5"),
    (_stream("[" * 100_000), 502, "upstream_broken", "5"),
    (_stream({"error": {"message": SECRET}}), 502, "upstream_broken", "5"),
    (_stream({"choices": [{"token_ids": [10**6], "finish_reason": None}]}), 502, "upstream_broken", "5"),
    (_stream({"choices": [{"text": SECRET, "finish_reason": "stop"}]}), 502, "upstream_broken", "5"),
    (_stream(GOOD, "[DONE]"), 502, "upstream_broken", "5"),
    (_stream(GOOD), 502, "upstream_broken", "5"),
    *((_stream({"choices": [{**GOOD["choices"][0], "logprobs": told}]}), 502, "upstream_broken", "5") for told in ODD),
    (Response(b"data: " + b"x" * (3 << 20)), 502, "upstream_broken", "5"),
    (Response(b"data", headers={"content-encoding": "gzip"}), 502, "upstream_broken", "5"),
]


def test_failures_outside_are_clear_and_say_nothing_of_it(
    language_base: Path,
    sentence_base: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = Foreign()
    bases = {"tiny": language_base, "vectors": sentence_base}
    gone = socket.create_server(("127.0.0.1", 0))
    nobody = f"http://127.0.0.1:{gone.getsockname()[1]}/v1"
    gone.close()
    monkeypatch.setenv("HTTP_PROXY", nobody)  # is not used
    with served(foreign.app) as url, httpx.Client(timeout=300, trust_env=False) as http:
        app = front(tmp_path, bases, {"tiny": url, "vectors": nobody})
        with served(app) as here:
            chat = {"model": "tiny", "messages": ASKED, "max_tokens": 9, "logprobs": True}
            for foreign.answer, status, code, again in FAILURES:
                found = http.post(f"{here}/chat/completions", json=chat)
                told = (found.status_code, found.json()["error"]["code"], found.headers["retry-after"])
                assert told == (status, code, again)
                assert SECRET not in found.text
                streamed = http.post(f"{here}/chat/completions", json={**chat, "stream": True})
                assert code in streamed.text
                assert SECRET not in streamed.text
            found = http.post(f"{here}/embeddings", json={"model": "vectors", "input": "a"})
            assert (found.status_code, found.json()["error"]["code"]) == (503, "upstream_away")
            assert found.headers["retry-after"] == "5"
            foreign.answer, foreign.endless = None, True
            app.state.inference.seconds = 0.2
            found = http.post(f"{here}/chat/completions", json=chat)
            assert (found.status_code, found.headers["retry-after"]) == (503, "1")
            while foreign.running:
                http.get(f"{here}/models")
    assert SECRET not in caplog.text
    assert KEY not in caplog.text


def test_its_cache_of_prompts_is_kept_apart_for_each_project() -> None:
    def salt(tenant: str, secret: bytes) -> str:
        upstream = Upstream(Endpoint("http://127.0.0.1:1/v1", "tiny"), secret)
        model = relayed.Relayed(upstream, "tiny", None, None, frozenset(), 8, 8, 1)
        return str(model._body(Asked(ids=[1], ends=frozenset(), max_new_tokens=1, tenant=tenant))["cache_salt"])

    assert salt("a", b"1") == salt("a", b"1")
    assert len({salt("a", b"1"), salt("b", b"1"), salt("a", b"2")}) == 3


def test_the_line_is_bounded_and_who_goes_away_ends_the_computing_outside(
    language_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relayed, "AT_ONCE", 2)
    foreign = Foreign()
    foreign.endless = True
    body = {"model": "tiny", "prompt": "a"}

    async def work(here: str, app: Any) -> None:
        async with httpx.AsyncClient(base_url=here, timeout=300) as http:
            foreign.answer = Response("", 500)
            await http.post("/completions", json=body)  # the tokenizer is loaded now
            foreign.answer = None
            asking = [asyncio.create_task(http.post("/completions", json=body)) for _ in range(2 + LIMIT)]
            (upstream,) = app.state.inference._upstreams.values()
            while upstream.asked < 2 + LIMIT:
                await http.get("/models")
            refused = await http.post("/completions", json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            for each in asking:
                each.cancel()
            while upstream.asked or foreign.running or app.state.inference._running:
                await http.get("/models")

    with served(foreign.app) as url:
        app = front(tmp_path, {"tiny": language_base}, {"tiny": url})
        with served(app) as here:
            asyncio.run(work(here, app))
