"""Where a layer's projections lie, by the names that the families of transformers give them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import Pattern

from burnish.errors import RecipeError

# The last parts of a layer's name. Where a family projects queries, keys and values at once, that is the key's place.
KEYS_AND_VALUES = re.compile(
    r"(?:^|\.)(?:[kv]_proj|[kv]_lin|(?:key|value)(?:_proj)?|attn\.[kv]|\w*Attention\.[kv]"
    r"|query_key_value|qkv_proj|c_attn|Wqkv)$"
)
ATTENTION_OUT = re.compile(
    r"(?:^|\.)(?:o_proj|out_proj|out_lin|attention\.output\.dense|(?:self_)?(?:attention|attn)\.dense"
    r"|attn\.o|\w*Attention\.o|attn\.c_proj|attn\.Wo)$"
)
FEED_FORWARD_OUT = re.compile(
    r"(?:^|\.)(?:down_proj|fc2|dense_4h_to_h|lin2|wo|ffn_output|mlp\.c_proj|mlp\.Wo|(?<!attention\.)output\.dense)$"
)


def layers_at(places: Iterable[Pattern[str]], names: Iterable[str], *, method: str) -> list[str]:
    """Those of the names that lie at one of the places, in their order.

    Raises:
        RecipeError: [method/no-place] when none does.
    """
    names, places = list(names), list(places)
    found = [name for name in names if any(place.search(name) for place in places)]
    if not found:
        raise RecipeError(
            "method/no-place",
            f"method: {method} does not know the layers of this base by their names",
            where="method",
            known=sorted({name.rsplit(".", 1)[-1] for name in names}),
            hint="write `method: lora`, which takes every linear layer",
        )
    return found
