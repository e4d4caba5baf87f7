"""Does final/ give the same answers in plain transformers (and peft) as in burnish?

    python benchmarks/plain_final.py RUN_FOLDER

Opens the folder without burnish, in fp32 and in bf16, and compares labels with predictions.jsonl on every test row.
bf16 may differ where the two best classes are close: the largest such margin (logits) is printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

BATCH = 64


class PlainClassifier(PreTrainedModel):
    """A tuned classifier as transformers sees it: base, mean over the tokens, vectors of length 1, linear head."""

    _supports_sdpa = True

    def __init__(self, encoder: Any, head: dict[str, Tensor], labels: list[str], *, normalize: bool) -> None:
        super().__init__(encoder.config)
        self.config.id2label = dict(enumerate(labels))
        self.encoder, self.normalize = encoder, normalize
        self.head = nn.Linear(head["weight"].shape[1], head["weight"].shape[0])
        self.head.load_state_dict(head)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Logits (B, C) in fp32, whatever the base computes in."""
        more = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **more).last_hidden_state.float()
        mask = attention_mask.unsqueeze(-1).float()
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return SequenceClassifierOutput(logits=self.head(F.normalize(pooled, dim=-1) if self.normalize else pooled))


def open_plain(final: Path, *, attention: str = "sdpa") -> tuple[PlainClassifier, Any]:
    """The model of a `final` folder and its tokenizer, opened without burnish."""
    about = json.loads((final / "model.json").read_text("utf-8"))
    if about["base"]["pooling"] != "mean":
        raise SystemExit(f"{final}: pooling {about['base']['pooling']} is not written here")
    if (final / "adapter_config.json").is_file():
        from peft import PeftModel

        plain = AutoModel.from_pretrained(about["base"]["folder"], attn_implementation=attention)
        encoder = PeftModel.from_pretrained(plain, final)
    else:
        encoder = AutoModel.from_pretrained(final, attn_implementation=attention)
    head = load_file(final / "head.safetensors")
    model = PlainClassifier(encoder, head, about["labels"], normalize=about["base"]["normalize"])
    return model.eval(), AutoTokenizer.from_pretrained(final, model_max_length=about["max_length"])


def main(run: Path) -> int:
    model, tokenizer = open_plain(run / "final")
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text("utf-8").splitlines()]
    for dtype in (torch.float32, torch.bfloat16):
        model.encoder.to(dtype)
        different, margins = 0, []
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            batch = tokenizer([row["text"] for row in part], padding=True, truncation=True, return_tensors="pt")
            with torch.no_grad():
                best = model(**batch).logits.argmax(dim=1)
            for row, index in zip(part, best.tolist(), strict=True):
                if model.config.id2label[index] != row["prediction"]:
                    different += 1
                    margins.append(row["margin"])
        largest = f", largest margin among them {max(margins):.4f}" if margins else ""
        print(f"{dtype}: {different} of {len(rows)} labels differ{largest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
