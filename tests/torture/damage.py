"""Does a damaged newest checkpoint cost anything but the steps since the one before?

    python tests/torture/damage.py --damages 100

Trainings are killed, the newest checkpoint of a copy is damaged in one of six ways, and the copy is resumed. Exit
code 0 when each damage was named, an older checkpoint (or a new start) was used, and the end was bit for bit the same.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from toy_runs import METHODS, Outcome, Toys, differences, leftovers, parser_of, report, steps, toys

from burnish.storage.durable import MANIFEST

DAMAGES_PER_KILL = 6
FAULTS = ("damages not named", "manual repairs", "leftovers", "different ends")


def flip_a_bit(checkpoint: Path, chance: random.Random) -> None:
    path = chance.choice(_files(checkpoint))
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut_a_file(checkpoint: Path, chance: random.Random) -> None:
    path = chance.choice(_files(checkpoint))
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def remove_a_file(checkpoint: Path, chance: random.Random) -> None:
    chance.choice([path for path in _files(checkpoint) if path.name != MANIFEST]).unlink()


def remove_the_manifest(checkpoint: Path, _: random.Random) -> None:
    (checkpoint / MANIFEST).unlink()


def falsify_the_manifest(checkpoint: Path, chance: random.Random) -> None:
    """Another size, another hash, another name, or an entry less."""
    manifest = json.loads((checkpoint / MANIFEST).read_text("utf-8"))
    name = chance.choice(sorted(manifest))
    entry = manifest.pop(name)
    change = chance.choice(("bytes", "sha256", "name", "none"))
    if change == "name":
        manifest[f"{name}.old"] = entry
    elif change != "none":
        manifest[name] = entry | ({"bytes": entry["bytes"] + 1} if change == "bytes" else {"sha256": "0" * 64})
    (checkpoint / MANIFEST).write_text(json.dumps(manifest), "utf-8")


def swap_a_file(checkpoint: Path, chance: random.Random) -> None:
    """A file of an older checkpoint in place of this one's, or of another one beside it."""
    others = [path for path in checkpoint.parent.glob("step-*/*") if path.parent != checkpoint]
    path = chance.choice(_files(checkpoint))
    others = [other for other in others if other.name == path.name] or _files(checkpoint)
    content = chance.choice([other.read_bytes() for other in others])
    path.write_bytes(content if content != path.read_bytes() else content[::-1])


KINDS: tuple[Callable[[Path, random.Random], None], ...] = (
    flip_a_bit,
    cut_a_file,
    remove_a_file,
    remove_the_manifest,
    falsify_the_manifest,
    swap_a_file,
)


def _files(checkpoint: Path) -> list[Path]:
    return sorted(checkpoint.iterdir())


def torture(toys: Toys, *, damages: int, seed: int) -> Outcome:
    outcome, chance = Outcome(*FAULTS), random.Random(seed)
    outcome.figures |= {"damages": damages, "an older one used": 0, "begun anew": 0}
    for number in range(damages):
        if number % DAMAGES_PER_KILL == 0:
            method = METHODS[number // DAMAGES_PER_KILL % len(METHODS)]
            toys.whole(method)
            killed = _killed_run(toys, method, chance)
        kind = KINDS[number % len(KINDS)]
        run = toys.new_run()
        shutil.copytree(killed, run)
        newest = run / "checkpoints" / f"step-{max(steps(run))}"
        kind(newest, chance)
        outcome.count(kind.__name__.replace("_", " "))
        _resume(toys, method, run, newest.name, f"{kind.__name__}, {newest.name} ({method})", outcome)
        shutil.rmtree(run)
    return outcome


def _killed_run(toys: Toys, method: str, chance: random.Random) -> Path:
    run, step = toys.new_run(), chance.randrange(1, 45)
    attempt = toys.start(method, run)
    attempt.wait_for(lambda: max(steps(run), default=0) >= step)
    attempt.kill()
    return run


def _resume(toys: Toys, method: str, run: Path, newest: str, what: str, outcome: Outcome) -> None:
    attempt = toys.start(method, run)
    if attempt.wait() != 0:
        outcome.fault("manual repairs", f"{what}: {attempt.printed()[-300:]}")
    printed = attempt.printed()
    if f"checkpoint {newest} is damaged (" not in printed or f"resumed from {newest}:" in printed:
        outcome.fault("damages not named", what)
    outcome.count("an older one used" if "resumed from step-" in printed else "begun anew")
    outcome.fault("leftovers", *(f"{what}: {name}" for name in leftovers(run)))
    outcome.fault("different ends", *(f"{what}: {name}" for name in differences(run, toys.whole(method))))


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--damages", type=int, default=100)
    options = parser.parse_args()
    started = time.monotonic()
    with toys(options.work) as lab:
        outcome = torture(lab, damages=options.damages, seed=options.seed)
    return report("damage", outcome, seed=options.seed, n=options.damages, started=started)


if __name__ == "__main__":
    sys.exit(main())
