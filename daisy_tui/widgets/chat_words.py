"""What a side of the chat says while there is nobody to ask: how one is chosen, and why nothing can be asked now."""

from __future__ import annotations

from daisy_tui.widgets.chat_pane import ChatPane

HINT = """\
f2  choose a checkpoint, or a run that trains
f7  attach to a server that runs already
f6  go on with a chat that was held before

The model's server starts beside this terminal and ends with it."""
READONLY_HINT = """\
f7  attach to a server that runs already

This terminal is read-only: it starts no server, and keeps no chat."""
OTHER_HINT = "f2 chooses what stands beside"


def why_not(pane: ChatPane, *, readonly: bool) -> str:
    """Why a side cannot be asked now, and what helps; nothing where it can."""
    if pane.is_ready:
        return ""
    if pane.server is None:
        return "there is no model yet: f7 attaches to a server" if readonly else "there is no model yet: f2 chooses one"
    if pane.answering is not None:
        return "an answer is under way: esc stops it"
    if pane.server.state in ("starting", "loading", "ready"):  # which the side has not heard of yet
        return f"{pane.server.what} is loading; ask again once it is ready"
    return f"{pane.server.failure or 'its server has ended'}; f2 starts one again"
