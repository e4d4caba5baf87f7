"""The pictures of a report: what the classes look like, and the errors as they were seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from burnish.evaluation.report_html import Html, isolated, paragraph
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import entries, escaped

LABEL_LIMIT = 80  # characters
_PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+=*")  # what the page's policy lets in, and no markup


def contact_sheet(record: RunRecord) -> str:
    """A few training images of each class, as the model sees them; nothing for a run without images."""
    classes = entries(record.pictures.get("classes"))
    if not classes:
        return ""
    rows = ""
    for label, shown in classes.items():
        pictures = "".join(picture(each, str(label)) for each in shown)
        rows += f"<div><dt>{isolated(label, LABEL_LIMIT)}</dt><dd>{pictures}</dd></div>"
    text = "Training images of each class, spread over the data, in the size the model reads."
    return f'<h3>What the classes look like</h3>{paragraph(text)}<dl class="sheet">{rows}</dl>'


def error_picture(record: RunRecord, row: Mapping[str, Any]) -> str:
    """The image of a wrong prediction; nothing when it was not kept."""
    name = str(row.get("image"))
    return picture(entries(record.pictures.get("errors")).get(name), f"labelled {row.get('label')}")


def short_name(row: Mapping[str, Any]) -> str:
    """The name of a row's image and of its folder."""
    return "/".join(PurePath(str(row.get("image", ""))).parts[-2:])


def picture(source: object, what: str) -> Html:
    """An image that is in the page; nothing for anything else."""
    if not isinstance(source, str) or not _PICTURE.fullmatch(source):
        return Html("")
    return Html(f'<img src="{source}" alt="{escaped(what, LABEL_LIMIT)}" loading="lazy">')
