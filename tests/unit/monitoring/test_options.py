"""The defaults, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from burnish.monitoring.options import MonitoringOptions


def test_the_defaults() -> None:
    assert MonitoringOptions().model_dump() == {"reference_rows": 1_000, "alpha": 0.01, "quality_fall": 0.05}


@pytest.mark.parametrize(
    "bad", [{"reference_rows": -1}, {"reference_rows": 3_001}, {"alpha": 0.0}, {"alpha": 0.3}, {"quality_fall": 0.0}]
)
def test_what_makes_no_sense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        MonitoringOptions.model_validate(bad)
