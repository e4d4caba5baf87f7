"""A folder from a stranger is read, never run: each trick is refused with its place."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ModelError
from burnish.model import intake
from burnish.model.intake import inspect_model_folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """The bytes of a safetensors file, honest or not."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(begin: int, end: int, *shape: int) -> dict[str, Any]:
    return {"dtype": "U8", "shape": list(shape) or [end - begin], "data_offsets": [begin, end]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with nothing wrong: 4 + 2 * 3 weights."""
    path = tmp_path / "model"
    path.mkdir()
    write_json(path / "config.json", {"model_type": "bert", "architectures": ["BertModel"]})
    write_json(path / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    header = {"__metadata__": {"format": "pt"}, "a": tensor(0, 4), "b": tensor(4, 10, 2, 3)}
    (path / "model.safetensors").write_bytes(safetensors(header, bytes(10)))
    return path


def refusal(folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        inspect_model_folder(folder)
    assert caught.value.exit_code == 2
    return caught.value


def test_an_honest_folder_is_described(folder: Path) -> None:
    found = inspect_model_folder(folder)
    assert found.model_type == "bert"
    assert found.parameters == 10
    assert found.weight_files == ("model.safetensors",)
    assert found.ignored == ()


def test_a_real_base_passes(sentence_base: Path) -> None:
    found = inspect_model_folder(sentence_base)
    from burnish.storage.tensors import load_tensors

    assert found.parameters == sum(t.numel() for t in load_tensors(sentence_base / "model.safetensors").values())


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("")])
def test_what_is_no_model_folder(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "x")
    error = refusal(tmp_path / "x")
    assert error.code == "model/not-a-model"
    assert error.where == str(tmp_path / "x")
    assert "config.json" in str(error.hint)


@pytest.mark.parametrize("config", [[], {}, {"model_type": 3}, "bert"])
def test_a_config_without_a_model_type(folder: Path, config: Any) -> None:
    write_json(folder / "config.json", config)
    error = refusal(folder)
    assert error.code == "model/not-a-model"
    assert error.where == str(folder / "config.json")


CODE: dict[str, tuple[str, Any]] = {
    "auto_map of the config": ("config.json", {"model_type": "bert", "auto_map": {"AutoModel": "modeling.Evil"}}),
    "auto_map of a sub-config": (
        "config.json",
        {"model_type": "bert", "text_config": {"layers": [{"auto_map": {"AutoModel": "modeling.Evil"}}]}},
    ),
    "auto_map of the tokenizer": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tok.Evil", None]}}),
    "a custom pipeline": ("config.json", {"model_type": "bert", "custom_pipelines": {"x": {"impl": "evil.P"}}}),
    "trust asked for by the folder": ("config.json", {"model_type": "bert", "trust_remote_code": True}),
    "attention from a hub": ("config.json", {"model_type": "bert", "_attn_implementation": "evil/kernels"}),
    "attention with a revision": ("config.json", {"model_type": "bert", "attn_implementation": "kernels@main"}),
    "a file in a sub-folder": ("1_Pooling/config.json", {"auto_map": {"AutoModel": "x.Y"}}),
}


@pytest.mark.parametrize("trick", CODE)
def test_code_that_comes_with_a_model_is_refused(folder: Path, trick: str) -> None:
    name, content = CODE[trick]
    (folder / name).parent.mkdir(exist_ok=True)
    write_json(folder / name, content)
    error = refusal(folder)
    assert error.code == "model/remote-code"
    assert error.where == str(folder / name)


@pytest.mark.parametrize("implementation", ["sdpa", "eager", "flash_attention_2", None])
def test_attention_of_transformers_itself_is_no_code(folder: Path, implementation: str | None) -> None:
    write_json(folder / "config.json", {"model_type": "bert", "_attn_implementation": implementation, "auto_map": None})
    assert inspect_model_folder(folder).parameters == 10


def test_a_word_of_the_vocabulary_is_no_code(folder: Path) -> None:
    write_json(folder / "tokenizer.json", {"model": {"vocab": {"auto_map": 7, "trust_remote_code": 8}}})
    write_json(folder / "vocab.json", {"auto_map": 7})
    assert inspect_model_folder(folder).parameters == 10


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "notes.txt"])
def test_a_link_out_of_the_folder(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("{}")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder.parent / "secret")
    error = refusal(folder)
    assert error.code == "model/path-escape"
    assert error.where == str(folder / name)
    assert str((folder.parent / "secret").resolve()) in error.message


def test_a_linked_folder_is_not_entered(folder: Path) -> None:
    (folder / "onnx").symlink_to(folder.parent, target_is_directory=True)
    assert refusal(folder).code == "model/path-escape"


def test_a_link_within_the_folder_is_fine(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights-1")
    (folder / "model.safetensors").symlink_to("weights-1")
    assert inspect_model_folder(folder).parameters == 10


def test_links_of_a_hub_cache_lead_to_its_blobs(folder: Path) -> None:
    """A snapshot's files are links to ../../blobs of the same repository, and to nowhere else."""
    repository = folder.parent / "models--a--b"
    snapshot = repository / "snapshots" / "0123"
    snapshot.parent.mkdir(parents=True)
    (repository / "blobs").mkdir()
    folder.rename(snapshot)
    (snapshot / "model.safetensors").rename(repository / "blobs" / "abc")
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    assert inspect_model_folder(snapshot).parameters == 10
    (repository / "other").write_text("")
    (snapshot / "notes.txt").symlink_to("../../other")
    assert refusal(snapshot).code == "model/path-escape"


def test_an_index_with_shards(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "model-00001-of-00001.safetensors"}})
    assert inspect_model_folder(folder).weight_files == ("model-00001-of-00001.safetensors",)


@pytest.mark.parametrize("shard", [f"{way}x.safetensors" for way in ("../", "/", "..\\", ".")] + ["x.bin"])
def test_an_index_that_points_outside(folder: Path, shard: str) -> None:
    (folder.parent / "x.safetensors").write_bytes(safetensors({}))
    path = folder / "model.safetensors.index.json"
    write_json(path, {"weight_map": {"a": "model.safetensors", "b": shard}})
    error = refusal(folder)
    assert error.code == "model/path-escape"
    assert error.where == str(path)
    assert repr(shard) in error.message


def test_an_index_that_names_a_missing_shard(folder: Path) -> None:
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "absent.safetensors"}})
    error = refusal(folder)
    assert error.code == "model/bad-file"
    assert "absent.safetensors" in error.message


@pytest.mark.parametrize("index", [[], {"weight_map": []}, {"weight_map": "x"}, {"weight_map": None}])
def test_an_index_of_another_shape(folder: Path, index: Any) -> None:
    write_json(folder / "model.safetensors.index.json", index)
    error = refusal(folder)
    assert error.code == "model/bad-file"
    assert error.where == str(folder / "model.safetensors.index.json")


def test_pickles_alone_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = refusal(folder)
    assert error.code == "model/no-safetensors"
    assert error.where == str(folder)
    assert "pytorch_model.bin" in error.message
    assert "safetensors" in str(error.hint)


def test_a_folder_without_any_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    error = refusal(folder)
    assert error.code == "model/no-safetensors"
    assert "only" not in error.message


def test_weights_in_a_sub_folder_are_not_the_models(folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "model.safetensors").rename(folder / "onnx" / "model.safetensors")
    assert refusal(folder).code == "model/no-safetensors"


def test_pickles_and_code_beside_the_weights_are_never_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traps = ["modeling_evil.py", "pytorch_model.bin", "sub/optimizer.pt", "tf_model.h5"]
    (folder / "sub").mkdir()
    for name in traps:
        (folder / name).write_bytes(pickle.dumps({"a": 1}))
    opened: list[str] = []

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            opened.append(Path(path).name)
            return original(path, *arguments, **named)

        return call

    for owner, name in ((Path, "open"), (Path, "read_text"), (Path, "read_bytes"), (builtins, "open"), (os, "open")):
        monkeypatch.setattr(owner, name, watched(getattr(owner, name)))
    assert inspect_model_folder(folder).ignored == tuple(traps)
    assert "model.safetensors" in opened  # the watch works
    assert not {Path(name).name for name in traps} & set(opened)


HEADERS: dict[str, bytes] = {
    "empty file": b"",
    "seven bytes": bytes(7),
    "header of nothing": safetensors(b""),
    "header longer than the file": safetensors({"a": tensor(0, 4)}, bytes(4), length=10_000),
    "huge header": struct.pack("<Q", 2**63) + b"{}",
    "header is no JSON": safetensors(b"{{{{"),
    "header is no text": safetensors(b"\xff\xff\xff\xff"),
    "header is a list": safetensors([1, 2]),
    "header is too deep": safetensors(b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
    "entry is no object": safetensors({"a": [0, 4]}),
    "entry without offsets": safetensors({"a": {"dtype": "U8", "shape": [4]}}),
    "one offset": safetensors({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0]}}),
    "infinite offset": safetensors(b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 1e999]}}', bytes(4)),
    "offset of another type": safetensors({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, None]}}),
    "shape of another type": safetensors({"a": {"dtype": "U8", "shape": 4, "data_offsets": [0, 4]}}, bytes(4)),
    "negative shape": safetensors({"a": tensor(0, 4, -4)}, bytes(4)),
    "negative offset": safetensors({"a": tensor(-4, 0)}, bytes(4)),
    "end before begin": safetensors({"a": tensor(4, 0, 4)}, bytes(4)),
    "overlapping tensors": safetensors({"a": tensor(0, 4), "b": tensor(2, 6)}, bytes(6)),
    "the same span twice": safetensors({"a": tensor(0, 4), "b": tensor(0, 4)}, bytes(4)),
    "data cut off": safetensors({"a": tensor(0, 4)}, bytes(3)),
    "number too long to read": safetensors(b'{"a": {"data_offsets": [0, ' + b"9" * 10_000 + b"]}}", bytes(4)),
    "product too long to compute": safetensors({"a": tensor(0, 4, *[10**18] * 100_000)}, bytes(4)),
}


@pytest.mark.parametrize("trick", HEADERS)
def test_weights_that_do_not_fit_their_header(folder: Path, trick: str) -> None:
    (folder / "model.safetensors").write_bytes(HEADERS[trick])
    error = refusal(folder)
    assert error.code == "model/bad-file"
    assert error.where == str(folder / "model.safetensors")


def test_more_tensors_than_any_model_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_TENSORS", 1)
    assert refusal(folder).code == "model/bad-file"


JSONS: dict[str, bytes] = {
    "deep": b"[" * 100_000,
    "cut": b'{"a": ',
    "no text": b"\xff\xfe\x00",
    "empty": b"",
    "long number": b"9" * 10_000,
}


@pytest.mark.parametrize("trick", JSONS)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "special_tokens_map.json"])
def test_json_that_cannot_be_read(folder: Path, name: str, trick: str) -> None:
    (folder / name).write_bytes(JSONS[trick])
    error = refusal(folder)
    assert error.code == "model/bad-file"
    assert error.where == str(folder / name)
    assert len(error.message) < 200


def test_json_larger_than_any_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_JSON_BYTES", 100)
    (folder / "tokenizer.json").write_text("[" + "0," * 100 + "0]")
    error = refusal(folder)
    assert (error.code, error.where) == ("model/bad-file", str(folder / "tokenizer.json"))
    assert "100 bytes" in error.message


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "notes"])
def test_a_pipe_is_not_waited_for(folder: Path, name: str) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    error = refusal(folder)
    assert error.code == "model/bad-file"
    assert error.where == str(folder / name)


def test_a_pipe_as_config_is_not_waited_for(folder: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert refusal(folder).code == "model/not-a-model"
