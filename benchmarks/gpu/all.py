"""All benchmarks of GPUs, one after the other, the most telling first.

    python benchmarks/gpu/all.py --minutes 28

Each is given a share of the time and ends within it; its figures are on the disk after every arm. What other arguments
there are is handed on to all of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

SHARES = {"lora": 4, "fp8": 2, "small_card": 2, "qlora": 2, "full": 3, "dpo": 2}  # of the time


def main() -> int:
    described = argparse.ArgumentParser(
        description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    described.add_argument("--minutes", type=float, default=60.0, help="of all together (60)")
    options, others = described.parse_known_args()
    ends, worst, left = time.monotonic() + 60 * options.minutes, 0, sum(SHARES.values())
    for script, share in SHARES.items():
        seconds = max(1.0, ends - time.monotonic()) * share / left
        left -= share
        print(f"== {script}", flush=True)
        given = ["--seconds", f"{min(540.0, seconds):.0f}", *others]
        worst = max(
            worst, subprocess.run([sys.executable, Path(__file__).with_name(f"{script}.py"), *given]).returncode
        )
    return worst


if __name__ == "__main__":
    sys.exit(main())
