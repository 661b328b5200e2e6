"""torchrun as a run's supervisor starts it: it dies with the supervisor, and tells its ranks whom to die with.

`python -m core.runs.torchrun …` takes torchrun's own arguments. A wrapper, because torchrun gives every rank a session
of its own and leaves all of them alive when it is killed.
"""

from __future__ import annotations

import os
import runpy

from core.runs.processes import die_with_parent

PARENT = "DAISY_PARENT"


def main() -> None:
    """Become torchrun."""
    if (parent := os.environ.get(PARENT)) is not None:
        die_with_parent(int(parent))
    os.environ[PARENT] = str(os.getpid())
    runpy.run_module("torch.distributed.run", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
