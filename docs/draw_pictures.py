"""Draw the README's pictures: every screen of the control center, of the runs that a folder really has.

    python docs/draw_pictures.py FOLDER

FOLDER is one in which the demo was trained. Nothing in it is changed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from daisy_tui.app import DaisyApp
from daisy_tui.services import Services

PICTURES = Path(__file__).parent / "pictures"
SIZE = 120, 34
# The keys that show what a screen is for, and the seconds that its looks take on a slow machine.
SCREENS: dict[str, tuple[str, ...]] = {
    "dashboard": (),
    "compose": ("v",),
    "run": (),
    "compare": (),
    "checkpoints": ("down", "down"),
    "data": (),
}
LOOK_S = 3.0


async def draw(folder: Path, name: str, keys: tuple[str, ...]) -> None:
    """One picture."""
    services = Services(folder, readonly=False)
    app = DaisyApp(services, first=name)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(LOOK_S)
        await pilot.press(*keys)
        await pilot.pause(LOOK_S)
        (PICTURES / f"{name}.svg").write_text(app.export_screenshot(title="Daisy"))


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    PICTURES.mkdir(exist_ok=True)
    os.chdir(folder)
    for name, keys in SCREENS.items():
        asyncio.run(draw(folder, name, keys))


if __name__ == "__main__":
    main()
