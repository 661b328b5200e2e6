"""What a server tells of itself, and the small endpoints around its tokenizer and its weights."""

from __future__ import annotations

import asyncio

from aiohttp import web

from core.errors import DaisyError
from core.inference.request import OtherModelError
from server.answers import Health, Model, Models, SlotInfo, SlotList, Text, TokenizerAnswer, Tokens
from server.door import read
from server.errors import ApiError, encoded
from server.host import Host, Served
from server.prompts import check_model, encode
from server.schemas import DetokenizeRequest, LoadRequest, TokenizeRequest
from server.settings import Settings


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encoded(value), content_type="application/json")


async def health(_http: web.Request, host: Host, _settings: Settings) -> web.Response:
    """Whether the server answers; 503 while it loads and while it ends."""
    body: Health = {"status": "ok" if host.state == "ready" else host.state}
    return _json(body, 200 if host.state == "ready" else 503)


async def metrics(_http: web.Request, host: Host, _settings: Settings) -> web.Response:
    """For Prometheus."""
    return web.Response(body=host.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def models(_http: web.Request, host: Host, _settings: Settings) -> web.Response:
    """The one model there is."""
    body: Models = {"object": "list", "data": [_model(host, host.served)]}
    return _json(body)


async def model(http: web.Request, host: Host, _settings: Settings) -> web.Response:
    """The model by its name."""
    served = host.served
    check_model(served, http.match_info["name"])
    return _json(_model(host, served))


async def slots(_http: web.Request, host: Host, _settings: Settings) -> web.Response:
    """What every slot does."""
    served_stats = host.stats() if host.served else None
    assert served_stats is not None
    listed: list[SlotInfo] = [
        {
            "id": slot.id,
            "state": "idle" if slot.state == "idle" else "busy",
            "phase": None if slot.state == "idle" else slot.state,
            "held": slot.held,
            "done": slot.done,
            "max_tokens": slot.max_tokens,
        }
        for slot in served_stats.slots
    ]
    body: SlotList = {"slots": listed, "waiting": served_stats.waiting}
    return _json(body)


async def tokenize(http: web.Request, host: Host, _settings: Settings) -> web.Response:
    """A text's ids."""
    asked = await read(http, TokenizeRequest)
    served = host.served
    check_model(served, asked.model)
    ids = await encode(served, asked.prompt)
    body: Tokens = {"tokens": ids, "count": len(ids), "max_model_len": served.max_seq_len}
    return _json(body)


async def detokenize(http: web.Request, host: Host, _settings: Settings) -> web.Response:
    """The text of ids; what is no text becomes U+FFFD."""
    asked = await read(http, DetokenizeRequest)
    served = host.served
    check_model(served, asked.model)
    size = served.tokenizer.vocab_size
    if wrong := [token for token in asked.tokens if token >= size]:
        raise ApiError(400, f"tokens: there is no token {wrong[0]}; ids are 0 to {size - 1}", param="tokens")
    raw = await asyncio.to_thread(served.tokenizer.decode_bytes, asked.tokens)
    body: Text = {"prompt": raw.decode(errors="replace")}
    return _json(body)


async def tokenizer_info(_http: web.Request, host: Host, _settings: Settings) -> web.Response:
    """What lm-eval asks before it lets a server encode."""
    tokenizer = host.served.tokenizer
    body: TokenizerAnswer = {
        "tokenizer_class": tokenizer.name,
        "vocab_size": tokenizer.vocab_size,
        "eos_token": None,
        "eos_token_id": tokenizer.eot_token_id,
        "fingerprint": tokenizer.fingerprint(),
    }
    return _json(body)


async def load(http: web.Request, host: Host, settings: Settings) -> web.Response:
    """Serve another checkpoint of the same model; streams go on."""
    if not (settings.is_local or settings.api_key):
        raise ApiError(403, "a server that anybody may ask takes no checkpoint from them; it has no API key")
    asked = await read(http, LoadRequest)
    if host.is_following:
        raise ApiError(409, "this server follows a run (--follow), and takes its checkpoints only", code="following")
    try:
        served, _version = await host.change(asked.checkpoint)
    except DaisyError as error:
        code = "other_model" if isinstance(error, OtherModelError) else "not_loaded"
        raise ApiError(409, "; ".join(error.lines), param="checkpoint", code=code) from error
    return _json({"model": _model(host, served)})


def _model(host: Host, served: Served) -> Model:
    stats = host.stats()
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "daisy",
        "checkpoint": str(served.folder),
        "step": served.step,
        "tokens": served.tokens,
        "val_loss": served.val_loss,
        "max_model_len": served.max_seq_len,
        "chat_template": served.template.name if served.template else None,
        "weights_version": stats.version if stats else 0,
    }
