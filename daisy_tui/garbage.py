"""Memory of a terminal that stays open for days: when garbage is collected, and what is given back.

Left alone, Python looks through everything old whenever it became a quarter more, several times a minute, and each time
for as long as a key may take. Here what stands at the first frame is never looked at again, and the rest by a timer.
"""

from __future__ import annotations

import gc
from contextlib import suppress

from textual._styles_cache import StylesCache
from textual.strip import Strip

EVERY_S = 30.0
_NEVER = 1 << 30


def begin() -> None:
    """What there is by now stays; from now on what becomes old is looked at by `collect` alone."""
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    gc.enable()


def collect() -> None:
    """Collect all that is garbage, and give its memory back.

    Two caches of Textual's keep what was painted long ago, a line of a log each: 20 MiB after an hour of chat.
    """
    import ctypes  # which the first frame need not wait for

    StylesCache.get_inner_outer.cache_clear()
    Strip.render_ansi.cache_clear()
    gc.collect()
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
