"""Preferences: which of two answers is the better one (DPO, ORPO, SimPO), or whether an answer is a good one (KTO).

A row's answers share their prompt, which is held and computed once. What an answer is, is what `chat` would learn of
it: the tokens the assistant says after the prompt, with the one that ends its turn.

Shapes: B rows, A answers of each, R tokens of all answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from burnish.model.template import RefusedConversationError
from burnish.task.chat import LongRows
from burnish.task.mask import Masker, Segment, UnmaskableError
from burnish.task.options import PreferenceOptions
from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from torch import Tensor, nn


class Preference:
    """Rows of `prompt`, `chosen` and `rejected` (and `tools`), the prompt and the answers as lists of messages.

    Args:
        masker: template and tokenizer of the base.
        options: the loss.
        max_length: tokens of a prompt with one answer that the model reads.
        long_rows: what becomes of longer ones; no turn is ever cut.

    Each encoded row brings the tokens of its first answer as its number `given`; the log-probabilities of the base,
    which `dpo` and `kto` compare with, are to be put behind it.
    """

    name: ClassVar[str] = "preference"
    columns: ClassVar[Mapping[str, type]] = {"prompt": list, "chosen": list, "rejected": list}
    metrics: ClassVar[tuple[str, ...]] = ("loss", "reward-accuracy")
    methods: ClassVar[tuple[str, ...]] = ("prompt-tuning", "ia3", "adapter", "lora", "qlora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ("preference",)
    learns_from: ClassVar[str] = "pairs of answers, or answers called good or bad"
    row_example: ClassVar[str] = 'pair: {"prompt": ..., "chosen": ..., "rejected": ...}'
    decomposable: ClassVar[bool] = True

    def __init__(
        self, masker: Masker, options: PreferenceOptions, *, max_length: int, long_rows: LongRows = "drop"
    ) -> None:
        self.masker = masker
        self.options = options
        self.max_length = max_length
        self.long_rows = long_rows

    def encode(self, row: Row) -> Encoded | Refusal:
        """The prompt with its better answer, and the worse answer as a second segment behind the same prompt."""
        answers = self.answers(row)
        if isinstance(answers, Refusal):
            return answers
        return behind_one_prompt(answers, numbers=())

    def answers(self, row: Row) -> list[Segment] | Refusal:
        """Prompt and answer, what is learned of it, for the better and for the worse answer."""
        return self._fitting(row, (row["chosen"], row["rejected"]))

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """The loss of `preference.loss` summed over the rows, with reward accuracy and margin beside it."""
        from burnish.task import preference_loss

        policy_B2, given = self._log_probabilities(model, batch), _given(batch)
        tokens_B2, options = _tokens(batch), self.options
        if options.loss == "dpo":
            loss_B = preference_loss.dpo(
                policy_B2, given[:, 1:3], beta=options.scale, label_smoothing=options.label_smoothing
            )
        elif options.loss == "simpo":
            loss_B = preference_loss.simpo(policy_B2, tokens_B2, beta=options.scale, margin=options.margin)
        else:
            loss_B = preference_loss.orpo(policy_B2, tokens_B2, weight=options.scale)
        reward_B2 = self._rewards(policy_B2.detach(), given, tokens_B2)
        margin_B = reward_B2[:, 0] - reward_B2[:, 1]
        extras = {"reward_accuracy": float((margin_B > 0).sum()), "reward_margin": float(margin_B.sum())}
        return LossTerm(loss_B.sum(), float(len(loss_B)), extras)

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"log_probabilities": of both answers, "tokens": of both} and, with a reference where the loss has one,
        {"rewards": of both} per row."""
        policy_B2, given, tokens_B2 = self._log_probabilities(model, batch), _given(batch), _tokens(batch)
        rows: list[Row] = [
            {"log_probabilities": policy, "tokens": tokens}
            for policy, tokens in zip(policy_B2.tolist(), tokens_B2.tolist(), strict=True)
        ]
        if self.options.has_reference and given.shape[1] < 3:
            return rows
        rewards = self._rewards(policy_B2, given, tokens_B2).tolist()
        return [{**row, "rewards": reward} for row, reward in zip(rows, rewards, strict=True)]

    def _rewards(self, policy_B2: Tensor, given: Tensor, tokens_B2: Tensor) -> Tensor:
        """(B, 2) what the model thinks of each answer, as its loss measures it."""
        if self.options.has_reference:
            return self.options.scale * (policy_B2 - given[:, 1:3])
        return (self.options.scale if self.options.loss == "simpo" else 1.0) * policy_B2 / tokens_B2

    def _log_probabilities(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B, 2) float64: of the first and the second answer of each row, summed over tokens.

        Sums of hundreds of nats are compared whose difference is a fraction of one: float32 would round it.
        """
        import torch

        from burnish.task.token_loss import token_log_probabilities

        hidden_RD = batch.hidden(model.encoder, at="read")  # type: ignore[arg-type]
        values_R = token_log_probabilities(model.causal, hidden_RD, batch.targets)
        counts = _tokens(batch).flatten().long()
        answer_R = torch.repeat_interleave(torch.arange(len(counts), device=values_R.device), counts)
        sums = torch.zeros(len(counts), dtype=torch.float64, device=values_R.device)
        return sums.index_add(0, answer_R, values_R.double()).view(-1, 2)

    def _fitting(self, row: Row, answers: Sequence[Sequence[Any]]) -> list[Segment] | Refusal:
        """A segment for each answer behind the prompt, or behind as many of its last turns as fit."""
        prompt, tools = list(row["prompt"]), row.get("tools")
        try:
            segments = [self._segment(prompt, answer, tools) for answer in answers]
            longest = max(segment.length for segment in segments)
            while max(segment.length for segment in segments) > self.max_length:
                prompt = _without_first_turns(prompt) if self.long_rows == "drop-first-turns" else []
                if not prompt:
                    return Refusal("chat/too-long", f"{longest:,} tokens; {self.max_length:,} are read")
                segments = [self._segment(prompt, answer, tools) for answer in answers]
        except (UnmaskableError, RefusedConversationError) as error:
            return Refusal(getattr(error, "code", "chat/refused"), f"the template refuses it: {error}")
        return segments

    def _segment(self, prompt: Sequence[Any], answer: Sequence[Any], tools: Any) -> Segment:
        """Prompt and answer; of what the assistant says, only the answer is learned."""
        unlearned = [{**message, "weight": 0} if message["role"] == "assistant" else message for message in prompt]
        segments = self.masker.segments([*unlearned, *answer], tools)
        if len(segments) > 1:
            raise UnmaskableError(
                "chat/refused", "it rewrites the earlier turns of an answer, which has then no one probability"
            )
        return segments[0]


class UnpairedPreference(Preference):
    """Rows of `prompt`, `completion` and `label` (True: a good answer), for the loss `kto`.

    A second segment holds the prompt with the answer to another prompt: from such answers the loss estimates how far
    the model is from the base. `with_mismatched` adds it, because a row alone does not know another.
    """

    columns: ClassVar[Mapping[str, type]] = {"prompt": list, "completion": list, "label": bool}
    decomposable: ClassVar[bool] = False  # that estimate is the mean over a batch

    def encode(self, row: Row) -> Encoded | Refusal:
        """The prompt with its answer."""
        answers = self.answers(row)
        if isinstance(answers, Refusal):
            return answers
        return behind_one_prompt(answers, numbers=(float(bool(row["label"])),))

    def answers(self, row: Row) -> list[Segment] | Refusal:
        return self._fitting(row, (row["completion"],))

    def with_mismatched(self, rows: Sequence[Encoded], *, seed: int) -> list[Encoded]:
        """Each row with a second segment: its prompt and the answer of another row, as much of it as can be read."""
        order = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(rows))
        other = np.empty(len(rows), np.int64)
        other[order] = np.roll(order, 1)
        return [
            _beside(row, rows[index], max_length=self.max_length)
            for row, index in zip(rows, other.tolist(), strict=True)
        ]

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """The loss `kto` summed over the rows, with the rewards of good and of bad answers beside it."""
        from burnish.task import preference_loss

        policy_B2, given = self._log_probabilities(model, batch), _given(batch)
        ratio_B2 = policy_B2 - given[:, 2:4]
        good_B = given[:, 1] > 0
        loss_B = preference_loss.kto(
            ratio_B2[:, 0],
            ratio_B2[:, 1],
            good_B,
            beta=self.options.scale,
            desirable_weight=self.options.desirable_weight,
            undesirable_weight=self.options.undesirable_weight,
        )
        reward_B = self.options.scale * ratio_B2[:, 0].detach()
        right = (reward_B > 0) == good_B
        signed = reward_B.where(good_B, -reward_B)
        extras = {"reward_accuracy": float(right.sum()), "reward_margin": float(signed.sum())}
        return LossTerm(loss_B.sum(), float(len(loss_B)), extras)

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"log_probabilities", "tokens"} of the answer and of the mismatched one, with a reference also {"rewards"}
        of the answer alone."""
        policy_B2, given = self._log_probabilities(model, batch), _given(batch)
        tokens = _tokens(batch).tolist()
        rows: list[Row] = [
            {"log_probabilities": policy, "tokens": count}
            for policy, count in zip(policy_B2.tolist(), tokens, strict=True)
        ]
        if given.shape[1] < 4:
            return rows
        reward_B = self.options.scale * (policy_B2 - given[:, 2:4])[:, 0]
        return [{**row, "rewards": [reward]} for row, reward in zip(rows, reward_B.tolist(), strict=True)]


def behind_one_prompt(segments: Sequence[Segment], *, numbers: Sequence[float]) -> Encoded:
    """One or two segments that begin alike as one row that holds their beginning once.

    Args:
        segments: of the answers; each has learned tokens.
        numbers: what `given` holds behind the number of tokens of the first answer.
    """
    learned = [np.flatnonzero(segment.learned) for segment in segments]
    prefix = _common(segments, most=min(int(places[0]) for places in learned))
    ids, lengths, reads, targets, start = [], [], [], [], 0
    for index, (segment, places) in enumerate(zip(segments, learned, strict=True)):
        shared = prefix if index else 0
        before = places - 1
        ids.append(segment.token_ids[shared:])
        lengths.append(segment.length - shared)
        reads.append(np.where(before < prefix, before, before - shared + start))
        targets.append(segment.token_ids[places])
        start += segment.length - shared
    return Encoded(
        token_ids=np.concatenate(ids),
        segment_lengths=tuple(lengths),
        targets=np.concatenate(targets).astype(np.int64),
        read_positions=np.concatenate(reads).astype(np.int64),
        shared_prefix=prefix if len(segments) > 1 else 0,
        given=np.array([len(learned[0]), *numbers], np.float64),
    )


def _common(segments: Sequence[Segment], *, most: int) -> int:
    """Tokens that all segments begin with, at most `most`; each keeps one of its own."""
    if len(segments) == 1:
        return 0
    most = min(most, *(segment.length - 1 for segment in segments))
    first, second = (segment.token_ids[:most] for segment in segments)
    different = np.flatnonzero(first != second)
    return int(different[0]) if len(different) else most


def _beside(row: Encoded, other: Encoded, *, max_length: int) -> Encoded:
    """The row with the other row's answer behind its own prompt."""
    assert row.read_positions is not None
    assert other.read_positions is not None
    assert row.given is not None
    prompt, begin = int(row.read_positions[0]) + 1, int(other.read_positions[0]) + 1
    room = max(1, max_length - prompt)
    answer = other.token_ids[begin : begin + room]
    inside = other.read_positions < begin - 1 + len(answer)
    places = other.read_positions[inside] - begin  # of the token before each, counted from the answer's first
    reads = np.where(places < 0, prompt - 1, places + row.length)
    return Encoded(
        token_ids=np.concatenate([row.token_ids, answer]),
        segment_lengths=(row.length, len(answer)),
        targets=np.concatenate([row.targets, other.targets[inside]]),
        read_positions=np.concatenate([row.read_positions, reads]),
        shared_prefix=prompt,
        given=row.given,
    )


def _without_first_turns(prompt: Sequence[Any]) -> list[Any]:
    """The prompt from its second user turn on, behind what the system says; empty when there is none."""
    system = [message for message in prompt if message["role"] == "system"]
    starts = [i for i, message in enumerate(prompt) if message["role"] == "user"]
    return [*system, *prompt[starts[1] :]] if len(starts) > 1 else []


def _given(batch: Batch) -> Tensor:
    given = batch.given
    assert given is not None, "rows of preferences bring the tokens of their first answer"
    return given


def _tokens(batch: Batch) -> Tensor:
    """(B, 2) tokens of the first and of the second answer."""
    import torch

    first_B = _given(batch)[:, 0]
    both_B = torch.tensor(batch.read_counts, dtype=first_B.dtype, device=first_B.device)
    return torch.stack([first_B, both_B - first_B], dim=1)
