"""The pages for browsers: nobody but the page itself may open a terminal, and it needs no other machine."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

import daisy_tui.web
from core.errors import DaisyError
from daisy_tui.web import Pages, serve_pages

UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
PAGE = Path(daisy_tui.web.__file__).parent / "web_page"


def _ask(path: str, headers: dict[str, str]) -> tuple[int, str]:
    async def ask() -> tuple[int, str]:
        pages = Pages("true", "127.0.0.1", 0, title="Daisy", templates_path=PAGE)
        server = TestServer(await pages._make_app())
        await server.start_server()
        own = f"127.0.0.1:{server.port}"
        pages.public_url = f"http://{own}"
        mine = {"Host": own, "Origin": f"http://{own}"} | {k: v.replace("OWN", own) for k, v in headers.items()}
        try:
            async with ClientSession() as session, session.get(server.make_url(path), headers=mine) as answer:
                return answer.status, await answer.text()
        finally:
            await server.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 200),
        ("/", {"Host": "evil.example"}, 403),
        ("/ws", {"Origin": "http://evil.example"}, 403),
        ("/ws", {"Origin": ""}, 403),
        ("/ws", {"Host": "evil.example"}, 403),
        ("/ws", {}, 400),
        ("/ws", {**UPGRADE, "Sec-WebSocket-Key": "SGVsbG8sIHdvcmxkIQ=="}, 400),
    ],
)
def test_only_the_page_itself_may_open_a_terminal(path: str, headers: dict[str, str], status: int) -> None:
    assert _ask(path, headers)[0] == status


def test_the_page_names_no_other_machine() -> None:
    _, page = _ask("/", {})
    named: Any = set(re.findall(r"(?:https?|wss?)://([^/:\"']+)", page))
    assert named == {"127.0.0.1"}


def test_a_port_that_is_taken_is_said_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DaisyError, match=f"--port {port}: .*in use; another --port may be free"):
            serve_pages("true", "127.0.0.1", port, tmp_path)
    assert "Daisy on" not in capsys.readouterr().out
