"""Reads weights for the Checkpoints screen: one job at a time, in a thread, with progress, until it is not wanted."""

from __future__ import annotations

from textual.timer import Timer

from daisy_tui.checkpoints.weights import Job, Reading, ReadingStoppedError
from daisy_tui.screens.base import DaisyScreen
from daisy_tui.widgets.checkpoint_pane import CheckpointPane

_UNASKED = 256 << 20  # bytes, which take a fraction of a second
_TICK_S = 0.25


class WeightsReader:
    """What a `pane` of a `screen` lacks is read here; the pane is painted when it is there."""

    def __init__(self, screen: DaisyScreen, pane: CheckpointPane, stop_key: str) -> None:
        self._screen, self._pane, self._stop_key = screen, pane, stop_key
        self._job: Job | None = None
        self._reading: Reading | None = None
        self._ended: set[tuple[str, ...]] = set()  # what failed or was stopped is not begun again unasked
        self._ticks: Timer = screen.set_interval(_TICK_S, self.tick, pause=True)
        self.tick()

    def want(self, job: Job | None, *, asked: bool = False) -> None:
        """Have a job done, in place of the one under way; unasked only where it takes no time."""
        if job is None or (self._job is not None and job.key == self._job.key):
            return
        if not asked and (job.key in self._ended or job.bytes > _UNASKED):
            return
        self.stop()
        self._ended.discard(job.key)
        self._job, self._reading = job, (reading := Reading(job.what))
        self._ticks.resume()
        self.tick()
        self._screen.in_thread(
            "weights", lambda: job.read(reading), lambda _: self._over(job), lambda error: self._over(job, error)
        )

    def stop(self) -> None:
        """End what is read: at its next piece."""
        if self._reading is not None:
            self._reading.stop()

    def tick(self) -> None:
        """Show how far it is."""
        self._pane.show_reading(self._reading, self._stop_key)

    def _over(self, job: Job, error: Exception | None = None) -> None:
        if self._job is job:
            self._job = self._reading = None
            self._ticks.pause()
            self.tick()
        if error is not None:
            self._ended.add(job.key)
            if not isinstance(error, ReadingStoppedError):
                self._screen.daisy.report(error)
        self._pane.paint()
