"""Continuous batching: requests to one language model join and leave between any two tokens.

A pass computes the next token of every row that writes and as much of the waiting prompts as a budget of tokens
allows. What a row is answered depends on its own request: another composition of the batch changes numbers by rounding
only, so a token can differ only where two tokens are equally likely within that rounding (some 1e-5 of a logit in
fp32, a unit of the last place of bf16 where the products run in it).

The beginnings of prompts are kept and used again for further prompts of the same tenant and adapter, never across.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from burnish.engine.precision import Precision, choose_precision
from burnish.errors import ServiceError
from burnish.model.language import LanguageModel
from burnish.model.prompt import prompt_ids
from burnish.serving.beside import AdapterBank
from burnish.serving.choosing import Choice, Chooser, Chosen, choose_tokens
from burnish.serving.lanes import Lane, Lanes, bytes_of
from burnish.serving.opening import open_lanes
from burnish.serving.spelling import Spelling
from burnish.serving.waiting import Ticket, Waiting, stopping

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LOGGER = logging.getLogger("burnish.serving")
ROWS = {"cpu": 32, "cuda": 256}  # at once
PROMPT_TOKENS = {"cpu": 512, "cuda": 8_192}  # of prompts in a pass: a long one must not hold up those who write
CACHED_TOKENS = {"cpu": 1 << 16, "cuda": 1 << 19}  # rows times tokens of the longest
EXPECTED_TOKENS = 256  # of an answer; one that grows beyond what there is room for makes the newest row wait
SHARED_TOKENS = 32  # fewest tokens that are worth copying instead of computing
BEFORE_TOKENS = 4  # of a prompt, that an answer is spelled behind
KEPT_BEGINNINGS = 16
KEPT_SHARE = 0.25  # of CACHED_TOKENS, that the beginnings may have beside the rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One answer that is asked for.

    Attributes:
        ids: of the prompt, at least one.
        ends: tokens that end an answer.
        max_new_tokens: after which the answer is cut.
        stops: texts that end it.
        branch: which of several answers to the same request.
        tenant: whose prompts it may share beginnings with.
        adapter: name of the adapter beside the base.
        streams: whether the text is wanted as it comes.
        stripped: whether white space around the answer is left out.
        special: whether special tokens are part of the text.
    """

    ids: Sequence[int]
    ends: frozenset[int]
    max_new_tokens: int
    choice: Choice = field(default_factory=Choice)
    stops: Sequence[str] = ()
    branch: int = 0
    tenant: str = ""
    adapter: str | None = None
    streams: bool = False
    stripped: bool = True
    special: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What there is of an answer since the last one.

    Attributes:
        text: more of it.
        chosen: its tokens, without the one that ends it.
        finish: "stop" when the model or a stop string ended it, "length" when it was cut; None: it goes on.
        tokens: all it has so far.
    """

    text: str
    chosen: Sequence[Chosen]
    finish: str | None
    tokens: int


@dataclass(slots=True, eq=False)
class _Row:
    asked: Asked
    ticket: Ticket[Written]
    lane: Lane
    chooser: Chooser
    spelling: Spelling
    prompt: int  # tokens that are read before more are written
    chosen: list[Chosen] = field(default_factory=list)
    told: int = 0  # tokens of those


@dataclass(slots=True)
class _Beginning:
    tenant: str
    adapter: str | None
    ids: list[int]
    held: Any

    @property
    def size_bytes(self) -> int:
        return sum(state.nbytes for pair in self.held for state in pair)


class Decoder:
    """Answers requests to one language model and the adapters beside it; `step` is called again and again by whoever
    computes.

    Args:
        model: in evaluation mode, in float32, on its device.
        limit: requests that may wait.
        lanes: where its rows are computed; None: as the model allows best, which it keeps for itself then.
        room: rows times tokens of the longest that are kept of them together; None: as CACHED_TOKENS says.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        limit: int = 64,
        precision: Precision | None = None,
        lanes: Lanes | None = None,
        room: int | None = None,
    ) -> None:
        self.causal = model.causal
        self._device: torch.device = next(model.parameters()).device
        self._tokenizer = tokenizer
        tables = self.causal.get_input_embeddings(), self.causal.get_output_embeddings()
        self.words = min(int(table.weight.shape[0]) for table in tables)
        self._learned = list(prompt_ids(self.causal))
        self._bank = AdapterBank(self.causal)
        self.precision = precision or choose_precision("auto", self._device)
        self._room = room or CACHED_TOKENS[self._device.type]
        self._lanes: Lanes = lanes or open_lanes(self.causal, self._bank, self.precision, self._room)
        self._rows: list[_Row] = []
        self._paused: deque[_Row] = deque()
        self._beginnings: deque[_Beginning] = deque(maxlen=KEPT_BEGINNINGS)
        self.waiting: Waiting[Asked, Written] = Waiting(limit)

    def add_adapter(self, name: str, folder: Path) -> int:
        """Puts an adapter beside the base; the bytes it takes. Called where passes are computed."""
        return self._bank.add(name, folder)

    def remove_adapter(self, name: str) -> None:
        """Forgets an adapter that nobody asks any more. Called where passes are computed."""
        self._bank.remove(name)
        kept = [each for each in self._beginnings if each.adapter != name]
        self._beginnings = deque(kept, maxlen=KEPT_BEGINNINGS)

    @torch.inference_mode()
    def step(self) -> bool:
        """One pass; whether there is more to do."""
        try:
            self._drop_those_gone()
            self._make_room()
            self._admit()
            if self._rows:
                ready, logits_RV = self._lanes.compute(self._pieces())
                if logits_RV is not None:
                    self._write(ready, logits_RV)
        except Exception as error:  # whatever it is, nobody may wait for ever
            self._fail(error)
            raise
        return bool(self._rows) or bool(self._paused) or bool(self.waiting)

    def close(self) -> None:
        """Ends what is still asked for, with an error."""
        self._fail(stopping())

    @property
    def size_bytes(self) -> int:
        """Weights, and the keys and values there is room for now and of the beginnings that are kept."""
        beginnings = sum(each.size_bytes for each in tuple(self._beginnings))
        return bytes_of(self.causal) + self._lanes.weight_bytes + self._lanes.size_bytes + beginnings

    def _pieces(self) -> list[tuple[Lane, int]]:
        """How many tokens of which prompts this pass reads, the oldest request first."""
        room = PROMPT_TOKENS[self._device.type]
        pieces = []
        for row in self._rows:
            left = row.prompt - row.lane.held
            if left > 0 and room > 0:
                count = min(left, room) if self._lanes.in_pieces else left
                pieces.append((row.lane, count))
                room -= count
        return pieces

    def _admit(self) -> None:
        """Lets requests in as long as there is room for the longest that they can become; tenants take turns: who has
        the fewest rows is next, so that one with many requests does not keep another from its first."""
        while self._paused and self._fits(self._paused[0].lane.ids, self._paused[0].asked):
            self._resume(self._paused.popleft())
        while not self._paused and len(self._rows) < ROWS[self._device.type]:
            head = self.waiting.fairest(self._rows_of_its_tenant)
            if head is None:
                return
            asked = head.asked
            if not self._fits(asked.ids, asked) or self._is_being_read(asked):
                return
            self.waiting.take(head)
            self._enter(head)

    def _rows_of_its_tenant(self, asked: Asked) -> int:
        return sum(row.asked.tenant == asked.tenant for row in self._rows)

    def _fits(self, ids: Sequence[int], asked: Asked) -> bool:
        """Whether there is room for one more row, as long as the longest may soon be."""
        lengths = [(len(row.lane.ids), row.asked.max_new_tokens - len(row.chosen)) for row in self._rows]
        lengths.append((len(self._learned) + len(ids), asked.max_new_tokens))
        longest = max(length + min(more, EXPECTED_TOKENS) for length, more in lengths)
        return not self._rows or len(lengths) * longest <= self._room

    def _make_room(self) -> None:
        """Lets the newest rows wait when the others have outgrown the room; they are read again later."""
        while len(self._rows) > 1:
            longest = max(len(row.lane.ids) for row in self._rows)
            if len(self._rows) * longest <= self._room:
                return
            row = self._rows.pop()
            self._lanes.leave(row.lane)
            self._paused.appendleft(row)

    def _resume(self, row: _Row) -> None:
        row.lane.held, row.prompt = 0, len(row.lane.ids)
        self._begin(row)

    def _is_being_read(self, asked: Asked) -> bool:
        """Whether a prompt that begins alike is being read: its reading will be shared, in a pass or a few, and until
        then it has the passes' budget for prompts."""
        if len(asked.ids) < SHARED_TOKENS:
            return False
        ids, whose = [*self._learned, *asked.ids], (asked.tenant, asked.adapter)
        known = self._known_beginning(asked, ids)
        gain = SHARED_TOKENS + (0 if known is None else known[1])
        return any(
            (row.asked.tenant, row.asked.adapter) == whose
            and row.lane.held < row.prompt
            and row.prompt <= self._room_of_beginnings
            and _shared(row.lane.ids[: row.prompt], ids, len(ids) - 1) >= gain
            for row in self._rows
        )

    def _enter(self, ticket: Ticket[Written]) -> None:
        asked: Asked = ticket.asked
        lane = Lane([*self._learned, *asked.ids], asked.adapter)
        row = _Row(
            asked,
            ticket,
            lane,
            Chooser(asked.choice, asked.branch),
            Spelling(
                self._tokenizer,
                asked.stops,
                stripped=asked.stripped,
                before=() if asked.stripped else asked.ids[-BEFORE_TOKENS:],
                special=asked.special,
            ),
            len(lane.ids),
        )
        self._begin(row)

    def _begin(self, row: _Row) -> None:
        """Gives a row its place; one that there is no memory for is told so, and the others go on."""
        try:
            self._lanes.enter(row.lane, self._known_beginning(row.asked, row.lane.ids))
        except Exception as error:
            LOGGER.exception("a row could not begin")
            row.ticket.fail(error)
        else:
            self._rows.append(row)
            row.ticket.made = row.chosen

    def _known_beginning(self, asked: Asked, ids: Sequence[int]) -> tuple[Any, int] | None:
        """The longest beginning that an earlier prompt of the same tenant has in common; the last token is computed."""
        best: tuple[Any, int] | None = None
        for each in self._beginnings:
            if (each.tenant, each.adapter) != (asked.tenant, asked.adapter):
                continue
            shared = _shared(each.ids, ids, len(ids) - 1)
            if shared >= SHARED_TOKENS and (best is None or shared > best[1]):
                best = (each.held, shared)
        return best

    @property
    def _room_of_beginnings(self) -> int:
        """Tokens of all that are kept."""
        return int(KEPT_SHARE * self._room)

    def _keep_beginning(self, row: _Row) -> None:
        """Keeps the keys and values of a prompt that was read, in place of those that it goes on from."""
        room = self._room_of_beginnings
        if not SHARED_TOKENS <= row.prompt <= room:
            return
        ids = row.lane.ids[: row.prompt]
        whose = (row.asked.tenant, row.asked.adapter)
        for each in list(self._beginnings):
            if (each.tenant, each.adapter) == whose:
                shared = _shared(each.ids, ids, len(ids))
                if shared == len(ids):
                    return
                if shared == len(each.ids):
                    self._beginnings.remove(each)
        while sum(len(each.ids) for each in self._beginnings) + len(ids) > room:
            self._beginnings.popleft()
        held = self._lanes.beginning(row.lane, row.prompt)
        if held is not None:
            self._beginnings.append(_Beginning(*whose, ids, held))

    def _write(self, ready: Sequence[Lane], logits_RV: torch.Tensor) -> None:
        by_lane = {id(row.lane): row for row in self._rows}
        rows = [by_lane[id(lane)] for lane in ready]
        numbers = torch.isfinite(logits_RV.amax(dim=-1)).tolist()
        for row, is_number in zip(rows, numbers, strict=True):
            if not is_number:
                self._end_with(row, _not_numbers(), wipe=True)
        good = [index for index, is_number in enumerate(numbers) if is_number]
        if len(good) < len(rows):
            rows, logits_RV = [rows[index] for index in good], logits_RV[good]
        for row, chosen in zip(rows, choose_tokens(logits_RV, [row.chooser for row in rows]), strict=True):
            if not row.chosen and row.lane.held == row.prompt:
                self._keep_beginning(row)
            self._take(row, chosen)

    def _take(self, row: _Row, chosen: Chosen) -> None:
        """One more token of an answer, told at once where its text is wanted as it comes."""
        asked, finish, text = row.asked, None, ""
        if chosen.token in asked.ends:
            finish = "stop"
        else:
            row.lane.ids.append(chosen.token)
            row.chosen.append(chosen)
            if asked.streams or asked.stops:
                text = row.spelling.push(chosen.token)
            if row.spelling.stopped:
                finish = "stop"
            elif len(row.chosen) >= asked.max_new_tokens:
                finish = "length"
        if finish is not None:
            self._finish(row, finish, text)
        elif asked.streams and (text or asked.choice.top_logprobs is not None):
            self._tell(row, text, None)

    def _finish(self, row: _Row, finish: str, text: str) -> None:
        if row.asked.streams:
            text += row.spelling.finish()
        elif row.asked.stops:
            text = row.spelling.whole()
        else:
            text = row.spelling.text_of([each.token for each in row.chosen])
            text = text.strip() if row.asked.stripped else text
        self._tell(row, text, finish)
        self._remove(row)

    def _tell(self, row: _Row, text: str, finish: str | None) -> None:
        new = tuple(row.chosen[row.told :])
        row.told = len(row.chosen)
        row.ticket.tell(Written(text, new, finish, len(row.chosen)), last=finish is not None)

    def _drop_those_gone(self) -> None:
        """Frees the places of those who do not wait any more."""
        now = time.monotonic()
        for row in [*self._rows, *self._paused]:
            if row.ticket.gone:
                self._remove(row)
            elif row.ticket.late(now):
                self._end_with(row, row.ticket.too_late())
        self.waiting.drop_those_gone(now)

    def _end_with(self, row: _Row, error: Exception, *, wipe: bool = False) -> None:
        row.ticket.fail(error)
        self._remove(row, wipe=wipe)

    def _remove(self, row: _Row, *, wipe: bool = False) -> None:
        if row in self._paused:
            self._paused.remove(row)
            return
        self._rows.remove(row)
        self._lanes.leave(row.lane, wipe=wipe)

    def _fail(self, error: Exception) -> None:
        """Everybody gets an error, and nothing is kept of what they had."""
        for row in [*self._rows, *self._paused]:
            row.ticket.fail(error)
        self.waiting.fail(error)
        self._rows.clear()
        self._paused.clear()
        self._beginnings.clear()
        self._lanes.clear()


def _shared(known: Sequence[int], ids: Sequence[int], limit: int) -> int:
    """How many tokens two rows begin with in common, at most `limit`."""
    most = min(len(known), len(ids), limit)
    if list(known[:most]) == list(ids[:most]):
        return most
    return next(place for place in range(most) if known[place] != ids[place])


def _not_numbers() -> ServiceError:
    return ServiceError("service/not-a-number", "the model computed what is no number", status=500)
