"""Does the registry stay whole when its writers are killed, when they work at once, and when bits rot?

    python tests/torture/stored_versions.py --kills 200 --flips 100

Kills: a process that promotes, keeps, collects garbage or copies the registry is killed with SIGKILL at a random
moment; then everything stored is verified and the same work is done to its end. Flips: one random bit of one stored
file is changed, the version is asked for, and the bit is put back.
Exit code 0 when nothing was lost, nothing half stored, and every flip was refused with the name of its file.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from toy_runs import Outcome, parser_of, report

from burnish.errors import BurnishError, DamagedStoreError, RegistryError
from burnish.registry.aliases import earlier, log, point, roll_back
from burnish.registry.backup import copy_registry
from burnish.registry.collect import collect
from burnish.registry.database import open_database
from burnish.registry.store import Registry, open_registry
from burnish.registry.verify import damages
from burnish.registry.version import NewVersion
from burnish.storage.durable import published_folder
from burnish.storage.version_store import LocalStore, VersionStore

PRELOADED = ["burnish.registry.backup", "burnish.registry.collect", "alembic.command"]
FAULTS = ("not whole after a kill", "could not go on", "copies not whole", "flips not refused")
LONGEST = 0.25  # seconds of work before a kill


def new_model(made: Path, number: int, name: str = "tickets") -> NewVersion:
    """A model of three files that no other number has."""
    folder = made / f"{os.getpid()}-{number}"
    (folder / "final").mkdir(parents=True, exist_ok=True)
    files = {}
    for file in ("manifest.json", "final/config.json", "final/model.safetensors"):
        (folder / file).write_text(f"{file} of {folder.name}\n" * 50, encoding="utf-8")
        files[file] = folder / file
    return NewVersion("model", name, files=files)


def keep(registry: Registry, made: Path, number: int) -> None:
    base = registry.put(NewVersion("base", f"base-{number % 3}"))
    new = new_model(made, number)
    registry.put(NewVersion("model", new.name, files=new.files, parents={"base": base.id}))


def promote(registry: Registry, made: Path, number: int) -> None:
    version = registry.put(new_model(made, number))
    point(registry, version, "champion", gates=())
    if number % 3 == 2:
        roll_back(registry, "tickets", "champion", to=earlier(registry, "tickets", "champion"))


def sweep(registry: Registry, made: Path, number: int) -> None:
    keep(registry, made, number)
    collect(registry, older_than_days=0)


def copy(registry: Registry, made: Path, number: int) -> None:
    with published_folder(made / f"copy-{os.getpid()}-{number}") as folder:
        copy_registry(registry, folder, lambda done, total: None)


WORK: Mapping[str, Callable[[Registry, Path, int], None]] = {
    "promote": promote,
    "keep": keep,
    "collect": sweep,
    "copy": copy,
}


def work_without_end(home: Path, made: Path, what: str, ready: Connection) -> None:
    registry = open_registry(home)
    ready.send(True)
    for number in itertools.count():
        WORK[what](registry, made, number)


def torture(folder: Path, *, kills: int, flips: int, seed: int) -> Outcome:
    outcome, chance = Outcome(*FAULTS), random.Random(seed)
    home, made = folder / "home", folder / "made"
    made.mkdir(parents=True)
    registry = open_registry(home)
    for number in range(5):
        promote(registry, made, number)
    for number in range(kills):
        _kill_once(home, made, list(WORK)[number % len(WORK)], chance, outcome)
    for number in range(flips):
        _flip_once(registry, chance, outcome, f"flip {number}")
    outcome.figures |= {"kills": kills, "flips": flips, "versions at the end": len(registry.versions("model"))}
    return outcome


def _kill_once(home: Path, made: Path, what: str, chance: random.Random, outcome: Outcome) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    hears, tells = context.Pipe(duplex=False)
    process = context.Process(target=work_without_end, args=(home, made, what, tells))
    process.start()
    hears.recv()
    time.sleep(chance.uniform(0, LONGEST))
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    registry = open_registry(home)
    outcome.fault("not whole after a kill", *(f"{what}: {damage}" for damage in damages(registry)))
    for copied in made.glob("copy-*"):
        outcome.fault("copies not whole", *(f"{copied.name}: {each}" for each in damages(open_registry(copied))))
        outcome.count("copies made")
        shutil.rmtree(copied)
    try:
        WORK[what](registry, made, 0)
    except BurnishError as error:
        outcome.fault("could not go on", f"{what}: {error}")


def _flip_once(registry: Registry, chance: random.Random, outcome: Outcome, what: str) -> None:
    """One bit of one file of one version; asking for the version must name the file."""
    version = chance.choice(registry.versions("model"))
    folder = registry.folder(version)
    path = chance.choice(sorted(each for each in folder.rglob("*") if each.is_file()))
    before = path.read_bytes()
    content = bytearray(before)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    name = path.relative_to(folder).as_posix()
    try:
        registry.folder(version)
        outcome.fault("flips not refused", f"{what}: {name}")
    except DamagedStoreError as error:
        if name not in error.message:
            outcome.fault("flips not refused", f"{what}: {name} is not named in: {error.message}")
    path.write_bytes(before)


def promote_many(home: Path, url: str | None, made: Path, times: int, answer: Connection) -> None:
    """Promotions of one process among several; tells how many were carried out, and how many cleanly refused."""
    registry = Registry(open_database(home, url), LocalStore(home / "versions"))
    done = refused = 0
    for number in range(times):
        try:
            version = registry.put(new_model(made, number))
            point(registry, version, "champion", gates=())
            done += 1
        except RegistryError:  # collected before it was promoted
            refused += 1
    answer.send((done, refused))


def collect_many(home: Path, url: str | None, times: int, answer: Connection) -> None:
    registry = Registry(open_database(home, url), LocalStore(home / "versions"))
    for _ in range(times):
        collect(registry, older_than_days=0)
    answer.send(times)


def at_once(folder: Path, *, url: str | None, times: int) -> tuple[int, int, list[str]]:
    """Two processes promote and two collect, all at once; gives (promotions, refused ones, what is wrong)."""
    home, made = folder / "home", folder / "made"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ends, processes = [], []
    for target, arguments in ((promote_many, (home, url, made)), (collect_many, (home, url))):
        for _ in range(2):
            hears, tells = context.Pipe(duplex=False)
            processes.append(context.Process(target=target, args=(*arguments, times, tells)))
            ends.append(hears)
    for process in processes:
        process.start()
    answers = [each.recv() for each in ends]
    for process in processes:
        process.join()
    registry = Registry(open_database(home, url), LocalStore(home / "versions"))
    promoted, refused = (sum(answer[i] for answer in answers[:2]) for i in (0, 1))
    wrong = [*damages(registry), *_lost(registry, promoted), *_dangling(registry)]
    registry.engine.dispose()
    return promoted, refused, wrong


def _lost(registry: Registry, promoted: int) -> Iterator[str]:
    """Each promotion is in the log once, and each knows the one before it."""
    entries = log(registry)
    if len(entries) != promoted:
        yield f"{promoted} promotions, {len(entries)} in the log"
    for before, after in itertools.pairwise(entries):
        if after["before"] != before["version"]:
            yield f"a promotion replaced {after['before']} and not the one before it, {before['version']}"


def _dangling(registry: Registry) -> Iterator[str]:
    """Files that no version has."""
    known: set[str] = {version.id for version in registry.versions("model")}
    store: VersionStore = registry.store
    for version, _ in store.ids():
        if version not in known:
            yield f"files of {version} that no version has"


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=100)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        outcome = torture(Path(folder), kills=options.kills, flips=options.flips, seed=options.seed)
    return report("stored_versions", outcome, seed=options.seed, n=options.kills, started=started)


if __name__ == "__main__":
    sys.exit(main())
