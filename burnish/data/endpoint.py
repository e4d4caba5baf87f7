"""An OpenAI-compatible endpoint that the user names: the only way a row ever leaves the machine.

What comes back is text from a stranger: it is bounded, parsed as JSON and never run.
"""

from __future__ import annotations

import http
import http.client
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish.errors import UsageError, excerpt

MAX_ANSWER_BYTES = 1 << 20  # of one response
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where somebody answers.

    Attributes:
        url: up to and without /chat/completions or /moderations, e.g. http://localhost:8000/v1.
        model: as the endpoint calls it; "" where it has one of its own.
        key: sent as bearer token; None sends none.
        timeout_seconds: of one request.
        where: the option that named it, for messages.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 60.0
    where: str = "--endpoint"

    def check(self) -> None:
        """Raises UsageError [data/bad-endpoint] for anything but http(s), or when a key would travel unencrypted."""
        reason = None
        try:
            parts = urllib.parse.urlsplit(self.url)
            _ = parts.port
        except ValueError:  # a port that is no number, brackets that do not close
            parts = urllib.parse.urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            reason = "an endpoint is an http or https address"
        elif parts.scheme == "http" and self.key and parts.hostname not in _LOOPBACK:
            reason = "a key is sent over https only, or to this machine"
        if reason:
            raise UsageError(
                "data/bad-endpoint", reason, where=excerpt(self.url), hint=f"e.g. {self.where} http://localhost:8000/v1"
            )

    def ask(self, task: str, text: str, *, temperature: float = 1.0) -> str:
        """The answer to one message.

        Args:
            temperature: 0 asks for the likeliest answer.

        Raises:
            OSError, ValueError: the endpoint did not answer, or with something else than a chat completion.
        """
        messages = [{"role": "system", "content": task}, {"role": "user", "content": text}]
        return self.answer(messages, temperature=temperature)

    def answer(self, messages: Sequence[Mapping[str, Any]], *, temperature: float) -> str:
        """The answer to a conversation; arguments and errors as for `ask`."""
        answer = self._post(
            "chat/completions", {"model": self.model, "messages": list(messages), "temperature": temperature}
        )
        try:
            content = answer["choices"][0]["message"]["content"]
        except (LookupError, TypeError) as error:
            raise ValueError("not a chat completion") from error
        if not isinstance(content, str):
            raise ValueError("a completion without text")
        return content

    def moderate(self, texts: Sequence[str]) -> list[list[str]]:
        """For each text the categories it is flagged for, sorted; none for a text that may pass.

        Raises:
            OSError, ValueError: the endpoint did not answer, or with something else than a moderation.
        """
        body: dict[str, Any] = {"input": list(texts)} | ({"model": self.model} if self.model else {})
        answer = self._post("moderations", body)
        try:
            results = answer["results"]
            found = [_flagged(result) for result in results]
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError("not a moderation") from error
        if len(found) != len(texts):
            raise ValueError(f"{len(found)} results for {len(texts)} texts")
        return found

    def _post(self, path: str, content: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        parts = urllib.parse.urlsplit(self.url)
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = connect(str(parts.hostname), parts.port, timeout=self.timeout_seconds)
        try:
            connection.request("POST", f"{parts.path.rstrip('/')}/{path}", json.dumps(content).encode(), headers)
            with connection.getresponse() as response:
                raw = response.read(MAX_ANSWER_BYTES + 1)
        except http.client.HTTPException as error:
            raise ValueError(f"not HTTP: {type(error).__name__}") from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:  # a redirect too: rows and key go where the user said, or nowhere
            raise ValueError(f"HTTP status {response.status}")
        if len(raw) > MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of over {MAX_ANSWER_BYTES:,} bytes")
        try:
            return json.loads(raw)
        except RecursionError as error:
            raise ValueError("JSON nested too deeply") from error


def _flagged(result: Mapping[str, Any]) -> list[str]:
    if not result["flagged"]:
        return []
    return sorted(str(name) for name, is_so in result["categories"].items() if is_so) or ["flagged"]
