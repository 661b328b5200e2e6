"""What the screens have in common, handed down by constructor: the folder, clocks, and who looks and acts.

Each service is made when it is first used, for the first frame waits for none of them; tests put others in their place.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from daisy_tui.commands import Commands
from daisy_tui.settings import SettingsFile

if TYPE_CHECKING:
    from core.runs.telemetry import Telemetry
    from daisy_tui.chatting.serving import Serving
    from daisy_tui.runs.watching import RunsWatch


class Services:
    """The services of one terminal in `folder`, where `runs/`, `configs/` and `data/` are.

    `clock` gives the time of day and `monotonic` a time that never goes back, in seconds. With `polls` false nothing is
    looked at again by itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        readonly: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        settings: SettingsFile | None = None,
        polls: bool = True,
    ) -> None:
        self.folder, self.readonly, self.polls = folder, readonly, polls
        self.clock, self.monotonic = clock, monotonic
        self.settings = settings or SettingsFile(None)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @cached_property
    def commands(self) -> Commands:
        return Commands(self.folder)

    @cached_property
    def watch(self) -> RunsWatch:
        from daisy_tui.runs.watching import RunsWatch

        return RunsWatch(self.runs, self.clock)

    @cached_property
    def telemetry(self) -> Telemetry:
        from core.runs.telemetry import Sampler, Telemetry

        return Telemetry(Sampler(self.watch.supervisors, self.folder, clock=self.clock))

    @cached_property
    def serving(self) -> Serving:
        from daisy_tui.chatting.serving import Serving

        return Serving(self.folder)

    def close(self) -> None:
        """End what was begun: threads that look, and servers of this terminal. Runs go on."""
        if "telemetry" in self.__dict__:
            self.telemetry.stop()
        if "serving" in self.__dict__:
            self.serving.close()
