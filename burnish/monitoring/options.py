"""Options of the monitor: what a run keeps to be compared with, and when it calls a change a change."""

from __future__ import annotations

from pydantic import Field

from burnish.settings import Options


class MonitoringOptions(Options):
    """What `burnish monitor` compares new rows with, and when it alarms."""

    reference_rows: int = Field(
        default=1_000, ge=0, le=3_000, description="test rows whose vectors are kept to compare new rows with; 0: none"
    )
    alpha: float = Field(
        default=0.01, ge=0.001, le=0.2, description="chance of an alarm when nothing has changed, of all tests together"
    )
    quality_fall: float = Field(
        default=0.05, gt=0, lt=1, description="share of its test value by which a metric must fall to call for training"
    )
