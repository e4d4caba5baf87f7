"""Many answers at once for evaluation and chat, by the decoder of the service, without a service around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from burnish.engine.precision import Precision
from burnish.model.generate import Answer, Sampling
from burnish.model.language import LanguageModel
from burnish.serving.beside import AdapterBank
from burnish.serving.choosing import Choice
from burnish.serving.decoding import Asked, Decoder, Written
from burnish.serving.opening import open_by_parts
from burnish.serving.waiting import Ticket

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NO_LIMIT = 1 << 31  # answers that may wait
ROOM = 1 << 14  # rows times tokens of the longest: the model itself and what judges it need memory, too


def decoder_beside(model: LanguageModel, tokenizer: Tokenizer, precision: Precision) -> Decoder | None:
    """A decoder with weights of its own, packed for it, that leaves the model as it is; None where its family or this
    machine does not allow that."""
    causal = model.causal
    bank = AdapterBank(causal)
    lanes = open_by_parts(causal, bank, precision, ROOM, owned=False)
    if lanes is None:
        return None
    return Decoder(model, tokenizer, limit=NO_LIMIT, precision=precision, lanes=lanes, room=ROOM)


def write(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Sequence[int],
    sampling: Sampling,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[Answer]:
    """An answer to each prompt, in order; what is drawn depends on the seed and the number of the prompt alone.

    Raises:
        ServiceError: [service/not-a-number] when the model computes what is no number.
    """
    found: dict[int, Answer] = {}
    errors: list[Exception] = []
    choice = Choice(temperature=sampling.temperature, top_p=sampling.top_p, seed=sampling.seed)
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # rows of like length together
    for index in by_length:
        asked = Asked(
            ids=prompts[index],
            ends=frozenset(ends),
            max_new_tokens=sampling.max_new_tokens,
            choice=choice,
            branch=index,
        )

        def told(piece: Written, _: bool, index: int = index) -> None:  # one piece: nothing is streamed
            found[index] = Answer([chosen.token for chosen in piece.chosen], piece.finish == "stop")
            advance(len(found), len(prompts))

        decoder.waiting.join(Ticket(asked, told, errors.append))
    try:
        while decoder.step() and not errors:
            pass
        if errors:
            raise errors[0]
    except BaseException:
        decoder.close()  # nobody waits any more
        raise
    return [found[index] for index in range(len(prompts))]
