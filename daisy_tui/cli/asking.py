"""`daisy runs save|eval|set`: requests to a run that trains, and the waiting for their answers."""

from __future__ import annotations

import time
from typing import Any

import click

from core.checkpoint.format import checkpoint_name
from core.errors import DaisyError
from core.runs import control
from core.runs.directory import RunDirectory, RunError, find_run
from core.runs.follow import RecordTail
from core.runs.status import Status, run_status
from daisy_tui.cli.text import JSON, echo, print_json
from daisy_tui.naming import RUNS

LOOK_EVERY_S, TELL_AFTER_S = 0.3, 5.0


class RefusedError(DaisyError):
    """A request that a run does not carry out."""

    exit_code = 2


def _request(what: str, help_text: str) -> click.Command:
    @click.command(what, help=help_text)
    @click.argument("run", metavar="RUN")
    @JSON
    def command(run: str, as_json: bool) -> None:
        _ask(_living(run), what, {}, as_json)

    return command


save = _request("save", "Have a run write a checkpoint at its next step.")
evaluate = _request("eval", "Have a run evaluate at its next step.")


@click.command("set")
@click.argument("run", metavar="RUN")
@click.argument("values", metavar="KEY=VALUE…", nargs=-1, required=True)
@JSON
def set_values(run: str, values: tuple[str, ...], as_json: bool) -> None:
    """Change a run while it trains, from its next step on.

    KEY is one of lr_scale, target_tokens, val_loss_every_tokens, checkpoint_per_n_tokens, log_every_steps;
    `cooldown=now` begins the cooldown.
    """
    pairs = [value.lstrip("-").partition("=") for value in values]
    if wrong := [value for value, pair in zip(values, pairs, strict=True) if not pair[1] or not pair[0]]:
        raise click.UsageError(f"'{wrong[0]}': write KEY=VALUE")
    _ask(_living(run), "set", {key: value for key, _, value in pairs}, as_json)


def _living(name: str) -> RunDirectory:
    run = find_run(RUNS, name)
    check_alive(run, status := run_status(run))
    if status.ranks_ended:
        raise RunError(f"{run.path}: nobody answers: {waits_for_supervisor(status)}")
    return run


def check_alive(run: RunDirectory, status: Status) -> None:
    """Raise RunError for a run that nobody answers for, with what would help."""
    if status.state == "finished":
        longer = f"`daisy train --resume {run.path.name} target_tokens=…` trains it longer"
        raise RunError(f"{run.path}: has finished; {longer}")
    if not status.alive:
        raise RunError(f"{run.path}: is {status.state}, so nobody answers; `daisy runs resume {run.path.name}` goes on")


def waits_for_supervisor(status: Status) -> str:
    """That the ranks of a run have ended while nobody says how, with what helps."""
    pid = (status.supervisor or {}).get("pid")
    helps = f"make room on its disk if that is full, or wake its supervisor if that is stopped (kill -CONT {pid})"
    return f"{status.stalls[0]}; {helps}"


def _ask(run: RunDirectory, what: str, values: dict[str, str], as_json: bool) -> None:
    """Ask rank 0 and wait for its answer."""
    if run_status(run).state == "queued":
        raise RunError(
            f"{run.path}: is queued, and {what} is for a run that trains; cancel it with "
            f"`daisy runs queue --cancel {run.path.name}` and start it as it shall be"
        )
    events = RecordTail(run.events)
    request = control.ask(run, what, values)
    try:
        answer = _answer(run, events, request)
    except BaseException:  # whoever does not wait any more does not want it any more
        control.answered(run, request)
        raise
    if as_json:
        print_json(answer)
    elif not answer["answer"].startswith("refused"):
        echo(f"{run.path.name}: step {answer['step']:,}: {what} {answer['answer']}")
    if answer["answer"].startswith("refused"):
        raise RefusedError(f"{run.path.name}: {what} {answer['answer']}")


def _answer(run: RunDirectory, events: RecordTail, request: control.Request) -> dict[str, Any]:
    """What rank 0 says to a request; for `save`, once the checkpoint is whole."""
    began, told = time.monotonic(), False
    answer: dict[str, Any] = {}
    while True:
        status = run_status(run)
        for event in events.new():
            if event.get("event") == "request" and event.get("id") == request.id and event.keys() >= {"answer", "step"}:
                answer = event
                if not event["answer"].startswith("begun"):
                    return answer
            elif answer and event.get("event") == "checkpoint" and event.get("step", 0) >= answer["step"]:
                return answer | {"answer": f"done: {event.get('path', checkpoint_name(answer['step']))}"}
            elif answer and event.get("event") == "warning" and "message" in event:
                raise RunError(f"{run.path}: {event['message']}")
        if answer and (run.checkpoints / checkpoint_name(answer["step"])).exists():
            return answer | {"answer": f"done: {checkpoint_name(answer['step'])}"}
        if not status.alive or status.ranks_ended:
            raise RunError(f"{run.path}: ended before it answered")
        if not told and time.monotonic() - began > TELL_AFTER_S:
            told = True
            why = str(status.stalls[0]) if status.stalls else "it answers between two steps"
            echo(f"{run.path.name} has not answered yet: {why}; Ctrl-C takes the request back", err=True)
        time.sleep(LOOK_EVERY_S)
