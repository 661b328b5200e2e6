"""The dashboard's panels in words: devices and host with their history, queue, servers, counts, one run in detail.

Everything here is a function from what was looked at to what is shown in a width. Names and paths are anybody's, so
they pass `printable` and never markup.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from core.text import plural, printable, size
from daisy_tui.glyphs import BLOCKS
from daisy_tui.runs.overview import CPU, Overview, ServerLine, Waiting, label, owner_of, short_name
from daisy_tui.runs.runs_cells import state_sign, state_words
from daisy_tui.runs.runs_order import NEWEST, Order

if TYPE_CHECKING:
    from core.runs.telemetry import Gpu, Snapshot
    from daisy_tui.runs.advice import Advice
    from daisy_tui.runs.run_details import Details

NOT_AVAILABLE = "n/a"
_HISTORY, _WIDE_HISTORY, _WIDE = 8, 20, 84  # cells
_ALWAYS_WORDS = ("stalled", "running", "queued", "failed")  # other states are signs where there is little room
_OWNER = 14  # cells of a name where the whole machine is a line
_SERVER_SIGNS = {"failed": ("✗", "$text-error"), "starting": ("◐", "$text-accent"), "loading": ("◐", "$text-accent")}


def counts_line(states: Mapping[str, int], picked: int, order: Order, width: int) -> Content:
    """How many runs there are in which states, how many of them a filter picked, and how they are sorted."""
    whole = _counts(states, picked, order, states)
    return whole if whole.cell_length <= width else _counts(states, picked, order, _ALWAYS_WORDS)


def _counts(states: Mapping[str, int], picked: int, order: Order, said: Container[str]) -> Content:
    """The same; states that are not among those `said` are only signs."""
    total = sum(states.values())
    parts = [Content.assemble((plural(total, "run"), "bold"))]
    if picked != total:
        parts[0] += Content.assemble("  ", (f"{picked:,} picked", "$text-accent"))
    for state, number in states.items():
        sign, colour = state_sign(state)
        word = f" {printable(state)}" if state in said else ""
        parts.append(Content.assemble((f"{sign} ", colour), f"{number:,}{word}"))
    if order != Order(NEWEST):
        parts.append(Content.assemble((f"sorted by {order.by}{' reversed' if order.is_reversed else ''}", "dim")))
    return Content("  ").join(parts)


def devices_lines(history: Sequence[Snapshot], overview: Overview, failure: str | None, width: int) -> Content:
    """GPUs and host, a line each: history, figures, and whose they are."""
    if not history:
        return Content(f"not available: {printable(failure)}" if failure else "looking …")
    now = history[-1]
    lines = [Content.assemble((f"not sampled: {printable(failure)}", "$text-error"))] if failure else []
    if now.gpus is None:
        lines.append(Content.assemble(("GPU   ", "bold"), ("not available: no NVIDIA driver answers", "dim")))
    cells = _WIDE_HISTORY if width >= _WIDE else _HISTORY
    for place, gpu in enumerate(now.gpus or ()):
        past = [s.gpus[place].utilisation if s.gpus is not None and place < len(s.gpus) else None for s in history]
        lines.append(_gpu_line(gpu, past, overview, cells, width))
    host = now.host
    lines.append(
        _line("CPU", [s.host.cpu for s in history], cells, _share(host.cpu), short_name(overview.owners.get(CPU, "")))
    )
    used = [_ratio(s.host.memory_used, s.host.memory_total) for s in history]
    lines.append(_line("RAM", used, cells, _share(used[-1]), _of(host.memory_used, host.memory_total)))
    taken = [_ratio(s.host.disk_used, s.host.disk_total) for s in history]
    lines.append(_line("disk", taken, cells, _share(taken[-1]), _of(host.disk_used, host.disk_total)))
    return Content("\n").join(lines)


def machine_line(snapshot: Snapshot | None, overview: Overview, failure: str | None) -> Content:
    """The machine in a line, the most important first."""
    if snapshot is None:
        return Content.assemble(
            (f"machine not available: {printable(failure)}" if failure else "machine: looking …", "dim")
        )
    parts = [_gpus_in_short(snapshot.gpus, overview)]
    host = snapshot.host
    parts.append(_bold("CPU", f"{_share(host.cpu).strip()} {_cut(short_name(overview.owners.get(CPU, '')))}".rstrip()))
    parts.append(_bold("RAM", _gib(host.memory_used, host.memory_total)))
    parts.append(_bold("disk", _share(_ratio(host.disk_used, host.disk_total)).strip()))
    return Content("  ").join(parts)


def queue_line(overview: Overview) -> Content:
    """Queue and servers in a line."""
    if overview.problem:
        return Content.assemble((f"queue: {printable(overview.problem)}", "$text-error"))
    waiting = len(overview.queue)
    first = f", next {printable(short_name(overview.queue[0].id))}" if waiting else ""
    parts = [_bold("queue", f"{waiting} waiting{first}" if waiting else "empty")]
    servers = [f"{printable(s.what)} {printable(s.state)} {printable(s.url)}".rstrip() for s in overview.servers]
    parts.append(_bold("server", "; ".join(servers) or "none"))
    return Content("  ").join(parts)


def queue_entry(place: int, waiting: Waiting, labels: Mapping[str, str]) -> Content:
    """A place in the queue."""
    among = ",".join(printable(label(key, labels)) for key in waiting.among)
    wants = f"wants {among}" if waiting.number == len(waiting.among) else f"wants {waiting.number} of {among}"
    gone = Content("") if waiting.is_waiting else Content.assemble(("  ! its process is gone", "$text-warning"))
    return Content.assemble((f"{place} ", "bold"), printable(short_name(waiting.id)), (f"  {wants}", "dim")) + gone


def servers_lines(overview: Overview) -> Content:
    """Every server in two lines at most."""
    if not overview.servers:
        return Content.assemble(("none: t starts one with a run's last checkpoint", "dim"))
    return Content("\n").join(_server_line(server) for server in overview.servers)


def details_lines(details: Details, labels: Mapping[str, str]) -> Content:
    """One run: what is wrong and what to do, its settings, its checkpoints, its last events."""
    row = details.row
    state, reason = state_words(row), row.reason if row.reason and not details.advice else None
    lines = [
        Content.assemble((printable(row.id), "bold")),
        Content.assemble((state.text, state.colour), f"  {printable(reason)}" if reason else ""),
    ]
    if row.alive and row.devices:
        lines.append(Content.assemble(("on ", "dim"), ", ".join(printable(label(key, labels)) for key in row.devices)))
    for advice in details.advice:
        lines += [Content(""), *_advice_lines(advice)]
    if details.settings:
        lines.append(Content(""))
        lines += [_field(name, words) for name, words in details.settings]
    if details.saved:
        lines += [Content(""), _field("saved", details.saved)]
    if details.events:
        lines.append(Content(""))
        lines += [Content.assemble((f"{moment}  ", "dim"), printable(words)) for moment, words in details.events]
    return Content("\n").join(lines)


def _advice_lines(advice: Advice) -> list[Content]:
    sign, colour = ("✗", "$text-error") if advice.severity == "error" else ("!", "$text-warning")
    what = Content.assemble((f"{sign} {printable(advice.what)}", f"bold {colour}"))
    return [what, Content(printable(advice.do))] if advice.do else [what]


def _field(name: str, words: str) -> Content:
    return Content.assemble((f"{name:<9} ", "dim"), printable(words))


def _gpu_line(gpu: Gpu, past: Sequence[float | None], overview: Overview, cells: int, width: int) -> Content:
    memory = _gib(gpu.memory_used, gpu.memory_total)
    power = NOT_AVAILABLE
    if gpu.power is not None:
        power = f"{gpu.power:.0f}/{gpu.power_limit:.0f} W" if gpu.power_limit is not None else f"{gpu.power:.0f} W"
    figures = f"{_share(gpu.utilisation)}  {memory:>13}  {_degrees(gpu.temperature):>5}  {power:>9}"
    owner = printable(owner_of(gpu, overview))
    name = f"  {printable(gpu.name)}" if gpu.name is not None and width >= _WIDE + 24 else ""
    return Content.assemble(
        (f"GPU {gpu.label:<2}", "bold"),
        (_course(past, cells), "$text-accent"),
        f" {figures}",
        (f"  {owner}", "bold"),
        (name, "dim"),
    )


def _gpus_in_short(gpus: Sequence[Gpu] | None, overview: Overview) -> Content:
    """The utilisation of each GPU, and of all of them the highest temperature and the memory; whose it is of one."""
    if not gpus:
        return _bold("GPU", NOT_AVAILABLE if gpus is None else "none")
    hottest = max((gpu.temperature for gpu in gpus if gpu.temperature is not None), default=None)
    used = [gpu.memory_used for gpu in gpus if gpu.memory_used is not None]
    total = [gpu.memory_total for gpu in gpus if gpu.memory_total is not None]
    words = [_share(gpu.utilisation).strip() for gpu in gpus]
    words += [_degrees(hottest)] if hottest is not None else []
    words += [f"{sum(used) / 2**30:.0f}/{sum(total) / 2**30:.0f} GiB"] if used and total else []
    words += [_cut(owner_of(gpus[0], overview))] if len(gpus) == 1 else []
    return _bold("GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs", " ".join(words).rstrip())


def _line(name: str, past: Sequence[float | None], cells: int, share: str, words: str) -> Content:
    return Content.assemble(
        (f"{name:<6}", "bold"), (_course(past, cells), "$text-accent"), f" {share}  ", printable(words)
    )


def _course(past: Sequence[float | None], cells: int) -> str:
    """The last shares as blocks on a scale from nothing to all; what was not known is a dot."""
    last = past[-cells:]
    signs = ["·" if v is None else BLOCKS[min(7, max(0, int(v * 8)))] for v in last]
    return "".join(signs).rjust(cells)


def _server_line(server: ServerLine) -> Content:
    sign, colour = _SERVER_SIGNS.get(server.state, ("●", "$text-success"))
    whose = "this terminal's" if server.is_own else printable(server.says)
    said = f"  {printable(server.says)}" if server.is_own and server.state == "failed" else ""
    where = Content.assemble((f"  {printable(server.url)}  {whose}", "dim"))
    return Content.assemble((f"{sign} ", colour), printable(server.what), f"  {printable(server.state)}{said}") + where


def _cut(text: str) -> str:
    return printable(text if len(text) <= _OWNER else text[: _OWNER - 1] + "…")


def _bold(name: str, words: str) -> Content:
    return Content.assemble((f"{name} ", "bold"), words)


def _share(share: float | None) -> str:
    return f"{NOT_AVAILABLE:>4}" if share is None else f"{share:4.0%}"


def _ratio(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else part / whole


def _of(part: int | None, whole: int | None) -> str:
    return NOT_AVAILABLE if part is None or whole is None else f"{size(part)} of {size(whole)}"


def _gib(part: int | None, whole: int | None) -> str:
    return NOT_AVAILABLE if part is None or whole is None else f"{part / 2**30:.1f}/{whole / 2**30:.0f} GiB"


def _degrees(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{value:.0f} °C"
