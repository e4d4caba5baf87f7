"""What the server's own log says of requests that it does not answer."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from burnish.api.app import make_app
from burnish.lifecycle.inference import Inference
from burnish.lifecycle.service import open_service


def test_a_refusal_is_a_line_and_a_mistake_of_ours_says_where_it_happened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(open_service(home=tmp_path))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        app.state.rules.draining = True
        assert client.get("/v1/models").status_code == 503
        (said,) = [record for record in caplog.records if record.levelno > logging.INFO]
        assert (said.levelname, said.exc_info) == ("WARNING", None)
        caplog.clear()
        app.state.rules.draining = False
        monkeypatch.setattr(Inference, "embed", lambda *_: 1 / 0)
        assert client.post("/v1/embeddings", json={"model": "m", "input": "a"}).status_code == 500
        (said,) = [record for record in caplog.records if record.levelno > logging.INFO]
        assert said.levelname == "ERROR"
        assert said.exc_info is not None
