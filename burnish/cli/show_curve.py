"""A learning curve as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from burnish.evaluation import wording


def show_curve(found: Mapping[str, Any]) -> str:
    """The lever first, then what was measured and what the law says of more rows."""
    metric = found["metric"]
    lines = ["", f"CURVE  what would help: {found['lever'].upper()}", ""]
    lines += textwrap.wrap(found["why"], 96, initial_indent="  ", subsequent_indent="  ")
    lines += ["", f"  {'rows':>10}  {wording.metric_title(metric)} of method {found['method'] or 'by default'}"]
    lines += [f"  {p['rows']:>10,}  {_value(p['values']['tuned'], metric)}  measured" for p in found["points"]]
    lines += [f"  {p['rows']:>10,}  {_value(p, metric)}  foreseen" for p in found["forecast"]]
    law = found["law"]
    lines += [
        "",
        f"  {law['form']}: scale {law['scale']:.3g}, exponent {law['exponent']:.3g}, floor {law['floor']:.3g}",
        *(f"  {note}" for note in found["notes"]),
        f"  kept in {found['folder']}",
    ]
    return "\n".join(lines)


def _value(value: Mapping[str, Any], metric: str) -> str:
    if wording.is_share(metric):
        return f"{100 * value['value']:>5.1f} %  [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"
    return f"{value['value']:>7.4g}  [{value['low']:.4g}, {value['high']:.4g}]"
