"""How figures are written for people, and text made safe to print: counts, sizes, shares, durations."""

from __future__ import annotations

import math


def count(value: float) -> str:
    """3_344_392 as `3.34M`; numbers below 10,000 whole."""
    if value < 10_000:
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}" if value / scale < 1000 else f"{value / scale:,.0f}{unit}"
    return str(value)


def plural(number: int, noun: str) -> str:
    """`1 document`, `1,200 documents`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(value: float) -> str:
    """Bytes in binary units, as memory is sold: `1.71 GiB`."""
    for unit, scale in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= scale:
            return f"{value / scale:.1f} {unit}" if value / scale >= 100 else f"{value / scale:.2f} {unit}"
    return f"{value:.0f} B"


def whole_percents(share: float) -> int:
    """A share that is done, in whole percents: 100 of them are said of what is done, and 52 of 52.9."""
    return math.floor(100.0 * share + 1e-9)  # 0.29 * 100 is 28.999999999999996


def percent(share: float) -> str:
    """`52%`, as `whole_percents` says."""
    return f"{whole_percents(share)}%"


def duration(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def printable(text: str) -> str:
    """Text whose control characters cannot act on the terminal: they show as `\\x1b`."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
