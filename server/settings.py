"""How a server is started: what `daisy serve` takes, and the limits that hold for everybody who asks."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from math import inf

from core.errors import DaisyError

KEY_VARIABLE = "DAISY_API_KEY"


class ServeError(DaisyError):
    """A server that cannot be started, or not like that."""


class ServeUsageError(ServeError):
    """A server that must not be started like that."""

    exit_code = 2


@dataclass(frozen=True)
class Settings:
    """Where a server listens, whom it answers, and how long it waits for them (seconds, bytes).

    `cors` is the one web origin whose pages may ask. A stream is silent for `keep_alive_s` at most; a reader that
    takes nothing for `write_timeout_s` is cut off; `grace_s` is what streams have to end in at the server's end.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    cors: str | None = None
    insecure: bool = False
    max_queue: int = 64
    grace_s: float = 10.0
    keep_alive_s: float = 15.0
    write_timeout_s: float = 20.0
    read_timeout_s: float = 30.0
    max_body: int = 4 << 20

    def check(self) -> None:
        """Raise ServeUsageError where anybody on the network could ask, or any web page."""
        if not (self.is_local or self.api_key or self.insecure):
            raise ServeUsageError(
                f"--host {self.host} is not this machine alone, and anybody who reaches it could ask: "
                f"set {KEY_VARIABLE} (or --api-key), or add --insecure"
            )
        if self.api_key is not None and not re.fullmatch(r"[!-~]+", self.api_key):
            raise ServeUsageError("the API key must be of ASCII letters, digits and signs, without spaces")
        if not 0 <= self.grace_s < inf:
            raise ServeUsageError(f"--grace {self.grace_s}: must be a number of seconds from 0 on")
        if self.cors == "*":
            raise ServeUsageError(
                "--cors *: would let every web page ask; name one origin, such as http://localhost:3000"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can ask."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
