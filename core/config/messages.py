"""What pydantic found wrong, in one line for each value: where it came from, what is wrong, what would work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.config.errors import Problem
from core.config.model_spec import ModelSpec
from core.config.overrides import format_path
from core.config.rules import nearest
from core.config.scalars import describe
from core.config.sources import KeyPath, Source, display_path
from core.config.train_config import AdamW, Muon, ParamGroup, TrainConfig


def word_problems(
    error: ValidationError, tree: dict[str, Any], sources: dict[KeyPath, Source], path: Path
) -> list[Problem]:
    """One problem for each wrong value, and one for all keys that are missing together."""
    items = {_tree_path(item["loc"], tree): item for item in reversed(error.errors(include_url=False))}
    missing = [str(key[0]) for key in items if len(key) == 1 and key not in sources and _lookup(tree, key) is None]
    problems = [
        _problem(item, key, tree, sources, path) for key, item in reversed(items.items()) if key[0] not in missing
    ]
    for model, advice in ((ModelSpec, "name a model_spec, or set"), (TrainConfig, "set")):
        keys = [name for name in model.model_fields if name in missing]
        missing = [name for name in missing if name not in keys]
        if keys:
            them = "it" if len(keys) == 1 else "them"
            message = f"required and given nowhere: {', '.join(keys)}; {advice} {them} here or as {keys[0]}=..."
            problems.append(Problem(keys[0], f"{display_path(path)}: {message}"))
    return problems


def _problem(item: Any, key: KeyPath, tree: dict[str, Any], sources: dict[KeyPath, Source], file: Path) -> Problem:
    place = (*key, "type") if item["type"].startswith("union_tag") else key
    inside = [source for path, source in sources.items() if path[: len(place)] == place and source.layer == "override"]
    around = [sources[place[:n]] for n in range(len(place), 0, -1) if place[:n] in sources]
    source = next(iter(inside + around), None)
    name = format_path(key)
    message = _message(item, key, describe(_lookup(tree, key)))
    return Problem(name, f"{source or display_path(file)}: {name}: {message}")


def _tree_path(loc: tuple[str | int, ...], tree: dict[str, Any]) -> KeyPath:
    """pydantic's location without the union tags (`Muon`) that stand in no file."""
    path: list[str | int] = []
    holder: Any = tree
    for part in loc:
        if part in ("Muon", "AdamW") and isinstance(holder, dict) and part not in holder:
            continue
        path.append(part)
        inside = isinstance(holder, dict) or (isinstance(holder, list) and isinstance(part, int) and part < len(holder))
        holder = (holder.get(part) if isinstance(holder, dict) else holder[part]) if inside else None
    return tuple(path)


def _lookup(tree: Any, path: KeyPath) -> Any:
    """The value as given, before any field turned it into a number."""
    for part in path:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _message(item: Any, path: KeyPath, got: str) -> str:
    context = item.get("ctx", {})
    match item["type"]:
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            return f"unknown key '{path[-1]}'; {nearest(str(path[-1]), _known_inside(path))}"
        case "missing":
            return f"'{path[-1]}' is missing"
        case "literal_error":
            return f"expected {context['expected']}; got {got}"
        case "union_tag_not_found":
            return "an optimizer needs `type: Muon` or `type: AdamW`"
        case "union_tag_invalid":
            return f"unknown optimizer type '{context['tag']}'; expected {context['expected_tags']}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}; got {got}"
        case "greater_than":
            return f"must be greater than {context['gt']:g}; got {got}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}; got {got}"
        case "less_than":
            return f"must be less than {context['lt']:g}; got {got}"
        case "multiple_of":
            return f"must be a multiple of {context['multiple_of']}; got {got}"
        case "finite_number":
            return f"must be finite; got {got}"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}; got {got}"
        case "list_type":
            return f"expected a list [...]; got {got}"
        case "too_short" | "too_long":
            bound = context.get("min_length", context.get("max_length"))
            few = "at least" if item["type"] == "too_short" else "at most"
            return f"needs {few} {bound} entries; got {context['actual_length']}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"expected a mapping {{key: value}}; got {got}"
    return f"{item['msg']}; got {got}"


def _known_inside(path: KeyPath) -> list[str]:
    if "params" in path:
        return list(ParamGroup.model_fields)
    return list(dict.fromkeys([*Muon.model_fields, *AdamW.model_fields]))
