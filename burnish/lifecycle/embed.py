"""The vectors of a frozen base for any texts, as a plain function that the doctor can be handed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from burnish.engine.layout import LayoutChoice
from burnish.engine.layout_choice import choose_layout
from burnish.engine.precision import choose_device, choose_precision
from burnish.engine.predict import pooled_features
from burnish.model.load import Base, load_encoder, load_tokenizer, require_known_tokens
from burnish.model.pooled import PooledEncoder
from burnish.types import Encoded, Progress


def embedder(
    base: Base, *, progress: Progress, precision: str = "auto"
) -> Callable[[Sequence[str]], np.ndarray[Any, Any]]:
    """A function from texts to (N, D) float32 vectors of length 1; texts are cut at the base's own limit.

    Raises:
        ModelError: those of loading a base.
    """
    tokenizer = load_tokenizer(base.folder)
    tokenizer.enable_truncation(base.max_length)
    device = choose_device()
    computed = choose_precision(precision, device)
    encoder = load_encoder(base, unaltered=True).to(device)
    require_known_tokens(tokenizer, encoder, base.folder)
    model = PooledEncoder(encoder, pooling=base.pooling, normalize=True).eval()

    layout: LayoutChoice | None = None

    def embed(texts: Sequence[str]) -> np.ndarray[Any, Any]:
        nonlocal layout
        if not texts:
            return np.zeros((0, base.width), np.float32)
        progress.stage(f"vectors of {base.name} for {len(texts):,} texts")
        rows = [_encoded(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]
        layout = layout or choose_layout(encoder, rows, device=device)
        return pooled_features(model, rows, layout=layout, precision=computed, device=device, progress=progress)

    return embed


def _encoded(ids: list[int]) -> Encoded:
    token_ids = np.asarray(ids, np.int64)
    return Encoded(token_ids, (len(ids),), targets=np.asarray(0))
