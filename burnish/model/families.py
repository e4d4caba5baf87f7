"""The causal families of transformers that burnish was tested with, in tiny shapes with random weights.

Each goes with every method through `tests/integration/test_language_families.py`: the mask, packed rows as separate
ones, training, going on after a kill, merging, opening in plain transformers, and answering.
"""

from __future__ import annotations

TESTED = {  # model_type in config.json -> name for people
    "llama": "Llama",
    "mistral": "Mistral",
    "mixtral": "Mixtral (mixture of experts)",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma": "Gemma",
    "gemma2": "Gemma 2",
    "phi": "Phi",
    "phi3": "Phi-3",
    "olmo": "OLMo",
    "olmo2": "OLMo 2",
    "falcon": "Falcon",
    "granite": "Granite",
    "smollm3": "SmolLM3",
    "stablelm": "StableLM",
    "gpt_neox": "GPT-NeoX",
    "cohere": "Cohere",
    "gpt2": "GPT-2",
}
TESTED_SEQ2SEQ = {"t5": "T5", "bart": "BART"}  # encoders with a decoder
WHOLE = ("falcon",)  # of these, transformers keeps no layer in four bits: qlora is refused
