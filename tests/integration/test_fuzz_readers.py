"""A short, seeded run of the readers' fuzzer, and that the fuzzer sees what it looks for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")]
if os.name != "nt":
    import fuzz_readers
    from hostile_files import WHOLE, Case
    from toy_runs import Outcome


def test_no_file_makes_the_check_fail() -> None:
    for package in ("pyarrow", "zstandard"):
        pytest.importorskip(package)
    outcome = fuzz_readers.torture(files=120, seed=5)
    assert outcome.flawless(), outcome.table()
    assert outcome.figures["valid"] >= 10
    assert outcome.figures["whole"] >= 10


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"died": -11}, "deaths"),
        ({"hung": 60}, "hangs"),
        ({"code": 70, "err": "Traceback ..."}, "tracebacks"),
        ({"seconds": 21}, "hangs"),
        ({"bytes": 3 * 1024**3}, "over 2 GB"),
        ({"err": "\x1b[2J"}, "control characters printed"),
        ({"out": '{"error": {"code": "data/bad-json", "where": "rows.json"}}'}, "refusals without file and line"),
        ({"out": '{"error": {"code": "data/bad-json", "where": "rows.json:7"}}'}, "controls refused"),
    ],
)
def test_faults_are_seen(answer: dict[str, object], fault: str) -> None:
    fine = {"code": 0, "err": "", "seconds": 1.0, "bytes": 10**6, "out": '{"problems": []}'}
    outcome = Outcome(*fuzz_readers.FAULTS)
    fuzz_readers._judge(Case(Path("rows.json"), "valid: json", "read"), fine, "0", outcome)
    assert outcome.flawless()
    dead = {"died", "hung"} & set(answer)
    fuzz_readers._judge(Case(Path("rows.json"), "valid: json", "read"), answer if dead else fine | answer, "1", outcome)
    assert outcome.faults[fault]


def test_hostile_files_that_are_read_are_a_fault() -> None:
    outcome = Outcome(*fuzz_readers.FAULTS)
    answer = {"code": 0, "err": "", "seconds": 1.0, "bytes": 10**6, "out": '{"problems": []}'}
    fuzz_readers._judge(Case(Path("rows.json"), "whole: empty", "refused"), answer, "0", outcome)
    assert outcome.faults["hostile files accepted"] == ["0"]
    assert "refused" in {expected for _, expected, _ in WHOLE.values()}
