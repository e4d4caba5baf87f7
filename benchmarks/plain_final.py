"""Does final/ give the same answers in plain transformers (and peft) as in burnish?

    python benchmarks/plain_final.py RUN_FOLDER

Opens the folder without burnish, in fp32 and in bf16, and compares labels with predictions.jsonl on every test row.
bf16 may differ where the two best classes are close: the largest such margin (logits) is printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

BATCH = 64


def main(run: Path) -> int:
    final = run / "final"
    about, head = json.loads((final / "model.json").read_text("utf-8")), load_file(final / "head.safetensors")
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text("utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(final)
    if (final / "adapter_config.json").is_file():
        from peft import PeftModel

        encoder = PeftModel.from_pretrained(AutoModel.from_pretrained(about["base"]["folder"]), final).eval()
    else:
        encoder = AutoModel.from_pretrained(final).eval()
    for dtype in (torch.float32, torch.bfloat16):
        encoder = encoder.to(dtype)
        different, margins = 0, []
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            batch = tokenizer(
                [row["text"] for row in part],
                padding=True,
                truncation=True,
                max_length=about["max_length"],
                return_tensors="pt",
            )
            with torch.no_grad():
                hidden = encoder(**batch).last_hidden_state.float()
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            pooled = F.normalize(pooled, dim=-1) if about["base"]["normalize"] else pooled
            best = (pooled @ head["weight"].T + head["bias"]).argmax(dim=1)
            for row, index in zip(part, best, strict=True):
                if about["labels"][index] != row["prediction"]:
                    different += 1
                    margins.append(row["margin"])
        largest = f", largest margin among them {max(margins):.4f}" if margins else ""
        print(f"{dtype}: {different} of {len(rows)} labels differ{largest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
