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
