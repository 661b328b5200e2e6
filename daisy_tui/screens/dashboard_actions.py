"""What can be done on the dashboard, and the `daisy` command behind each action as things stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from daisy_tui.actions import Action
from daisy_tui.runs.overview import Overview, Waiting

if TYPE_CHECKING:
    from daisy_tui.runs.watching import RunRow

_MOVE, _CANCEL = "daisy runs queue --move RUN PLACE", "daisy runs queue --cancel RUN"
ACTIONS: Final = (
    Action(
        "filter",
        "slash",
        "Filter",
        "Pick runs, such as state:running val<3.5 -debug.",
        "daisy runs list QUERY",
    ),
    Action("mark", "space", "Mark", "Pick a run out, to compare it with others, and go to the next one."),
    Action("compare", "v", "Compare", "Overlay the marked runs.", "daisy runs compare RUN RUN"),
    Action("stop", "x", "Stop", "Stop a run with a checkpoint.", "daisy runs stop RUN", acts=True),
    Action("resume", "r", "Resume", "Go on with a run, exactly.", "daisy runs resume RUN --detach", acts=True),
    Action("chat", "t", "Chat", "Talk to a run's newest checkpoint.", "daisy chat RUN"),
    Action("new", "n", "New", "Compose a run and launch it.", "daisy train CONFIG", footer=False),
    Action("panels", "b", "Panels", "Unfold devices, queue and servers, or fold them.", footer=False),
    Action("sort", "s", "Sort", "Sort by the next column; a click on a head sorts by it.", footer=False),
    Action("turn", "S", "Turn", "Turn the order round.", footer=False),
    Action("show", "enter", "Open run", "Charts, log and events of a run.", "daisy runs show RUN", footer=False),
    Action("prune", "p", "Prune", "Remove checkpoints that are not needed.", "daisy runs prune RUN", True, False),
    Action("earlier", "K,ctrl+up", "Earlier in queue", "Move a run up in the queue.", _MOVE, acts=True, footer=False),
    Action("later", "J,ctrl+down", "Later in queue", "Move a run down in the queue.", _MOVE, acts=True, footer=False),
    Action("cancel", "d,delete", "Cancel queued", "Take a run out of the queue.", _CANCEL, acts=True, footer=False),
    Action("copy", "y", "Copy id", "Copy the id of a run.", "daisy runs show RUN", footer=False),
)
# Actions that are there only where there is a run for which they mean something.
NEED_RUN: Final = ("compare", "stop", "resume", "chat", "prune", "show", "copy", "earlier", "later", "cancel")
_ENDED_BEFORE_ITS_TIME = ("stopped", "failed", "lost", "queued")


class Chosen(NamedTuple):
    """What an action is meant for: the run under the cursor, those to be compared, one that waits, and the filter."""

    row: RunRow | None
    compared: tuple[RunRow, ...]
    waiting: Waiting | None
    overview: Overview
    typed: str


def command_for(action: str, chosen: Chosen) -> list[str] | None:
    """The arguments of the `daisy` command behind an action; None where it means nothing now."""
    match action:
        case "filter":
            return ["runs", "list", *([chosen.typed] if chosen.typed.strip() else [])]
        case "compare":
            return ["runs", "compare", *(row.id for row in chosen.compared)] if len(chosen.compared) > 1 else None
        case "earlier" | "later" | "cancel":
            return _of_queue(action, chosen)
    row = chosen.row
    return None if row is None or row.state == "unreadable" else _of_run(action, row, chosen.overview)


def refusal(action: str, chosen: Chosen) -> str:
    """Why an action of NEED_RUN means nothing now, and what would."""
    if action == "compare":
        return "space marks the runs that are to be compared"
    if (row := chosen.row) is None:
        return "there is no run here"
    if action in ("earlier", "later", "cancel"):
        if chosen.waiting is None:
            return f"{row.name} does not wait in the queue"
        return f"{row.name} is the {'first' if action == 'earlier' else 'last'} in the queue"
    if row.state == "unreadable":
        return f"{row.name} cannot be read"
    if action == "resume" and row.state == "finished":
        return f"{row.name} has finished; b on one of its checkpoints (5) begins a new run from it"
    return f"{row.name} is {row.state}"


def _of_run(action: str, row: RunRow, overview: Overview) -> list[str] | None:
    match action:
        case "stop":
            return ["runs", "stop", row.id] if row.alive or row.state == "queued" else None
        case "resume":
            if row.alive or row.state not in _ENDED_BEFORE_ITS_TIME:
                return None
            # Where its devices are somebody's at this moment, or where it waited before, it waits.
            waits = row.state == "queued" or any(device in overview.owners for device in row.devices)
            return ["runs", "resume", row.id, "--detach", *(["--queue"] if waits else [])]
        case "chat":
            return ["chat", row.id]
        case "prune":
            return None if row.alive else ["runs", "prune", row.id, "--yes"]
        case "show" | "copy":
            return ["runs", "show", row.id]
    return None


def _of_queue(action: str, chosen: Chosen) -> list[str] | None:
    waiting, queue = chosen.waiting, chosen.overview.queue
    if waiting is None:
        return None
    if action == "cancel":
        return ["runs", "queue", "--cancel", waiting.id]
    place = queue.index(waiting) + 1 + (1 if action == "later" else -1)
    return ["runs", "queue", "--move", waiting.id, str(place)] if 1 <= place <= len(queue) else None
