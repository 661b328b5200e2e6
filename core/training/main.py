"""The entry of one rank: `torchrun … -m core.training.main --run-dir DIR`, before torch is imported.

A rank whose torchrun is gone must not stay behind with a device's memory: the kernel is told so first, and what takes
seconds to import comes after. `core.training.rank` is what it does then.
"""

from __future__ import annotations

import os
import sys

from core.runs.processes import die_with_parent
from core.runs.torchrun import PARENT


def main() -> int:
    """Train one rank; returns the exit code."""
    if (parent := os.environ.get(PARENT)) is not None:
        die_with_parent(int(parent))
    from core.training.rank import train

    return train()


if __name__ == "__main__":
    sys.exit(main())
