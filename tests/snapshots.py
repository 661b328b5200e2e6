"""Pictures of screens, as SVG beside the tests: what a screen looked like when a person last looked at it.

`DAISY_SNAPSHOTS=update python -m pytest …` writes them anew; look at each before it is committed. Rejected:
pytest-textual-snapshot, whose newest release keeps pytest below 9.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from textual.app import App

FOLDER = Path(__file__).parent / "tui" / "snapshots"


def check_picture(app: App[None], name: str) -> None:
    """Compare the screen with its picture; a difference leaves `NAME.new.svg` beside it, to be looked at."""
    picture = _steady(app.export_screenshot(title="Daisy"))
    known = FOLDER / f"{name}.svg"
    if os.environ.get("DAISY_SNAPSHOTS") == "update":
        FOLDER.mkdir(exist_ok=True)
        known.write_text(picture)
        return
    assert known.exists(), f"there is no picture {known.name}; DAISY_SNAPSHOTS=update draws it"
    if known.read_text() != picture:
        new = known.with_suffix(".new.svg")
        new.write_text(picture)
        raise AssertionError(f"{known.name} looks otherwise now: {new}")


def _steady(svg: str) -> str:
    """Without what differs from one picture to the next although they look the same: made-up ids, web fonts."""
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
