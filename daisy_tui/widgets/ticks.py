"""Where an axis has its ticks and what stands beside them, and figures as charts write them. Arithmetic only.

Ticks lie at 1, 2 or 5 times a power of ten (of time: at what clocks divide into). All labels of an axis share a unit
and their decimals, so that they line up and never repeat: rejected was `count` for each of them, which calls 1,000,200
and 1,000,400 both 1M.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from core.text import duration

_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_LARGE, _SMALL, _HUGE = 1e4, 1e-3, 1e15
_MOST_DECIMALS = 3
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_CLOCK = (1, 2, 5, 10, 15, 30, *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)), *(n * _HOUR for n in (1, 2, 3, 6, 12)))


class Tick(NamedTuple):
    """A place on an axis, in the axis' own numbers, and what stands beside it."""

    at: float
    label: str


Maker = Callable[[float, float, int], list[Tick]]


def linear(low: float, high: float, most: int) -> list[Tick]:
    """At most `most` ticks (and at least one where the axis has a length) from `low` to `high`."""
    step = _round_step((high - low) / max(1, most))
    return _labelled(_multiples(low, high, step), step)


def whole(low: float, high: float, most: int) -> list[Tick]:
    """As `linear`, at whole numbers: for steps and tokens."""
    step = max(1.0, _round_step((high - low) / max(1, most)))
    return _labelled(_multiples(low, high, step), step)


def logarithmic(low: float, high: float, most: int) -> list[Tick]:
    """Ticks of a logarithmic axis, both ends above zero: powers of ten, with 2 and 5 times them where there is room."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    powers = range(first, last + 1)
    between = [f * 10.0**p for p in range(first - 1, last + 1) for f in (1, 2, 5) if low <= f * 10.0**p <= high]
    if 3 <= len(between) <= most:
        return [Tick(value, figure(value)) for value in between]
    if len(powers) >= 2:
        stride = math.ceil(len(powers) / max(1, most))
        return [Tick(10.0**power, figure(10.0**power)) for power in powers if power % stride == 0]
    return [tick for tick in linear(low, high, most) if tick.at > 0]


def elapsed(low: float, high: float, most: int) -> list[Tick]:
    """Ticks of an axis of seconds since a beginning."""
    least = (high - low) / max(1, most)
    step = next((float(step) for step in _CLOCK if step >= least), 0.0) or _DAY * _round_step(least / _DAY)
    if least < 0.5:
        return [Tick(tick.at, f"{tick.label}s") for tick in linear(low, high, most)]
    return [Tick(value, _clock_label(round(value))) for value in _multiples(low, high, step)]


def fitting(make: Maker, low: float, high: float, width: int, gap: int = 6) -> list[Tick]:
    """As many ticks as have room side by side on an axis of `width` cells, `gap` cells between their labels."""
    for most in range(max(1, width // (3 + gap)), 0, -1):
        ticks = make(low, high, most)
        if len(ticks) < 2:
            return ticks
        apart = width * (ticks[1].at - ticks[0].at) / (high - low)
        if apart >= max(len(tick.label) for tick in ticks) + gap:
            return ticks
    return []


def figure(value: float, digits: int = 5) -> str:
    """A value in so many significant digits: `3.2145`, `12.5k`, `3e-4`, `nan`."""
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if size >= _HUGE or 0 < size < _SMALL:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        short = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{short}e{int(exponent)}"
    scale, suffix = _unit(size)
    text = f"{value / scale:.{digits}g}"
    return f"{value / scale:,.0f}{suffix}" if "e" in text else text + suffix


def place(x: str, value: float) -> str:
    """A place on the x axis in full: `step 1,200`, `3,145,728 tokens`, `1:02:03`."""
    if x == "time":
        return f"{'-' if value < -0.5 else ''}{duration(abs(value))}"
    return f"{value:,.0f} tokens" if x == "tokens" else f"step {value:,.0f}"


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, ... times a power of ten that is not below `least`."""
    if least <= 0 or not math.isfinite(least):
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _labelled(values: list[float], step: float) -> list[Tick]:
    """Values that are `step` apart, in one unit and with as many decimals as tell them apart."""
    largest = max((abs(value) for value in values), default=0.0)
    scale, suffix = _unit(largest)
    if largest >= _HUGE or 0 < largest < _SMALL:
        exponent = math.floor(math.log10(largest))
        scale, suffix = 10.0**exponent, f"e{exponent}"
    decimals = _decimals(step / scale)
    if decimals > _MOST_DECIMALS and _LARGE <= largest < _HUGE:  # too close together for a unit
        scale, suffix, decimals = 1.0, "", _decimals(step)
    return [Tick(value, f"{value / scale:,.{decimals}f}{suffix}" if value else "0") for value in values]


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _unit(size: float) -> tuple[float, str]:
    if size < _LARGE:
        return 1.0, ""
    return next(unit for unit in _UNITS if size >= unit[0])


def _clock_label(seconds: int) -> str:
    """Seconds as `1h30m`; what is nought is left out."""
    size, parts = abs(seconds), []
    for unit, length in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE), ("s", 1)):
        number, size = divmod(size, length)
        parts += [f"{number}{unit}"] if number else []
    return ("-" if seconds < 0 else "") + ("".join(parts) or "0")
