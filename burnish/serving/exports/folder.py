"""What every export's folder holds beside its weights: tokenizer, template, settings, how to use it, its license."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.model.adapters import BOTTLENECKS, PEFT_CONFIG, PEFT_WEIGHTS
from burnish.model.license import LICENSE_FILES
from burnish.model.load import Base
from burnish.serving.package import DESCRIPTION
from burnish.storage.durable import MANIFEST, copy_file, make_folder, write_text

NOTICE = "NOTICE.md"
USE = "USE.md"
_ADAPTER = (PEFT_CONFIG, PEFT_WEIGHTS, BOTTLENECKS)
_OWN = (DESCRIPTION, MANIFEST, USE, "README.md")


def copy_beside(final: Path, folder: Path, *, adapter: bool = False) -> None:
    """Copies what lies beside the weights in a run's model, without what the export has written already.

    Args:
        adapter: copies the adapter's files too.
    """
    left_out = _OWN if adapter else (*_OWN, *_ADAPTER)
    for path in sorted(final.rglob("*")):
        name = path.relative_to(final)
        target = folder / name
        if path.is_dir():
            make_folder(target)
        elif name.name not in left_out and not target.exists() and not _is_weight(name, adapter):
            copy_file(path, target)


def _is_weight(name: Path, adapter: bool) -> bool:
    """Whether a file holds the weights of a whole model, which each export writes itself."""
    return name.name.startswith("model") and name.suffix in (".safetensors", ".json") and not adapter


def write_use(folder: Path, final: Path, name: str, text: str | None = None) -> None:
    """USE.md for a folder called `name`: the given text, or that of the run's model with the folder's name in it."""
    text = (final / USE).read_text(encoding="utf-8") if text is None else text
    for mark in ('"final"', '"final/', "`final`"):
        text = text.replace(mark, mark.replace("final", name))
    write_text(folder / USE, text)


def write_notice(folder: Path, license_: Mapping[str, Any], base: Base | None, *, name: str) -> list[str]:
    """NOTICE.md: under which license the base comes and what has to be done with it; its text where there is one.

    Args:
        license_: what the run's manifest says of it (model/license.py).
        name: of the base.

    Returns:
        The obligations, one sentence each.
    """
    obligations = [str(each) for each in license_.get("obligations", ())]
    title = license_.get("title") or license_.get("name")
    lines = ["# Notice", "", f"This model was made from `{name}` by fine-tuning it on further data with burnish."]
    if title:
        lines += [f"`{name}` comes under {title}{_written(license_)}."]
    else:
        lines += ["Under which license it comes is not known: read what its owner says before you give this away."]
    if obligations:
        lines += ["", "What this license asks for:", "", *(f"- {each}" for each in obligations)]
    write_text(folder / NOTICE, "\n".join(lines) + "\n")
    for path in _license_texts(base):
        if not (folder / path.name).exists():
            copy_file(path, folder / path.name)
    return obligations


def _written(license_: Mapping[str, Any]) -> str:
    return f", whose text is at {license_['text']}" if str(license_.get("text") or "").startswith("http") else ""


def _license_texts(base: Base | None) -> Sequence[Path]:
    """License and notice files that came with the base."""
    if base is None:
        return ()
    under = base.under or base
    names = (*LICENSE_FILES, "NOTICE", "NOTICE.txt")
    return [under.folder / each for each in names if (under.folder / each).is_file()]


def size_bytes(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
