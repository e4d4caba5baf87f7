"""Continuous batching: token for token what the model writes alone, whoever is asked beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from burnish.engine.precision import Precision
from burnish.errors import ModelError, ServiceError
from burnish.model.adapters import with_adapter
from burnish.model.find import find_base
from burnish.model.generate import Sampling, generate
from burnish.model.language import LanguageModel, load_language_model
from burnish.model.load import load_tokenizer
from burnish.model.options import ModelOptions
from burnish.serving import decoding, slots
from burnish.serving.beside import lies_beside
from burnish.serving.choosing import Choice
from burnish.serving.decoding import Asked, Decoder, Written
from burnish.serving.lanes import Alone, Together, bytes_of
from burnish.serving.waiting import Ticket

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by its old name
EXACT = Precision("fp32", "tests")
END = 1
ENDS = frozenset([END])
RANDOM = np.random.default_rng(5)
PROMPTS = [[0, *RANDOM.integers(2, 250, size).tolist()] for size in (3, 70, 1, 12, 40, 7, 90, 25)]

MakeLanguageBase = Callable[..., Path]


def opened(folder: Path) -> LanguageModel:
    base = find_base(ModelOptions(base=str(folder)), recipe_folder=Path(), runs=Path("absent"))
    model = load_language_model(base)
    model.eval()
    return model


def decoder_of(folder: Path, *, precision: Precision = EXACT, limit: int = 64) -> Decoder:
    return Decoder(opened(folder), load_tokenizer(folder), limit=limit, precision=precision)


class Listener:
    """Who waits for one answer."""

    def __init__(self, asked: Asked, deadline: float | None = None) -> None:
        self.pieces: list[Written] = []
        self.error: Exception | None = None
        self.ticket: Ticket[Written] = Ticket(
            asked, lambda piece, _: self.pieces.append(piece), self._failed, deadline=deadline
        )

    def _failed(self, error: Exception) -> None:
        self.error = error

    @property
    def tokens(self) -> list[int]:
        return [chosen.token for piece in self.pieces for chosen in piece.chosen]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def finish(self) -> str | None:
        return self.pieces[-1].finish if self.pieces else None


def ask(decoder: Decoder, *asked: Asked) -> list[Listener]:
    listeners = [Listener(each) for each in asked]
    decoder.waiting.join(*(listener.ticket for listener in listeners))
    return listeners


def until_done(decoder: Decoder) -> None:
    while decoder.step():
        pass


def alone(folder: Path, prompt: Sequence[int], count: int) -> list[int]:
    (answer,) = generate(opened(folder).causal, [prompt], ends=[END], sampling=Sampling(max_new_tokens=count))
    return answer.token_ids


@pytest.fixture(scope="module")
def base(language_base: Path) -> Path:
    return language_base


@pytest.mark.parametrize(("rows", "budget", "room"), [(32, 512, 1 << 16), (3, 20, 1 << 16), (32, 64, 300)])
def test_greedy_answers_are_those_of_generate_whoever_comes_and_goes(
    base: Path, monkeypatch: pytest.MonkeyPatch, rows: int, budget: int, room: int
) -> None:
    """Requests join at every step, some give up, prompts are read in pieces, slots change hands, and rows that others
    have outgrown wait and are read again."""
    monkeypatch.setitem(decoding.CACHED_TOKENS, "cpu", room)
    monkeypatch.setattr(decoding, "EXPECTED_TOKENS", 2)
    monkeypatch.setitem(decoding.ROWS, "cpu", rows)
    monkeypatch.setitem(decoding.PROMPT_TOKENS, "cpu", budget)
    decoder = decoder_of(base)
    assert isinstance(decoder._lanes, Together)
    listeners = []
    for number, prompt in enumerate(PROMPTS * 2):
        (listener,) = ask(decoder, Asked(ends=ENDS, ids=prompt, max_new_tokens=4 + number % 7))
        listeners.append(listener)
        (other,) = ask(decoder, Asked(ends=ENDS, ids=PROMPTS[-1 - number % 8], max_new_tokens=30))
        for _ in range(number % 4):
            decoder.step()
        other.ticket.cancel()
    until_done(decoder)
    for number, listener in enumerate(listeners):
        prompt = (PROMPTS * 2)[number]
        assert listener.tokens == alone(base, prompt, 4 + number % 7), f"request {number}"
    assert not decoder._rows


def test_in_bf16_a_token_differs_only_where_two_are_equally_likely(base: Path) -> None:
    """Products in bf16 are rounded by 2^-8: where the two likeliest tokens are farther apart, they are the same."""
    lower = Precision("bf16", "tests")
    decoder = decoder_of(base, precision=lower)
    listeners = ask(decoder, *(Asked(ends=ENDS, ids=prompt, max_new_tokens=12) for prompt in PROMPTS))
    until_done(decoder)
    causal = opened(base).causal
    same = 0
    for prompt, listener in zip(PROMPTS, listeners, strict=True):
        with lower.compute(torch.device("cpu")):
            (answer,) = generate(causal, [prompt], ends=[END], sampling=Sampling(max_new_tokens=12))
        first = next(
            (i for i, (a, b) in enumerate(zip(answer.token_ids, listener.tokens, strict=False)) if a != b), None
        )
        same += first is None
        if first is not None:
            with torch.inference_mode(), lower.compute(torch.device("cpu")):
                logits = causal(input_ids=torch.tensor([[*prompt, *answer.token_ids[:first]]])).logits[0, -1].float()
            best = logits.topk(2).values
            assert float(best[0] - best[1]) <= 2**-6 * float(logits.abs().max())
    assert same >= len(PROMPTS) - 2


@pytest.mark.parametrize("family", ["gpt2", "neox", "mistral", "gemma2", "mamba"])
def test_every_family_is_computed_together_or_alone_and_answers_the_same(family: str, tmp_path: Path) -> None:
    """Learned positions, another rotation, a sliding window, capped attention, and no attention at all."""
    import transformers

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 260, "bos_token_id": 0, "eos_token_id": 1}
    usual = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config: Any = {
        "gpt2": lambda: transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, **sizes),
        "neox": lambda: transformers.GPTNeoXConfig(**usual, **sizes),
        "mistral": lambda: transformers.MistralConfig(num_key_value_heads=2, sliding_window=9, **usual, **sizes),
        "gemma2": lambda: transformers.Gemma2Config(num_key_value_heads=2, head_dim=8, **usual, **sizes),
        "mamba": lambda: transformers.MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4, **sizes),
    }[family]()
    config.initializer_range = 0.3
    causal = transformers.AutoModelForCausalLM.from_config(config).eval()
    sampling = Sampling(max_new_tokens=8)
    expected = [generate(causal, [prompt], ends=[END], sampling=sampling)[0].token_ids for prompt in PROMPTS]
    decoder = Decoder(LanguageModel(causal).eval(), None, precision=EXACT)  # type: ignore[arg-type]
    decoder._tokenizer = _NoWords()  # type: ignore[assignment]
    assert isinstance(decoder._lanes, Alone if family in ("gemma2", "mamba") else Together)
    listeners = ask(decoder, *(Asked(ends=ENDS, ids=prompt, max_new_tokens=8) for prompt in PROMPTS))
    until_done(decoder)
    assert [listener.tokens for listener in listeners] == expected


class _NoWords:
    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return ""


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three adapters of different ranks on different layers, far from doing nothing."""
    found = []
    for number, (rank, targets) in enumerate(
        [(4, ["q_proj", "v_proj"]), (2, ["up_proj", "down_proj", "q_proj"]), (8, ["o_proj"])]
    ):
        torch.manual_seed(number)
        core: Any = get_peft_model(
            opened(base).core,  # type: ignore[arg-type]
            LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, use_rslora=number == 2),
        )
        for name, weight in core.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.2)
        folder = tmp_path_factory.mktemp("adapter")
        core.save_pretrained(folder)
        found.append(folder)
    return found


def test_adapters_in_one_batch_answer_as_merged_models_do(base: Path, adapters: list[Path]) -> None:
    decoder = decoder_of(base)
    assert all(lies_beside(folder, "lm_head") for folder in adapters)
    for number, folder in enumerate(adapters):
        assert decoder.add_adapter(str(number), folder) > 0
    names = [None, "0", "1", "2"]
    asked = [
        Asked(ends=ENDS, ids=prompt, max_new_tokens=10, adapter=names[(place + shift) % 4], tenant="a")
        for shift in range(2)
        for place, prompt in enumerate(PROMPTS)
    ]
    listeners = ask(decoder, *asked)
    until_done(decoder)
    merged = {name: with_adapter(opened(base).causal, adapters[int(name)], quantized=False) for name in names if name}
    plain: Any = opened(base).causal
    for each, listener in zip(asked, listeners, strict=True):
        causal = merged[each.adapter] if each.adapter else plain
        (answer,) = generate(causal, [each.ids], ends=[END], sampling=Sampling(max_new_tokens=10))
        assert listener.tokens == answer.token_ids
    assert len({tuple(listener.tokens) for listener in listeners[:1] + listeners[8:9]}) == 2, "adapters change answers"


def test_an_adapter_of_another_base_is_refused(base: Path, adapters: list[Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for name in ("adapter_config.json",):
        (tmp_path / name).write_bytes((adapters[0] / name).read_bytes())
    weights = load_file(adapters[0] / "adapter_model.safetensors")
    save_file(
        {name: torch.full_like(w, float("nan")) for name, w in weights.items()}, tmp_path / "adapter_model.safetensors"
    )
    decoder = decoder_of(base)
    with pytest.raises(ModelError, match="no number"):
        decoder.add_adapter("x", tmp_path)
    save_file({name: torch.zeros(3, 3) for name in weights}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="does not fit"):
        decoder.add_adapter("x", tmp_path)


def test_draws_depend_on_the_seed_and_not_on_the_neighbours(base: Path) -> None:
    choice = Choice(temperature=0.9, top_p=0.8, seed=3)
    asked = [Asked(ends=ENDS, ids=PROMPTS[3], max_new_tokens=12, choice=choice, branch=branch) for branch in range(3)]
    quiet = decoder_of(base)
    alone_ = ask(quiet, *asked)
    until_done(quiet)
    noisy = decoder_of(base)
    ask(noisy, *(Asked(ends=ENDS, ids=prompt, max_new_tokens=9, choice=Choice(temperature=1.0)) for prompt in PROMPTS))
    beside = ask(noisy, *asked)
    until_done(noisy)
    assert [one.tokens for one in alone_] == [one.tokens for one in beside]
    assert len({tuple(one.tokens) for one in alone_}) == 3, "several answers to one request differ"


def test_log_probabilities_bias_and_penalties(base: Path) -> None:
    prompt, causal = PROMPTS[5], opened(base).causal
    with torch.inference_mode():
        logprobs = torch.log_softmax(causal(input_ids=torch.tensor([prompt])).logits[0, -1].float(), dim=-1)
    best = logprobs.topk(3)
    decoder = decoder_of(base)
    told, biased, fresh = ask(
        decoder,
        Asked(ends=ENDS, ids=prompt, max_new_tokens=1, choice=Choice(top_logprobs=3)),
        Asked(ends=ENDS, ids=prompt, max_new_tokens=1, choice=Choice(bias={int(best.indices[2]): 100.0})),
        Asked(ends=ENDS, ids=prompt, max_new_tokens=12, choice=Choice(presence_penalty=1000.0)),
    )
    until_done(decoder)
    (chosen,) = told.pieces[0].chosen
    assert [token for token, _ in chosen.top] == best.indices.tolist()
    assert [value for _, value in chosen.top] == pytest.approx(best.values.tolist(), abs=1e-4)
    assert chosen.logprob == pytest.approx(float(best.values[0]), abs=1e-4)
    assert biased.tokens == [int(best.indices[2])]
    assert len(set(fresh.tokens)) == len(fresh.tokens), "no token twice"


def test_streamed_pieces_add_up_to_the_whole_text(base: Path) -> None:
    sizes = {"max_new_tokens": 24, "choice": Choice(temperature=1.0, seed=4)}
    streamed, whole, raw = ask(
        decoder := decoder_of(base),
        Asked(ends=ENDS, ids=PROMPTS[0], streams=True, **sizes),  # type: ignore[arg-type]
        Asked(ends=ENDS, ids=PROMPTS[0], **sizes),  # type: ignore[arg-type]
        Asked(ends=ENDS, ids=PROMPTS[0], stripped=False, **sizes),  # type: ignore[arg-type]
    )
    until_done(decoder)
    assert len(streamed.pieces) > 3
    assert len(whole.pieces) == 1
    assert streamed.text == whole.text == raw.text.strip() != ""
    assert (streamed.finish, streamed.pieces[-1].tokens) == ("length", 24)
    stop = whole.text[4:6]
    cut, cut_streamed = ask(
        decoder,
        Asked(ends=ENDS, ids=PROMPTS[0], stops=[stop], **sizes),  # type: ignore[arg-type]
        Asked(ends=ENDS, ids=PROMPTS[0], stops=["never", stop], streams=True, **sizes),  # type: ignore[arg-type]
    )
    until_done(decoder)
    assert cut.text == cut_streamed.text == whole.text[: whole.text.index(stop)].rstrip()
    assert cut.finish == cut_streamed.finish == "stop"


def test_beginnings_are_shared_inside_a_tenant_and_never_across(base: Path) -> None:
    decoder = decoder_of(base)
    read: list[int] = []
    compute = decoder._lanes.compute

    def counted(counts: Any) -> Any:
        read.extend(count for _, count in counts)
        return compute(counts)

    decoder._lanes.compute = counted  # type: ignore[method-assign]
    prompt = PROMPTS[6]
    for tenant, adapter_prompt, expected in [
        ("one", prompt, len(prompt)),
        ("one", [*prompt, 9, 9], 2),
        ("two", prompt, len(prompt)),
        ("one", prompt, 1),
    ]:
        read.clear()
        (listener,) = ask(decoder, Asked(ends=ENDS, ids=adapter_prompt, max_new_tokens=8, tenant=tenant))
        until_done(decoder)
        assert sum(read) == expected, (tenant, len(adapter_prompt))
        assert listener.tokens == alone(base, adapter_prompt, 8)
    read.clear()
    several = [Asked(ends=ENDS, ids=PROMPTS[1], max_new_tokens=8, branch=branch) for branch in range(4)]
    listeners = ask(decoder, *several)
    until_done(decoder)
    assert sum(read) == len(PROMPTS[1]) + 3, "several answers read their prompt once"
    assert {tuple(each.tokens) for each in listeners} == {tuple(alone(base, PROMPTS[1], 8))}


def test_numbers_that_are_none_end_one_request_and_reach_no_other(base: Path, adapters: list[Path]) -> None:
    decoder = decoder_of(base)
    decoder.add_adapter("broken", adapters[0])
    for down, up in decoder._bank._known["broken"].values():
        down.fill_(1e38)
        up.fill_(1e38)
    sound = Asked(ends=ENDS, ids=PROMPTS[3], max_new_tokens=10)
    first, broken, second = ask(
        decoder, sound, Asked(ends=ENDS, ids=PROMPTS[1], max_new_tokens=10, adapter="broken"), sound
    )
    until_done(decoder)
    later = ask(
        decoder, sound, sound, Asked(ends=ENDS, ids=PROMPTS[6], max_new_tokens=3)
    )  # in the slots of those before
    until_done(decoder)
    expected = alone(base, PROMPTS[3], 10)
    assert [one.tokens for one in (first, second, *later[:2])] == [expected] * 4
    assert isinstance(broken.error, ServiceError)
    assert broken.error.code == "service/not-a-number"


def test_the_line_is_bounded_and_time_runs_out(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(decoding.ROWS, "cpu", 1)
    decoder = decoder_of(base, limit=2)
    asked = Asked(ends=ENDS, ids=PROMPTS[0], max_new_tokens=5)
    first, gone = ask(decoder, asked, asked)
    with pytest.raises(ServiceError) as refused:
        ask(decoder, asked)
    assert (refused.value.status, refused.value.retry_after_seconds) == (429, 1.0)
    gone.ticket.cancel()
    decoder.step()
    late = Listener(asked, deadline=time.monotonic() - 1)
    decoder.waiting.join(late.ticket)
    until_done(decoder)
    assert first.finish == "length"
    assert not gone.pieces
    assert isinstance(late.error, ServiceError)
    assert late.error.status == 503
    begun = Listener(
        Asked(ends=ENDS, ids=PROMPTS[0], max_new_tokens=200, streams=True), deadline=time.monotonic() + 3600
    )
    decoder.waiting.join(begun.ticket)
    decoder.step()
    begun.ticket._deadline = time.monotonic() - 1
    until_done(decoder)
    assert isinstance(begun.error, ServiceError)
    assert not decoder._rows, "its place is free"


def test_memory_that_is_not_there_ends_one_request_and_the_next_are_answered(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = decoder_of(base)
    short = Asked(ends=ENDS, ids=PROMPTS[0], max_new_tokens=10)
    long = Asked(ends=ENDS, ids=PROMPTS[6], max_new_tokens=5)
    (begun,) = ask(decoder, short)
    decoder.step()
    resized, left = slots._resized, [2]

    def scarce(*asked: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise torch.OutOfMemoryError("no memory")
        return resized(*asked)

    with monkeypatch.context() as patch:
        patch.setattr(slots, "_resized", scarce)
        (refused,) = ask(decoder, long)
        decoder.step()
    again, *beside = ask(decoder, long, short, short)
    until_done(decoder)
    assert isinstance(refused.error, torch.OutOfMemoryError)
    assert again.tokens == alone(base, PROMPTS[6], 5)
    assert [one.tokens for one in (begun, *beside)] == [alone(base, PROMPTS[0], 10)] * 3


def test_what_fails_behind_a_pass_ends_its_rows_and_is_not_repeated(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = decoder_of(base)
    asked = Asked(ends=ENDS, ids=PROMPTS[1], max_new_tokens=5)
    (failed,) = ask(decoder, asked)
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "choose_tokens", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            decoder.step()
    (later,) = ask(decoder, asked)
    until_done(decoder)
    assert isinstance(failed.error, ZeroDivisionError)
    assert later.tokens == alone(base, PROMPTS[1], 5)


def test_many_short_rows_and_then_a_long_one_take_no_more_than_there_is_room_for(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 512
    monkeypatch.setitem(decoding.CACHED_TOKENS, "cpu", room)
    decoder = decoder_of(base)
    shorts = [Asked(ends=ENDS, ids=[0, number + 2], max_new_tokens=3) for number in range(8)]
    ask(decoder, *shorts)
    until_done(decoder)
    place = decoder._lanes.size_bytes // room  # 8 slots of 64
    prompts = [PROMPTS[6] + PROMPTS[1] * 3, PROMPTS[6] * 2, PROMPTS[1]]
    for prompt in prompts:
        (listener,) = ask(decoder, Asked(ends=ENDS, ids=prompt, max_new_tokens=4))
        until_done(decoder)
        assert listener.tokens == alone(base, prompt, 4)
        kept = sum(len(each.ids) for each in decoder._beginnings)
        assert decoder._lanes.size_bytes <= place * room
        assert kept <= room // 4
        own = bytes_of(decoder.causal) + decoder._lanes.weight_bytes
        assert decoder.size_bytes == own + decoder._lanes.size_bytes + place * kept
    assert kept > 0


def test_tenants_take_turns(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(decoding.ROWS, "cpu", 2)
    decoder = decoder_of(base, limit=6)
    asked = {
        tenant: Asked(ends=frozenset(), ids=PROMPTS[0], max_new_tokens=3, tenant=tenant) for tenant in ("many", "one")
    }
    many = ask(decoder, *[asked["many"]] * 5)
    (one,) = ask(decoder, asked["one"])
    for _ in range(3):
        decoder.step()
    assert [each.finish for each in (*many, one)] == ["length", None, None, None, None, "length"]
    until_done(decoder)
    assert [each.finish for each in (*many, one)] == ["length"] * 6
    with pytest.raises(ServiceError):
        ask(decoder, *[asked["many"]] * 7)  # also when nobody waits
