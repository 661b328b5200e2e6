"""How states are shown everywhere: a sign, a word and a colour, for a colour alone says nothing to many."""

from __future__ import annotations

from typing import NamedTuple


class Glyph(NamedTuple):
    """`colour` is the name of a theme's variable."""

    sign: str
    colour: str


STATES = {
    "running": Glyph("●", "$text-success"),
    "starting": Glyph("◐", "$text-accent"),
    "stopping": Glyph("◑", "$text-warning"),
    "queued": Glyph("○", "$text-accent"),
    "finished": Glyph("✓", "$text-success"),
    "stopped": Glyph("■", "$text-warning"),
    "failed": Glyph("✗", "$text-error"),
    "lost": Glyph("?", "$text-error"),
}
OTHER = Glyph("·", "$foreground")
BLOCKS = "▁▂▃▄▅▆▇█"  # of which charts of one line are made


def state_glyph(state: str) -> Glyph:
    """The sign and colour of a run's state."""
    return STATES.get(state, OTHER)
