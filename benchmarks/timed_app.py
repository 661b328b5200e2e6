"""The control center as benchmarks drive it, and nothing but it: who measures its memory imports no more than this."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual import events

import daisy_tui
from daisy_tui.app import DaisyApp


class TimedApp(DaisyApp):
    """Knows when what a key did has been painted. Headless, it turns every paint into escape sequences all the same."""

    CSS_PATH: ClassVar = [Path(daisy_tui.__file__).parent / path for path in DaisyApp.CSS_PATH]
    state: Callable[[], Any] = staticmethod(lambda: None)
    before: Any = None
    painted: asyncio.Future[float] | None = None

    def _display(self, screen: Any, renderable: Any) -> None:
        super()._display(screen, renderable)
        if hasattr(renderable, "render_segments"):
            renderable.render_segments(self.console)
        if self.painted is not None and not self.painted.done() and self.state() != self.before:
            self.painted.set_result(time.perf_counter())

    async def answer(self, key: str) -> float:
        """Press a key; the seconds until its effect was painted."""
        self.before, self.painted = self.state(), asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self.post_message(events.Key(key, key if len(key) == 1 else None))
        return await asyncio.wait_for(self.painted, 30) - began
