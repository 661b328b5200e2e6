"""Draw the README's pictures: every screen of the control center, of the runs that a folder really has.

    python docs/draw_pictures.py FOLDER

FOLDER is one in which the demo was trained. Nothing in it is changed: the chat is kept in a folder that goes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from core.runs.directory import find_run
from daisy_tui.app import DaisyApp
from daisy_tui.screens.chat import ChatScreen
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
MOST_WAIT_S = 120.0
ASKED = "Emma Woodhouse"
PARAMETERS = {"temperature": "0.4", "max_tokens": "280", "seed": "1"}


async def draw(folder: Path, name: str, keys: tuple[str, ...]) -> None:
    """One picture."""
    services = Services(folder, readonly=False)
    app = DaisyApp(services, first=name)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(LOOK_S)
        await pilot.press(*keys)
        await pilot.pause(LOOK_S)
        (PICTURES / f"{name}.svg").write_text(app.export_screenshot(title="Daisy"))


async def draw_chat(folder: Path) -> None:
    """What the demo goes on with, under the token lens."""
    run = find_run(folder / "runs", "demo")
    with tempfile.TemporaryDirectory() as own:
        services = Services(Path(own))
        app = DaisyApp(services, first="chat")
        try:
            async with app.run_test(size=SIZE) as pilot:
                screen = app.screen
                assert isinstance(screen, ChatScreen)
                left = screen.panes.left
                screen.context(source=str(run.path))
                await until(pilot, lambda: left.is_ready)
                for name, value in PARAMETERS.items():
                    screen.query_one(f"#parameter-{name}", Input).value = value
                left.editor.load_text(ASKED)
                await pilot.press("ctrl+g")
                await until(pilot, lambda: left.is_ready and left.tip is not None and left.tip.tokens)
                await pilot.press("f3", *["space"] * 4)
                await pilot.pause(LOOK_S)
                (PICTURES / "chat.svg").write_text(app.export_screenshot(title="Daisy"))
        finally:
            services.close()


async def until(pilot: Pilot[Any], holds: Callable[[], object]) -> None:
    """Let the app go on until something holds. Raises TimeoutError."""
    async with asyncio.timeout(MOST_WAIT_S):
        while not holds():
            await pilot.pause(0.1)


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    PICTURES.mkdir(exist_ok=True)
    os.chdir(folder)
    for name, keys in SCREENS.items():
        asyncio.run(draw(folder, name, keys))
    asyncio.run(draw_chat(folder))


if __name__ == "__main__":
    main()
