"""A tuned sentence encoder as a folder: final/ opens in plain transformers, and in sentence-transformers as it is.

model.json              task, method, base: what the weights alone do not say
config.json, model.safetensors          the whole encoder; an adapter is merged into it
modules.json, 1_Pooling/, sentence_bert_config.json ...     how sentence-transformers makes one vector of a text
catalogue.json, catalogue.safetensors   of a recommendation: its items, and their vectors (N, D) as `items`
tokenizer.json ...      the base's own
USE.md                  how to open it without burnish
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.method.core import merged
from burnish.model.load import TOKENIZER_FILES, Base
from burnish.model.pooled import PooledEncoder
from burnish.serving.package import DESCRIPTION
from burnish.storage.durable import make_folder, published_folder, write_json, write_text
from burnish.storage.tensors import save_tensors

if TYPE_CHECKING:
    from torch import Tensor

CATALOGUE, VECTORS = "catalogue.json", "catalogue.safetensors"
_MODES = {"mean": "pooling_mode_mean_tokens", "first": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
_USE = """# Without burnish

Run beside the folder `final`:

```python
from sentence_transformers import SentenceTransformer
model = SentenceTransformer("final")
print(model.encode(["your text here"]).tolist())  # of length 1: products are cosines
```
"""


def save_sentence_encoder(
    target: Path,
    model: PooledEncoder,
    *,
    base: Base,
    described: Mapping[str, Any],
    catalogue: tuple[Sequence[str], Tensor] | None = None,
) -> None:
    """Publishes the tuned model as `target`, complete with a manifest of its files.

    Args:
        described: "task", "method", and what the task keeps of itself.
        catalogue: what the model recommends: N items, and their vectors (N, D).

    A LoRA adapter is merged into the base: sentence-transformers then needs no other folder.
    """
    if described["method"] == "lora":
        merged(model)
    description = {
        "format": 1,
        **described,
        "adapter": False,
        "pooling": model.pooling,
        "normalize": model.normalize,
        "base": base.describe() | {"folder": str(base.folder.resolve()), "normalize": True},
    }
    encoder: Any = model.encoder
    with published_folder(target) as folder:
        encoder.save_pretrained(folder, safe_serialization=True)
        for path in base.folder.iterdir():
            if path.is_file() and (path.name in TOKENIZER_FILES or path.suffix == ".model"):
                shutil.copyfile(path, folder / path.name)
        _write_modules(folder, base)
        if catalogue is not None:
            write_json(folder / CATALOGUE, list(catalogue[0]))
            save_tensors(folder / VECTORS, {"items": catalogue[1]})
        write_json(folder / DESCRIPTION, description)
        write_text(folder / "USE.md", _USE)


def _write_modules(folder: Path, base: Base) -> None:
    """What sentence-transformers reads, in the form that all its versions from 2 on understand."""
    parts = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules: Any = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(parts)
    ]
    write_json(folder / "modules.json", modules)
    make_folder(folder / "1_Pooling")
    modes = {name: pooling == base.pooling for pooling, name in _MODES.items()}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": base.width, **modes})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": base.max_length, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
