"""The sealed log: whole when nobody touched it, and never silent about a change."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.registry.log import LogWriter, ServiceLog
from burnish.registry.store import open_registry
from burnish.storage.fingerprint import canonical_sha256

ENTRIES = [
    {"time": 1.5 + n, "key": f"bk_{n:02}", "what": "POST /v1/files", "object": "é", "status": 200} for n in range(40)
]


@pytest.fixture
def log(tmp_path: Path) -> ServiceLog:
    made = ServiceLog(open_registry(tmp_path), tmp_path / "service")
    made.add(ENTRIES[:25])
    made.add(ENTRIES[25:])
    return made


def test_it_is_whole_and_in_order(log: ServiceLog) -> None:
    assert log.damages() == []
    assert [entry["key"] for entry in log.entries()] == [entry["key"] for entry in ENTRIES]


def change_a_byte(lines: list[bytes], dice: random.Random) -> list[bytes]:
    which = dice.randrange(len(lines))
    place = dice.randrange(len(lines[which]) - 1)
    changed = bytearray(lines[which])
    changed[place] ^= 1 << dice.randrange(7)
    return [*lines[:which], bytes(changed), *lines[which + 1 :]]


def change_a_value(lines: list[bytes], dice: random.Random) -> list[bytes]:
    which = dice.randrange(len(lines))
    entry = json.loads(lines[which])
    entry[dice.choice(["key", "what", "status", "n", "time", "seal", "object"])] = dice.choice([0, "bk_99", None, 7.5])
    return [*lines[:which], json.dumps(entry).encode() + b"\n", *lines[which + 1 :]]


def leave_out(lines: list[bytes], dice: random.Random) -> list[bytes]:
    which = dice.randrange(len(lines))
    return lines[:which] + lines[which + 1 :]


def double(lines: list[bytes], dice: random.Random) -> list[bytes]:
    which = dice.randrange(len(lines))
    return [*lines[: which + 1], lines[which], *lines[which + 1 :]]


def swap(lines: list[bytes], dice: random.Random) -> list[bytes]:
    one, other = dice.sample(range(len(lines)), 2)
    swapped = list(lines)
    swapped[one], swapped[other] = lines[other], lines[one]
    return swapped


def cut_the_end(lines: list[bytes], dice: random.Random) -> list[bytes]:
    return [b"".join(lines)[: -dice.randrange(1, 2000)]]


def cut_whole_lines(lines: list[bytes], dice: random.Random) -> list[bytes]:
    return lines[: dice.randrange(len(lines))]


def add_a_line(lines: list[bytes], dice: random.Random) -> list[bytes]:
    place = dice.randrange(len(lines) + 1)
    return [
        *lines[:place],
        json.dumps({"n": place, "what": "nothing", "seal": "0" * 64}).encode() + b"\n",
        *lines[place:],
    ]


TAMPERINGS = (change_a_byte, change_a_value, leave_out, double, swap, cut_the_end, cut_whole_lines, add_a_line)


def test_each_of_a_hundred_tamperings_is_found(log: ServiceLog) -> None:
    whole = log.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    dice = random.Random(5)
    missed = []
    for turn in range(104):
        tamper: Callable[[list[bytes], random.Random], list[bytes]] = TAMPERINGS[turn % len(TAMPERINGS)]
        tampered = b"".join(tamper(lines, dice))
        log.path.write_bytes(tampered)
        if tampered != whole and not log.damages():
            missed.append((turn, tamper.__name__))
    assert missed == []


def test_a_log_forged_from_its_beginning_is_not_the_one_the_database_knows(log: ServiceLog, tmp_path: Path) -> None:
    forged = ServiceLog(open_registry(tmp_path / "elsewhere"), tmp_path / "elsewhere" / "service")
    forged.add(ENTRIES[:-1])
    log.path.write_bytes(forged.path.read_bytes())
    assert log.damages() == ["log.jsonl: the log that the database knows is not there"]
    log.path.unlink()
    assert log.damages() == ["log.jsonl: the log that the database knows is not there"]


def test_lines_of_a_killed_writer_are_kept_and_marked(log: ServiceLog) -> None:
    """It died after its line was on the disk and before the database knew: nothing is lost."""
    line = {"n": len(ENTRIES), "what": "POST /v1/last"}
    line["seal"] = canonical_sha256([list(log.entries())[-1]["seal"], line])
    with log.path.open("ab") as stream:
        stream.write(json.dumps(line).encode() + b"\n" + b'{"n": 41, "wh')
    assert log.damages() == ["log.jsonl, line 42: it was cut off"]
    log.add([{"what": "POST /v1/next"}])
    assert [entry.get("event", entry.get("what")) for entry in log.entries()][-3:] == [
        "POST /v1/last",
        "recovered",
        "POST /v1/next",
    ]
    assert log.damages() == []


def test_a_writer_seals_what_many_threads_give_it(tmp_path: Path) -> None:
    log = ServiceLog(open_registry(tmp_path), tmp_path / "service")
    writer = LogWriter(log)
    done = [writer.put({"what": str(number)}) for number in range(300)]
    for each in done:
        each.result(timeout=60)
    writer.close()
    assert [entry["what"] for entry in log.entries()] == [str(number) for number in range(300)]
    assert log.damages() == []
