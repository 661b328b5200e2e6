"""The door: who may ask, how much, and in what form. Everything that is wrong with a request is said in one shape."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from server.errors import ApiError, defect, encoded
from server.metrics import Metrics
from server.settings import Settings, is_loopback

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Asking = TypeVar("Asking", bound=BaseModel)
OPEN_PATHS = ("/health",)
# Above this a body is read in a thread: parsing it would keep streams waiting.
_LARGE_BODY = 64 << 10
_SHOWN = 80
_SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)


def guard(
    app: web.Application, settings: Settings, metrics: Metrics, heard: Callable[[int], None] = lambda connection: None
) -> None:
    """Put the door before every route of an app. `heard` gets the id of each connection that has asked something."""
    app[_SETTINGS] = settings

    @web.middleware
    async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
        status = 499  # the client has left
        heard(id(request.protocol))
        try:
            try:
                _check_host(request, settings)
                if _is_preflight(request, settings):
                    return web.Response(status=204)
                _check_key(request, settings)
                response = await handler(request)
            except (ApiError, web.HTTPException) as error:
                response = _refusal(error, metrics)
            except ConnectionError:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, it ends one request and not the server
                response = _refusal(defect(), metrics)
            status = response.status
            return response
        finally:
            resource = request.match_info.route.resource
            metrics.requests.labels(resource.canonical if resource else "other", status).inc()

    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "daisy"
        if settings.cors is not None:
            response.headers["Vary"] = "Origin"
            if request.headers.get("Origin") == settings.cors:
                response.headers["Access-Control-Allow-Origin"] = settings.cors
                if request.method == "OPTIONS":
                    response.headers["Access-Control-Allow-Methods"] = "GET, POST"
                    response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"

    app.middlewares.append(door)
    app.on_response_prepare.append(prepare)


async def read(request: web.Request, model: type[Asking]) -> Asking:
    """The body of a request, which is a JSON object of this form. Raises ApiError."""
    if request.content_type != "application/json":
        raise ApiError(415, f"the body must be application/json; got {request.content_type or 'nothing'}")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise ApiError(415, "the body must not be compressed")
    settings = request.app[_SETTINGS]
    if (request.content_length or 0) > settings.max_body:
        raise _too_large(settings)
    try:
        async with asyncio.timeout(settings.read_timeout_s):
            raw = await request.read()
    except TimeoutError:
        raise ApiError(408, f"the body did not come within {settings.read_timeout_s:g} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(settings) from None
    if len(raw) > _LARGE_BODY:
        return await asyncio.to_thread(parse, raw, model)
    return parse(raw, model)


def parse(raw: bytes, model: type[Asking]) -> Asking:
    """A body's bytes as a request. Raises ApiError naming the parameter that is wrong."""
    try:
        # NaN and infinite numbers get through to the field that they stand in, which refuses them by its name.
        value = json.loads(raw.decode(), object_pairs_hook=_without_duplicates)
    except UnicodeDecodeError as error:
        raise ApiError(400, "the body is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from error
    except (ValueError, RecursionError) as error:  # a key that is there twice, 5,000 digits, a thousand brackets
        why = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise ApiError(400, f"the body is not JSON that can be read: {why}") from error
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _invalid(error, value) from error


def _check_host(request: web.Request, settings: Settings) -> None:
    """A page from elsewhere whose name was made to point here (DNS rebinding) still says its own name."""
    if not settings.is_local:
        return
    host = request.headers.get("Host", "")
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    if not is_loopback(name):
        raise ApiError(403, "this server answers to localhost only; the Host header names another", code="wrong_host")


def _check_key(request: web.Request, settings: Settings) -> None:
    if settings.api_key is None or request.path in OPEN_PATHS:
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), settings.api_key.encode())
    if not right or scheme.lower() != "bearer":
        raise ApiError(
            401,
            "wrong or missing API key: send it as `Authorization: Bearer KEY`",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _is_preflight(request: web.Request, settings: Settings) -> bool:
    """Whether a browser asks if a page of the allowed origin may ask."""
    asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    return asks and settings.cors is not None and request.headers.get("Origin") == settings.cors


def _refusal(error: ApiError | web.HTTPException, metrics: Metrics) -> web.Response:
    if isinstance(error, web.HTTPException):
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        message = {
            404: "no such endpoint; /openapi.json lists those there are",
            405: f"this endpoint takes {allowed.get('Allow', 'other methods')}",
        }.get(error.status, error.reason)
        error = ApiError(error.status, message, headers=allowed)
    if error.status in (401, 403, 413):
        metrics.rejections.labels({401: "key", 403: "host", 413: "size"}[error.status]).inc()
    return web.Response(
        status=error.status, body=encoded(error.body), content_type="application/json", headers=error.headers
    )


def _too_large(settings: Settings) -> ApiError:
    return ApiError(413, f"the body is larger than {settings.max_body:,} bytes, which is the most that is read")


def _invalid(error: ValidationError, value: Any) -> ApiError:
    """The first thing that is wrong, by the path that the client wrote, without the forms that were tried on it."""
    first = error.errors(include_url=False)[0]
    place: Any = value
    path = []
    for step in first["loc"]:
        if isinstance(place, dict) and (step in place or first["type"] == "missing") and isinstance(step, str):
            path.append(step)
            place = place.get(step)
        elif isinstance(place, list) and isinstance(step, int) and step < len(place):
            path.append(str(step))
            place = place[step]
    message = str(first["msg"]).removeprefix("Value error, ")
    param = ".".join(path) or None
    if param is None and first["type"] == "value_error":  # what concerns several fields says which
        param, _, message = message.partition(": ")
    if first["type"] == "extra_forbidden":
        message = "no such parameter"
    elif first["type"] != "missing" and path:
        message += f"; got {_short(place)}"
    return ApiError(400, f"{param}: {message}" if param else message, param=param)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"{_short(twice)} is there twice")
    return value
