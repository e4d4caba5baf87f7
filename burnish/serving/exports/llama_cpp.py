"""A GGUF file at work in llama.cpp, through the wheel xllamacpp: its own template, tokenizer, and greedy answers.

llama.cpp is a server of this process that listens on this machine only, with a key that nobody else knows.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from burnish.errors import ModelError, excerpt

PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Greedy:
    """An answer without the token that ends it, and the natural logarithm of each token's probability.

    None where llama.cpp does not say it: of a token that ends in the middle of a character.
    """

    token_ids: list[int]
    log_probabilities: list[float | None]


class LlamaCpp:
    """An opened file.

    Args:
        file: model.gguf.
        context: tokens of prompt and answer together.
        threads: of the processor.

    Raises:
        ModelError: [export/not-opened] when llama.cpp refuses the file.
    """

    def __init__(self, file: Path, *, context: int, threads: int) -> None:
        import xllamacpp

        self._key, self._file = secrets.token_hex(16), str(file)
        options = xllamacpp.CommonParams()
        options.model.path = str(file)
        options.n_ctx, options.n_parallel = context, 1
        options.warmup, options.n_gpu_layers, options.verbosity = False, 0, -1
        options.cpuparams.n_threads = options.cpuparams_batch.n_threads = threads
        whole = xllamacpp.ggml_type.GGML_TYPE_F32  # what was read is kept in float16 otherwise, which is rounding, too
        options.cache_type_k = options.cache_type_v = whole
        options.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        options.hostnames, options.port, options.api_keys = ["127.0.0.1"], 0, [self._key]
        options.use_jinja, options.offline, options.ui = True, True, False
        try:
            self._server = xllamacpp.Server(options)
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                "export/not-opened", f"llama.cpp does not open it: {excerpt(str(error), 200)}", where=str(file)
            ) from error
        self._address = urlsplit(self._server.listening_address).netloc

    def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> list[int]:
        """Token ids of a conversation through the file's own template and tokenizer."""
        asked: dict[str, Any] = {"messages": list(messages)} | ({"tools": list(tools)} if tools else {})
        return self.tokens(str(self._ask("apply-template", asked)["prompt"]))

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens are written out."""
        found = self._ask("tokenize", {"content": text, "add_special": True, "parse_special": True})
        return [int(token) for token in found["tokens"]]

    def answer(self, ids: Sequence[int], *, most: int, ends: Sequence[int]) -> Greedy:
        """The likeliest token each time, `most` of them or until the file's own end of a turn."""
        found = self._ask(
            "completion",
            {
                "prompt": list(ids),
                "n_predict": most,
                "temperature": 0.0,
                "n_probs": 1,
                "return_tokens": True,
                "cache_prompt": False,
            },
        )
        tokens = [int(token) for token in found["tokens"]]
        said = [(int(each["id"]), float(each["logprob"])) for each in found["completion_probabilities"]]
        stop = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
        return Greedy(tokens[:stop], aligned(tokens, said)[:stop])

    def _ask(self, what: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        connection = HTTPConnection(self._address, timeout=PATIENCE_SECONDS)  # straight there: no proxy is asked
        try:
            connection.request("POST", f"/{what}", json.dumps(asked).encode(), headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != HTTPStatus.OK:
            raise ModelError(
                "export/not-answered",
                f"llama.cpp refuses to {what.replace('-', ' ')}: {excerpt(content.decode(errors='replace'), 200)}",
                where=self._file,
                hint="export it as `merged` or `vllm`",
            )
        found: dict[str, Any] = json.loads(content)
        return found


def aligned(tokens: Sequence[int], said: Sequence[tuple[int, float]]) -> list[float | None]:
    """The log-probability of each token, where it is certain which one was said.

    Where a token stands twice and was spoken of once, it is not: matched from the front and from the back, it would be
    another one.

    Args:
        said: (token, log-probability) of some of them, in order.

    >>> aligned([5, 6, 7], [(5, -0.1), (7, -0.3)])
    [-0.1, None, -0.3]
    """
    front = _matched(tokens, said)
    back = [None if place is None else len(said) - 1 - place for place in _matched(tokens[::-1], said[::-1])[::-1]]
    pairs = zip(front, back, strict=True)
    return [finite(said[one][1]) if one is not None and one == other else None for one, other in pairs]


def _matched(tokens: Sequence[int], said: Sequence[tuple[int, float]]) -> list[int | None]:
    """The place in `said` of each token, the first one that is left."""
    found: list[int | None] = []
    place = 0
    for token in tokens:
        known = place < len(said) and said[place][0] == token
        found.append(place if known else None)
        place += known
    return found


def finite(value: float) -> float:
    """A log-probability as a number that can be subtracted: of an impossible token very low."""
    return value if math.isfinite(value) else -1e4
