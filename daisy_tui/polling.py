"""Looking again every so often, without ever overlapping, hurrying or stopping in silence.

The work runs in a thread and its result is handed over on the event loop, so no widget is touched by a thread. The next
look is due when the last one has ended; failures are waited out for longer and longer, and said. Rejected:
`set_interval`, which starts the next look while a slow disk still answers the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from textual.timer import Timer

T = TypeVar("T")

_BACK_OFF, _LONGEST_S = 2.0, 30.0
_UNFOCUSED_S = 1.0
_PATIENCE_S, _PATIENCE = 5.0, 3  # a look is late after so long, and so many times as long as from one to the next


class Stage(Protocol):
    """Who polls: a screen."""

    def look_later(self, seconds: float, look: Callable[[], None]) -> Timer: ...
    def look_now(self, name: str, look: Callable[[], object]) -> object: ...
    def poll_failed(self, name: str, error: Exception, since: float) -> None: ...
    def poll_succeeded(self, name: str) -> None: ...
    def monotonic(self) -> float: ...
    @property
    def has_attention(self) -> bool: ...


class Poll(Generic[T]):
    """One thing that is looked at again and again. With `is_automatic` false it looks only when told."""

    def __init__(
        self,
        stage: Stage,
        name: str,
        every_s: float,
        work: Callable[[], T],
        done: Callable[[T], None],
        *,
        is_automatic: bool = True,
    ) -> None:
        self.name = name
        self._stage, self._every_s, self._work, self._done = stage, every_s, work, done
        self._is_automatic = is_automatic
        self._timer: Timer | None = None
        self._is_looking = self._is_wanted_again = self._is_paused = False
        self._failures = 0
        self._began = 0.0
        self._last_good: float | None = None

    def now(self) -> None:
        """Look at once; while a look is under way, once more behind it."""
        self._cancel_timer()
        if self._is_looking:
            self._is_wanted_again = True
            return
        self._is_looking, self._began = True, self._stage.monotonic()
        self._stage.look_now(self.name, self._look)

    def late_since(self, now: float) -> float | None:
        """Of when what is shown is, where the look under way does not end, as on a disk that hangs; else None."""
        if not self._is_looking or now - self._began < max(_PATIENCE_S, _PATIENCE * self._every_s):
            return None
        return self._since

    def pause(self) -> None:
        """Look no more until `resume`."""
        self._is_paused = True
        self._cancel_timer()

    def resume(self) -> None:
        """Look at once, and go on."""
        self._is_paused = False
        if self._is_automatic:
            self.now()

    async def _look(self) -> None:
        try:
            result = await asyncio.to_thread(self._work)
            self._failures, self._last_good = 0, self._stage.monotonic()
            self._stage.poll_succeeded(self.name)
            self._done(result)
        except asyncio.CancelledError:
            self._is_paused = True
            raise
        except Exception as error:  # noqa: BLE001 - whatever a look meets is said, and it is tried again
            self._failures += 1
            self._stage.poll_failed(self.name, error, self._since)
        finally:
            self._is_looking = False
            self._plan()

    @property
    def _since(self) -> float:
        return self._began if self._last_good is None else self._last_good

    def _plan(self) -> None:
        if self._is_wanted_again:
            self._is_wanted_again = False
            self.now()
        elif self._is_automatic and not self._is_paused:
            every = self._every_s if self._stage.has_attention else max(self._every_s, _UNFOCUSED_S)
            wait = min(every * _BACK_OFF**self._failures, max(_LONGEST_S, every))
            self._timer = self._stage.look_later(wait, self.now)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
