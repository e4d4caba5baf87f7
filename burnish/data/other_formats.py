"""Formats of rows that are no texts: files of images and sound, who chose what, tables."""

from __future__ import annotations

from burnish.data import row_values
from burnish.data.look import Look
from burnish.data.row_format import INTERACTIONS, LABELS, RowFormat, present

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
_AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
_TITLES = "title,item title,item name,movie title,product name,product title,book title,track name,name,text"
_TARGETS = "target,class,label,outcome,churn,default,y,survived,result,category"


def media(look: Look) -> RowFormat | None:
    for kind, suffixes in (("image", _IMAGE_SUFFIXES), ("audio", _AUDIO_SUFFIXES)):
        column = next((c for c in look.columns if _holds_media(look, c, kind, suffixes)), None)
        if column is None:
            continue
        names = "text,caption,sentence,transcript,transcription,description"
        text = look.named(names) if look.named(names) != column else None
        others = [c for c in look.columns if c not in (column, "split")]
        label = look.named(LABELS) or next((c for c in others if look.repeats(c)), None)
        if text and not (label and look.repeats(text)):
            task, name = ("image-text", "image-caption") if kind == "image" else ("speech-recognition", "audio-text")
            columns, reason = {kind: column, "text": text}, f'"{column}" names a file of {kind}, "{text}" its text'
            return RowFormat(name=name, task=task, columns=columns, reason=reason, canonical=row_values.media)
        if label:
            return RowFormat(
                name=f"{kind}-label",
                task=f"{kind}-classification",
                columns={kind: column, "label": label},
                reason=f'"{column}" names a file of {kind}, "{label}" its class',
                canonical=row_values.media,
                has_label=True,
            )
    return None


def _holds_media(look: Look, column: str, kind: str, suffixes: tuple[str, ...]) -> bool:
    return look.are_texts_ending(column, suffixes) or (column.lower() == kind and look.have_key(column, "bytes"))


def interaction(look: Look) -> RowFormat | None:
    columns = look.all_named(
        "user id,user,customer id,userid,session id",
        "item id,item,movie id,product id,book id,track id,itemid,movieid,productid",
        "timestamp,time,date,datetime,unix time",
    )
    if columns is None:
        return None
    return RowFormat(
        name=INTERACTIONS,
        task="recommendation",
        columns=dict(zip(("user", "item", "time"), columns, strict=True)) | _title_and_rating(look, columns[1]),
        reason="who chose what, and when",
        canonical=row_values.interaction,
    )


def _title_and_rating(look: Look, item: str) -> dict[str, str]:
    """The optional columns of interactions; a title is one where each item has one, or else it is a review's."""
    found = present(look, title=_TITLES, rating="rating,score,stars")
    if "title" in found and not look.is_told_by(found["title"], item):
        del found["title"]
    return found


def table(look: Look) -> RowFormat | None:
    prose = sum(look.is_prose(column) for column in look.columns)
    if len(look.columns) < 3 or 8 * prose > len(look.columns):  # one column of names or remarks among many is left out
        return None
    last = look.columns[-1]
    flat = all(look.are(column, str, int, float, bool) or not look.values(column) for column in look.columns)
    target = look.named(_TARGETS) or (last if look.repeats(last) or look.are_numbers(last) else None)
    numbers = sum(look.are_numbers(column) or look.repeats(column) for column in look.columns if column != target)
    if not flat or target is None or 2 * numbers < len(look.columns):
        return None
    return RowFormat(
        name="table",
        task="tabular",
        columns={"target": target},
        reason=f'{len(look.columns) - 1} columns of numbers and categories, and in "{target}" what is to be predicted',
        canonical=row_values.table_row_with_number if look.measures(target) else row_values.table_row,
    )
