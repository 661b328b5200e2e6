"""`/openapi.json`, from the very models that requests are read by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from server.answers import Error
from server.host import Host
from server.settings import Settings

_REF = "#/components/schemas/{model}"
_REFUSALS = {
    "GET": {"401": "no key", "403": "wrong host", "503": "loading, or ending"},
    "POST": {
        "400": "a parameter is wrong",
        "401": "no key",
        "403": "wrong host",
        "404": "no such model",
        "408": "the body came too slowly",
        "409": "not now",
        "413": "too large",
        "415": "not JSON",
        "429": "the queue is full",
        "500": "the model failed",
        "503": "loading, or ending",
    },
}


@dataclass(frozen=True)
class Endpoint:
    """One route: what it takes and answers. `streams` says that it may answer by events."""

    method: str
    path: str
    handle: Callable[[web.Request, Host, Settings], Awaitable[web.StreamResponse]]
    answers: Any
    takes: type[BaseModel] | None = None
    streams: bool = False


def document(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """The OpenAPI document of these endpoints."""
    wanted: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [("error", "serialization", TypeAdapter(Error))]
    for endpoint in endpoints:
        if endpoint.takes is not None:
            wanted.append((f"in {endpoint.path}", "validation", TypeAdapter(endpoint.takes)))
        if endpoint.answers is not str:
            wanted.append((f"out {endpoint.path}", "serialization", TypeAdapter(endpoint.answers)))
    found, definitions = TypeAdapter.json_schemas(wanted, ref_template=_REF)
    schemas = {key: found[(key, mode)] for key, mode, _ in wanted}
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Daisy", "version": version, "description": "Checkpoints, as OpenAI's clients ask them."},
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    lines = (endpoint.handle.__doc__ or "").strip().splitlines()
    content: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
    if endpoint.answers is not str:
        content = {"application/json": {"schema": schemas[f"out {endpoint.path}"]}}
    if endpoint.streams:
        content["text/event-stream"] = {}
    error = {"application/json": {"schema": schemas["error"]}}
    refused = {status: {"description": why, "content": error} for status, why in _REFUSALS[endpoint.method].items()}
    operation: dict[str, Any] = {
        "operationId": endpoint.handle.__name__,
        "summary": lines[0] if lines else "",
        "responses": {"200": {"description": "as asked", "content": content}, **refused},
    }
    if endpoint.path == "/health":
        operation["responses"] = {
            status: {"description": why, "content": content}
            for status, why in (("200", "ready"), ("503", "loading, or ending"))
        }
    if "{name}" in endpoint.path:
        operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
        operation["responses"]["404"] = {"description": "no such model", "content": error}
    if endpoint.takes is not None:
        body = {"application/json": {"schema": schemas[f"in {endpoint.path}"]}}
        operation["requestBody"] = {"required": True, "content": body}
    return operation
