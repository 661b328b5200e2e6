"""What the first frame waits for: nothing that only later ones need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROBE = """
import asyncio, json, sys
from pathlib import Path
from daisy_tui.app import DaisyApp
from daisy_tui.services import Services

async def main():
    app = DaisyApp(Services(Path.cwd(), polls=False), first="dashboard")
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        print(json.dumps([type(app.screen).__name__, sorted(sys.modules)]))

asyncio.run(main())
"""


def test_the_dashboard_opens_without_torch_numpy_pydantic_and_an_http_client(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=tmp_path, capture_output=True, text=True, check=True)
    screen, modules = json.loads(done.stdout)
    assert screen == "DashboardScreen"
    later = {"torch", "numpy", "aiohttp", "pydantic", "tiktoken", "yaml", "http.client", "click"}
    assert not later & set(modules)
