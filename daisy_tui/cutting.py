"""Text cut to a width in cells so that what tells it apart stays: of paths, and of names that begin alike, the end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile

from rich.cells import cell_len, set_cell_size

_TELLING = 4  # cells behind what two names share: with fewer of them in sight a name is cut at its beginning


def cut_end(text: str, width: int) -> str:
    """A text in at most so many cells, its end cut off."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""


def cut_front(text: str, width: int) -> str:
    """A text in at most so many cells, its beginning cut off: of a path the end says more."""
    if cell_len(text) <= width:
        return text
    begin, room = len(text), width - 1
    while begin and (room := room - cell_len(text[begin - 1])) >= 0:
        begin -= 1
    return f"…{text[begin:]}" if width > 0 else ""


def cut_apart(names: Sequence[str], width: int) -> list[str]:
    """Names in at most so many cells each; what begins like another one is cut there, for it differs further on."""
    shared = dict.fromkeys(names, 0)
    for one, other in pairwise(sorted(shared)):  # nothing has more in common than neighbours
        length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
        shared[one], shared[other] = max(shared[one], length), length
    return [_cut_behind(name, shared[name], width) for name in names]


def _cut_behind(name: str, shared: int, width: int) -> str:
    """A name of which the part from `shared` on is to be seen."""
    if cell_len(name) <= width or cell_len(name[:shared]) + min(_TELLING, max(2, width // 2)) <= width:
        return cut_end(name, width)
    end = cut_front(name, width)
    return end if len(name) - len(end) < shared else cut_end(f"…{name[shared:]}", width)
