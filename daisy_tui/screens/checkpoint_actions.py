"""What can be done on the Checkpoints screen."""

from __future__ import annotations

from typing import Final

from daisy_tui.actions import Action

STOP_KEY: Final = "x"
_INSPECT = "daisy inspect CKPT"

ACTIONS: Final = (
    Action(
        "filter",
        "slash",
        "Filter",
        "Only what has these words: of run, step, best, incomplete, -debug.",
    ),
    Action("order", "o", "Order", "By descent, run, age, loss or size.", "daisy runs checkpoints --tree"),
    Action("mark", "m", "Mark", "Mark it, to see how others differ from it."),
    Action("differ", "d", "Diff", "How it differs from the marked one.", f"{_INSPECT} --diff OTHER --stats"),
    Action("read", "s", "Read weights", "Norms and NaN counts; of two, what moved most.", f"{_INSPECT} --stats"),
    Action("verify", "v", "Verify", "Check the hash of every file.", f"{_INSPECT} --verify"),
    Action("chat", "t", "Chat", "Chat with it.", "daisy chat CKPT"),
    Action("resume", "r", "Resume", "Go on with its run; says how exactly.", "daisy runs resume RUN", acts=True),
    Action("warm_start", "b", "New from it", "A new run from its weights.", "daisy train CONFIG -p CKPT"),
    Action("export", "X", "Export", "A copy without optimizer state.", "daisy export CKPT --out DIR", acts=True),
    Action("prune", "p", "Prune", "Remove what is neither last nor best.", "daisy runs prune RUN", acts=True),
    Action("inspect", "i", "Inspect", "Go to the pane: what it is, and what can be done.", _INSPECT, footer=False),
    Action("histogram", "h", "Histogram", "How a tensor's values lie.", f"{_INSPECT} --histogram T", footer=False),
    Action("tab(1)", "right_square_bracket,ctrl+right", "Next tab", "The next part of the pane.", footer=False),
    Action("tab(-1)", "left_square_bracket,ctrl+left", "Tab before", "The part before.", footer=False),
    Action("stop", STOP_KEY, "Stop reading", "End what is read, verified or exported.", footer=False),
)
