"""Many LoRA adapters beside one base, each token of a pass with its own.

The updates of all adapters that a pass needs stand one below the other: one product gives what each of them makes of
every token, what is not the token's own is set to zero, and a second product leads back. Two products for any number
of adapters, and the same numbers as with each adapter alone but for rounding.

Shapes: T tokens, R ranks of the adapters of a pass together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.errors import ModelError
from burnish.model.adapters import PEFT_CONFIG, PEFT_WEIGHTS
from burnish.storage.tensors import load_tensors

_PREFIX = "base_model.model."
_OTHERWISE = ("use_dora", "fan_in_fan_out", "lora_bias", "rank_pattern", "alpha_pattern", "modules_to_save")


class Updated(nn.Module):
    """A linear layer with the updates of a bank beside it."""

    def __init__(self, base: nn.Module, name: str, bank: AdapterBank) -> None:
        super().__init__()
        self.base = base
        self._name = name
        self._bank = [bank]  # in a list: it is no part of this module

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.base.weight  # type: ignore[assignment]
        return weight

    def forward(self, states: Tensor) -> Tensor:
        found: Tensor = self.base(states)
        update = self._bank[0].update(self._name, states)
        return found if update is None else found + update.to(found.dtype)


class AdapterBank:
    """The adapters of one base.

    Attributes:
        mask_TR: which ranks are each token's own in the current pass; None where all are.
    """

    def __init__(self, core: Any) -> None:
        self._core = core
        self._known: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}
        self._ranks: dict[str, int] = {}
        self._chosen: tuple[str, ...] = ()
        self._stacks: dict[str, tuple[Tensor, Tensor] | None] = {}
        self.mask_TR: Tensor | None = None

    def add(self, name: str, folder: Path) -> int:
        """Puts an adapter beside the base, by a name of its own; the bytes it takes.

        Raises:
            ModelError: [model/bad-adapter] when it names layers that the base does not have, or holds what is no
                number.
        """
        settings = json.loads((folder / PEFT_CONFIG).read_text(encoding="utf-8"))
        rank = int(settings["r"])
        scale = float(settings["lora_alpha"]) / (math.sqrt(rank) if settings.get("use_rslora") else rank)
        found = _layers(load_tensors(folder / PEFT_WEIGHTS))
        parts: dict[str, tuple[Tensor, Tensor]] = {}
        for layer, (down, up) in found.items():
            place = self._place(layer, folder)
            if down.shape != (rank, place.weight.shape[1]) or up.shape != (place.weight.shape[0], rank):
                raise _bad(folder, f"its {layer} does not fit the base")
            if not (bool(torch.isfinite(down).all()) and bool(torch.isfinite(up).all())):
                raise _bad(folder, f"its {layer} holds what is no number")
            device = self._core.device
            parts[layer] = (down.to(device), up.to(device) * scale)
        for layer in parts:
            place = self._place(layer, folder)
            if not isinstance(place, Updated):
                self._core.set_submodule(layer, Updated(place, layer, self))
        self._known[name], self._ranks[name] = parts, rank
        return sum(down.nbytes + up.nbytes for down, up in parts.values())

    def remove(self, name: str) -> None:
        """Forgets an adapter that no row uses."""
        self._known.pop(name, None)
        self._ranks.pop(name, None)
        if name in self._chosen:
            self._chosen, self._stacks, self.mask_TR = (), {}, None

    def choose(self, names_T: Sequence[str | None]) -> None:
        """Sets which adapter each token of the next pass has; None: the base alone."""
        chosen = tuple(sorted({name for name in names_T if name is not None}))
        if chosen != self._chosen:
            self._chosen, self._stacks = chosen, {}
        self.mask_TR = None
        if chosen and (len(chosen) > 1 or None in names_T):
            place = {name: index for index, name in enumerate(chosen)}
            owner_T = torch.tensor([-1 if name is None else place[name] for name in names_T])
            owner_R = torch.tensor([index for name, index in place.items() for _ in range(self._ranks[name])])
            self.mask_TR = (owner_T[:, None] == owner_R).to(self._core.device)

    @property
    def idle(self) -> bool:
        """Whether no token of this pass has an adapter."""
        return not self._chosen

    def update(self, layer: str, states: Tensor) -> Tensor | None:
        """(T, out) what the adapters of this pass add to what a layer makes of its states; None: nothing."""
        stacked = self.stacked(layer)
        if stacked is None:
            return None
        down_RI, up_OR = stacked
        inner = F.linear(states.to(down_RI.dtype), down_RI)
        if self.mask_TR is not None:
            inner = inner.masked_fill(~self.mask_TR, 0)
        return F.linear(inner, up_OR)

    def stacked(self, layer: str) -> tuple[Tensor, Tensor] | None:
        """(R, in) and (out, R) of a layer for the adapters of this pass; None where none of them has any."""
        if not self._chosen:
            return None
        if layer not in self._stacks:
            self._stacks[layer] = self._stack(layer)
        return self._stacks[layer]

    def _stack(self, layer: str) -> tuple[Tensor, Tensor] | None:
        like = next((parts[layer] for name in self._chosen if layer in (parts := self._known[name])), None)
        if like is None:
            return None
        downs, ups = [], []
        for name in self._chosen:
            rank = self._ranks[name]
            nothing = (like[0].new_zeros(rank, like[0].shape[1]), like[1].new_zeros(like[1].shape[0], rank))
            down, up = self._known[name].get(layer, nothing)
            downs.append(down)
            ups.append(up)
        return torch.cat(downs), torch.cat(ups, dim=1)

    def _place(self, layer: str, folder: Path) -> Any:
        try:
            place = self._core.get_submodule(layer)
        except AttributeError:
            raise _bad(folder, f"the base has no layer {layer}") from None
        if not isinstance(place, nn.Linear | Updated):
            raise _bad(folder, f"{layer} is no linear layer")
        return place


def lies_beside(folder: Path, head: str | None) -> bool:
    """Whether the adapter of a folder can share its base with others; else it needs a copy of the base.

    Args:
        head: name of the layer that makes words of states, which computes fewer tokens than the others.
    """
    path = folder / PEFT_CONFIG
    if not path.is_file() or not (folder / PEFT_WEIGHTS).is_file():
        return False
    settings: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("peft_type") != "LORA" or any(settings.get(name) for name in _OTHERWISE):
        return False
    targets = settings.get("target_modules")
    return head is None or not isinstance(targets, list) or not any(name.split(".")[-1] == head for name in targets)


def _layers(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> its two factors, as peft names them."""
    found = {}
    for key, down in tensors.items():
        if key.endswith(".lora_A.weight"):
            layer = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
            found[layer] = (down.float(), tensors[key.replace(".lora_A.", ".lora_B.")].float())
    return found


def _bad(folder: Path, reason: str) -> ModelError:
    return ModelError("model/bad-adapter", reason, where=str(folder), hint="train it again on this base")
