"""The servers of this terminal: started as children on free ports, swapped, attached to, and ended with the terminal.

Each child lives in a thread of its own, which starts it, reads all that it says, and outlives it: on Linux a child dies
with the thread that started it. Nobody who asks here waits for a model to load; `status` tells how far it is. Rejected:
one server for the terminal, which could not hold two checkpoints side by side.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.errors import DaisyError
from core.runs.launch import child_environment
from core.runs.processes import die_with_parent
from core.text import printable
from daisy_tui.chatting.room import as_count

if TYPE_CHECKING:
    from daisy_tui.chatting.client import Client

KEY_VARIABLE = "DAISY_API_KEY"
_LINES, _LONGEST_LINE, _LONGEST_NAME = 200, 1 << 14, 200
_END_WITHIN_S, _ANSWERS_WITHIN_S = 5.0, 20.0
_READY = re.compile(r"^serving .* on (http://\S+) with ")


class ServingError(DaisyError):
    """A server that cannot do what is asked of it."""


class ServerStatus(NamedTuple):
    """One server at a moment. `state` is starting, loading, ready, failed or ended; `what` it serves, in words.

    `says` is its last line, or why it failed. `slots` and `busy` are None until they are known.
    """

    what: str
    url: str | None
    state: str
    says: str
    is_own: bool
    slots: int | None = None
    busy: int | None = None


class Options(NamedTuple):
    """How a server is started: `template` for chats whatever the checkpoint says, `follow` a run's newest one."""

    device: str = "auto"
    weights: str = "auto"
    template: str | None = None
    follow: bool = False
    slots: int = 1

    @property
    def arguments(self) -> list[str]:
        """Those of `daisy serve`, but the port."""
        found = [f"--device={self.device}", f"--weights={self.weights}", f"--slots={self.slots}"]
        found += [f"--chat-template={self.template}"] if self.template else []
        return [*found, *(["--follow"] if self.follow else [])]


def server_command(checkpoint: str, arguments: Sequence[str]) -> list[str]:
    """The command line of a server of its own."""
    return [sys.executable, "-m", "server.main", *arguments, "--", checkpoint]


def server_environment(api_key: str | None) -> dict[str, str]:
    """The environment of a server, in which the key is: anybody may read a command line."""
    return {**child_environment(), **({KEY_VARIABLE: api_key} if api_key else {})}


def new_key() -> str:
    """A key that nobody else on this machine knows."""
    return secrets.token_urlsafe()


def start_server(
    checkpoint: str, arguments: Sequence[str], api_key: str, *, folder: Path | None = None, stderr: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a server on a free port, which dies with the thread that calls this; it says its URL on standard output."""
    return subprocess.Popen(
        server_command(checkpoint, ["--port=0", "--grace=0", *arguments]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=folder,
        env=server_environment(api_key),
        start_new_session=True,  # the keys of this terminal are not for it
        preexec_fn=partial(die_with_parent, os.getpid()),
    )


def url_in(line: str) -> str | None:
    """The URL in the line by which a server says that it answers; None for any other line."""
    found = _READY.search(line)
    return found[1] if found else None


class Server:
    """One server. What it is changes while others look: every attribute is set whole.

    `model` is what it last said of its model. `source` is the checkpoint or run that was asked for.
    """

    def __init__(self, source: str, key: str | None, options: Options | None = None) -> None:
        self.source, self.key, self.options = source, key, options or Options()
        self.is_own = options is not None
        self.url: str | None = None
        self.state = "starting"
        self.failure = ""
        self.lines: deque[str] = deque(maxlen=_LINES)
        self.model: dict[str, Any] = {}
        self.end_of_text: int | None = None
        self.slots: int | None = None
        self.busy: int | None = None
        self.settled = threading.Event()  # ready, failed or ended
        self.process: subprocess.Popen[bytes] | None = None
        self.is_ending = False

    @property
    def client(self) -> Client:
        """Asks it. Raises ServingError before it has a URL."""
        from daisy_tui.chatting.client import Client

        if self.url is None:
            raise ServingError(f"{self.source}: its server does not answer yet")
        return Client(self.url, self.key)

    @property
    def template(self) -> str | None:
        """The name of its chat template; another program's server says nothing of templates, and has one."""
        template = self.model.get("chat_template", "its own")
        return None if template is None else _name(template)

    @property
    def size(self) -> int:
        """The tokens that its model holds; 0 where it does not say."""
        return as_count(self.model.get("max_model_len"))

    @property
    def is_daisy(self) -> bool:
        """Whether it gives ids, and takes what only Daisy's servers take."""
        return "weights_version" in self.model

    @property
    def what(self) -> str:
        """What it serves, in words."""
        name, step = self.model.get("id"), self.model.get("step")
        words = f"{_name(name)} step {step:,}" if name and isinstance(step, int) else _name(name or _short(self.source))
        return printable(words)

    @property
    def status(self) -> ServerStatus:
        says = self.failure or (self.lines[-1] if self.lines else "")
        return ServerStatus(self.what, self.url, self.state, says, self.is_own, self.slots, self.busy)


class Serving:
    """The servers of one terminal in `folder`. `start` is how a child is started."""

    def __init__(self, folder: Path, start: Callable[..., subprocess.Popen[bytes]] = start_server) -> None:
        self._folder, self._start = folder, start
        self._lock = threading.Lock()
        self._servers: list[Server] = []
        self._threads: list[threading.Thread] = []

    def start(self, source: str, options: Options | None = None) -> Server:
        """A server of a checkpoint or run, which begins to load. Returns at once."""
        server = Server(source, new_key(), options or Options())
        self._keep(server)
        thread = threading.Thread(target=self._live, args=(server,), name=f"server of {source}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return server

    def attach(self, url: str, key: str | None = None) -> Server:
        """A server that runs already. Waits for its answer. Raises DaisyError where it gives none that is known."""
        server = Server(url, key or None)
        server.url = url
        self._learn(server)
        self._keep(server)
        return server

    def change(self, server: Server, source: str, options: Options | None = None) -> Server:
        """Have another checkpoint served: by new weights where the model is the same, else by another child.

        Waits for the weights. Returns who serves it now: the same server, or one that begins to load. Raises DaisyError
        where the checkpoint cannot be served; what was served is served on.
        """
        from daisy_tui.chatting.client import ClientError

        options = options or server.options
        if server.is_own and (server.state != "ready" or options.follow or options != server.options):
            return self._restart(server, source, options)
        path = self._folder / source
        try:
            server.client.post("/v1/admin/load", {"checkpoint": str(path.resolve()) if path.exists() else source})
        except ClientError as error:
            if server.is_own and error.code == "other_model":
                return self._restart(server, source, options)
            raise
        server.source = source
        self._learn(server)
        return server

    def end(self, server: Server) -> None:
        """End a child, or let go of a server that is somebody else's. Waits for nothing."""
        with self._lock:
            if server in self._servers:
                self._servers.remove(server)
        server.is_ending = True
        if not server.is_own:
            server.state = "ended"
        elif (process := server.process) is not None and process.poll() is None:
            process.terminate()
            killer = threading.Timer(_END_WITHIN_S, _kill, (process,))
            killer.daemon = True
            killer.start()

    def close(self) -> None:
        """End all children, and wait until they have ended."""
        for server in [*self._servers]:
            self.end(server)
        for thread in self._threads:
            thread.join(_END_WITHIN_S + 1.0)

    def status(self) -> list[ServerStatus]:
        """All servers as they were last known to be. Waits for nothing."""
        return [server.status for server in [*self._servers]]

    def look(self) -> list[ServerStatus]:
        """Ask all servers what they do, and say it. Waits for their answers."""
        for server in [*self._servers]:
            if server.url is not None and (server.state == "ready" or not server.is_own):
                self._look(server)
        return self.status()

    def _keep(self, server: Server) -> None:
        with self._lock:
            self._servers.append(server)

    def _restart(self, server: Server, source: str, options: Options) -> Server:
        self.end(server)
        return self.start(source, options)

    def _live(self, server: Server) -> None:
        """A child's whole life."""
        try:
            process = self._start(
                server.source,
                server.options.arguments,
                server.key,
                folder=self._folder,
                stderr=subprocess.STDOUT,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._fail(server, f"{server.source}: its server cannot be started: {error}")
            return
        server.process = process
        if server.is_ending:  # before there was a child to end
            process.terminate()
        server.state = "loading"
        assert process.stdout is not None
        with process.stdout as said:
            for raw in iter(partial(said.readline, _LONGEST_LINE), b""):
                self._hear(server, printable(raw.decode(errors="replace").rstrip("\n")))
        code = process.wait()
        if server.is_ending:
            server.state = "ended"
            server.settled.set()
        else:
            errors = [line.removeprefix("error: ") for line in server.lines if line.startswith("error: ")]
            last = errors or [line for line in server.lines if line.strip() and url_in(line) is None][-1:]
            self._fail(server, "; ".join(last) or f"{server.source}: its server has ended with exit code {code}")

    def _hear(self, server: Server, line: str) -> None:
        server.lines.append(line)
        url = url_in(line)
        if url is not None:
            server.url = url
            try:
                self._learn(server)
            except DaisyError as error:
                server.failure = str(error)

    def _fail(self, server: Server, why: str) -> None:
        server.failure, server.state = why, "failed"
        server.settled.set()

    def _learn(self, server: Server) -> None:
        """Ask a server what it serves."""
        from daisy_tui.chatting.client import ClientError

        models = server.client.get("/v1/models", within_s=_ANSWERS_WITHIN_S).get("data")
        if not isinstance(models, list) or not models or not all(map(_is_model, models)):
            raise ClientError(f"{server.url}: answers not as a server of OpenAI's kind does")
        model: dict[str, Any] = models[0]
        if "weights_version" in model and server.end_of_text is None:
            server.end_of_text = server.client.get("/tokenizer_info", within_s=_ANSWERS_WITHIN_S).get("eos_token_id")
        server.model, server.failure, server.state = model, "", "ready"
        server.settled.set()

    def _look(self, server: Server) -> None:
        from daisy_tui.chatting.client import ClientError

        try:
            self._learn(server)
            if server.is_daisy:
                slots = server.client.get("/v1/slots", within_s=_ANSWERS_WITHIN_S).get("slots") or []
                server.slots, server.busy = len(slots), sum(slot.get("state") == "busy" for slot in slots)
        except (ClientError, AttributeError, TypeError) as error:
            if not server.is_own:  # of a child its thread hears when it ends
                server.failure, server.state = str(error), "failed"


def _is_model(value: Any) -> bool:
    """Whether a server's answer can be what every server of OpenAI's kind says of a model: its name at least."""
    return isinstance(value, dict) and isinstance(value.get("id"), str)


def _name(value: Any) -> str:
    """A name as a server gives it, in one line that is not too long."""
    words = printable(" ".join(str(value).split()))
    return words if len(words) <= _LONGEST_NAME else words[:_LONGEST_NAME] + "…"


def _short(source: str) -> str:
    """A checkpoint by its run's name and its own; anything else as it is."""
    *_, run, folder, own = ("", "", *source.rstrip("/").split("/"))
    return f"{re.sub(r'^[0-9]{8}-[0-9]{6}-', '', run)} {own}" if folder == "checkpoints" and run else own


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.kill()
