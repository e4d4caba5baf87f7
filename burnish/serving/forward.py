"""One pass of a model over tokens of many rows: by the model's own modules, or by its parts on packed weights.

By its parts is what decoding on a CPU gains most from: queries, keys and values are one product and the two halves of
a gated layer another, weights lie as the processor multiplies them, and between two products stand the few operations
that the family needs. It is used where it gives the logits of the model itself, which is compared first; elsewhere the
model's own modules compute, and a notice says why.

Shapes: T tokens of a pass, R rows whose next token is asked for, V vocabulary, H heads, G heads of keys and values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from burnish.engine.precision import Precision
from burnish.model.decoder_parts import CHANGING_ROTATIONS, DecoderParts, LayerParts
from burnish.model.products import Packed, Plain, Product
from burnish.serving.beside import AdapterBank
from burnish.serving.slots import Pass, attend, during

ROTATIONS = 512  # positions whose rotation is computed at once
AGAIN = 16  # logits of a row that are computed again in float32

MakeProduct = Callable[[Sequence[nn.Linear]], Packed | Plain]


class Forward(Protocol):
    """A pass.

    Attributes:
        size_bytes: of weights that are not the model's own.
    """

    size_bytes: int

    def __call__(self, tokens: Sequence[int], places: Sequence[int], computed: Pass, last: Sequence[int]) -> Any:
        """(R, V) logits behind the tokens number `last`; None where there are none.

        Args:
            tokens, places: of the pass, and how many stand before each in its row.
        """


class ByModules:
    """The model of transformers as it is, its attention switched to slots."""

    size_bytes = 0

    def __init__(self, causal: Any, precision: Precision) -> None:
        self._causal = causal
        self._precision = precision
        self._device: torch.device = next(causal.parameters()).device
        self._keeps = "logits_to_keep" in inspect.signature(causal.forward).parameters

    def __call__(
        self, tokens: Sequence[int], places: Sequence[int], computed: Pass, last: Sequence[int]
    ) -> Tensor | None:
        kept = torch.tensor(list(last), device=self._device, dtype=torch.long)
        more = {"logits_to_keep": kept} if self._keeps else {}
        with self._precision.compute(self._device), during(computed):
            out = self._causal(
                input_ids=torch.tensor([list(tokens)], device=self._device),
                position_ids=torch.tensor([list(places)], device=self._device),
                use_cache=False,
                **more,
            )
        if not last:
            return None
        logits_TV: Tensor = out.logits[0]
        return logits_TV if self._keeps else logits_TV[kept]


class _Layer:
    """One layer, ready to compute."""

    def __init__(self, parts: LayerParts, make: MakeProduct) -> None:
        self.parts = parts
        self.into = make([layer for _, layer in parts.into])
        self.out = make([parts.out[1]])
        self.gated = make([layer for _, layer in parts.gated])
        self.down = make([parts.down[1]])
        self.products: tuple[Packed | Plain, ...] = (self.into, self.out, self.gated, self.down)


class ByParts:
    """The parts of a model of a known family.

    Args:
        bank: adapters beside the base.
        dtype: of the products, and of keys and values; the states between them are float32. In bf16 the head's own
            weights are read, too.
        make: of layers that read the same states, one product.
    """

    def __init__(self, parts: DecoderParts, bank: AdapterBank, dtype: torch.dtype, make: MakeProduct) -> None:
        self._parts = parts
        self._bank = bank
        self._dtype = dtype
        self._layers = [_Layer(layer, make) for layer in parts.layers]
        self._head = make([parts.head])
        self._rotations = _Rotations(parts.rotation)
        products = [self._head, *(product for layer in self._layers for product in layer.products)]
        self.size_bytes: int = sum(product.size_bytes for product in products)

    def __call__(
        self, tokens: Sequence[int], places: Sequence[int], computed: Pass, last: Sequence[int]
    ) -> Tensor | None:
        states_TD = self._parts.embed(torch.tensor(list(tokens))).float()
        rotation = self._rotations.of(places)
        for index, layer in enumerate(self._layers):
            states_TD = self._through(layer, index, states_TD, rotation, computed)
        if not last:
            return None
        if len(last) < len(states_TD):
            states_TD = states_TD[list(last)]
        logits_RV = self._logits(self._parts.after(states_TD))
        return logits_RV if self._parts.divided == 1.0 else logits_RV / self._parts.divided

    def _logits(self, states_RD: Tensor) -> Tensor:
        """(R, V) float32. In bf16 a logit of 20 is rounded to eighths, and many a likeliest token would be another:
        the highest ones are computed again in float32."""
        logits_RV = self._head(states_RD).float()
        if self._dtype == torch.float32:
            return logits_RV
        likely_RK = logits_RV.topk(min(AGAIN, logits_RV.shape[1])).indices
        head = self._parts.head
        again_RK = torch.einsum("rkd,rd->rk", head.weight[likely_RK].float(), states_RD)
        if head.bias is not None:
            again_RK = again_RK + head.bias[likely_RK]
        return logits_RV.scatter_(1, likely_RK, again_RK)

    def _through(
        self, layer: _Layer, index: int, states_TD: Tensor, rotation: tuple[Tensor, Tensor], computed: Pass
    ) -> Tensor:
        parts, whole = layer.parts, self._parts
        seen = self._multiplied(layer.into, parts.into, parts.before(states_TD))
        states_THd = seen.view(len(seen), -1, whole.width)
        turned = states_THd[:, : whole.heads + whole.groups]
        if parts.of_heads is not None:
            turned = parts.of_heads(turned)
        if parts.rotates:
            turned = _rotated(turned, *rotation)
        attended = attend(
            computed,
            index,
            turned[:, : whole.heads],
            turned[:, whole.heads :],
            states_THd[:, whole.heads + whole.groups :],
            scale=parts.scaling,
            window=parts.window,
            dtype=self._dtype,
        )
        states_TD = self._added(states_TD, self._multiplied(layer.out, [parts.out], attended.reshape(len(seen), -1)))
        gate, up = self._multiplied(layer.gated, parts.gated, parts.between(states_TD)).chunk(2, dim=-1)
        inner = parts.activation(gate).mul_(up)
        return self._added(states_TD, self._multiplied(layer.down, [parts.down], inner))

    def _added(self, states_TD: Tensor, more_TD: Tensor) -> Tensor:
        return states_TD.add(more_TD, alpha=self._parts.residual)

    def _multiplied(self, product: Product, layers: Sequence[tuple[str, nn.Linear]], states: Tensor) -> Tensor:
        """A product, with the updates of the adapters of this pass."""
        found = product(states)
        if self._bank.idle:
            return found
        start = 0
        for name, layer in layers:
            stop = start + layer.out_features
            update = self._bank.update(name, states)
            if update is not None:
                found[:, start:stop] += update.to(found.dtype)
            start = stop
        return found


class _Rotations:
    """Cosines and sines by position, from the family's own module; of most families they are computed once."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._changes = getattr(module, "rope_type", "default") in CHANGING_ROTATIONS
        self._table: tuple[Tensor, Tensor] | None = None

    def of(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(T, 1, r) each; the first half of the sines is negative, as the half that they multiply is."""
        if self._changes:
            return self._computed(torch.tensor(list(places)))
        known = 0 if self._table is None else len(self._table[0])
        if (most := max(places) + 1) > known:
            self._table = self._computed(torch.arange(-(-most // ROTATIONS) * ROTATIONS))
        assert self._table is not None
        cosines, sines = self._table
        if len(places) == 1:
            place = places[0]
            return cosines[place : place + 1], sines[place : place + 1]
        picked = torch.tensor(list(places))
        return cosines[picked], sines[picked]

    def _computed(self, places: Tensor) -> tuple[Tensor, Tensor]:
        cosines, sines = self._module(torch.zeros(1), places[None])
        half = sines.shape[-1] // 2
        signed = torch.cat((-sines[0, :, :half], sines[0, :, half:]), dim=-1)
        return cosines[0, :, None].float(), signed[:, None].float()


def _rotated(states: Tensor, cosines: Tensor, signed_sines: Tensor) -> Tensor:
    """Queries and keys turned by their positions, (T, H + G, d); what is behind the width of the rotation stays."""
    states, width = states.float(), cosines.shape[-1]
    turning = states if width == states.shape[-1] else states[..., :width]
    turned = torch.addcmul(turning * cosines, turning.roll(width // 2, dims=-1), signed_sines)
    return turned if turning is states else torch.cat((turned, states[..., width:]), dim=-1)
