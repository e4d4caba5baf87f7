"""The routes that answer, through the official client: the shapes of the protocol, and the answers of the training."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import uvicorn

from burnish.api.app import make_app
from burnish.lifecycle.run import Run
from burnish.lifecycle.service import Service
from burnish.lifecycle.train import train
from burnish.lifecycle.versions import store_model
from burnish.registry.keys import DEFAULT_PROJECT, create_key, tokens_today
from burnish.registry.served import find_served, serve_version
from burnish.registry.store import Registry, open_registry

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by its old name
JSON = {"type": "json_object"}
QUICK = ("training.epochs=1", "training.learning_rate=0.01", "evaluation.max_prompts=8", "training.threads=1")
ASKED = [{"role": "user", "content": "where is my card"}]


@pytest.fixture(scope="module", autouse=True)
def _in_fp32() -> Iterator[None]:
    """Also where bf16 is native: there rounding decides between tokens that are nearly as likely, as in all batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("burnish.engine.precision._native_bf16", lambda device: False)
        yield


@pytest.fixture(scope="module")
def runs(
    _in_fp32: None,
    chats: Path,
    toy: Path,
    quick: tuple[str, ...],
    language_base: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Run]:
    """A finished run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    chat = [*QUICK, f"model.base={language_base}"]
    return {
        "lora": train(chats, overrides=[*chat, "method=lora"], output=folder / "lora"),
        "full": train(chats, overrides=[*chat, "method=full"], output=folder / "full"),
        "labels": train(toy, overrides=[*quick, "training.epochs=2"], output=folder / "labels"),
    }


@pytest.fixture(scope="module")
def registry(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> Registry:
    registry = open_registry(tmp_path_factory.mktemp("home"))
    for name, run in runs.items():
        version = store_model(registry, run.folder, name=name)
        task = str(run.folder.manifest()["task"])
        serve_version(registry, f"ft:{name}", DEFAULT_PROJECT, version.id, job=None, task=task)
        serve_version(registry, f"ft:{name}:other", "other", version.id, job=None, task=task)
    return registry


@pytest.fixture(scope="module")
def app(registry: Registry, language_base: Path, sentence_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    bases = {"tiny": language_base, "vectors": sentence_base}
    return make_app(Service(registry, tmp_path_factory.mktemp("service"), {"gpt-4o-mini": "tiny"}, bases))


@pytest.fixture(scope="module")
def url(app: Any) -> Iterator[str]:
    """A server on loopback that nobody needs a key for."""
    with _served(app) as url:
        yield url


@contextlib.contextmanager
def _served(app: Any) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_tuned_model_says_what_its_run_says(client: openai.OpenAI, runs: dict[str, Run], name: str) -> None:
    (expected,) = runs[name].predict(["where is my card"])
    asked: dict[str, Any] = {"model": f"ft:{name}", "messages": ASKED, "temperature": 0}
    found = client.chat.completions.create(**asked)
    choice = found.choices[0]
    assert (choice.message.content, choice.message.role) == (expected["answer"], "assistant")
    assert choice.finish_reason == ("stop" if expected["stopped"] else "length")
    assert found.usage is not None
    assert found.usage.completion_tokens == expected["tokens"]
    assert found.usage.total_tokens == found.usage.prompt_tokens + expected["tokens"]
    assert (found.model, found.object) == (f"ft:{name}", "chat.completion")
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected["answer"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == choice.finish_reason
    assert (chunks[-1].choices, chunks[-1].usage) == ([], found.usage)


def test_labels_are_those_of_the_run(client: openai.OpenAI, runs: dict[str, Run], toy_rows: Any) -> None:
    texts = [text for text, _ in toy_rows[:40]]
    with ThreadPoolExecutor(8) as pool:
        bodies = [{"model": "ft:labels", "input": texts[place : place + 5]} for place in range(0, 40, 5)]
        found = list(pool.map(lambda body: client.post("/burnish/predict", body=body, cast_to=httpx.Response), bodies))
    rows = [row for answer in found for row in answer.json()["data"]]
    expected = runs["labels"].predict(texts)
    assert [row["label"] for row in rows] == [row["label"] for row in expected]
    assert [row["probability"] for row in rows] == pytest.approx([row["probability"] for row in expected], abs=1e-4)
    assert found[0].json()["task"] == "text-classification"
    assert found[0].json()["usage"]["total_tokens"] > 5


def test_vectors_of_a_base(client: openai.OpenAI, sentence_base: Path) -> None:
    from tokenizers import Tokenizer

    texts = ["where is my card", "the refund is late", "money"]
    found = client.embeddings.create(model="vectors", input=texts, encoding_format="float")
    vectors = np.array([row.embedding for row in found.data])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    as_base64 = client.embeddings.create(model="vectors", input=texts)  # what this client asks for by itself
    assert np.array([row.embedding for row in as_base64.data]) == pytest.approx(vectors, abs=1e-6)
    ids = Tokenizer.from_file(str(sentence_base / "tokenizer.json")).encode(texts[0], add_special_tokens=False).ids
    of_tokens = client.embeddings.create(model="vectors", input=ids)
    assert of_tokens.data[0].embedding == pytest.approx(vectors[0].tolist(), abs=1e-4)
    assert of_tokens.usage.prompt_tokens == len(ids) + 2
    short = client.embeddings.create(model="vectors", input=texts[0], dimensions=4, encoding_format="float")
    kept = vectors[0][:4] / np.linalg.norm(vectors[0][:4])
    assert short.data[0].embedding == pytest.approx(kept.tolist(), abs=1e-4)


def test_texts_are_gone_on_with_and_several_answers_differ(client: openai.OpenAI) -> None:
    found = client.completions.create(
        model="gpt-4o-mini", prompt=["the card", "my refund"], n=2, max_tokens=6, temperature=1, seed=1, logprobs=2
    )
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert found.model == "gpt-4o-mini"
    assert found.choices[0].text != found.choices[1].text
    assert found.choices[0].logprobs is not None
    told = found.choices[0].logprobs.tokens or []
    assert "".join(told) == found.choices[0].text
    assert 1 <= len(told) <= 6
    again = client.completions.create(model="tiny", prompt="the card", n=2, max_tokens=6, temperature=1, seed=1)
    assert [choice.text for choice in again.choices] == [choice.text for choice in found.choices[:2]]
    asked: dict[str, Any] = {"model": "tiny", "prompt": "the card", "max_tokens": 6, "temperature": 1, "seed": 1}
    streamed = [chunk.choices[0] for chunk in client.completions.create(**asked, logprobs=2, stream=True)]
    assert "".join(chunk.text for chunk in streamed) == found.choices[0].text
    offsets = [offset for chunk in streamed if chunk.logprobs for offset in chunk.logprobs.text_offset or []]
    assert (
        offsets == found.choices[0].logprobs.text_offset == [len("".join(told[:place])) for place in range(len(told))]
    )
    same = client.completions.create(**asked | {"prompt": ["the card"] * 3})
    assert len({choice.text for choice in same.choices}) == 3, "a prompt that is repeated is drawn for anew"


def test_log_probabilities_of_a_conversation(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "ft:full", "messages": ASKED, "temperature": 0, "max_completion_tokens": 4}
    found = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    told = found.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    for token in told.content:
        assert token.top_logprobs[0].token == token.token, "the likeliest was taken"
        assert token.logprob == token.top_logprobs[0].logprob <= 0
        assert len(token.top_logprobs) == 3
    chunks = list(client.chat.completions.create(**asked, logprobs=True, stream=True))
    streamed = [t.token for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.content or []]
    assert streamed == [token.token for token in told.content]


def test_responses(client: openai.OpenAI, runs: dict[str, Run]) -> None:
    (expected,) = runs["full"].predict(["where is my card"])
    found = client.responses.create(model="ft:full", input="where is my card", temperature=0)
    assert found.output_text == expected["answer"]
    assert found.usage is not None
    assert found.usage.output_tokens == expected["tokens"]
    events = list(client.responses.create(model="ft:full", input=ASKED, temperature=0, stream=True))  # type: ignore[call-overload]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == expected["answer"]
    assert events[-1].response.output_text == expected["answer"]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("chat/completions", {"model": "ft:labels", "messages": ASKED}, 400, "model"),
        ("chat/completions", {"model": "absent", "messages": ASKED}, 404, "model"),
        ("chat/completions", {"model": "ft:full:other", "messages": ASKED}, 404, "model"),
        ("chat/completions", {"model": "/etc", "messages": ASKED}, 404, "model"),
        (
            "chat/completions",
            {"model": "tiny", "messages": ASKED, "response_format": {"type": "json_object"}},
            400,
            None,
        ),
        ("chat/completions", {"model": "tiny", "messages": ASKED, "temperature": 3}, 400, "temperature"),
        ("chat/completions", {"model": "tiny", "messages": ASKED, "best_friend": 1}, 400, "best_friend"),
        ("chat/completions", {"model": "tiny", "messages": ASKED, "logit_bias": {"999999": 1}}, 400, "logit_bias"),
        ("chat/completions", {"model": "tiny", "messages": [{"role": "user", "content": "x" * 400}]}, 400, "messages"),
        ("chat/completions", {"model": "tiny", "messages": [{"role": "king", "content": "x"}]}, 400, None),
        ("completions", {"model": "tiny", "prompt": "a", "echo": True}, 400, "echo"),
        ("completions", {"model": "tiny", "prompt": [99999]}, 400, "prompt"),
        ("embeddings", {"model": "tiny", "input": "a"}, 400, "model"),
        ("embeddings", {"model": "vectors", "input": ["a", ""]}, 400, "input"),
        ("embeddings", {"model": "vectors", "input": "a", "dimensions": 4096}, 400, "dimensions"),
        ("responses", {"model": "tiny", "input": "a", "previous_response_id": "resp_1"}, 400, "previous_response_id"),
        ("burnish/predict", {"model": "tiny", "input": ["a"]}, 400, "model"),
        ("burnish/predict", {"model": "ft:labels", "input": ["a", " "]}, 400, None),
    ],
)
def test_refusals_name_the_parameter(url: str, path: str, body: dict[str, Any], status: int, param: str | None) -> None:
    answer = httpx.post(f"{url}/{path}", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, param in (None, error["param"])) == (status, True), answer.text


def test_no_client_reads_what_another_asked(url: str) -> None:
    """Everybody sends a word of their own, again and again beside all others, and gets what it gets alone."""
    names = ["ft:full", "ft:lora", "tiny"]
    with httpx.Client(base_url=url, timeout=60) as http:

        def asked(number: int) -> tuple[str, str]:
            body = {"model": names[number % 3], "temperature": 0, "max_tokens": 12, "prompt": f"nonce {number % 24:03}"}
            answer = http.post("completions", json=body)
            while answer.status_code == 429:
                answer = http.post("completions", json=body)
            found: dict[str, Any] = answer.json()["choices"][0]
            return str(found["text"]), str(found["finish_reason"])

        alone = [asked(number) for number in range(24)]
        with ThreadPoolExecutor(16) as pool:
            together = list(pool.map(asked, range(240)))
    assert together == [alone[number % 24] for number in range(240)]
    assert len(set(alone)) > 12


def test_who_goes_away_frees_the_place(url: str, app: Any) -> None:
    """Noticed while no pass is computed, so nobody computes for who is gone."""
    inference, health = app.state.inference, url.removesuffix("/v1") + "/health"
    body: dict[str, Any] = {"model": "tiny", "messages": ASKED, "max_tokens": 100, "n": 4}
    httpx.post(f"{url}/chat/completions", json={**body, "max_tokens": 1}, timeout=60)  # it is loaded now
    go_on = threading.Event()
    inference._turns.call(go_on.wait)
    try:
        with httpx.stream("POST", f"{url}/chat/completions", json={**body, "stream": True}, timeout=60) as answer:
            lines = answer.iter_lines()  # kept: without anybody who reads it the connection is closed
            next(lines)  # the role, before anything is written
            assert inference._running == 1
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/chat/completions", json=body, timeout=2)
        while inference._running:
            httpx.get(health)
    finally:
        go_on.set()
    decoder = next(e.model.decoder for e in inference.pool._entries.values() if e.key.startswith("base:"))
    while decoder._rows or len(decoder.waiting):
        httpx.get(health)


WRITTEN = {"temperature": 0, "logit_bias": {"1": -100}}  # token 1 ends an answer
GONE: dict[str, tuple[dict[str, Any], int]] = {  # route -> body, and tokens of the prompt; what is written comes to it
    "chat/completions": ({"model": "tiny", "messages": ASKED, **WRITTEN}, 1),
    "completions": ({"model": "tiny", "prompt": [5, 6, 7], **WRITTEN}, 1),
    "responses": ({"model": "tiny", "input": "where is my card"}, 1),
    "embeddings": ({"model": "vectors", "input": [[5, 6, 7]]}, 0),
    "burnish/predict": ({"model": "ft:labels", "input": ["where is my card"]}, 0),
}


def test_who_goes_away_pays_for_what_was_computed(
    runs: dict[str, Run], language_base: Path, sentence_base: Path, tmp_path: Path
) -> None:
    registry = open_registry(tmp_path)
    version = store_model(registry, runs["labels"].folder, name="labels")
    serve_version(registry, "ft:labels", DEFAULT_PROJECT, version.id, job=None, task="text-classification")
    key, secret = create_key(registry, role="inference", project=DEFAULT_PROJECT)
    app = make_app(Service(registry, tmp_path, {}, {"tiny": language_base, "vectors": sentence_base}))
    turns, inference, meter = app.state.inference._turns, app.state.inference, app.state.meter
    headers = {"authorization": f"Bearer {secret}"}

    async def leave(url: str, path: str, body: dict[str, Any], passes: int) -> None:
        """Goes away when the model has computed so many passes."""
        first, second, begun = threading.Event(), threading.Event(), threading.Event()
        turns.call(first.wait)
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=300) as http:
            asking = asyncio.create_task(http.post(path, json=body))
            while not turns._line:
                await http.get("/models")
            if passes:
                turns._had = dict.fromkeys(turns._had, turns._least)  # the model owes nothing, so its pass comes first
                turns.call(lambda: begun.set() or second.wait())
                first.set()
                await asyncio.to_thread(begun.wait, 300)
            asking.cancel()
            while inference._running:
                await http.get("/models")
        first.set()
        second.set()

    def spent() -> int:
        meter.flush()
        return tokens_today(registry, key.id, time.time())

    with _served(app) as url, httpx.Client(base_url=url, headers=headers, timeout=300) as http:
        for path, (body, written) in GONE.items():
            before = spent()
            told = http.post(path, json=body).raise_for_status().json()["usage"]
            prompt = told.get("prompt_tokens") or told["input_tokens"]
            assert spent() - before == told["total_tokens"]
            before = spent()
            asyncio.run(leave(url, path, body, written))
            assert spent() - before == prompt + written, path


def test_a_deleted_model_and_one_of_another_project_are_gone(
    client: openai.OpenAI, registry: Registry, app: Any
) -> None:
    inference = app.state.inference
    client.chat.completions.create(model="tiny", messages=ASKED, max_tokens=1)  # type: ignore[list-item]
    assert inference.pool.keys
    serve_version(registry, "ft:gone", DEFAULT_PROJECT, _version(registry), job=None, task="chat")
    client.chat.completions.create(model="ft:gone", messages=ASKED, max_tokens=1)  # type: ignore[list-item]
    client.models.delete("ft:gone")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="ft:gone", messages=ASKED)  # type: ignore[list-item]


def _version(registry: Registry) -> str:
    return find_served(registry, "ft:full", DEFAULT_PROJECT).version


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_load_while_it_trains(runs: dict[str, Run], language_base: Path, sentence_base: Path, tmp_path: Path) -> None:
    """All of it whole or refused clean; SIGTERM lets what has begun finish."""
    import load

    places = (language_base, runs["labels"].folder.path, sentence_base)
    found = load.load(tmp_path, *places, requests=300, clients=32, training=True)
    assert not found.wrong, f"{found.wrong}" + (tmp_path / "server.log").read_text("utf-8")[-2000:]
    assert found.whole > 0
    assert found.at_drain["whole"] > 0
