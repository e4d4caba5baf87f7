"""Libraries that stand in place until they are used are the real ones when they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import gc, inspect, sys
sys.path.insert(0, {folder!r})
from burnish.model import libraries
libraries.WHEN_USED = ("given",)
libraries.open_transformers()
assert gc.isenabled()
import given
inspect.getmodule(gc)  # walks through all modules
assert not hasattr(given, "__wrapped__")
assert "given.part" not in sys.modules, "nobody asked for anything of it"
assert given.answer() == 42
assert "given.part" in sys.modules
assert type(given) is type(sys)
assert not [name for name in vars(given) if "begun" in name]
"""
OF_A_PART = """
import sys, threading
sys.path.insert(0, {folder!r})
from burnish.model import libraries
libraries._load_when_used("given")
found, ready = [], threading.Barrier(8)
def ask():
    ready.wait()
    import given
    found.append(given.answer())
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert found == [42] * 8, found
del sys.modules["given"], sys.modules["given.part"]
libraries._load_when_used("given")
import given.part
assert given.__dict__["answer"]() == 42, "a part of it was imported, and it has not run"
"""


def test_a_library_is_loaded_when_something_of_it_is_used(tmp_path: Path) -> None:
    package = tmp_path / "given"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import time\ntime.sleep(0.2)\nfrom given.part import answer\n", encoding="utf-8"
    )
    (package / "part.py").write_text("def answer():\n    return 42\n", encoding="utf-8")
    for script in (SCRIPT, OF_A_PART):
        subprocess.run([sys.executable, "-c", script.format(folder=str(tmp_path))], check=True, timeout=300)
