"""Which license a base comes under, and what happens to a use it forbids."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from burnish.errors import LicenseError
from burnish.model import license as gate
from burnish.model.license import (
    describe_license,
    license_of_folder,
    license_of_text,
    require_known_use,
    require_use,
    settled_license,
    terms_of,
)
from burnish.model.license_terms import TERMS, Use
from burnish.model.load import Base
from burnish.model.options import ModelOptions

APACHE = Path(__file__).parents[3] / "LICENSE"
MIT = """MIT License

Copyright (c) 2023 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def base_of(license_: str | None, source: str | None = "README.md of the base", folder: Path = Path()) -> Base:
    return Base(
        name="mine",
        folder=folder,
        model_type="bert",
        parameters=1,
        sha256="",
        pooling="mean",
        normalize=False,
        max_length=8,
        width=4,
        license=license_,
        license_source=source,
    )


def test_a_card_names_its_license(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: CC-BY-NC-4.0\n---\n# A model\n")
    assert license_of_folder(tmp_path) == ("cc-by-nc-4.0", gate.FROM_CARD)


def test_another_license_has_a_name_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: qwen-research\n---\n")
    assert license_of_folder(tmp_path) == ("qwen-research", gate.FROM_CARD)


@pytest.mark.parametrize(
    "head", ["", "# no head", "---\nlicense: [\n---\n", "---\n- a\n---\n", "---\nlicense: other\n---\n"]
)
def test_a_card_without_a_license_gives_none(tmp_path: Path, head: str) -> None:
    (tmp_path / "README.md").write_text(head)
    assert license_of_folder(tmp_path) is None


def test_a_text_beside_the_weights_is_recognised_by_its_words(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_bytes(APACHE.read_bytes())
    assert license_of_folder(tmp_path) == ("apache-2.0", gate.FROM_TEXT)
    assert license_of_text(MIT) == "mit"


def test_a_changed_text_is_not_believed_to_allow_anything() -> None:
    assert license_of_text(MIT.replace("and/or sell", "")) is None
    assert license_of_text(MIT + "\nThe Software is for non-commercial use.") is None
    assert license_of_text(MIT + "\nCommons Clause") is None


def test_a_title_is_enough_to_forbid() -> None:
    assert license_of_text("Creative Commons\nAttribution-NonCommercial 4.0 International\n...") == "cc-by-nc-4.0"
    shared = "Attribution-NonCommercial-ShareAlike 4.0 International"
    assert license_of_text(shared) == "cc-by-nc-sa-4.0"


@pytest.mark.parametrize("use", ["commercial", "research", "redistribution"])
def test_a_free_license_allows_every_use(use: Use) -> None:
    require_use(base_of("Apache-2.0"), use)
    require_use(base_of(None), None)


def test_a_forbidden_use_names_the_clause_and_where_it_is_written() -> None:
    with pytest.raises(LicenseError) as caught:
        require_use(base_of("cc-by-nc-4.0"), "commercial")
    error = caught.value
    assert (error.code, error.where, error.exit_code) == ("license/forbids-use", "model.use", 1)
    assert "section 2(a)(1)" in error.details[0]
    assert error.details[1] == "license named in: README.md of the base"
    assert "creativecommons.org/licenses/by-nc/4.0" in error.details[2]
    assert "burnish models search --use commercial" in str(error.hint)


def test_what_must_not_be_changed_must_not_be_shared_changed() -> None:
    require_use(base_of("cc-by-nd-4.0"), "commercial")
    with pytest.raises(LicenseError, match="forbids redistribution"):
        require_use(base_of("cc-by-nd-4.0"), "redistribution")


@pytest.mark.parametrize(("named", "said"), [(None, "no license is known"), ("acme-1", '"acme-1" is not one')])
def test_an_unknown_license_stops_a_named_use(named: str | None, said: str) -> None:
    with pytest.raises(LicenseError, match=said) as caught:
        require_use(base_of(named), "research")
    assert (caught.value.code, caught.value.where) == ("license/unknown", "model.use")
    assert "model: {license: apache-2.0}" in str(caught.value.hint)
    assert "mit" in caught.value.known


def test_the_user_may_state_what_nobody_wrote_down() -> None:
    assert settled_license(None, "mit") == ("mit", gate.STATED)
    assert settled_license(("acme-1", gate.FROM_CARD), "mit") == ("mit", gate.STATED)
    assert settled_license(("mit", gate.FROM_CARD), None) == ("mit", gate.FROM_CARD)
    assert settled_license(None, None) == (None, None)


def test_the_user_cannot_state_away_what_is_written() -> None:
    with pytest.raises(LicenseError) as caught:
        settled_license(("cc-by-nc-4.0", gate.FROM_CARD), "mit")
    assert (caught.value.code, caught.value.where) == ("license/contradicts", "model.license")
    assert "cc-by-nc-4.0 (README.md of the base)" in caught.value.message
    assert "license: agreement" in str(caught.value.hint)
    assert settled_license(("cc-by-nc-4.0", gate.FROM_CARD), "agreement") == ("agreement", gate.STATED)
    require_use(base_of("agreement"), "commercial")


def test_a_stated_license_has_to_be_known() -> None:
    with pytest.raises(LicenseError) as caught:
        settled_license(None, "apache-2")
    assert (caught.value.code, caught.value.where) == ("license/unknown", "model.license")
    assert caught.value.hint == 'did you mean "apache-2.0"?'


def test_a_base_of_the_catalogue_is_refused_by_its_name_alone() -> None:
    named = ModelOptions(base="facebook/nllb-200-distilled-600M", use="commercial")
    with pytest.raises(LicenseError, match="forbids commercial use") as caught:
        require_known_use(named)
    assert "catalogue, from https://huggingface.co/facebook/nllb" in caught.value.details[1]
    for allowed in ({"use": "research"}, {"use": None}, {"license": "agreement"}, {"base": "minilm"}, {"base": "mine"}):
        require_known_use(named.model_copy(update=allowed))


def test_the_manifest_says_whether_a_use_was_checked(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text(MIT)
    base = base_of("mit", gate.FROM_TEXT, tmp_path)
    checked, unchecked = describe_license(base, "commercial"), describe_license(base, None)
    assert (checked["checked"], checked["use"], checked["note"]) == (True, "commercial", None)
    assert unchecked["note"] == "model.use is null: the license was not checked against a use"
    assert len(checked["text_sha256"]) == 64
    assert describe_license(dataclasses.replace(base, license=None), None)["title"] is None


def test_terms_are_found_whatever_the_case() -> None:
    assert terms_of(base_of("Apache-2.0")) is TERMS["apache-2.0"]
    assert terms_of(base_of("acme-1")) is None
    assert all(name == terms.name and terms.source for name, terms in TERMS.items())
