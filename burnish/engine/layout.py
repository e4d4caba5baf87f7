"""How rows lie in memory: one after the other without padding, or padded for models that know no other way.

Concatenated, a batch of rows is one long sequence of shape (1, T). Token-wise layers see T tokens and no padding;
attention runs inside each segment (`segments.py`). Tasks see
neither layout: `hidden` always gives the real tokens as (T, D). The rows of an encoder with a decoder have two
segments, what the one reads and what the other does; each side is padded on a grid of its own.

Shapes: T real tokens, B rows, G segments, S longest segment, D width, R positions that are read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from burnish.engine.dropout import drawn, drops_out, pool_starts
from burnish.engine.grids import grids_of, grids_of_tree, on_device
from burnish.engine.last_layer import only_at
from burnish.engine.prompted import behind_prompt
from burnish.engine.segments import inside
from burnish.engine.tree import Tree, tree_of
from burnish.engine.upper_layers import Below, upper_layers
from burnish.model.language import has_two_stacks
from burnish.model.prompt import prompt_ids
from burnish.types import Batch, Encoded, Reads

GRAIN = 32  # tokens
OFFSET_FAMILIES = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "data2vec-text", "longformer")


class RowBatch(Batch, Protocol):
    """A batch that knows which rows it holds."""

    @property
    def row_ids(self) -> tuple[int, ...]: ...


class LaidOut:
    """Rows of one micro-batch on the model's device; satisfies `types.Batch`.

    Args:
        rows: encoded rows.
        row_ids: stable number of each row in its split; keys its dropout.
        padded: lay out as (G, S) with an attention mask instead of (1, T).
        draw: first keyed dropout row of each row of the batch, (B,) int64; None: no dropout.
        position_offset: number of the first position of a segment (2 in the RoBERTa family).
        across: rows that begin alike have their beginning computed once, where nothing is dropped out.
        below: what the lower layers gave for the tokens, which are then not computed.
    """

    def __init__(
        self,
        rows: Sequence[Encoded],
        row_ids: Sequence[int],
        *,
        padded: bool,
        device: torch.device,
        draw: np.ndarray[Any, Any] | None = None,
        position_offset: int = 0,
        across: bool = False,
        below: Below | None = None,
    ) -> None:
        self._below = below
        self.row_ids = tuple(row_ids)
        self.row_count = len(rows)
        self._rows, self._row_draw, self._position_offset = rows, draw, position_offset
        self.padded, self.across = padded, across
        self.device = device
        lengths = np.array([length for row in rows for length in row.segment_lengths])
        shared = np.array([row.shared_prefix if i else 0 for row in rows for i in range(len(row.segment_lengths))])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        segment_T = np.repeat(np.arange(len(lengths)), lengths)
        position_T = np.arange(lengths.sum()) - starts[segment_T] + shared[segment_T]
        extents = self._sizes = lengths + shared
        longest = int(extents.max())
        self.segment_count = len(lengths)
        self.longest = longest
        self._ids = on_device(np.concatenate([row.token_ids for row in rows]).astype(np.int64), device)
        self._segment = on_device(segment_T, device)
        self._position = on_device(position_T + position_offset, device)
        places_T = segment_T * longest + position_T
        self._places = on_device(places_T, device)
        self._source = None
        if shared.any():
            source = _source(places_T, shared, [len(row.segment_lengths) for row in rows], longest)
            self._source = on_device(source, device)
        self._lengths = on_device(lengths, device)
        self._extents = on_device(extents, device)
        self._starts = on_device(starts, device)
        self._types = None
        if any(row.token_types is not None for row in rows):
            types = [np.zeros(row.length, np.int64) if row.token_types is None else row.token_types for row in rows]
            self._types = on_device(np.concatenate(types), device)
        self._given = [row.given for row in rows if row.given is not None]
        self._targets = rows[0].targets.ndim, [row.targets for row in rows]
        self._reads = _read_positions(rows)
        self.read_counts = tuple(0 if row.read_positions is None else len(row.read_positions) for row in rows)
        self._remembered: tuple[Module, Reads, Tensor] | None = None
        self._draw: Tensor | None = None
        if draw is not None:
            row_of_token = np.repeat(np.arange(len(rows)), [row.length for row in rows])
            within_row = np.concatenate([np.arange(row.length) for row in rows])
            self._draw = on_device(draw[row_of_token] + within_row, device)

    @property
    def targets(self) -> Tensor:
        values = self._targets[1]
        stacked = np.concatenate(values) if self._reads is not None else np.stack(values)
        return on_device(stacked, self.device)

    @property
    def given(self) -> Tensor | None:
        return on_device(np.stack(self._given), self.device) if self._given else None

    def hidden(self, encoder: Module, at: Reads = "all") -> Tensor:
        """Last hidden states of the real tokens, (T, D), or only of those that `at` names, (R, D).

        Without gradients they are remembered: the loss and the prediction of a batch read the same ones.
        """
        if self._remembered is not None and self._remembered[:2] == (encoder, at):
            return self._remembered[2]
        laid, reads_R = self, self.positions(at)
        prompt = prompt_ids(encoder)
        if prompt:
            laid, places_T = self._behind(prompt)
            reads_R = places_T if reads_R is None else places_T[reads_R]
        if has_two_stacks(encoder):
            hidden_RD = laid._hidden_of_two_stacks(encoder, reads_R)
        elif self.padded:
            hidden_RD = laid._hidden_padded(encoder, reads_R)
        else:
            hidden_RD = laid._hidden_concatenated(encoder, reads_R)
        if torch.is_inference_mode_enabled():
            self._remembered = (encoder, at, hidden_RD)
        return hidden_RD

    def positions(self, at: Reads) -> Tensor | None:
        """(R,) places among the T tokens; None: all of them."""
        if at == "all":
            return None
        if at == "first":
            return self._starts
        if at == "last":
            return self._starts + self._lengths - 1
        if self._reads is None:
            raise ValueError("these rows name no read positions")
        return on_device(self._reads, self.device)

    def _behind(self, prompt: Sequence[int]) -> tuple[LaidOut, Tensor]:
        """The same rows behind a learned prompt, and (T,) where their tokens stand then."""
        rows, places_T = behind_prompt(self._rows, prompt)
        laid = LaidOut(
            rows,
            self.row_ids,
            padded=self.padded,
            device=self.device,
            draw=self._row_draw,
            position_offset=self._position_offset,
            across=self.across,
        )
        return laid, on_device(places_T, self.device)

    def _hidden_concatenated(self, encoder: Module, reads_R: Tensor | None) -> Tensor:
        tree = self._tree(encoder)
        tokens_C = on_device(tree.tokens, self.device) if tree else None
        if tree is not None:
            places_T = on_device(tree.places, self.device)
            reads_R = places_T if reads_R is None else places_T[reads_R]
        rest = self._rest(encoder, tree)

        def filled_up(values_T: Tensor) -> Tensor:
            """Of the computed tokens, and with values that there are for those that nobody reads."""
            values_C = values_T if tokens_C is None else values_T[tokens_C]
            if not rest:
                return values_C[None]
            return torch.cat([values_C, values_C[:1].expand(sum(rest), *values_C.shape[1:])])[None]

        draw = None if self._draw is None else filled_up(self._draw)
        grids = grids_of_tree(tree, sum(rest), self.device) if tree else grids_of(self._sizes, rest, self.device)
        with inside(grids), drawn(draw), only_at(reads_R) as wanted:
            more = {"position_ids": filled_up(self._position), **self._more_for(encoder, filled_up)}
            if self._below is None:
                output = encoder(input_ids=filled_up(self._ids), **more)
            else:
                with upper_layers(encoder, self._below.layers):
                    output = encoder(inputs_embeds=filled_up(self._below.states), **more)
        hidden: Tensor = output.last_hidden_state[0]
        if reads_R is None:
            return hidden[: len(self._ids)]
        return hidden if wanted.met else hidden.index_select(0, reads_R)

    def _tree(self, encoder: Module) -> Tree | None:
        """Which tokens are computed once for several segments.

        Not for several rows where some numbers are dropped out, which each row draws for itself, or where the encoder
        reads numbers of a row. Segments of one row draw together.
        """
        own = drops_out(encoder) or (self._given and "given" in arguments_of(encoder))
        return tree_of(self._rows, across=self.across and not own)

    def _rest(self, encoder: Module, tree: Tree | None) -> list[int]:
        """Lengths of segments that nobody reads, which bring the tokens to a multiple of GRAIN on a CPU in bf16.

        There oneDNN compiles each product for its number of tokens, and keeps it.
        """
        count = len(self._ids) if tree is None else len(tree.tokens)
        compiled = self.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not compiled or count < GRAIN or (self._given and "given" in arguments_of(encoder)):
            return []
        whole, last = divmod(-count % GRAIN, self.longest)
        return [self.longest] * whole + [last] * bool(last)

    def _hidden_padded(self, encoder: Module, reads_R: Tensor | None) -> Tensor:
        mask = (torch.arange(self.longest, device=self.device) < self._extents[:, None]).long()

        def spread(values_T: Tensor) -> Tensor:
            if self._source is not None:
                return values_T.index_select(0, self._source).view_as(mask) * mask
            grid = values_T.new_zeros(self.segment_count * self.longest).index_copy(0, self._places, values_T)
            return grid.view_as(mask)

        with drawn(None if self._draw is None else spread(self._draw)):
            output = encoder(input_ids=spread(self._ids), attention_mask=mask, **self._more_for(encoder, spread))
        flat = output.last_hidden_state.flatten(0, 1)
        hidden: Tensor = flat.index_select(0, self._places if reads_R is None else self._places[reads_R])
        return hidden

    def _hidden_of_two_stacks(self, model: Any, reads_R: Tensor | None) -> Tensor:
        """Tokens of the first segments as the encoder leaves them, of the second ones as the decoder does."""
        read, written = (self._grid(side) for side in (0, 1))
        draw = [None if self._draw is None else grid.spread(self._draw) for grid in (read, written)]
        with drawn(draw[0]):
            memory = model.get_encoder()(input_ids=read.spread(self._ids), attention_mask=read.mask).last_hidden_state
        with drawn(draw[1]):
            decoded = model.get_decoder()(
                input_ids=written.spread(self._ids),
                attention_mask=written.mask,
                encoder_hidden_states=memory,
                encoder_attention_mask=read.mask,
                use_cache=False,
            ).last_hidden_state
        both = torch.cat([read.gathered(memory), written.gathered(decoded)])
        place_T = torch.argsort(torch.cat([read.tokens, written.tokens]))
        return both.index_select(0, place_T if reads_R is None else place_T[reads_R])

    def _grid(self, side: int) -> Grid:
        """The first (0) or the second (1) segment of each row."""
        lengths = self._lengths[side::2]
        longest = int(lengths.max())
        tokens = torch.nonzero(self._segment % 2 == side).squeeze(1)
        places = self._segment[tokens] // 2 * longest + self._places[tokens] % self.longest
        mask = (torch.arange(longest, device=self.device) < lengths[:, None]).long()
        return Grid(tokens, places, mask)

    def _more_for(self, encoder: Module, laid_out: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """What else an encoder takes: which text of a pair each token is of, and the rows' own numbers."""
        taken, more = arguments_of(encoder), dict[str, Tensor]()
        if self._types is not None and "token_type_ids" in taken:
            more["token_type_ids"] = laid_out(self._types)
        given = self.given if "given" in taken else None
        if given is not None:
            more["given"] = given
        return more

    def mean(self, hidden_TD: Tensor) -> Tensor:
        states_TD = hidden_TD.float()  # bf16 would lose the end of a long sum
        sums_GD = states_TD.new_zeros(self.segment_count, states_TD.shape[1]).index_add(0, self._segment, states_TD)
        return sums_GD / self._lengths[:, None]


@dataclass(frozen=True, slots=True)
class Grid:
    """Some tokens of a batch, padded: one segment of each row."""

    tokens: Tensor  # (n,) which of the T tokens
    places: Tensor  # (n,) where each stands in the flattened grid
    mask: Tensor  # (B, S) 1 where a token is real

    def spread(self, values_T: Tensor) -> Tensor:
        """(B, S) with the tokens' values, 0 at padding."""
        flat = values_T.new_zeros(self.mask.numel())
        return flat.index_copy(0, self.places, values_T[self.tokens]).view_as(self.mask)

    def gathered(self, states_BSD: Tensor) -> Tensor:
        """(n, D) states of the tokens."""
        return states_BSD.flatten(0, 1).index_select(0, self.places)


def arguments_of(encoder: Module) -> Collection[str]:
    """Names that the forward of an encoder takes, below an adapter around it."""
    unwrapped: Any = getattr(encoder, "get_base_model", None)
    plain = encoder if unwrapped is None else unwrapped()
    return inspect.signature(getattr(plain, "base_model", plain).forward).parameters


def _source(
    places_T: np.ndarray[Any, Any], shared: np.ndarray[Any, Any], segments: Sequence[int], longest: int
) -> np.ndarray[Any, Any]:
    """(G * S,) the token at each place of the grid: its own ones, and those of its row's prefix again.

    Args:
        shared: (G,) length of the prefix each segment takes over from the first of its row.
        segments: of each row.
    """
    source = np.zeros(len(shared) * longest, np.int64)
    source[places_T] = np.arange(len(places_T))
    first = np.repeat(np.cumsum([0, *segments[:-1]]), segments)  # (G,) first segment of the row of each
    for segment in np.flatnonzero(shared).tolist():
        prefix = np.arange(shared[segment])
        source[segment * longest + prefix] = source[first[segment] * longest + prefix]
    return source


def _read_positions(rows: Sequence[Encoded]) -> np.ndarray[Any, Any] | None:
    """(R,) positions of the whole batch that the loss reads."""
    if any(row.read_positions is None for row in rows):
        return None
    start, positions = 0, []
    for row in rows:
        assert row.read_positions is not None
        positions.append(row.read_positions + start)
        start += row.length
    return np.concatenate(positions)


def position_offset(config: Any) -> int:
    """Number of the first position: the RoBERTa family counts from the padding index on."""
    if getattr(config, "model_type", "") in OFFSET_FAMILIES:
        return int(getattr(config, "pad_token_id", 1) or 0) + 1
    return 0


@dataclass(frozen=True, slots=True)
class LayoutChoice:
    """How this model's batches are laid out, and why."""

    padded: bool
    position_offset: int
    reason: str  # for the run's record
    across: bool = field(default=False, kw_only=True)  # rows that begin alike have their beginning computed once

    def lay_out(
        self,
        rows: Sequence[Encoded],
        row_ids: Sequence[int],
        *,
        device: torch.device,
        draws: np.ndarray[Any, Any] | None = None,
        below: Below | None = None,
    ) -> RowBatch:
        """A micro-batch.

        Args:
            row_ids: stable number of each row in its split.
            draws: (B,) uint64, what chance gives each row in this step; None: nothing is left to chance.
            below: what the lower layers gave for its tokens, where it is known.
        """
        return LaidOut(
            rows,
            row_ids,
            padded=self.padded,
            device=device,
            draw=None if draws is None else pool_starts(draws),
            position_offset=self.position_offset,
            across=self.across,
            below=below,
        )
