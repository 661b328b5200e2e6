"""What is answered where something cannot be: a status, and a body in the shape that OpenAI's clients read."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """A request that is not carried out. `param` names what is wrong with it, `code` is for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def defect() -> ApiError:
    """What is answered after a defect, whose traceback is for the log and not for the client."""
    sys.stderr.write(traceback.format_exc())
    return ApiError(500, "internal error; the server's log has more")


def encoded(value: Any) -> bytes:
    """A value as JSON. Half of a surrogate pair, which a client may have sent, becomes a question mark."""
    return _ENCODER.encode(value).encode(errors="replace")
