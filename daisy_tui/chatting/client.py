"""Asking a server over HTTP, with the standard library alone: what is said comes as it is said.

Rejected: aiohttp, whose import takes longer than the first token of a small model; and urllib, which would send a
question for this machine through a proxy.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from core.errors import DaisyError

DEFAULT_URL = "http://127.0.0.1:8000"
_CONNECT_S = 10.0


class ClientError(DaisyError):
    """A server that cannot be reached, or that refuses. `code` is what it calls the reason."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """One server by its URL. A stream that is left early is cut off, which the server takes for its end.

    `key_hint` is said to whoever has a wrong key.
    """

    def __init__(self, url: str, api_key: str | None = None, *, key_hint: str = "") -> None:
        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            (parts.hostname or "").encode("idna")
        except ValueError as error:  # UnicodeError too
            raise ClientError(f"--url {url}: not the URL of a server: {error}") from error
        if api_key is not None and not re.fullmatch(r"[!-~]+", api_key):
            raise ClientError("the API key must be of ASCII letters, digits and signs, without spaces")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ClientError(f"--url {url}: not the URL of a server, such as {DEFAULT_URL}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError(f"--url {url}: not the URL of a server, such as {DEFAULT_URL}")
        try:
            port = parts.port
        except ValueError as error:
            raise ClientError(f"--url {url}: {error}") from error
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._address = parts.hostname, port
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._key_hint = f"; {key_hint}" if key_hint else ""
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def get(self, path: str, *, within_s: float | None = None) -> dict[str, Any]:
        """What the server answers. Raises ClientError, also where it is silent for longer than `within_s`."""
        return self._whole("GET", path, None, within_s)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the server answers to a body. Raises ClientError."""
        return self._whole("POST", path, body)

    def _whole(
        self, method: str, path: str, body: dict[str, Any] | None, within_s: float | None = None
    ) -> dict[str, Any]:
        connection, response = self.ask(method, path, body, lambda sock: sock.settimeout(within_s))
        try:
            return _object(response.read())
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(f"{self.url}: the connection was lost: {error}") from error
        finally:
            connection.close()

    def events(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The chunks of a stream as they come. Raises ClientError."""
        return iter(self.stream(path, body))

    def stream(self, path: str, body: dict[str, Any]) -> Stream:
        """A stream that another thread may cut."""
        return Stream(self, path, {**body, "stream": True})

    def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        connected: Callable[[socket.socket], None] = lambda sock: None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The beginning of an answer, and the connection that it comes on; `connected` gets its socket before anything
        is asked. Raises ClientError."""
        connection = self._kind(*self._address, timeout=_CONNECT_S)
        try:
            connection.connect()
            connection.sock.settimeout(None)  # a long queue is no failure
            connected(connection.sock)
            data = json.dumps(body).encode() if body is not None else None
            headers = {**self._headers, **({"Content-Type": "application/json"} if data is not None else {})}
            connection.request(method, self._prefix + path, data, headers)
            response = connection.getresponse()
            if response.status >= 400:
                said = response.read()
                connection.close()
                raise self._refused(response.status, said)
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ClientError(f"{self.url}: cannot be asked: {why}; `daisy serve CKPT` starts a server") from error
        except BaseException:
            connection.close()
            raise
        return connection, response

    def _refused(self, status: int, said: bytes) -> ClientError:
        try:
            error = json.loads(said)["error"]
            hint = self._key_hint if status == 401 else ""
            return ClientError(f"{self.url}: {error['message']}{hint}", error.get("code"))
        except (ValueError, KeyError, TypeError):
            return ClientError(f"{self.url}: answers {status}, and not as a server of Daisy's or OpenAI's kind")


class Stream:
    """The chunks of one answer, for one thread to read; `cut` ends it from any other, also before anything has come.

    Nothing is asked before the first chunk is wanted. The server takes the end of the connection for that of the wish.
    """

    def __init__(self, client: Client, path: str, body: dict[str, Any]) -> None:
        self._client, self._path, self._body = client, path, body
        self._socket: socket.socket | None = None
        self._cut = threading.Event()

    @property
    def is_cut(self) -> bool:
        return self._cut.is_set()

    def cut(self) -> None:
        """End the stream at once. A read that waits in another thread ends; what came before stays."""
        self._cut.set()
        if self._socket is not None:
            with suppress(OSError):  # it has ended already
                # Not SSLSocket's own, which would take the reader's state away while it reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._cut.is_set():
            return
        try:
            yield from self._chunks()
        except ClientError:
            if not self.is_cut:
                raise

    def _connected(self, sock: socket.socket) -> None:
        self._socket = sock
        if self.is_cut:  # while it was connecting
            self.cut()

    def _chunks(self) -> Iterator[dict[str, Any]]:
        url = self._client.url
        connection, response = self._client.ask("POST", self._path, self._body, self._connected)
        try:
            for line in response:
                if self.is_cut:
                    return
                if not line.startswith(b"data: "):
                    continue
                if line.strip() == b"data: [DONE]":
                    return
                chunk = _object(line[len(b"data: ") :])
                if "error" in chunk:
                    said = chunk["error"] if isinstance(chunk["error"], dict) else {"message": chunk["error"]}
                    raise ClientError(f"{url}: {said.get('message')}", said.get("code"))
                yield chunk
            raise ClientError(f"{url}: the server ended in the middle of the answer")
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(f"{url}: the connection was lost: {error}") from error
        finally:
            response.close()
            connection.close()


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ClientError("the server's answer is not JSON") from error
    if not isinstance(value, dict):
        raise ClientError("the server's answer is not an object")
    return value
