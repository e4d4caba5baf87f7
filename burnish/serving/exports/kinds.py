"""Which form a tuned model can be exported to, by its task and method: `FORMS` is the table.

Nothing here imports torch: asking for a form that does not exist costs nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from burnish.errors import UsageError
from burnish.serving.options import Kind, Quantize

_LABELS = ("text-classification", "hierarchical-classification", "multi-label-classification")
_NUMBERS = ("text-regression",)
_PAIRS = ("text-pair-classification", "text-pair-regression")
_TOKENS = ("token-classification", "question-answering")
_HEADS = (*_LABELS, *_NUMBERS, *_PAIRS, *_TOKENS)
CHATS = ("chat", "preference")
_WHOLE = ("head", "full", "freeze", "lora", "qlora", "ia3")  # methods whose weights end in the plain architecture
_PEFT = ("lora", "qlora", "ia3", "prompt-tuning")


@dataclass(frozen=True, slots=True)
class Form:
    """One form.

    Attributes:
        tasks, methods: it exists for.
        needs: packages that write or open it.
        extra: of burnish that installs them.
        quantize: weights of eight bits it can have, by their name there.
    """

    tasks: tuple[str, ...]
    methods: tuple[str, ...] = _WHOLE
    needs: tuple[str, ...] = ()
    extra: str = ""
    quantize: Quantize | None = None


FORMS: Mapping[Kind, Form] = {
    "merged": Form((*_HEADS, "image-classification", "embedding", *CHATS, "seq2seq")),
    "adapter": Form((*_HEADS, *CHATS, "seq2seq"), _PEFT),
    "onnx": Form(
        (*_HEADS, "image-classification", "embedding", "tabular"),
        needs=("onnx", "onnxruntime", "onnxscript"),
        extra="onnx",
        quantize="int8",
    ),
    "gguf": Form(CHATS, needs=("gguf", "xllamacpp"), extra="gguf", quantize="q8_0"),
    "ollama": Form(CHATS, needs=("gguf", "xllamacpp"), extra="gguf", quantize="q8_0"),
    "vllm": Form(CHATS),
}


def forms_of(task: str, method: str) -> list[Kind]:
    """The forms that exist for a task and a method."""
    return [kind for kind, form in FORMS.items() if task in form.tasks and method in form.methods]


def require_form(kind: Kind, task: str, method: str, quantize: Quantize | None = None, *, where: str = "--to") -> None:
    """Stops an export that cannot be before anything is opened.

    Raises:
        UsageError: [export/no-such-form] naming the forms that exist for this task and method;
            [export/not-quantized] for eight bits that this form does not have; [export/not-installed].
    """
    form, known = FORMS[kind], forms_of(task, method)
    if kind not in known:
        by_task = task in form.tasks
        reason = f"a model trained with method: {method}" if by_task else f"the task {task}"
        raise UsageError(
            "export/no-such-form",
            f"{kind} does not exist for {reason}",
            where=where,
            known=known,
            hint=f"write `{known[0]}`" if known else "use the run's folder `final`: its USE.md says how",
        )
    if quantize is not None and quantize != form.quantize:
        raise UsageError(
            "export/not-quantized",
            f"{kind} has no weights in {quantize}",
            where="--quantize",
            known=[form.quantize] if form.quantize else [],
            hint=f"write `--quantize {form.quantize}`" if form.quantize else "leave it out: its weights are whole",
        )
    missing = [name for name in form.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            "export/not-installed",
            f"{kind} needs {', '.join(missing)}",
            where=where,
            hint=f"pip install 'burnish[{form.extra}]'",
        )
