"""The files of a composition as they are now, so that it is known when one has changed: in an editor, or by git."""

from __future__ import annotations

from pathlib import Path

from daisy_tui.composing.composition import Composition

Stamp = tuple[str, int, int]  # a file, when it was changed, and its size


def file_stamps(composition: Composition | None) -> tuple[Stamp, ...]:
    """The config's and the spec's, where there are any."""
    shown = composition.shown if composition is not None else None
    paths = [] if shown is None else [shown.config_path, shown.spec_path]
    return tuple(_stamp(path) for path in paths if path is not None)


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), found.st_mtime_ns, found.st_size
