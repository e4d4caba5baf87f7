"""What the licenses that bases come under allow, forbid and ask for: a reading for the gate, not legal advice.

Names are those of model cards (`license:` at the top of a README.md). A license that is not here is unknown, and an
unknown one stops a run that names a use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Use = Literal["commercial", "research", "redistribution"]


@dataclass(frozen=True, slots=True)
class LicenseTerms:
    """What one license says of the three uses.

    Attributes:
        name: as model cards write it, e.g. "cc-by-nc-4.0".
        title: its full name.
        source: where its text is published.
        forbids: use -> the clause that forbids it, with its number.
        obligations: what has to be done where it is allowed, one sentence each.
    """

    name: str
    title: str
    source: str
    forbids: Mapping[str, str] = field(default_factory=dict)
    obligations: tuple[str, ...] = ()

    def allows(self, use: Use) -> bool:
        return use not in self.forbids


_SHARED = "redistribution: "
_CREDIT = "redistribution: name the authors, link the license and say what was changed (section 3(a))"
_NONCOMMERCIAL = (
    'section 2(a)(1): the rights are granted "for NonCommercial purposes only"; section 1 defines them as "not '
    'primarily intended for or directed towards commercial advantage or monetary compensation"'
)
_NO_DERIVATIVES = 'section 2(a)(1)(B): "produce and reproduce, but not Share, Adapted Material"'


def _creative_commons(kind: str, title: str, forbids: Mapping[str, str], *further: str) -> LicenseTerms:
    return LicenseTerms(
        f"cc-{kind}-4.0",
        f"Creative Commons {title} 4.0 International",
        f"https://creativecommons.org/licenses/{kind}/4.0/legalcode.en",
        forbids,
        (_CREDIT, *further),
    )


def _llama(version: str) -> LicenseTerms:
    return LicenseTerms(
        f"llama{version}",
        f"Llama {version} Community License Agreement",
        f"https://www.llama.com/llama{version.replace('.', '_')}/license/",
        {},
        (
            "commercial: over 700 million monthly active users at release need a license from Meta (section 2)",
            f'{_SHARED}give a copy of the agreement along, show "Built with Llama", and let the name of a model '
            'made with it begin with "Llama" (section 1.b.i)',
            "all uses: keep to the Acceptable Use Policy (section 1.b.iv)",
        ),
    )


_ALL = (
    LicenseTerms(
        "apache-2.0",
        "Apache License 2.0",
        "https://www.apache.org/licenses/LICENSE-2.0",
        {},
        (f"{_SHARED}give a copy of the license along, keep its notices and say what was changed (section 4)",),
    ),
    LicenseTerms(
        "mit",
        "MIT License",
        "https://opensource.org/license/mit",
        {},
        (f"{_SHARED}keep the copyright line and the text of the license",),
    ),
    LicenseTerms(
        "bsd-3-clause",
        "BSD 3-Clause License",
        "https://opensource.org/license/bsd-3-clause",
        {},
        (f"{_SHARED}keep the copyright line and the text of the license; do not advertise with the authors' names",),
    ),
    LicenseTerms("cc0-1.0", "Creative Commons Zero 1.0", "https://creativecommons.org/publicdomain/zero/1.0/legalcode"),
    _creative_commons("by", "Attribution", {}),
    _creative_commons(
        "by-sa",
        "Attribution-ShareAlike",
        {},
        f"{_SHARED}what is made of it comes under this license too (section 3(b))",
    ),
    _creative_commons("by-nc", "Attribution-NonCommercial", {"commercial": _NONCOMMERCIAL}),
    _creative_commons(
        "by-nc-sa",
        "Attribution-NonCommercial-ShareAlike",
        {"commercial": _NONCOMMERCIAL},
        f"{_SHARED}what is made of it comes under this license too (section 3(b))",
    ),
    _creative_commons(
        "by-nc-nd",
        "Attribution-NonCommercial-NoDerivatives",
        {"commercial": _NONCOMMERCIAL, "redistribution": _NO_DERIVATIVES},
    ),
    _creative_commons("by-nd", "Attribution-NoDerivatives", {"redistribution": _NO_DERIVATIVES}),
    _llama("3.1"),
    _llama("3.2"),
    _llama("3.3"),
    LicenseTerms(
        "gemma",
        "Gemma Terms of Use",
        "https://ai.google.dev/gemma/terms",
        {},
        (
            f"{_SHARED}give a copy of the terms along, pass on the use restrictions, mark changed files, and add the "
            "notice file (section 3.1)",
            "all uses: keep to the Gemma Prohibited Use Policy (section 3.2)",
        ),
    ),
    LicenseTerms(
        "qwen-research",
        "Qwen Research License Agreement",
        "https://huggingface.co/Qwen/Qwen2.5-3B-Instruct/blob/main/LICENSE",
        {"commercial": "section 2 grants the rights for non-commercial purposes only; for others ask its owner"},
        (f"{_SHARED}give a copy of the agreement along and say what was changed",),
    ),
    LicenseTerms(
        "agreement",
        "an agreement of your own with the owner of the base",
        "stated by the user",
        {},
        ("all uses: what your agreement says; burnish does not know it",),
    ),
)

TERMS: Mapping[str, LicenseTerms] = {terms.name: terms for terms in _ALL}
