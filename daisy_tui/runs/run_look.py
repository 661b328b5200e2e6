"""All that is shown of one run, looked at in a thread: its state, figures, events, charts, checkpoints, and advice.

A `RunReader` remembers what it has read, so that a look costs what is new; a `RunLook` is a value that a screen may
keep while the next one is made. Logs and config are looked at apart (`log_lines`, `provenance`), when they are wanted.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from core.runs.curves import Mark
from core.runs.directory import RunDirectory
from core.runs.follow import RecordTail
from core.runs.heartbeat import heartbeats
from core.runs.peaks import read_peaks
from core.runs.status import Status, run_status
from core.runs.summary import Recorded, recorded, summary
from daisy_tui.checkpoints.catalog import Catalog, Listed
from daisy_tui.lines import Line
from daisy_tui.runs.advice import Advice, Spike, advice, find_spikes
from daisy_tui.runs.event_text import EventRow, event_row
from daisy_tui.runs.run_charts import CHARTS, began, chart_lines, curves_of, last_points, load

KEEP_EVENTS = 5_000
_SPIKES_AMONG = 512  # log points
_LONG = 1 << 25  # bytes of metrics from which on the first look reads no more than one chart


class View(NamedTuple):
    """How charts are drawn: over which `x`, how much smoothed, and which of them."""

    x: str = "step"
    smoothing: float = 0.0
    charts: tuple[str, ...] = ()


class Drawn(NamedTuple):
    """The lines of charts by id, those that changed, and the marks that all of them have.

    `origin` is where time is counted from; `goes_on` says that another look brings charts that are still to be read.
    """

    view: View
    lines: Mapping[str, list[Line]]
    marks: list[Mark]
    origin: float | None
    goes_on: bool


class RunLook(NamedTuple):
    """A run as it was at `time`. `facts` are those of `daisy runs list --json`, `point` is its last log point.

    `events` are the last ones with the oldest first, and `earlier_events` how many there were before. `drawn` is None
    where the charts are as they were at the look before.
    """

    run: RunDirectory
    time: float
    status: Status
    facts: dict[str, Any]
    point: dict[str, Any]
    beats: list[dict[str, Any]]
    peaks: dict[str, dict[str, Any]]
    events: tuple[EventRow, ...]
    earlier_events: int
    checkpoints: tuple[Listed, ...]
    advice: tuple[Advice, ...]
    drawn: Drawn | None

    @property
    def last_checkpoint(self) -> Listed | None:
        """What the run would go on from."""
        return next((one for one in reversed(self.checkpoints) if one.complete), None)


class RunReader:
    """Looks at one run, again and again; one thread at a time."""

    def __init__(self, run: RunDirectory, folder: Path) -> None:
        self.run = run
        self._curves = curves_of(run)
        self._tail = RecordTail(run.events, from_start=True)
        self._events: deque[dict[str, Any]] = deque(maxlen=KEEP_EVENTS)
        self._rows: tuple[EventRow, ...] = ()
        self._earlier = 0
        self._catalog = Catalog(folder)
        self._recorded: Recorded | None = None
        self._spikes: list[Spike] = []
        self._drawn: View | None = None
        self._read: set[str] = set()  # charts whose curves are read along

    def look(self, now: float, view: View) -> RunLook | None:
        """The run at `now`, in seconds of the time of day; None where its folder is gone.

        Raises OSError for files that cannot be read.
        """
        run = self.run
        if not run.path.is_dir():
            return None
        status = run_status(run, now)
        if status.state == "lost":  # it may have ended between two of the files that were read
            status = run_status(run, now)
        self._recorded = recorded(run, self._recorded)
        new = self._tail.new()
        self._earlier += max(0, len(self._events) + len(new) - KEEP_EVENTS)
        self._events += new
        if new:
            self._rows = (*self._rows, *(event_row(event, now) for event in new))[-KEEP_EVENTS:]
        changed = self._curves.refresh()
        if changed:
            self._spikes = find_spikes(last_points(self._curves, "train_loss", _SPIKES_AMONG))
        checkpoints = self._catalog.look_at(run).checkpoints
        last = next((one for one in reversed(checkpoints) if one.complete), None)
        found = advice(
            status,
            self._events,
            point=self._recorded.point,
            spikes=self._spikes,
            last_checkpoint=last.name if last is not None else None,
            checkpoint_bytes=last.bytes if last is not None else None,
            spare_checkpoints=sum(one.complete and one is not last and "best" not in one.links for one in checkpoints),
            disk_free=shutil.disk_usage(run.path).free,
        )
        return RunLook(
            run,
            now,
            status,
            summary(run, status, now, self._recorded),
            self._recorded.point,
            heartbeats(run),
            read_peaks(run),
            self._rows,
            self._earlier,
            checkpoints,
            tuple(found),
            self._draw(view, changed),
        )

    def _draw(self, view: View, changed: bool) -> Drawn | None:
        """The charts that changed or were not read yet; None where there are none.

        Of a long run the first one comes at once, and the others with the look after.
        """
        missing = [name for name in view.charts if name not in self._read]
        is_first = not self._read and self.run.metrics.exists() and self.run.metrics.stat().st_size > _LONG
        now = missing[:1] if is_first else missing
        if changed or view != self._drawn:
            now = [name for name in view.charts if name in self._read] + now
        elif not now:
            return None
        kinds = [kind for kind in CHARTS if kind.id in now]
        load(self._curves, kinds)
        lines = {kind.id: chart_lines(self._curves, kind, view.x, view.smoothing) for kind in kinds}
        self._read.update(now)
        self._drawn = view
        origin = began(self._curves) if view.x == "time" else None
        return Drawn(view, lines, self._marks(view.x), origin, not self._read.issuperset(view.charts))

    def _marks(self, x: str) -> list[Mark]:
        """What happened to the run, spikes and losses that were no number among it; placed on `x`."""
        marks = self._curves.marks()
        for event in self._events:
            if event.get("event") == "not_finite" and "step" in event:
                tokens, time = event.get("tokens"), event.get("time")
                marks.append(Mark(event["step"], tokens, time, "warning", "the loss was no number"))
        if self._spikes:
            steps, places = (last_points(self._curves, "train_loss", _SPIKES_AMONG, of) for of in ("step", x))
            place = {int(step): at for (step, _), (at, _) in zip(steps, places, strict=True)}
            for spike in self._spikes:
                at = place.get(spike.step, float(spike.step))
                text = f"the loss jumped from {spike.before:.4g} to {spike.loss:.4g}"
                marks.append(Mark(spike.step, int(at), at, "warning", text))
        return marks
