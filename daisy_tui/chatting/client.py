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
from core.text import printable, size

DEFAULT_URL = "http://127.0.0.1:8000"
_CONNECT_S = 10.0
_ANSWER_S = 15.0  # of what a server knows without computing
# Of what a server says, whoever it is: a context's ids are a line of half a MiB, a token with its alternatives 1 KiB.
_MOST_BYTES = {"GET": 1 << 20, "POST": 16 << 20}
_MOST_STREAMED, _LONGEST_LINE = 64 << 20, 4 << 20
_LONGEST_REFUSAL, _LONGEST_REASON = 64 << 10, 400


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

    def get(self, path: str, *, within_s: float = _ANSWER_S) -> dict[str, Any]:
        """What the server answers. Raises ClientError, also where it is silent for longer than `within_s`."""
        return self._whole("GET", path, None, within_s)

    def post(self, path: str, body: dict[str, Any], *, within_s: float | None = None) -> dict[str, Any]:
        """What the server answers to a body. Raises ClientError."""
        return self._whole("POST", path, body, within_s)

    def _whole(
        self, method: str, path: str, body: dict[str, Any] | None, within_s: float | None = None
    ) -> dict[str, Any]:
        connection, response = self.ask(method, path, body, lambda sock: sock.settimeout(within_s))
        try:
            most = _MOST_BYTES[method]
            said = response.read(most + 1)
            if len(said) > most:
                raise ClientError(f"{self.url}: answers with more than {size(most)}, which no server of this kind does")
            return _object(said)
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(f"{self.url}: the connection was lost: {_line(error)}") from error
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
                said = response.read(_LONGEST_REFUSAL)
                connection.close()
                raise self._refused(response.status, said)
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            words = f"{self.url}: cannot be asked: {_line(why)}; `daisy serve CKPT` starts a server"
            raise ClientError(words) from error
        except BaseException:
            connection.close()
            raise
        return connection, response

    def _refused(self, status: int, said: bytes) -> ClientError:
        try:
            error = json.loads(said)["error"]
            hint = self._key_hint if status == 401 else ""
            return ClientError(f"{self.url}: {_line(error['message'])}{hint}", error.get("code"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            if status == 401:
                return ClientError(f"{self.url}: wants a key, or another one{self._key_hint}")
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
            for line in _lines(response, url):
                if self.is_cut:
                    return
                field, _, value = line.partition(b":")
                if field != b"data":
                    continue
                if value.strip() == b"[DONE]":
                    return
                chunk = _object(value)
                if error := chunk.get("error"):
                    said = error if isinstance(error, dict) else {"message": error}
                    raise ClientError(f"{url}: {_line(said.get('message'))}", said.get("code"))
                yield chunk
            raise ClientError(f"{url}: the server ended in the middle of the answer")
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(f"{url}: the connection was lost: {_line(error)}") from error
        finally:
            response.close()
            connection.close()


def _lines(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    """The lines of a stream, as long as there is an end to them. Raises ClientError."""
    left = _MOST_STREAMED
    while line := response.readline(_LONGEST_LINE):
        left -= len(line)
        if left < 0 or (len(line) == _LONGEST_LINE and not line.endswith(b"\n")):
            what = f"a line of more than {size(_LONGEST_LINE)}" if left >= 0 else f"more than {size(_MOST_STREAMED)}"
            raise ClientError(f"{url}: sends {what}, and what came until then is kept")
        yield line


def _line(said: Any) -> str:
    """What a server gives as a reason, in one line that does nothing to the terminal."""
    words = printable(" ".join(str(said).split()))
    return words if len(words) <= _LONGEST_REASON else words[:_LONGEST_REASON] + "…"


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ClientError("the server's answer is not JSON") from error
    if not isinstance(value, dict):
        raise ClientError("the server's answer is not an object")
    return value
