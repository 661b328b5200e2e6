"""How states are shown everywhere: a sign, a word and a colour, for a colour alone says nothing to many."""

from __future__ import annotations

from typing import NamedTuple


class Glyph(NamedTuple):
    """`colour` is the name of a theme's variable."""

    sign: str
    colour: str


STATES = {
    "running": Glyph("●", "$success"),
    "starting": Glyph("◐", "$accent"),
    "stopping": Glyph("◑", "$warning"),
    "queued": Glyph("○", "$accent"),
    "finished": Glyph("✓", "$success"),
    "stopped": Glyph("■", "$warning"),
    "failed": Glyph("✗", "$error"),
    "lost": Glyph("?", "$error"),
}
OTHER = Glyph("·", "$foreground")


def state_glyph(state: str) -> Glyph:
    """The sign and colour of a run's state."""
    return STATES.get(state, OTHER)
