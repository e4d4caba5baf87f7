"""Options of the exports that a recipe asks for."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from burnish.settings import Options

Kind = Literal["merged", "adapter", "onnx", "gguf", "ollama", "vllm"]
Quantize = Literal["int8", "q8_0"]
KINDS: tuple[Kind, ...] = get_args(Kind)
QUANTIZES: tuple[Quantize, ...] = get_args(Quantize)


class ExportOptions(Options):
    """What a run exports behind its verdict; tried on the untuned base before the first step."""

    to: tuple[Kind, ...] = Field(default=(), description="forms the tuned model is written in, each proven equal")
    rows: int = Field(default=100, ge=1, description="test rows or prompts that an export is compared on, at most")
