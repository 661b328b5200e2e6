"""Names that would mean two things: style sheets know a widget by the name of its class alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import textual
from support import ROOT


def _classes(folder: Path) -> Iterator[ast.ClassDef]:
    for path in folder.rglob("*.py"):
        yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))


def _has_styles(found: ast.ClassDef) -> bool:
    names = [target.id for part in found.body if isinstance(part, ast.Assign) for target in part.targets]  # type: ignore[attr-defined]
    return "DEFAULT_CSS" in names or "CSS" in names


def test_no_widget_is_called_as_one_of_textuals_that_has_styles() -> None:
    styled = {found.name for found in _classes(Path(textual.__file__).parent) if _has_styles(found)}
    assert {"Log", "CommandList", "Button"} <= styled
    own = {found.name for room in ("widgets", "screens") for found in _classes(ROOT / "daisy_tui" / room)}
    assert "ChatLog" in own
    assert own & styled == set(), "those styles would be theirs as soon as Textual's are loaded"
