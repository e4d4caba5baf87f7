"""Dynamic batches and turns: together when many wait, alone when one does, and a fault is one request's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from burnish.errors import DataProblemError, ServiceError
from burnish.serving.batching import PASS_TOKENS, Batcher, Prepared
from burnish.serving.readers import image_bytes
from burnish.serving.waiting import Ticket


class Doubles:
    """Answers twice the number; cannot read 13."""

    size_bytes = 0

    def __init__(self) -> None:
        self.passes: list[int] = []

    def prepare(self, given: Sequence[Any]) -> list[Prepared]:
        return [Prepared(number, PASS_TOKENS // 4) for number in given]

    def answer(self, prepared: Sequence[Prepared]) -> list[int]:
        self.passes.append(len(prepared))
        if any(each.content == 13 for each in prepared):
            raise DataProblemError("predict/bad-text", "13")
        return [2 * each.content for each in prepared]


def line_up(batcher: Batcher, *requests: Sequence[int]) -> list[Any]:
    found: list[Any] = [None] * len(requests)
    for index, numbers in enumerate(requests):

        def told(piece: Any, _: bool, index: int = index) -> None:
            found[index] = piece

        def failed(error: Exception, index: int = index) -> None:
            found[index] = error

        batcher.waiting.join(Ticket(batcher.model.prepare(numbers), told, failed))
    return found


def test_what_waits_is_answered_in_one_pass() -> None:
    model = Doubles()
    batcher = Batcher(model)
    found = line_up(batcher, [1], [2, 3], [4])
    assert not batcher.step()
    assert found == [[2], [4, 6], [8]]
    assert model.passes == [4]
    many = line_up(batcher, *([n] for n in range(10)))
    while batcher.step():
        pass
    assert many == [[2 * n] for n in range(10)]
    assert model.passes[1:] == [4] * 2 + [2]


def test_a_large_request_is_answered_in_parts_and_others_come_between() -> None:
    model = Doubles()
    batcher = Batcher(model)
    found = line_up(batcher, range(100, 110), [1])
    passes = []
    while batcher.step():
        passes.append((found[0] is not None, found[1] is not None))
    assert max(model.passes) == 4
    assert (False, True) in passes, "the small one was answered before the large one"
    assert found == [[2 * n for n in range(100, 110)], [2]]
    assert not batcher._begun


def test_a_large_request_that_nobody_waits_for_is_not_gone_on_with() -> None:
    model = Doubles()
    batcher = Batcher(model)
    told: list[Any] = []
    ticket = Ticket(model.prepare(range(100, 110)), lambda piece, _: told.append(piece), told.append)
    batcher.waiting.join(ticket)
    assert batcher.step()
    ticket.cancel()
    assert not batcher.step()
    assert (model.passes, told, batcher._begun) == ([4], [], {})


def test_a_request_that_cannot_be_answered_fails_alone() -> None:
    batcher = Batcher(Doubles())
    found = line_up(batcher, [1], [13], [2])
    batcher.step()
    assert (found[0], found[2]) == ([2], [4])
    assert isinstance(found[1], DataProblemError)


def test_the_line_is_bounded_and_closes() -> None:
    batcher = Batcher(Doubles(), limit=2)
    found = line_up(batcher, [1], [2])
    with pytest.raises(ServiceError, match="too many requests"):
        line_up(batcher, [3])
    batcher.close()
    assert [error.status for error in found] == [503, 503]


@pytest.mark.parametrize(
    "sent", ["/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/", "data:image/png;base64,???", None, 3]
)
def test_no_path_and_no_url_is_opened_for_an_image(sent: Any) -> None:
    with pytest.raises(DataProblemError) as refused:
        image_bytes(sent, "item 1")
    assert refused.value.code == "predict/bad-image"


def test_an_image_that_was_sent_is_read_as_its_file_is(image_folder: Any) -> None:
    import base64

    from burnish.data.images import image_of, read_image

    path = sorted(image_folder.glob("*/*.png"))[0]
    sent = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    one, other = image_of(image_bytes(sent, "item 1")), read_image(path)
    assert (one.image.tobytes(), one.sha256, one.changes) == (other.image.tobytes(), other.sha256, other.changes)
