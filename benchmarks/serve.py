"""How many requests does the server answer, against what else serves the same weights on the same cores?

    python benchmarks/serve.py --only chat --pairs 5
    python benchmarks/serve.py --only classification --pairs 5

chat: a Llama of 24 M random weights; 32 clients ask for 32 tokens each, the likeliest every time. Peers:

    transformers       `transformers serve` as it comes
    transformers-cb    the same with --continuous-batching, where it runs

classification: MiniLM tuned by burnish on rows of banking77; 32 clients send one text each. Peer:

    pipeline           FastAPI with transformers' pipeline behind a plain function, as its documentation shows it

Each round starts the server anew and warms it up. Clients and server share the threads. Figures: requests and tokens
in a second, and the times of the 50th and 99th of a hundred answers. A fall of the likeliest token by rounding shows
in `same_answers`: the share of texts that are those of the first arm. Writes benchmarks/results/serve-<only>.json.
Needs the extras serve, demo and dev.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measuring import (
    ROOT,
    Figures,
    Measured,
    Place,
    answer,
    median_of,
    parsed,
    parser,
    quotients,
    read_rows,
    report,
    rows_of,
    run_arm,
    sample_rows,
    table,
    take_turns,
    with_range,
    write_rows,
)

CLIENTS, WARM_UP, NEW_TOKENS = 32, 32, 32
STORIES = ROOT.parent / "shared" / "models" / "stories260k"
START_SECONDS = 180
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
PLAIN = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
from fastapi import FastAPI
from plain_final import open_plain
from pydantic import BaseModel
from transformers import pipeline
import uvicorn
torch.set_num_threads({threads})
model, tokenizer = open_plain(Path({final!r}))
classify = pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True)
app = FastAPI()
class Asked(BaseModel):
    text: str
@app.post("/predict")
def predict(asked: Asked):
    return classify(asked.text)[0]
@app.get("/health")
def health():
    return "ok"
uvicorn.run(app, port={port}, log_level="warning")
"""


def prepare_chat(place: Place, *, folder: str) -> Figures:
    """A random model that never ends an answer by itself, with a real tokenizer and a template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(13)
    sizes = {"hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 1408, "vocab_size": 512}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 2048}
    config = LlamaConfig(**sizes, **heads, bos_token_id=1, eos_token_id=2, initializer_range=0.05)  # type: ignore[arg-type]
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[2] = 0  # of 512 logits one is always above 0
    base = Path(folder) / "tiny"
    model.save_pretrained(base)
    shutil.copyfile(STORIES / "tokenizer.json", base / "tokenizer.json")
    about = json.loads((STORIES / "tokenizer_config.json").read_text("utf-8"))
    about |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048}
    (base / "tokenizer_config.json").write_text(json.dumps(about), "utf-8")
    (base / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return {"parameters": sum(weight.numel() for weight in model.parameters())}


def prepare_classification(place: Place, *, folder: str) -> Figures:
    """A tuned model, served by name from a registry of its own."""
    import burnish
    from burnish.lifecycle.versions import store_model
    from burnish.registry.served import serve_version
    from burnish.registry.store import open_registry

    run = burnish.train(
        Path(folder) / "train.csv",
        output=Path(folder) / "run",
        overrides=["method=full", "training.epochs=1", "evaluation.resamples=100"],
    )
    registry = open_registry(Path(folder) / "home")
    version = store_model(registry, run.folder, name="labels")
    serve_version(registry, "ft:labels", "default", version.id, job=None, task="text-classification")
    return {}


def burnish_server(place: Place, folder: Path, port: int) -> list[str]:
    command = [sys.executable, "-m", "burnish", "serve", "--no-worker", "--port", str(port)]
    return [*command, "--model", str(folder / "tiny")] if (folder / "tiny").is_dir() else command


def transformers_server(place: Place, folder: Path, port: int, *more: str) -> list[str]:
    program = Path(sys.executable).parent / "transformers"
    return [str(program), "serve", str(folder / "tiny"), "--port", str(port), "--device", "cpu", *more]


def plain_server(place: Place, folder: Path, port: int) -> list[str]:
    here, final = str(Path(__file__).parent), str(folder / "run" / "final")
    return [sys.executable, "-c", PLAIN.format(here=here, threads=place.threads, final=final, port=port)]


def measure(
    place: Place, *, folder: str, requests: int, server: Callable[..., list[str]], path: str, bodies: Sequence[Any]
) -> Figures:
    """Starts a server, warms it up, sends the requests from CLIENTS connections, and ends it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"BURNISH_HOME": str(Path(folder) / "home"), "TOKENIZERS_PARALLELISM": "false"}
    environment.pop("BURNISH_THREADS", None)  # each server divides the cores as it does by itself
    with (place.work / "server.log").open("w+") as log:
        process = subprocess.Popen(server(place, Path(folder), port), stdout=log, stderr=log, env=environment)
        try:
            asyncio.run(_ready(port, process, place.work / "server.log"))
            asyncio.run(load(port, path, [bodies[n % len(bodies)] for n in range(WARM_UP)], CLIENTS))
            asked = [bodies[n % len(bodies)] for n in range(requests)]
            started = time.perf_counter()
            found = asyncio.run(load(port, path, asked, CLIENTS))
            seconds = time.perf_counter() - started
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
    refused = [said for status, _, said in found if status != 200]
    if refused:
        raise RuntimeError(f"{len(refused)} of {requests} refused: {refused[0]}")
    times = sorted(seconds for _, seconds, _ in found)
    tokens = sum((said.get("usage") or {}).get("completion_tokens", 0) for _, _, said in found)
    return {
        "requests_per_second": requests / seconds,
        "tokens_per_second": tokens / seconds,
        "tokens": tokens,
        "p50_seconds": statistics.median(times),
        "p99_seconds": times[int(len(times) * 0.99) - 1],
        "answers": [_said(said) for _, _, said in found[: len(bodies)]],
    }


def _said(found: Mapping[str, Any]) -> str:
    if "choices" in found:
        return str(found["choices"][0]["message"]["content"]).strip()
    return str((found["data"][0] if "data" in found else found)["label"])


async def _ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_SECONDS * 10):
        if process.poll() is not None:
            raise RuntimeError(log.read_text("utf-8")[-3000:])
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return
    raise RuntimeError("the server did not start")


async def load(port: int, path: str, bodies: Sequence[Any], clients: int) -> list[tuple[int, float, Any]]:
    """Status, seconds and answer of each request, in order, sent from so many connections."""
    found: list[tuple[int, float, Any]] = [(0, 0.0, None)] * len(bodies)
    waiting = iter(enumerate(bodies))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for index, body in waiting:
            content = json.dumps(body).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            started = time.perf_counter()
            writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            status, said = await _answer(reader)
            found[index] = (status, time.perf_counter() - started, json.loads(said))
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return found


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    return int(head.split(" ", 2)[1]), await reader.readexactly(int(length.partition(":")[2]))


def chat_bodies(model: str) -> list[Any]:
    words = ("once", "upon", "a", "time", "there", "was", "little", "girl", "who", "loved", "the", "sun")
    texts = [" ".join(words[(n * 5 + k * (n + 3)) % 12] for k in range(12 + n % 20)) for n in range(64)]
    return [
        {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": NEW_TOKENS,
            "temperature": 0,
            "stream": False,
        }
        for text in texts
    ]


def chat_arm(place: Place, *, folder: str, requests: int, server: Callable[..., list[str]], name: str) -> Figures:
    model = name or str(Path(folder) / "tiny")
    path = "/v1/chat/completions"
    return measure(place, folder=folder, requests=requests, server=server, path=path, bodies=chat_bodies(model))


def burnish_labels(place: Place, *, folder: str, requests: int) -> Figures:
    texts = [row.text for row in rows_of(Path(folder) / "test.csv")]
    bodies = [{"model": "ft:labels", "input": [text]} for text in texts]
    path = "/v1/burnish/predict"
    return measure(place, folder=folder, requests=requests, server=burnish_server, path=path, bodies=bodies)


def pipeline_labels(place: Place, *, folder: str, requests: int) -> Figures:
    bodies = [{"text": row.text} for row in rows_of(Path(folder) / "test.csv")]
    return measure(place, folder=folder, requests=requests, server=plain_server, path="/predict", bodies=bodies)


def _continuous(place: Place, folder: Path, port: int) -> list[str]:
    return transformers_server(place, folder, port, "--continuous-batching")


ARMS: dict[str, dict[str, Callable[..., Figures]]] = {
    "chat": {
        "burnish": partial(chat_arm, server=burnish_server, name="tiny"),
        "transformers": partial(chat_arm, server=transformers_server, name=""),
        "transformers-cb": partial(chat_arm, server=_continuous, name=""),
    },
    "classification": {"burnish": burnish_labels, "pipeline": pipeline_labels},
}
PREPARE = {"chat": prepare_chat, "classification": prepare_classification}


def summary(measured: Measured) -> tuple[str, dict[str, Any]]:
    """The table, and burnish's ratios to each peer, round by round."""
    ratios: dict[str, Any] = {}
    lines = []
    reference = measured["burnish"][0]["answers"]
    for arm, rounds in measured.items():
        pairs = zip(rounds[0]["answers"], reference, strict=True)
        same = sum(one == other for one, other in pairs) / len(reference)
        cells = [
            arm,
            *(f"{median_of(measured, arm, name):.0f}" for name in ("requests_per_second", "tokens_per_second")),
        ]
        cells += [f"{1000 * median_of(measured, arm, name):,.0f}" for name in ("p50_seconds", "p99_seconds")]
        cells += [f"{same:.1%}", ""]
        if arm != "burnish":
            ratios[arm] = quotients(measured, "burnish", arm, "requests_per_second")
            cells[-1] = with_range(ratios[arm])
        lines.append(cells)
    head = ["arm", "requests/s", "tokens/s", "p50 ms", "p99 ms", "same answers", "burnish answers more by"]
    return table(head, lines), ratios


def main() -> None:
    found = parser(str(__doc__), pairs=5)
    found.add_argument("--only", choices=sorted(ARMS), default="chat")
    found.add_argument("--requests", type=int, help="in each round (512 conversations, 4096 texts)")
    found.add_argument("--skip", nargs="*", default=[], help="peers that are left out")
    options = parsed(found)
    every = {**{f"{only}:{arm}": work for only, arms in ARMS.items() for arm, work in arms.items()}}
    every |= {f"{only}:prepare": work for only, work in PREPARE.items()}
    if answer(every, options):
        return
    usual = 512 if options.only == "chat" else 4096
    requests = options.requests or (64 if options.quick else usual)
    with tempfile.TemporaryDirectory() as folder:
        if options.only == "classification":
            _, train = read_rows("train")
            _, test = read_rows("test")
            write_rows(Path(folder) / "train.csv", sample_rows(train, 400 if options.quick else 2000, options.seed)[0])
            write_rows(Path(folder) / "test.csv", test[:512])
        threads = options.threads
        run_arm(__file__, f"{options.only}:prepare", {"folder": folder}, threads=threads)
        given = {"folder": folder, "requests": requests}
        arms = {
            arm: partial(run_arm, __file__, f"{options.only}:{arm}", given, threads=threads)
            for arm in ARMS[options.only]
            if arm not in options.skip
        }
        measured = take_turns(arms, options.pairs)
    shown, ratios = summary(measured)
    kept = {
        arm: [{name: value for name, value in figures.items() if name != "answers"} for figures in rounds]
        for arm, rounds in measured.items()
    }
    script = str(Path(__file__).with_name(f"serve-{options.only}.py"))
    report(script, options, shown, {"n": requests, "clients": CLIENTS, "measured": kept, "ratios": ratios})


if __name__ == "__main__":
    main()
