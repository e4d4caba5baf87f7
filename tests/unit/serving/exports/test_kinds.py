"""Which form exists for which task and method."""

from __future__ import annotations

import pytest

from burnish.errors import UsageError
from burnish.serving.exports.kinds import FORMS, forms_of, require_form
from burnish.serving.options import KINDS, QUANTIZES, ExportOptions
from burnish.task.build import TASKS


def test_the_table_names_tasks_and_forms_that_exist() -> None:
    assert tuple(FORMS) == KINDS
    assert {task for form in FORMS.values() for task in form.tasks} <= set(TASKS)
    assert {form.quantize for form in FORMS.values()} == {None, *QUANTIZES}


@pytest.mark.parametrize(
    ("task", "method", "forms"),
    [
        ("text-classification", "head", ["merged", "onnx"]),
        ("text-classification", "lora", ["merged", "adapter", "onnx"]),
        ("text-classification", "prompt-tuning", ["adapter"]),
        ("text-classification", "adapter", []),
        ("tabular", "full", ["onnx"]),
        ("embedding", "lora", ["merged", "onnx"]),
        ("chat", "qlora", ["merged", "adapter", "gguf", "ollama", "vllm"]),
        ("chat", "full", ["merged", "gguf", "ollama", "vllm"]),
        ("seq2seq", "lora", ["merged", "adapter"]),
        ("recommendation", "full", []),
    ],
)
def test_forms_of_a_task(task: str, method: str, forms: list[str]) -> None:
    assert forms_of(task, method) == forms


def test_a_form_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(UsageError) as caught:
        require_form("onnx", "chat", "lora")
    error = caught.value
    assert (error.code, error.where) == ("export/no-such-form", "--to")
    assert error.message == "onnx does not exist for the task chat"
    assert error.known == ("merged", "adapter", "gguf", "ollama", "vllm")
    with pytest.raises(UsageError) as caught:
        require_form("merged", "text-classification", "prompt-tuning", where="export.to")
    error = caught.value
    assert (error.message, error.where) == (
        "merged does not exist for a model trained with method: prompt-tuning",
        "export.to",
    )
    assert error.hint == "write `adapter`"
    with pytest.raises(UsageError) as caught:
        require_form("merged", "recommendation", "full")
    assert "final" in str(caught.value.hint)


def test_eight_bits_are_those_of_the_form() -> None:
    with pytest.raises(UsageError) as caught:
        require_form("onnx", "text-classification", "full", "q8_0")
    assert (caught.value.code, caught.value.known) == ("export/not-quantized", ("int8",))
    assert caught.value.hint == "write `--quantize int8`"
    with pytest.raises(UsageError) as caught:
        require_form("vllm", "chat", "full", "q8_0")
    assert caught.value.hint == "leave it out: its weights are whole"


def test_a_recipe_names_its_exports() -> None:
    assert ExportOptions() == ExportOptions(to=(), rows=100)
    assert ExportOptions(to=("onnx",)).to == ("onnx",)
