"""What does a language model forget when it is tuned, does the gate notice, and what do the remedies cost?

A model of 260,032 weights that was trained on children's stories learns Shakespeare with a learning rate that is far
too high: it forgets its stories. The same training is repeated with each remedy. Healthy trainings, on stories in a
manner of their own and with the default rate, show how often the gate stops one without a reason.

    python benchmarks/forgetting.py [--pairs 10] [--work FOLDER]

--work keeps the runs: the same command goes on where it was stopped. Rows for replay and for the Fisher information are
stories that the base itself told.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import ROOT, parsed, parser, report, table

import burnish
from burnish.model.generate import Sampling, generate

SHARED = ROOT.parent / "shared"
BASE, SHAKESPEARE = SHARED / "models" / "stories260k", SHARED / "data" / "tiny_shakespeare" / "input.txt"
TOLD, TOLD_TOKENS = 128, 48  # stories that the base tells, and tokens of each at most
LEARNED = 64  # short speeches of Shakespeare
KEPT = "KEPT"  # stands for the file of stories that are kept
FORCED = ("method=full", "training.learning_rate=0.01", "training.warmup_ratio=0")
SMALL = ("training.global_batch_size=8", "training.epochs=2", "data.validation_ratio=0.2", "data.test_ratio=0.3")
REMEDIES: Mapping[str, Sequence[str]] = {
    "nothing": (),
    "replay, a third": (f"training.keep_ability.rows={KEPT}", "training.keep_ability.replay=0.33"),
    "EWC": (f"training.keep_ability.rows={KEPT}", "training.keep_ability.ewc=30"),
    "L2 to the start": ("training.keep_ability.l2_to_start=0.01",),
    "interpolation": ("checkpoint.choose=interpolation",),
    "replay and interpolation": (
        f"training.keep_ability.rows={KEPT}",
        "training.keep_ability.replay=0.33",
        "checkpoint.choose=interpolation",
    ),
    "the default rate": ("training.learning_rate=null",),
    "LoRA of rank 4, its default rate": ("training.learning_rate=null", "method={name: lora, rank: 4}"),
}


def main() -> None:
    found = parser(__doc__ or "", pairs=10)
    found.add_argument("--work", help="folder of the runs (a temporary one)")
    options = parsed(found)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(options.work or temporary)
        work.mkdir(parents=True, exist_ok=True)
        stories = told(work / "told.jsonl")
        kept, speeches = written(work / "kept.jsonl", stories[: TOLD // 2]), written(work / "speeches.jsonl", speech())
        remedies = dict(list(REMEDIES.items())[:2]) if options.quick else REMEDIES
        forced = {
            name: run(
                work / f"forced-{i}", speeches, options.seed, *FORCED, *(a.replace(KEPT, str(kept)) for a in more)
            )
            for i, (name, more) in enumerate(remedies.items())
        }
        manner = written(work / "manner.jsonl", [in_a_manner(story) for story in stories[TOLD // 2 :]])
        healthy = {
            f"{method}-{seed}": run(work / f"healthy-{method}-{seed}", manner, seed, f"method={method}")
            for seed in range(options.seed, options.seed + options.pairs)
            for method in ("full", "lora")
        }
    shown = [shown_forced(forced), shown_healthy(healthy)]
    report(__file__, options, "\n\n".join(shown), {"forced": forced, "healthy": healthy})


def told(path: Path) -> list[str]:
    """Stories that the base tells, sampled at temperature 0.9."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not path.is_file():
        model, tokenizer = AutoModelForCausalLM.from_pretrained(BASE).eval(), AutoTokenizer.from_pretrained(BASE)
        sampling = Sampling(max_new_tokens=TOLD_TOKENS, temperature=0.9, seed=7)
        answers = generate(model, [[tokenizer.bos_token_id]] * TOLD, ends=[1, 2], sampling=sampling)
        texts = [tokenizer.decode(answer.token_ids, skip_special_tokens=True).strip() for answer in answers]
        written(path, list(dict.fromkeys(texts)))
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def speech() -> list[str]:
    found = [text for text in SHAKESPEARE.read_text(encoding="utf-8").split("\n\n") if 60 < len(text) < 120]
    return found[:LEARNED]


def in_a_manner(story: str) -> str:
    """The same story as somebody else would tell it: what a healthy training has to learn."""
    names = {"Lily": "Ottoline", "Tim": "Barnaby", "Once upon a time": "Long ago, in the north", "mom": "mama"}
    for old, new in names.items():
        story = story.replace(old, new)
    return f"{story}\nSo it was, and so it is told."


def written(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def run(folder: Path, rows: Path, seed: int, *settings: str) -> dict[str, Any]:
    """Gain, forgetting and seconds of one training."""
    own = [f"model.base={BASE}", "model.chat_template=plain", "evaluation.resamples=500", f"training.seed={seed}"]
    done = burnish.train(rows, output=folder, overrides=[*own, *SMALL, *settings], resume=True)
    evaluation, training = done.evaluation, done.folder.manifest()["training"]
    print(f"{folder.name}: {evaluation['gates'][0]['reason']}", flush=True)
    return {
        "verdict": evaluation["verdict"],
        "gate": evaluation["gates"][0],
        "kinds": evaluation["forgetting"]["kinds"],
        "chosen": training["checkpoint_choice"]["chosen"],
        "seconds": training["training_seconds"],
    }


def shown_forced(forced: Mapping[str, Mapping[str, Any]]) -> str:
    head = ["remedy", "gain, nats per token", "stories", "reasoning", "all probes", "gate"]
    rows = []
    for name, figures in forced.items():
        verdict, kinds = figures["verdict"], figures["kinds"]
        gain = f"{verdict['difference']:+.2f} [{verdict['low']:+.2f}, {verdict['high']:+.2f}]"
        rises = [rise(kinds[kind]) for kind in ("story", "reasoning", "all probes")]
        rows.append([name, gain, *rises, "passed" if figures["gate"]["passed"] else "stopped"])
    n = next(iter(forced.values()))["verdict"]["n"]
    return f"Shakespeare, n = {n} test speeches; rise of the loss on probes\n\n{table(head, rows)}"


def rise(kind: Mapping[str, Any]) -> str:
    return f"{100 * kind['rise']:+.0f} % [{100 * kind['low']:+.0f}, {100 * kind['high']:+.0f}]"


def shown_healthy(healthy: Mapping[str, Mapping[str, Any]]) -> str:
    stopped = [name for name, figures in healthy.items() if not figures["gate"]["passed"]]
    better = sum(figures["verdict"]["answer"] == "better" for figures in healthy.values())
    worst = max(
        max(kind["rise"] for kind in figures["kinds"].values() if kind["known"]) for figures in healthy.values()
    )
    return (
        f"healthy trainings: {len(healthy)}, better by their verdict: {better}, stopped by the gate: {len(stopped)}; "
        f"largest rise of the loss on one kind of probes: {100 * worst:+.1f} %"
    )


if __name__ == "__main__":
    main()
