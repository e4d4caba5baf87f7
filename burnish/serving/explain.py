"""Why a text got its label: what each word adds to the label's probability.

Integrated gradients walk from the text with every word blanked to the text as it is, and give each token the change
of the probability that its own vector brings along the way. The contributions sum to the whole change, which is
checked and said.

Shapes: S tokens of a text, N steps.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from burnish.engine.layout import LaidOut
from burnish.engine.segments import own_attention
from burnish.errors import DataProblemError, UsageError
from burnish.serving.predict import Predictor
from burnish.types import Encoded, Refusal, Row

if TYPE_CHECKING:
    from tokenizers import Encoding

STEPS, AT_ONCE = 64, 16  # points of the integral, and how many of them are computed together
EXPLAINED = ("text-classification", "text-pair-classification")
BLANKS = ("[MASK]", "<mask>", "[PAD]", "<pad>", "[UNK]", "<unk>")  # what a blanked word is, the first that a base has


def explain(predictor: Predictor, given: Sequence[str | Row]) -> list[dict[str, Any]]:
    """For each text {"label", "probability", "blank", "words", "error"}.

    `blank` is the probability of the same label when every word is blanked, `words` the contribution of each word in
    reading order, {"word", "column", "gain"} in probability, and `error` how far their sum is from the change.

    Args:
        given: texts, or rows with the task's columns.

    Raises:
        UsageError: those of `require_explained`.
        DataProblemError: [predict/bad-text].

    Source: Sundararajan et al. 2017, arXiv:1703.01365, by captum; the integral by Gauss-Legendre's rule.
    """
    require_explained(predictor.task.name)
    predictions = predictor.predict(given)
    rows = [predictor.task.asked(one) for one in given]
    return [
        _explained(predictor, index, row, said) for index, (row, said) in enumerate(zip(rows, predictions, strict=True))
    ]


def require_explained(task: str) -> None:
    """Raises UsageError [predict/no-explanation] for another task, [predict/not-installed] without captum."""
    if task not in EXPLAINED:
        raise UsageError(
            "predict/no-explanation",
            f"labels of texts are explained, and this run's task is {task}",
            where="--explain",
            known=EXPLAINED,
            hint="leave it out",
        )
    if importlib.util.find_spec("captum") is None:
        raise UsageError(
            "predict/not-installed",
            "explanations need captum, which is not installed",
            where="--explain",
            hint="pip install 'burnish[explain]'",
        )


def _explained(predictor: Predictor, index: int, row: Row, said: Row) -> dict[str, Any]:
    from captum.attr import LayerIntegratedGradients

    encoded = predictor.task.encode(row)
    if isinstance(encoded, Refusal):
        raise DataProblemError("predict/bad-text", encoded.reason, where=f"item {index + 1}")
    label = predictor.task.labels.index(said["label"])
    encoding = predictor.task.tokenizer.encode(*row.values())
    ids_1S = torch.from_numpy(encoded.token_ids)[None]
    special_1S = torch.tensor(encoding.special_tokens_mask, dtype=torch.bool)[None]
    blank_1S = torch.where(special_1S, ids_1S, torch.full_like(ids_1S, _blank(predictor)))

    def probability(ids_NS: Tensor) -> Tensor:
        """(N,) of the label that was predicted."""
        logits_NC = predictor.model(_batch(predictor, encoded, ids_NS))
        return torch.softmax(logits_NC.double() / predictor.task.temperature, dim=-1)[:, label]

    encoder: Any = predictor.model.encoder
    with own_attention(predictor.model):
        walk = LayerIntegratedGradients(probability, encoder.get_input_embeddings())
        gains_1SD = walk.attribute(
            ids_1S.to(predictor.device),
            baselines=blank_1S.to(predictor.device),
            n_steps=STEPS,
            internal_batch_size=AT_ONCE,
        )
        with torch.no_grad():
            whole, blank = (float(probability(ids.to(predictor.device))[0]) for ids in (ids_1S, blank_1S))
    gains_S = gains_1SD.detach().double().sum(dim=-1)[0].tolist()
    return {
        "label": said["label"],
        "probability": whole,
        "blank": blank,
        "words": _by_word(row, encoding, gains_S),
        "error": sum(gains_S) - (whole - blank),
    }


def _batch(predictor: Predictor, row: Encoded, ids_NS: Tensor) -> LaidOut:
    """The row N times, with other tokens."""
    rows = [
        Encoded(
            token_ids=ids_S.numpy(),
            segment_lengths=row.segment_lengths,
            targets=row.targets,
            token_types=row.token_types,
        )
        for ids_S in ids_NS.cpu()
    ]
    return LaidOut(rows, range(len(rows)), padded=True, device=predictor.device)


def _blank(predictor: Predictor) -> int:
    """The token that stands for no word."""
    found = (predictor.task.tokenizer.token_to_id(token) for token in BLANKS)
    return next((token for token in found if token is not None), 0)


def _by_word(row: Mapping[str, Any], encoding: Encoding, gains_S: Sequence[float]) -> list[dict[str, Any]]:
    """The gains of tokens summed over the words they are of; marks that belong to no word are left out."""
    columns = list(row)
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for place, gain in enumerate(gains_S):
        side, word = encoding.sequence_ids[place], encoding.word_ids[place]
        if side is None or word is None:
            continue
        start, end = encoding.offsets[place]
        text = row[columns[side]]
        entry = found.setdefault((side, word), {"word": "", "column": columns[side], "gain": 0.0, "from": start})
        entry["word"] = text[entry["from"] : end].strip()
        entry["gain"] += gain
    return [{name: value for name, value in entry.items() if name != "from"} for entry in found.values()]
