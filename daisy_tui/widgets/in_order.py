"""Keys are done in the order in which they were typed, however late they are read.

Textual inserts a letter where the key arrives, and does what is bound to a key after it has gone up to the app. While
the loop is busy, over a slow line or under load, `0.5 ctrl+u 2` so becomes nothing, and letters behind Enter go to what
had the focus before. Here both are done where the key arrives; a key that comes too late goes on to what has the focus
now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.widgets import Input

if TYPE_CHECKING:
    from textual.widget import Widget as _Mixed
else:
    _Mixed = object  # Textual takes styles and components from the first base that is a widget


class InOrder(_Mixed):
    """To be mixed in before the widget that takes the keys."""

    async def _on_key(self, event: events.Key) -> None:
        now = self.app.focused
        if now is not self:
            event.prevent_default()
            if now is not None:
                event.stop()
                now.post_message(events.Key(event.key, event.character))
            return
        bound = self.screen.active_bindings.get(event.key)  # its own, or those of what it is in; no letters in a field
        if bound is not None and bound.enabled and await self.app.run_action(bound.binding.action, bound.node):
            event.prevent_default()
            event.stop()


class OrderedInput(InOrder, Input):
    """An `Input` that takes its keys in their order."""
