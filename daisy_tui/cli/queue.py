"""`daisy runs queue`: the runs of this machine that wait for devices, from whatever folder they were started."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import click

from core.runs import control
from core.runs.devices import is_number
from core.runs.directory import RunDirectory, RunError, find_run, write_object
from core.runs.leases import Leases, Ticket, lease_folder
from core.runs.lock import hold
from core.runs.status import run_status
from daisy_tui.cli.text import JSON, echo, print_json
from daisy_tui.naming import RUNS

_LOOK_EVERY_S = 0.3


@click.command()
@click.option("--move", nargs=2, metavar="RUN PLACE", help="Put a run at a place of the queue, 1 being the next.")
@click.option("--cancel", metavar="RUN", help="Take a run out of the queue.")
@JSON
def queue(move: tuple[str, str] | None, cancel: str | None, as_json: bool) -> None:
    """The runs of this machine that wait for devices, the next one first; and who has the devices."""
    leases = Leases(lease_folder())
    if move is not None:
        places = len(leases.tickets())
        if not is_number(move[1]) or not 1 <= int(move[1]) <= max(places, 1):
            raise click.UsageError(f"--move {move[0]} {move[1]}: the place is a number from 1 to {max(places, 1)}")
        leases.move(_ticket(leases, move[0]).key, int(move[1]))
    if cancel is not None:
        ticket = _ticket(leases, cancel)
        directory = RunDirectory(Path(ticket.details["run"]))
        if ticket.waiting:
            control.ask_stop(directory)
            while run_status(directory).alive:
                time.sleep(_LOOK_EVERY_S)
            leases.leave_queue(ticket.key)
        else:
            cancel_waiting(directory)
    tickets, owners = leases.tickets(), leases.owners()
    if as_json:
        waiting = [{"run": t.details.get("run"), "devices": t.wanted.among, "waiting": t.waiting} for t in tickets]
        print_json({"queue": waiting, "owners": owners, "servers": leases.servers()})
        return
    for device, owner in owners.items():
        echo(f"{device}: {owner.get('run', '?')} (process {owner.get('pid', '?')}, user {owner.get('user', '?')})")
    for server in leases.servers():
        said = ", ".join(f"{key} {value}" for key, value in server.items() if key != "server")
        echo(f"server {server.get('server', '?')}: {said}")
    if not tickets:
        echo("the queue is empty")
    for place, ticket in enumerate(tickets, 1):
        wanted = ", ".join(ticket.wanted.among)
        run = Path(str(ticket.details.get("run", "?")))
        state = "" if ticket.waiting else f"  not waiting: `daisy train --resume {run.name} --queue` starts it again"
        echo(f"{place}. {run.name}  wants {ticket.wanted.number} of {wanted}{state}")


def cancel_waiting(run: RunDirectory) -> None:
    """Take a run out of the queue whose supervisor is gone: nobody else is left to write how it ended.

    Raises RunError where somebody starts it at this moment.
    """
    lock = hold(run)
    if lock is None:
        raise RunError(f"{run.path}: is being started")
    try:
        leases = Leases(lease_folder())
        for ticket in leases.tickets():
            if ticket.details.get("run") == str(run.path.resolve()):
                leases.leave_queue(ticket.key)
        if (status := run_status(run)).state == "queued" and status.supervisor is not None:
            said = {"outcome": "stopped", "code": 3, "reason": "cancelled in the queue, where nobody waited any more"}
            write_object(run.exit, {"attempt": status.supervisor["attempt"], **said, "time": time.time()})
    finally:
        os.close(lock)


def _ticket(leases: Leases, name: str) -> Ticket:
    tickets = leases.tickets()
    ids = [Path(str(ticket.details.get("run"))).name for ticket in tickets]
    found = [ticket for ticket, own in zip(tickets, ids, strict=True) if name in (own, own[16:])]
    with suppress(RunError):
        run = str(find_run(RUNS, name).path.resolve())
        found = [ticket for ticket in tickets if ticket.details.get("run") == run] or found
    if len(found) != 1:
        there = ", ".join(ids) or "none"
        raise RunError(f"'{name}' names {'several runs' if found else 'no run'} in the queue; there are: {there}")
    return found[0]
