"""Small honest parts for every test: a random encoder in a folder, encoded rows, and the real data where it is."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read by the libraries when they are first imported.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

import hypothesis
import numpy as np
import pytest

import burnish
from burnish.settings import settings
from burnish.types import Encoded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from burnish.model.pooled import PooledClassifier
    from burnish.task.text_classification import TextClassification
    from burnish.testing import Subject

SHARED_DATA = Path(__file__).parents[1].parent / "shared" / "data"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("card", "cash", "late", "lost", "money", "my", "refund", "the", "transfer", "where")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
VOCABULARY = (*SPECIAL, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS))

# No deadline: a machine that is busy with something else is no mistake of ours.
hypothesis.settings.register_profile("burnish", deadline=None)
hypothesis.settings.load_profile("burnish")

MakeBase = Callable[..., Path]
MakeRows = Callable[..., list[Encoded]]
MakeClassifier = Callable[..., "tuple[TextClassification, PooledClassifier]"]
MakeSubject = Callable[[str], "Subject"]


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Settings, runs and caches of the tests lie in a temporary folder, never in the home of whoever runs them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BURNISH_")]:
            patch.delenv(name)
        patch.setenv("BURNISH_HOME", str(home))
        patch.setenv("BURNISH_RUNS", str(home / "runs"))
        patch.setenv("BURNISH_PRECISION", "fp32")  # how close is close enough is said for these, on every machine
        patch.setenv("HF_HOME", str(home / "hub"))
        patch.setenv("PYTHONPATH", str(Path(burnish.__file__).parents[1]))  # child processes run what is tested
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def single_thread() -> None:
    """Sums in one order: what is compared bit for bit must not depend on the machine's cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public data sets beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the public data sets are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[[], Tokenizer]:
    """A new WordPiece tokenizer over a few words and all letters, with BERT's special tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    def make() -> Tokenizer:
        ids = {token: index for index, token in enumerate(VOCABULARY)}
        tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
        tokenizer.add_special_tokens(list(SPECIAL))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
        )
        return tokenizer

    return make


@pytest.fixture(scope="session")
def make_base(
    tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Callable[[], Tokenizer], single_thread: None
) -> MakeBase:
    """A random BERT of two layers in a folder of its own, as a sentence encoder when a pooling is given."""

    def make(*, pooling: str | None = None, normalize: bool = False, seed: int = 0, **config: Any) -> Path:
        import torch
        from transformers import BertConfig, BertModel

        folder = tmp_path_factory.mktemp("base")
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        sizes |= {"vocab_size": len(VOCABULARY), "max_position_embeddings": 64}
        torch.manual_seed(seed)
        shape = BertConfig(**{**sizes, "initializer_range": 0.3, **config})  # wide enough for attention to matter
        BertModel(shape).save_pretrained(folder)
        tokenizer = make_tokenizer()
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64})
        )
        if pooling is not None:
            _make_sentence_encoder(folder, pooling, normalize)
        return folder

    return make


def _make_sentence_encoder(folder: Path, pooling: str, normalize: bool) -> None:
    """The files sentence-transformers keeps beside a model."""
    parts = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{part}" if i else "", "type": f"sentence_transformers.models.{part}"}
        for i, part in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for module in modules[1:]:
        (folder / str(module["path"])).mkdir()
    modes = {"mean": "pooling_mode_mean_tokens", "first": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
    settings_of_pooling = {name: mode == pooling for mode, name in modes.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings_of_pooling))


@pytest.fixture(scope="session")
def sentence_base(make_base: MakeBase) -> Path:
    """A sentence encoder with mean pooling and unit vectors; shared, so nothing may change it."""
    return make_base(pooling="mean", normalize=True)


CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture(scope="session")
def make_language_base(tmp_path_factory: pytest.TempPathFactory, single_thread: None) -> MakeBase:
    """A random causal Llama of two layers over bytes, with a chat template unless told otherwise."""

    def make(*, template: str | None = CHAT_TEMPLATE, seed: int = 0, **config: Any) -> Path:
        import torch
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        from transformers import LlamaConfig, LlamaForCausalLM

        folder = tmp_path_factory.mktemp("language-base")
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        ids = {letter: index for index, letter in enumerate(["<s>", "</s>", *letters])}
        tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(["<s>", "</s>"])
        tokenizer.save(str(folder / "tokenizer.json"))
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
        about |= {"chat_template": template} if template else {}
        (folder / "tokenizer_config.json").write_text(json.dumps(about))
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
        sizes |= {"vocab_size": len(ids), "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1}
        torch.manual_seed(seed)
        LlamaForCausalLM(LlamaConfig(**{**sizes, "initializer_range": 0.2, **config})).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def make_seq2seq_base(tmp_path_factory: pytest.TempPathFactory, single_thread: None) -> MakeBase:
    """A random encoder with a decoder over bytes, two layers each: T5, or BART when `family` says so."""

    def make(*, family: str = "t5", seed: int = 0, weights: bool = True, **config: Any) -> Path:
        import torch
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
        from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

        folder = tmp_path_factory.mktemp("seq2seq-base")
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        ids = {token: index for index, token in enumerate(["<pad>", "</s>", *letters])}
        tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(["<pad>", "</s>"])
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        tokenizer.save(str(folder / "tokenizer.json"))
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(about))
        marks = {"vocab_size": len(ids), "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
        torch.manual_seed(seed)
        if family == "t5":
            sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
            model: Any = T5ForConditionalGeneration(T5Config(**{**marks, **sizes, **config}))
        else:
            sides = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in _BART_SIDE.items()}
            limits = {"d_model": 32, "max_position_embeddings": 128, "init_std": 0.2, "forced_eos_token_id": None}
            model = BartForConditionalGeneration(BartConfig(**{**marks, **sides, **limits, **config}))
        if weights:
            model.save_pretrained(folder)
        else:
            model.config.save_pretrained(folder)
        return folder

    return make


_BART_SIDE = {"layers": 2, "attention_heads": 4, "ffn_dim": 48}


@pytest.fixture(scope="session")
def seq2seq_base(make_seq2seq_base: MakeBase) -> Path:
    """An encoder with a decoder; shared, so nothing may change it."""
    return make_seq2seq_base()


@pytest.fixture(scope="session")
def language_base(make_language_base: MakeBase) -> Path:
    """A causal model with a chat template; shared, so nothing may change it."""
    return make_language_base()


IMAGE_BASES = {  # the families of image models in tiny shapes, for images of 32 x 32 pixels
    "vit": ("ViT", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}),
    "resnet": ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}),
    "convnext": ("ConvNext", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 4}),
    "mobilenet_v1": ("MobileNetV1", {"depth_multiplier": 0.05, "min_depth": 4}),
    "mobilenet_v2": ("MobileNetV2", {"depth_multiplier": 0.1, "min_depth": 4, "depth_divisible_by": 4}),
}


@pytest.fixture(scope="session")
def make_image_base(tmp_path_factory: pytest.TempPathFactory, single_thread: None) -> MakeBase:
    """A random image classifier of a family, with the settings of its images."""

    def make(family: str = "vit", *, seed: int = 0, **config: Any) -> Path:
        import torch
        import transformers

        name, shape = IMAGE_BASES[family]
        if family == "vit":
            shape = {**shape, "image_size": 32, "patch_size": 8, "initializer_range": 0.3, "hidden_dropout_prob": 0.1}
        folder = tmp_path_factory.mktemp("image-base")
        torch.manual_seed(seed)
        made = getattr(transformers, f"{name}ForImageClassification")(
            getattr(transformers, f"{name}Config")(**{**shape, **config})
        )
        made.save_pretrained(folder)
        about = {"do_resize": True, "size": {"height": 32, "width": 32}, "do_center_crop": False, "resample": 2}
        about |= {
            "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.2, 0.3, 0.25],
            "image_processor_type": "ViTImageProcessor",
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(about))
        return folder

    return make


@pytest.fixture(scope="session")
def image_base(make_image_base: MakeBase) -> Path:
    """A tiny vision transformer; shared, so nothing may change it."""
    return make_image_base()


@pytest.fixture(scope="session")
def write_images(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder of PNG files, one folder per class: noise in which one colour is brighter than the others."""

    def write(count: int = 40, *, classes: Sequence[str] = ("blue", "green", "red"), seed: int = 0) -> Path:
        from PIL import Image

        folder = tmp_path_factory.mktemp("images")
        random = np.random.default_rng(seed)
        for index in range(count):
            channel = index % len(classes)
            pixels = random.integers(0, 160, size=(24, 20 + index % 5, 3))
            pixels[..., 2 - channel] += 60
            path = folder / classes[channel] / f"{index:03}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
        return folder

    return write


@pytest.fixture(scope="session")
def image_folder(write_images: Callable[..., Path]) -> Path:
    """120 images of three classes; shared, so nothing may change it."""
    return write_images(120)


@pytest.fixture(scope="session")
def conversations(toy_rows: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """120 different rows of messages; the answer is a word of the question, some have two turns."""
    rows = []
    for number, (text, label) in enumerate(toy_rows[:120]):
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
        if number % 5 == 4:
            turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}, *turns]
        rows.append({"messages": turns})
    return rows


@pytest.fixture(scope="session")
def chats(tmp_path_factory: pytest.TempPathFactory, conversations: list[dict[str, Any]]) -> Path:
    """The conversations as a file; shared, so nothing may change it."""
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in conversations), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def make_rows() -> MakeRows:
    """Encoded rows of given lengths whose class can be read off their tokens."""

    def make(lengths: Sequence[int], *, classes: int = 2, seed: int = 0) -> list[Encoded]:
        random = np.random.default_rng(seed)
        span = (len(VOCABULARY) - len(SPECIAL)) // classes
        rows = []
        for index, length in enumerate(lengths):
            label = index % classes
            start = len(SPECIAL) + label * span
            ids = random.integers(start, start + span, size=length)
            rows.append(Encoded(token_ids=ids, segment_lengths=(length,), targets=np.array(label)))
        return rows

    return make


@pytest.fixture(scope="session")
def make_classifier(sentence_base: Path, make_tokenizer: Callable[[], Tokenizer]) -> MakeClassifier:
    """A task and its untrained model over the shared base; both new at every call, equal for equal seeds."""

    def make(
        folder: Path | None = None, *, classes: int = 2, seed: int = 0, head: Any = None, **options: Any
    ) -> tuple[TextClassification, PooledClassifier]:
        import torch

        from burnish.model.find import find_base
        from burnish.model.load import load_encoder
        from burnish.model.options import ModelOptions
        from burnish.task.text_classification import TextClassification

        base = find_base(ModelOptions(base=str(folder or sentence_base)), recipe_folder=Path(), runs=Path("absent"))
        labels = [f"label-{index}" for index in range(classes)]
        task = TextClassification(make_tokenizer(), labels, max_length=base.max_length, **options)
        encoder = load_encoder(base)
        torch.manual_seed(seed)
        model: Any = task.build(encoder, width=base.width, pooling=base.pooling, normalize=base.normalize, head=head)
        return task, model.eval()

    return make


KEYWORDS = {"card": ("card", "cash"), "late": ("late", "transfer"), "refund": ("refund", "money")}
FILLERS = ("my", "the", "where", "lost", "is", "it", "on", "a")


@pytest.fixture(scope="session")
def toy_rows() -> list[tuple[str, str]]:
    """180 different texts in three equal classes, each with one keyword that gives its label away."""
    random = np.random.default_rng(0)
    rows: dict[str, str] = {}
    while len(rows) < 180:
        label = sorted(KEYWORDS)[len(rows) % 3]
        before, after = (list(random.choice(FILLERS, size=random.integers(1, 5))) for _ in range(2))
        rows.setdefault(" ".join([*before, str(random.choice(KEYWORDS[label])), *after]), label)
    return list(rows.items())


def _toy_rows_of(task: str, toy_rows: Sequence[tuple[str, str]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """28 toy rows as a task with a head wants them, and rows that it refuses; none for a task of texts and a label."""
    texts, labels = zip(*toy_rows[:29], strict=True)
    pairs = [{"first": one, "second": other} for one, other in itertools.pairwise(texts)]
    numbers = [float("card" in text) + 0.25 * len(text.split()) for text in texts[:28]]
    both = list(zip(texts[:28], labels, strict=False))
    if task == "token-classification":
        return [_tagged(text, label) for text, label in both], [{"tokens": ["a"], "tags": ["none"]}]
    if task == "hierarchical-classification":
        found = [{"text": text, "label": f"{'card' in text}/{label}"} for text, label in both]
        return found, [{"text": "a", "label": "True"}]
    if task == "multi-label-classification":
        rows = [{"text": text, "labels": [label] * (i % 3 > 0)} for i, (text, label) in enumerate(both)]
        return rows, [{"text": "a", "labels": ["none"]}]
    if task == "text-regression":
        return [{"text": text, "score": number} for text, number in zip(texts, numbers, strict=False)], []
    if task == "text-pair-classification":
        rows = [{**pair, "label": label} for pair, label in zip(pairs, labels, strict=False)]
        return rows, [{**pairs[0], "label": "none"}]
    if task == "text-pair-regression":
        return [{**pair, "score": number} for pair, number in zip(pairs, numbers, strict=True)], []
    if task == "question-answering":
        keyed = [(text, next((word for word in text.split() if word in KEYWORDS[label]), "")) for text, label in both]
        rows = [
            {"question": "where is it", "context": text, "answers": [[word, text.find(word)]] if i % 4 else []}
            for i, (text, word) in enumerate(keyed)
        ]
        return rows, [{"question": "card " * 60, "context": "card", "answers": []}]
    return [], []


def _tagged(text: str, label: str) -> dict[str, Any]:
    """The toy row as a sentence whose keyword is an entity."""
    tokens = text.split()
    return {"tokens": tokens, "tags": [f"B-{label}" if token in KEYWORDS[label] else "O" for token in tokens]}


def _cells(text: str) -> dict[str, str]:
    """The toy row as cells: its words, how many letters it has, and a number that every third row lacks."""
    tokens = text.split()
    return {"first": tokens[0], "last": tokens[-1], "letters": str(len(text)), "third": "" if len(text) % 3 else "3.5"}


@pytest.fixture(scope="session")
def make_subject(
    sentence_base: Path,
    language_base: Path,
    image_base: Path,
    image_folder: Path,
    seq2seq_base: Path,
    toy_rows: list[tuple[str, str]],
    conversations: list[dict[str, Any]],
) -> MakeSubject:
    """A registered task for the conformance suites: its columns filled with texts, over a tiny encoder.

    A task that needs more than texts and a label gets its rows here.
    """
    from burnish.task.build import TASKS
    from burnish.task.options import EmbeddingOptions, PreferenceOptions
    from burnish.testing import (
        chat_subject_over,
        embedding_subject_over,
        image_subject_over,
        preference_subject_over,
        seq2seq_subject_over,
        subject_over,
        table_subject,
    )

    @cache
    def make(name: str) -> Subject:
        if name == "chat":
            silent = {
                "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]
            }
            return chat_subject_over(str(language_base), conversations[:28], refused=[silent])
        if name == "seq2seq":
            pairs = [{"source": text, "target": f"{label} {text[:9]}"} for text, label in toy_rows[:28]]
            endless = [{"source": "a", "target": "b" * 600}, {"source": "a" * 600, "target": "b"}]
            empty = [{"source": "a", "target": " "}, {"source": " ", "target": "b"}]
            return seq2seq_subject_over(str(seq2seq_base), pairs, refused=[*endless, *empty])
        if name == "preference":
            pairs = [
                {"prompt": row["messages"][:-1], "chosen": row["messages"][-1:], "rejected": other["messages"][-1:]}
                for row, other in itertools.pairwise(conversations[:29])
            ]
            endless = {**pairs[0], "prompt": [{"role": "user", "content": "a" * 3_000}]}
            return preference_subject_over(str(language_base), pairs, PreferenceOptions(), refused=[endless])
        if name == "image-classification":
            images = [{"image": str(p), "label": p.parent.name} for p in sorted(image_folder.glob("*/*.png"))[::5]]
            return image_subject_over(str(image_base), images[:28], refused=[{"image": "absent.png", "label": "red"}])
        if name == "tabular":
            cells = [{"features": _cells(text), "target": label} for text, label in toy_rows[:28]]
            return table_subject(cells, refused=[{**cells[0], "target": "none"}])
        if name in ("embedding", "recommendation"):
            known = "label" if name == "embedding" else "user"
            pairs = [
                {"anchor": text, "positive": other, known: label}
                for (text, label), (other, _) in zip(toy_rows[:28], toy_rows[3:31], strict=True)  # three labels in turn
            ]
            return embedding_subject_over(str(sentence_base), pairs, EmbeddingOptions(), refused=[{"other": "a"}])
        rows, refused = _toy_rows_of(name, toy_rows)
        if rows:
            return subject_over(str(sentence_base), TASKS[name], rows, refused=refused)
        task = TASKS[name]
        texts = [column for column in task.columns if column != "label"]
        rows = [{**dict.fromkeys(texts, text), "label": label} for text, label in toy_rows[:28]]
        return subject_over(str(sentence_base), task, rows, refused=[{**rows[0], "label": "no label of these"}])

    return make


@pytest.fixture(scope="session")
def write_csv(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A CSV file with a header in a folder of its own."""

    def write(rows: Sequence[Sequence[str]], *, header: Sequence[str] = ("body", "intent")) -> Path:
        path = tmp_path_factory.mktemp("data") / "toy.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
        return path

    return write


@pytest.fixture(scope="session")
def toy(write_csv: Callable[..., Path], toy_rows: list[tuple[str, str]]) -> Path:
    """The toy rows as a file; shared, so nothing may change it."""
    return write_csv(toy_rows)


@pytest.fixture(scope="session")
def quick(sentence_base: Path) -> tuple[str, ...]:
    """Overrides of a recipe with which a random base learns the toy rows in a second."""
    training = {
        "threads": 1,
        "epochs": 8,
        "patience": 20,
        "learning_rate": 2e-2,
        "layer_decay": 1,
        "average_decay": 0,
        "label_smoothing": 0,
        "global_batch_size": 16,
    }
    return (
        f"model.base={sentence_base}",
        "method=full",
        "evaluation.resamples=200",
        *(f"training.{name}={value}" for name, value in training.items()),
    )
