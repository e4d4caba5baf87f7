"""What an export is asked to be, and what may not or cannot be exported: said before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from burnish.errors import RunError, UsageError, nearest
from burnish.lifecycle.run import Run
from burnish.model.license import require_named_use
from burnish.model.license_terms import TERMS, Use
from burnish.serving.exports.kinds import require_form
from burnish.serving.options import KINDS, QUANTIZES, Kind, Quantize

ROWS = 100
OF_NO_ANSWERS = ("loss", "reward-accuracy", "reward-margin")
MORE_ROWS = 2_000  # where weights are rounded to eight bits: what is to be seen is the metric


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be exported, and how.

    Attributes:
        rows: that are compared, at most.
    """

    kind: Kind
    quantize: Quantize | None
    rows: int

    @property
    def name(self) -> str:
        return self.kind if self.quantize is None else f"{self.kind}-{self.quantize}"


def wish_of(to: str, quantize: str | None, rows: int | None) -> Wish:
    """What was asked for.

    Raises:
        UsageError: [export/unknown-form]; [export/not-quantized]; [export/rows].
    """
    kind = next((each for each in KINDS if each == to), None)
    if kind is None:
        close = nearest(to, KINDS)
        raise UsageError(
            "export/unknown-form",
            f'"{to}" is no form that burnish exports to',
            where="--to",
            known=KINDS,
            hint=f'did you mean "{close}"?' if close else None,
        )
    numbers = next((each for each in QUANTIZES if each == quantize), None)
    if quantize is not None and numbers is None:
        raise UsageError(
            "export/not-quantized", f'"{quantize}" is no kind of weights', where="--quantize", known=QUANTIZES
        )
    if rows is not None and rows < 1:
        raise UsageError("export/rows", f"{rows} rows prove nothing", where="--rows", hint="write a number from 1 on")
    return Wish(kind, numbers, rows or (MORE_ROWS if quantize == "int8" else ROWS))


def require_exportable(loaded: Run, wish: Wish, use: Use | None) -> None:
    """Stops what may not or cannot be exported, before anything is opened.

    Raises:
        LicenseError, UsageError, RunError: as `export`.
    """
    manifest = loaded.folder.manifest()
    require_license(manifest, use)
    task, method = str(manifest.get("task", "")), str(manifest.get("method", ""))
    require_form(wish.kind, task, method, wish.quantize)
    if parts := manifest.get("parts_of_the_caller"):
        raise RunError(
            "run/own-parts",
            f"this run was made with your own {', '.join(sorted(parts))}, which no other program knows",
            where=str(loaded.path),
        )
    loaded.require_model()
    if wish.quantize is not None and loaded.evaluation["metric"] in OF_NO_ANSWERS:
        raise UsageError(
            "export/no-metric",
            f"weights in {wish.quantize} are kept while the metric holds; {loaded.evaluation['metric']} is not one of "
            "answers",
            where="--quantize",
            hint="leave it out",
        )


def require_license(manifest: Mapping[str, Any], use: Use | None) -> None:
    """Stops an export that the license of the base forbids.

    Without a stated use a license that is known to forbid redistribution stops it: a file in another form is made to
    be given away, unless it is said that it is not.

    Raises:
        LicenseError: [license/forbids-use] naming the clause; [license/unknown] for a stated use.
    """
    license_, base = manifest.get("license", {}), manifest.get("base", {})
    stated: Use | None = use or license_.get("use")
    terms = TERMS.get(str(license_.get("name") or "").lower())
    if stated is None and terms is not None and not terms.allows("redistribution"):
        stated = "redistribution"
    name = str(base.get("name", "the base"))
    if stated is not None:
        require_named_use(name, license_.get("name"), license_.get("written_in"), stated)
