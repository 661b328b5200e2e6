"""What the dashboard shows beside the runs: whose each device is, who waits for one, and which servers there are.

It is asked of the leases of this machine, so it tells of runs and servers from every folder and every terminal. What
the devices do is told by `core.runs.telemetry`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.runs.leases import LeaseError, Leases, Ticket, lease_folder

if TYPE_CHECKING:
    from core.runs.telemetry import Gpu, Snapshot  # with psutil, which no first frame needs
    from daisy_tui.chatting.serving import ServerStatus

CPU = "cpu"
_MADE = re.compile(r"\d{8}-\d{6}-.")


class Waiting(NamedTuple):
    """A run in the queue: its directory and name, the devices that it wants `number` of, and whether it still waits."""

    run: Path
    number: int
    among: tuple[str, ...]
    is_waiting: bool

    @property
    def id(self) -> str:
        return self.run.name


class ServerLine(NamedTuple):
    """A server: what it serves, where, its state in a word and what it says; `is_own` is one of this terminal."""

    what: str
    url: str
    state: str
    says: str
    is_own: bool


class Overview(NamedTuple):
    """`owners` are the ids of runs by device key; `problem` says why the leases cannot be asked."""

    owners: Mapping[str, str] = {}
    queue: tuple[Waiting, ...] = ()
    servers: tuple[ServerLine, ...] = ()
    problem: str | None = None


def look_around(own: Sequence[ServerStatus] = ()) -> Overview:
    """Who has and who wants the devices of this machine, and the servers: `own` ones and those of others."""
    servers = [ServerLine(s.what, s.url or "", _busy(s), s.says, True) for s in own if s.state != "ended"]
    try:
        leases = Leases(lease_folder())
        owners = {device: _run(record).name for device, record in leases.owners().items()}
        queue = tuple(_waiting(ticket) for ticket in leases.tickets())
        records = leases.servers()
    except (LeaseError, OSError) as error:
        return Overview(servers=tuple(servers), problem=str(error))
    known = {server.url for server in servers}
    others = [_server(record) for record in records if record.get("server") not in known]
    return Overview(owners, queue, (*servers, *others))


def owner_of(gpu: Gpu, overview: Overview) -> str:
    """Whose a GPU is: the run that has its lease, or else whose processes are on it; nothing where it is free."""
    if gpu.key is not None and gpu.key in overview.owners:
        return short_name(overview.owners[gpu.key])
    runs = {short_name(process.run.name) for process in gpu.processes or () if process.run is not None}
    others = sum(process.run is None for process in gpu.processes or ())
    words = [*sorted(runs), *([f"{others} other process{'es' if others > 1 else ''}"] if others else [])]
    return ", ".join(words)


def short_name(run_id: str) -> str:
    """A run's name without the time at which it was made."""
    return run_id[16:] if _MADE.match(run_id) else run_id


def device_labels(snapshot: Snapshot | None) -> dict[str, str]:
    """What people call the devices, by key: the index of a GPU."""
    found = snapshot.gpus if snapshot is not None else None
    return {gpu.key: gpu.label for gpu in found or () if gpu.key is not None}


def label(key: str, labels: Mapping[str, str]) -> str:
    """What people call a device: its index, `cpu`, or the beginning of the key of one that this machine has not."""
    return labels.get(key) or (key if len(key) <= 12 else f"{key.removeprefix('GPU-')[:8]}…")


def _run(record: Mapping[str, Any]) -> Path:
    return Path(str(record.get("run", "?")))


def _waiting(ticket: Ticket) -> Waiting:
    return Waiting(_run(ticket.details), ticket.wanted.number, ticket.wanted.among, ticket.waiting)


def _server(record: Mapping[str, Any]) -> ServerLine:
    says = ", ".join(str(record[key]) for key in ("device", "user") if record.get(key))
    return ServerLine(str(record.get("model", "?")), str(record.get("server", "?")), "serving", says, False)


def _busy(server: ServerStatus) -> str:
    if server.state != "ready" or not server.slots:
        return server.state
    return f"{server.busy or 0} of {server.slots} busy"
