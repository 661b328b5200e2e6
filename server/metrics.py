"""What Prometheus is told, in a registry of its own: nothing of it names a key, a prompt or a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.inference.request import EngineStats, Timing

if TYPE_CHECKING:
    from server.host import Served

_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
_LAG = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1)
_LOOK_EVERY_S = 0.1
_NEWEST = 0.2  # the weight of the newest queue time in their running mean


class Metrics:
    """Everything that is counted. `recent_queue_s` is how long requests have waited lately."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.requests = Counter("daisy_requests", "Answered requests by status.", ["endpoint", "status"], registry=own)
        self.rejections = Counter("daisy_rejections", "Requests not let in.", ["reason"], registry=own)
        self.swaps = Counter("daisy_weight_swaps", "Newer weights, taken or refused.", ["outcome"], registry=own)
        self._first = Histogram(
            "daisy_time_to_first_token_seconds", "From request to first token.", buckets=_LONG, registry=own
        )
        self._each = Histogram("daisy_time_per_output_token_seconds", "Between tokens.", buckets=_SHORT, registry=own)
        self._queue = Histogram("daisy_queue_seconds", "Wait for a slot.", buckets=_LONG, registry=own)
        self._lag = Histogram("daisy_event_loop_lag_seconds", "How late the event loop is.", buckets=_LAG, registry=own)
        self._version = Gauge("daisy_weights_version", "Weights since the start, from 0 on.", registry=own)
        self._step = Gauge("daisy_weights_step", "Training step of the weights.", registry=own)
        self.recent_queue_s = 0.0

    def watch(self, stats: Callable[[], EngineStats | None]) -> None:
        """Report the engine's figures as they are when somebody asks."""
        self.registry.register(_EngineCollector(stats))

    def show(self, served: Served, version: int) -> None:
        """These weights answer from now on."""
        self._version.set(version)
        self._step.set(served.step or 0)

    def first_token(self, seconds: float) -> None:
        """A request's first token came after so many seconds."""
        self._first.observe(seconds)

    def answered(self, timing: Timing, completion_tokens: int) -> None:
        """An answer has ended by itself."""
        self._queue.observe(timing.queued_s)
        self.recent_queue_s += _NEWEST * (timing.queued_s - self.recent_queue_s)
        if completion_tokens > 1:
            self._each.observe(timing.decode_s / (completion_tokens - 1))

    async def watch_loop(self) -> None:
        """Measure, for as long as the server lives, how late the event loop comes to what is due."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LOOK_EVERY_S
            await asyncio.sleep(_LOOK_EVERY_S)
            self._lag.observe(max(0.0, loop.time() - due))

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)


class _EngineCollector(Collector):
    def __init__(self, stats: Callable[[], EngineStats | None]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        if stats is None:
            return
        busy = sum(slot.state != "idle" for slot in stats.slots)
        for name, help_, value in (
            ("daisy_requests_running", "Requests that have a slot.", busy),
            ("daisy_requests_waiting", "Requests that wait for one.", stats.waiting),
            ("daisy_slots", "Slots there are.", len(stats.slots)),
            ("daisy_slots_busy", "Slots that work.", busy),
            ("daisy_cache_used_ratio", "Share of the cache that is held.", stats.cache_used),
        ):
            yield GaugeMetricFamily(name, help_, value)
        for name, help_, count in (
            ("daisy_engine_steps", "Steps of the engine.", stats.steps),
            ("daisy_prompt_tokens", "Tokens of prompts.", stats.prompt_tokens),
            ("daisy_cached_tokens", "Tokens of prompts that were there already.", stats.cached_tokens),
            ("daisy_generation_tokens", "Tokens of answers.", stats.completion_tokens),
        ):
            yield CounterMetricFamily(name, help_, count)
        ended = CounterMetricFamily("daisy_answers", "Ended answers by how they ended.", labels=["finish"])
        for finish, count in stats.finished.items():
            ended.add_metric([finish], count)
        yield ended
