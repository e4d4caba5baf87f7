"""What a server is told to serve is there, or it does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.errors import UsageError
from burnish.lifecycle.service import open_service


@pytest.mark.parametrize("alias", ["gpt-4o-mini", "=minim", "gpt-4o-mini=", "gpt-4o-mini=minim"])
def test_an_alias_means_a_base_that_is_served(tmp_path: Path, alias: str) -> None:
    with pytest.raises(UsageError) as refused:
        open_service(home=tmp_path, aliases=[alias])
    assert refused.value.code == "serve/bad-alias"


def test_an_alias_may_mean_a_base_or_a_tuned_model(tmp_path: Path) -> None:
    service = open_service(home=tmp_path, aliases=["small=minilm", "mine=ft:minilm:local:x:1"])
    assert service.aliases == {"small": "minilm", "mine": "ft:minilm:local:x:1"}


@pytest.mark.parametrize(
    ("upstream", "code"),
    [
        ("other=http://127.0.0.1:1/v1", "serve/bad-upstream"),
        ("http://127.0.0.1:1/v1", "serve/bad-upstream"),
        ("tiny=http://me:secret@127.0.0.1:1/v1", "serve/bad-upstream"),
        ("tiny=http://127.0.0.1:1/v1?to=elsewhere", "serve/bad-upstream"),
        ("tiny=file:///etc/passwd", "data/bad-endpoint"),
        ("tiny=http://gpu.example.org/v1", "data/bad-endpoint"),  # the key would travel in the clear
    ],
)
def test_an_upstream_is_an_address_that_a_key_may_be_sent_to(
    language_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: str, code: str
) -> None:
    monkeypatch.setenv("BURNISH_UPSTREAM_KEY", "k3y")
    with pytest.raises(UsageError) as refused:
        open_service(home=tmp_path, models=[f"tiny={language_base}"], upstreams=[upstream])
    assert refused.value.code == code
    assert "k3y" not in str(refused.value)
    service = open_service(
        home=tmp_path, models=[f"tiny={language_base}"], upstreams=["tiny=https://gpu.example.org/v1"]
    )
    assert service.upstreams["tiny"].key == "k3y"
