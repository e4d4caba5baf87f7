"""Rules of the whole house, read from its source: who may write, what is never run, and what is loaded when."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import burnish

PACKAGE = Path(burnish.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

NEVER_IMPORTED = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
NEVER_CALLED = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "numpy.load"),
    *("torch.hub.load", "pandas.read_pickle"),
}
WRITERS = {
    *("json.dump", "numpy.save", "numpy.savez", "numpy.savez_compressed", "numpy.savetxt", "torch.save"),
    *("safetensors.torch.save_file", "safetensors.numpy.save_file", "shutil.copy", "shutil.copy2", "shutil.copyfile"),
    *("shutil.copytree", "shutil.move", "tempfile.mkstemp", "tempfile.NamedTemporaryFile", "tempfile.TemporaryFile"),
}
WRITING_METHODS = {"write_text", "write_bytes", "touch", "tofile", "save_pretrained", "to_csv", "to_json", "to_pickle"}

# transformers writes a model into a folder in many files and offers no other way; that folder is a temporary one
# which `published_folder` completes, syncs and renames, and the tokenizer's files are copied into the same folder.
INTO_A_PUBLISHED_FOLDER = {
    "serving/package.py": {"save_pretrained", "shutil.copyfile"},
    "serving/image_package.py": {"save_pretrained", "shutil.copyfile"},
    "serving/language_package.py": {"save_pretrained", "shutil.copyfile"},
    "serving/embedding_package.py": {"save_pretrained", "shutil.copyfile"},
    "serving/seq2seq_package.py": {"save_pretrained", "shutil.copyfile"},
}


class Sins(ast.NodeVisitor):
    """What a module does that it must not: (line, what)."""

    def __init__(self, source: str, *, may_write: bool, into_published: frozenset[str] = frozenset()) -> None:
        self.may_write, self.into_published = may_write, into_published
        self.names: dict[str, str] = {}  # name in the module -> where it was imported from
        self.published = 0
        self.found: list[tuple[int, str]] = []
        self.visit(ast.parse(source))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            top = alias.name.split(".")[0]
            self.names[alias.asname or top] = alias.name if alias.asname else top
            self._imported(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        self._imported(node, node.module or "")

    def visit_With(self, node: ast.With) -> None:
        publishes = any(
            isinstance(item.context_expr, ast.Call)
            and self._dotted(item.context_expr.func) == "burnish.storage.durable.published_folder"
            for item in node.items
        )
        self.published += publishes
        self.generic_visit(node)
        self.published -= publishes

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "trust_remote_code" and not _is_false(value):
                self.found.append((node.lineno, "trust_remote_code"))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = self._dotted(node.func)
        for keyword in node.keywords:
            if keyword.arg in ("shell", "trust_remote_code", "allow_pickle") and not _is_false(keyword.value):
                self.found.append((node.lineno, str(keyword.arg)))
        unpickles = not any(keyword.arg == "allow_pickle" and _is_false(keyword.value) for keyword in node.keywords)
        if called in NEVER_CALLED and (called != "numpy.load" or unpickles):
            self.found.append((node.lineno, called))
        elif not self.may_write and (what := self._writes(called, node)):
            allowed = what in self.into_published and self.published > 0
            if not allowed:
                self.found.append((node.lineno, what))
        self.generic_visit(node)

    def _imported(self, node: ast.stmt, module: str) -> None:
        if module.split(".")[0] in NEVER_IMPORTED:
            self.found.append((node.lineno, module))

    def _dotted(self, node: ast.expr) -> str:
        """numpy.save for np.save, .open for a method of something computed."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self._dotted(node.value) if isinstance(node.value, (ast.Name, ast.Attribute)) else ""
            return f"{base}.{node.attr}"
        return ""

    def _writes(self, called: str, node: ast.Call) -> str | None:
        last = called.rsplit(".", 1)[-1]
        if called in WRITERS:
            return called
        if last in WRITING_METHODS and "." in called and not called.startswith("burnish.storage."):
            return last
        if called == "os.open":
            return None if node.args and self._dotted(node.args[0]) == "os.devnull" else called
        if last in ("open", "fdopen") and not called.startswith("burnish."):
            builtin = called in ("open", "io.open", "os.fdopen", "gzip.open", "bz2.open", "lzma.open", "codecs.open")
            mode = _mode(node, 1 if builtin else 0)
            return f"{called}({mode})" if set(mode) & set("wax+?") else None
        return None


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def _mode(node: ast.Call, place: int) -> str:
    """The mode a file is opened in; ? when it is not written out."""
    given = next((k.value for k in node.keywords if k.arg == "mode"), None)
    if given is None:
        given = node.args[place] if len(node.args) > place else ast.Constant("r")
    return given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else "?"


def sins(source: str, *, may_write: bool = False, into_published: frozenset[str] = frozenset()) -> list[str]:
    return [what for _, what in Sins(source, may_write=may_write, into_published=into_published).found]


@pytest.mark.parametrize("module", MODULES)
def test_only_storage_writes_and_nothing_runs_what_it_reads(module: str) -> None:
    allowed = frozenset(INTO_A_PUBLISHED_FOLDER.get(module, set()))
    found = Sins(
        (PACKAGE / module).read_text(encoding="utf-8"),
        may_write=module.startswith("storage/"),
        into_published=allowed,
    ).found
    assert [f"burnish/{module}:{line}: {what}" for line, what in found] == []


@pytest.mark.parametrize(
    "source",
    [
        "open('a', 'w')",
        "open('a', mode='ab')",
        "open('a', mode)",
        "import io; io.open('a', 'x')",
        "import os; os.open('a', os.O_WRONLY)",
        "path.open('r+')",
        "Path('a').open(mode='w')",
        "Path('a').write_text('x')",
        "(folder / 'a').write_bytes(b'x')",
        "path.touch()",
        "import json; json.dump({}, stream)",
        "import numpy as np; np.save('a', x)",
        "import torch; torch.save(x, 'a')",
        "from torch import save as keep; keep(x, 'a')",
        "from safetensors.torch import save_file; save_file({}, 'a')",
        "from shutil import copyfile; copyfile('a', 'b')",
        "model.save_pretrained('a')",
        "import pickle",
        "from joblib import load",
        "import marshal",
        "import yaml",
        "import torch; torch.load('a')",
        "import numpy; numpy.load('a')",
        "np.load('a', allow_pickle=True)",
        "eval('1')",
        "exec('1')",
        "compile('1', 'a', 'eval')",
        "import os; os.system('ls')",
        "from os import popen; popen('ls')",
        "subprocess.run('ls', shell=True)",
        "load('a', trust_remote_code=True)",
        "load('a', trust_remote_code=flag)",
        "load(**{'trust_remote_code': True})",
    ],
)
def test_the_rule_sees(source: str) -> None:
    assert sins(source) != []


@pytest.mark.parametrize(
    "source",
    [
        "open('a')",
        "open('a', 'rb')",
        "path.open('rb')",
        "path.open(encoding='utf-8')",
        "import os; os.open(os.devnull, os.O_WRONLY)",
        "from burnish.storage.durable import write_text; write_text(path, 'x')",
        "from burnish.storage import durable; durable.write_text(path, 'x')",
        "import re; re.compile('a')",
        "model.eval()",
        "load('a', trust_remote_code=False)",
        "subprocess.run(['ls'], shell=False)",
        "import numpy; numpy.load('a', allow_pickle=False)",
        "sys.stdout.write('x')",
        "text.replace('a', 'b')",
    ],
)
def test_the_rule_lets_pass(source: str) -> None:
    assert sins(source) == []


def test_the_exception_holds_only_inside_a_published_folder() -> None:
    inside = (
        "from burnish.storage.durable import published_folder\n"
        "with published_folder(target) as folder:\n    model.save_pretrained(folder)\n"
    )
    allowed = frozenset({"save_pretrained"})
    assert sins(inside, into_published=allowed) == []
    assert sins(inside) == ["save_pretrained"]
    assert sins(f"{inside}model.save_pretrained(folder)\n", into_published=allowed) == ["save_pretrained"]


def test_storage_may_write_but_not_run() -> None:
    assert sins("open('a', 'w')", may_write=True) == []
    assert sins("import pickle", may_write=True) == ["pickle"]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported_and_says_what_it_is(module: str) -> None:
    parts = module.removesuffix(".py").removesuffix("__init__").split("/")
    assert importlib.import_module(".".join(["burnish", *filter(None, parts)])).__doc__


def test_the_public_names() -> None:
    """A new one is a decision, and one that goes breaks somebody's code."""
    classes = ["BurnishError", "Run", "TextClassification"]
    functions = ["compare", "curve", "export", "import_model", "load", "monitor", "plan", "reproduce", "sweep", "train"]
    assert burnish.__all__ == [*classes, "__version__", *functions]
    for name in burnish.__all__:
        assert getattr(burnish, name) is not None
    with pytest.raises(AttributeError, match="'tarin'"):
        _ = burnish.tarin


HEAVY = ("torch", "transformers", "sklearn", "peft", "tokenizers", "pandas")
WATCH = """
import json, sys
{code}
heavy = sorted({{name.split(".")[0] for name in sys.modules}} & set({heavy!r}))
print("\\n" + json.dumps([status, heavy]))
"""
COMMAND = """
from burnish.cli.main import main
try:
    status = main({arguments!r})
except SystemExit as end:
    status = end.code or 0
"""


def loaded_by(code: str, folder: Path) -> tuple[int, list[str], str]:
    """Exit code, heavy libraries that were loaded, and everything printed, of code in a process of its own."""
    script = WATCH.format(code=code, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    status, heavy = json.loads(done.stdout.splitlines()[-1])
    return status, heavy, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--help"], 0, "usage: burnish"),
        (["train", "--help"], 0, "usage: burnish train"),
        (["--version"], 0, f"burnish {burnish.__version__}"),
        (["runs"], 0, "no runs"),
        (["train", "recipe.yaml"], 2, "recipe.yaml:2: unknown key"),
        (["train", "absent.yaml"], 2, "[recipe/not-found]"),
        (["resume", "absent"], 2, "[run/not-found]"),
        (["resume", "absent", "--set", "training.epochs=2"], 2, "[run/not-found]"),
        (["pause", "absent"], 2, "[run/not-found]"),
        (["cancel", "absent"], 2, "[run/not-found]"),
    ],
)
def test_these_commands_load_nothing_heavy(tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    (tmp_path / "recipe.yaml").write_text("data: {train: rows.csv}\ntrainin: {epochs: 3}\n")
    found, heavy, printed = loaded_by(COMMAND.format(arguments=arguments), tmp_path)
    assert heavy == []
    assert found == status
    assert words in printed


def test_importing_burnish_is_light(tmp_path: Path) -> None:
    _, heavy, _ = loaded_by("import burnish; status = 0; burnish.BurnishError", tmp_path)
    assert heavy == []


def test_checking_a_recipe_is_light(tmp_path: Path) -> None:
    code = (
        "from burnish.recipe.read import build_recipe; build_recipe({'data': {'train': 'a'}}, source='x'); status = 0"
    )
    assert loaded_by(code, tmp_path)[1] == []


def test_python_m_burnish_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "burnish", "--version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"burnish {burnish.__version__}\n")
