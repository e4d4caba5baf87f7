"""A small embedding table gives what the whole one gives, and the rows nobody reads stay as they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from burnish.engine.layout import LayoutChoice
from burnish.engine.layout_choice import choose_layout
from burnish.engine.loop import Training
from burnish.engine.options import CheckpointOptions, TrainingOptions
from burnish.engine.precision import Precision
from burnish.engine.vocabulary import compact_vocabulary
from burnish.method.full import Full
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Silent

CPU = torch.device("cpu")
PADDED = LayoutChoice(True, 0, "")


@pytest.fixture
def narrow_rows(make_rows: Callable[..., list[Encoded]]) -> list[Encoded]:
    """20 rows that read few of the words."""
    rows = make_rows(np.random.default_rng(2).integers(3, 9, size=20).tolist())
    return [Encoded(row.token_ids // 6 * 6, row.segment_lengths, row.targets) for row in rows]


def table_of(model: Any) -> torch.Tensor:
    weight: torch.Tensor = model.encoder.get_input_embeddings().weight
    return weight


def learn(task: Any, model: Any, rows: Sequence[Encoded], layout: LayoutChoice, folder: Path) -> None:
    folder.mkdir()
    torch.manual_seed(0)
    Training(
        task=task,
        method=Full(),
        model=model,
        rows=rows,
        validate=lambda _: {"loss": 1.0, "accuracy": 0.5},
        metric="accuracy",
        higher_is_better=True,
        options=TrainingOptions(epochs=3, learning_rate=3e-3, global_batch_size=4, dropout=0.2, average_decay=0.9),
        checkpoint=CheckpointOptions(),
        folder=RunFolder(folder),
        layout=layout,
        precision=Precision("fp32", ""),
        device=CPU,
        progress=Silent(),
    ).run()


def test_a_small_table_learns_what_the_whole_one_learns(
    make_classifier: Callable[..., Any], narrow_rows: list[Encoded], tmp_path: Path
) -> None:
    """Equal but for the order in which the norm of the gradient is summed."""
    (task, whole), (_, small) = make_classifier(), make_classifier()
    start = table_of(whole).detach().clone()
    used = np.unique(np.concatenate([row.token_ids for row in narrow_rows]))
    unread = [i for i in range(len(start)) if i not in used]
    learn(task, whole, narrow_rows, choose_layout(whole.encoder, narrow_rows, device=CPU), tmp_path / "whole")
    layout = choose_layout(small.encoder, narrow_rows, device=CPU)
    with compact_vocabulary(small.encoder, narrow_rows[:12], narrow_rows, layout=layout, device=CPU) as made:
        (some, rows), sentence = made
        assert sentence == f"embedding table: the {len(used)} of {len(start)} rows that the data reads"
        assert len(table_of(small)) == len(used)
        assert (len(some), len(rows)) == (12, 20)
        learn(task, small, rows, layout, tmp_path / "small")
    assert len(table_of(small)) == len(start)
    assert torch.equal(table_of(small)[unread], start[unread])
    assert torch.equal(table_of(whole)[unread], start[unread])  # what makes the small one exact
    assert not torch.equal(table_of(small)[used], start[used])
    for name, weight in whole.state_dict().items():
        if not name.endswith("key.bias"):  # no gradient but rounding
            torch.testing.assert_close(small.state_dict()[name], weight, rtol=0, atol=1e-4, msg=name)


def test_after_an_error_the_table_is_whole_again(
    make_classifier: Callable[..., Any], narrow_rows: list[Encoded]
) -> None:
    _, model = make_classifier()
    start = table_of(model)
    layout = choose_layout(model.encoder, narrow_rows, device=CPU)
    with (
        pytest.raises(KeyboardInterrupt),
        compact_vocabulary(model.encoder, narrow_rows, layout=layout, device=CPU),
    ):
        raise KeyboardInterrupt
    assert table_of(model) is start


def refuses(model: Any, rows: list[Encoded], layout: LayoutChoice) -> str:
    """The reason for which the table stays whole."""
    start = table_of(model)
    with compact_vocabulary(model.encoder, rows, layout=layout, device=CPU) as (splits, sentence):
        assert table_of(model) is start
        assert splits[0] is rows
    return sentence


def test_where_the_table_stays_whole(
    make_classifier: Callable[..., Any],
    make_rows: Callable[..., list[Encoded]],
    narrow_rows: list[Encoded],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, model = make_classifier()
    layout = choose_layout(model.encoder, narrow_rows, device=CPU)
    assert refuses(model, narrow_rows, PADDED) == "embedding table: whole"
    assert refuses(model, make_rows([40] * 12), layout) == "embedding table: whole"  # most words are read
    table_of(model).requires_grad_(False)
    assert refuses(model, narrow_rows, layout) == "embedding table: whole"
    table_of(model).requires_grad_(True)
    forward = model.encoder.forward

    def looks_at_ids(input_ids: torch.Tensor, **rest: Any) -> Any:
        output = forward(input_ids=input_ids, **rest)
        output.last_hidden_state = output.last_hidden_state + input_ids[..., None]
        return output

    monkeypatch.setattr(model.encoder, "forward", looks_at_ids)
    assert refuses(model, narrow_rows, layout) == "embedding table: whole, the model looks at token ids elsewhere"
