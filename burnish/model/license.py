"""Under which license a base comes, where that is written, and the gate in front of a use it forbids.

What a license text allows is believed only where the text is exactly the known one; what it forbids is believed from
its title, so that a mistake stops a run rather than letting it through.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import LicenseError, nearest
from burnish.model.bases import find_known
from burnish.model.license_terms import TERMS, LicenseTerms, Use
from burnish.model.options import ModelOptions

if TYPE_CHECKING:
    from burnish.model.load import Base

MAX_CARD_BYTES = 2**20
LICENSE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md")
STATED, FROM_CARD, FROM_TEXT = "stated by the user", "README.md of the base", "license text beside the base"
FROM_RUN = "model.json of the run it comes from"
# A known text between its first and its last words, letters and digits only: sha256 of what is there.
_TEXTS = (
    (
        "apache-2.0",
        "terms and conditions for use reproduction and distribution",
        "end of terms and conditions",
        "d8221a4f10c01c6fa5390685929a5ce31d7264a024162fd3dd4d805c57ce0f43",
    ),
    (
        "mit",
        "permission is hereby granted free of charge to any person obtaining a copy of this software",
        "other dealings in the software",
        "0cf21bdfd1964a97a8615e128534845826afbc887edc95aa5c925cbf64386b5c",
    ),
)
_TITLES = (  # the longer ones first: each begins with the ones behind it
    ("attribution noncommercial noderivatives 4 0 international", "cc-by-nc-nd-4.0"),
    ("attribution noncommercial sharealike 4 0 international", "cc-by-nc-sa-4.0"),
    ("attribution noncommercial 4 0 international", "cc-by-nc-4.0"),
    ("attribution noderivatives 4 0 international", "cc-by-nd-4.0"),
)
_RESTRICTED = ("non commercial", "noncommercial", "commons clause")  # words that a free license does not hold


def terms_of(base: Base) -> LicenseTerms | None:
    """What is known of a base's license; None when nothing is."""
    return TERMS.get((base.license or "").lower())


def license_of_folder(folder: Path) -> tuple[str, str] | None:
    """The license a model folder names, and where: the head of its README.md, else a license text beside it."""
    card = folder / "README.md"
    if card.is_file() and card.stat().st_size <= MAX_CARD_BYTES:
        named = _license_of_card(card.read_text(encoding="utf-8", errors="replace"))
        if named is not None:
            return named, FROM_CARD
    for path in (folder / name for name in LICENSE_FILES):
        if path.is_file() and path.stat().st_size <= MAX_CARD_BYTES:
            found = license_of_text(path.read_text(encoding="utf-8", errors="replace"))
            if found is not None:
                return found, FROM_TEXT
    return None


def license_of_text(text: str) -> str | None:
    """The name of a license from its text; None for one that is not known."""
    words = re.sub(r"[\W_]+", " ", text).strip().lower()
    for title, name in _TITLES:
        if title in words[:500]:
            return name
    if any(word in words for word in _RESTRICTED):
        return None
    for name, first, last, sha256 in _TEXTS:
        begin, end = words.find(first), words.find(last)
        if 0 <= begin < end and hashlib.sha256(words[begin : end + len(last)].encode()).hexdigest() == sha256:
            return name
    return None


def license_text_sha256(folder: Path) -> str | None:
    """sha256 of the license text beside a model, as 64 hex digits; None where there is none."""
    path = next((folder / name for name in LICENSE_FILES if (folder / name).is_file()), None)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None else None


def settled_license(found: tuple[str, str] | None, stated: str | None) -> tuple[str | None, str | None]:
    """The license that counts and where it is written: what was found, or what the user states of an unknown one.

    Raises:
        LicenseError: [license/unknown] for a stated license that is not known; [license/contradicts] for one that
            differs from what was found, unless it is an agreement of the user's own with the owner.
    """
    if stated is None:
        return found or (None, None)
    if stated not in TERMS:
        close = nearest(stated, TERMS)
        raise LicenseError(
            "license/unknown",
            f'"{stated}" is no license that burnish knows',
            where="model.license",
            known=sorted(TERMS),
            hint=f'did you mean "{close}"?' if close else "write `license: agreement` for terms of your own",
        )
    known = found is not None and found[0].lower() in TERMS
    if found is not None and known and stated not in (found[0].lower(), "agreement"):
        raise LicenseError(
            "license/contradicts",
            f"the recipe says {stated}, the base comes under {found[0]} ({found[1]})",
            where="model.license",
            hint="leave model.license out, or write `license: agreement` where the owner gave you other terms",
        )
    return stated, STATED


def require_use(base: Base, use: Use | None) -> None:
    """Stops a use that the license of a base forbids, or that nothing is known about; None: nothing is checked.

    Raises:
        LicenseError: [license/forbids-use] naming the clause and where it is written; [license/unknown].
    """
    if use is not None:
        require_named_use(base.name, base.license, base.license_source, use)


def require_named_use(name: str, license_: str | None, written_in: str | None, use: Use) -> None:
    """The same, of a base that only its manifest is left of.

    Args:
        name: the base's.
        license_: the name of its license; None when none is known.
        written_in: where that is written.
    """
    terms = TERMS.get((license_ or "").lower())
    if terms is None:
        written = f'its license "{license_}" is not one that burnish knows' if license_ else "no license is known"
        raise LicenseError(
            "license/unknown",
            f'"{name}" is to be used for {use}: {written}',
            where="model.use",
            known=sorted(TERMS),
            hint="read its license, then state it: `model: {license: apache-2.0}`; it is recorded as stated by you",
        )
    _require_allowed(name, terms, use, written_in or "")


def require_known_use(options: ModelOptions) -> None:
    """`require_use` for a base of the catalogue by its name alone: before anything of it is downloaded or read.

    Raises:
        LicenseError: [license/forbids-use].
    """
    known = find_known(options.base)
    terms = TERMS.get(known.license) if known is not None else None
    if known is None or terms is None or options.use is None or options.license == "agreement":
        return
    _require_allowed(options.base, terms, options.use, f"catalogue, from {known.source}")


def describe_license(base: Base, use: Use | None) -> dict[str, Any]:
    """What the manifest keeps: the license, where it is written, and whether a use was checked against it."""
    terms = terms_of(base)
    return {
        "name": base.license,
        "title": terms.title if terms else None,
        "text": terms.source if terms else None,
        "written_in": base.license_source,
        "text_sha256": license_text_sha256(base.folder) if base.license_source else None,
        "use": use,
        "checked": use is not None,
        "note": None if use else "model.use is null: the license was not checked against a use",
        "obligations": list(terms.obligations) if terms else [],
    }


def _require_allowed(name: str, terms: LicenseTerms, use: Use, written: str) -> None:
    if terms.allows(use):
        return
    raise LicenseError(
        "license/forbids-use",
        f'"{name}" comes under {terms.name}, which forbids {use} use',
        where="model.use",
        details=[
            f"{terms.title}, {terms.forbids[use]}",
            f"license named in: {written}",
            f"text of the license: {terms.source}",
        ],
        hint=f"choose another base: burnish models search --use {use}; or, where the owner gave you other terms, "
        "`model: {license: agreement}`",
    )


def _license_of_card(text: str) -> str | None:
    """`license:` of a model card's head; of "other" its `license_name`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    head = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", text, flags=re.DOTALL)
    if head is None:
        return None
    try:
        fields = YAML(typ="safe", pure=True).load(head.group(1))
    except (YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    named = fields.get("license")
    named = fields.get("license_name") if named == "other" else named
    return named.lower() if isinstance(named, str) and named.lower() not in ("unknown", "other") else None
