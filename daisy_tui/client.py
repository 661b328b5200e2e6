"""Asking a server over HTTP, with the standard library alone: what is said comes as it is said.

Rejected: aiohttp, whose import takes longer than the first token of a small model; and urllib, which would send a
question for this machine through a proxy.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
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
    """One server by its URL. A stream that is left early is cut off, which the server takes for its end."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
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
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def get(self, path: str) -> dict[str, Any]:
        """What the server answers. Raises ClientError."""
        return self._whole("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the server answers to a body. Raises ClientError."""
        return self._whole("POST", path, body)

    def _whole(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        connection, response = self._ask(method, path, body)
        try:
            return _object(response.read())
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(f"{self.url}: the connection was lost: {error}") from error
        finally:
            connection.close()

    def events(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The chunks of a stream as they come. Raises ClientError."""
        connection, response = self._ask("POST", path, {**body, "stream": True})
        try:
            for line in response:
                if not line.startswith(b"data: "):
                    continue
                if line.strip() == b"data: [DONE]":
                    return
                chunk = _object(line[len(b"data: ") :])
                if "error" in chunk:
                    said = chunk["error"] if isinstance(chunk["error"], dict) else {"message": chunk["error"]}
                    raise ClientError(f"{self.url}: {said.get('message')}", said.get("code"))
                yield chunk
            raise ClientError(f"{self.url}: the server ended in the middle of the answer")
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(f"{self.url}: the connection was lost: {error}") from error
        finally:
            connection.close()

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = self._kind(*self._address, timeout=_CONNECT_S)
        try:
            connection.connect()
            connection.sock.settimeout(None)  # a long queue is no failure
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
            hint = "; this command takes the key from DAISY_API_KEY" if status == 401 else ""
            return ClientError(f"{self.url}: {error['message']}{hint}", error.get("code"))
        except (ValueError, KeyError, TypeError):
            return ClientError(f"{self.url}: answers {status}, and not as a server of Daisy's or OpenAI's kind")


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ClientError("the server's answer is not JSON") from error
    if not isinstance(value, dict):
        raise ClientError("the server's answer is not an object")
    return value
