"""The values of a composed configuration under the names that a person would type them by.

`core.config.compose` knows leaves by position (`optimizers[0].params[0].lr`), as files and problems name them; people
name an optimizer by its type and a group by its name. Beside composing, because commands and screens both ask.
"""

from __future__ import annotations

from typing import NamedTuple

from core.config.compose import Composed, Value


def typed_values(composed: Composed, *, whole: bool = False) -> dict[str, Value]:
    """Every value under the shortest name that can be typed: typed all together, they compose to the same.

    Optimizers are named by type and group, and what those names already say is left out. Where
    overrides changed which optimizers and groups there are, or with `whole`, the list is one value.
    """
    named: dict[str, Value] = {}
    whole = whole or _is_restructured(composed)
    for key, value in sorted(composed.values.items(), key=lambda item: item[0] != "model_spec"):
        if whole and key.startswith("optimizers["):
            optimizers = composed.config.model_dump()["optimizers"]
            named.setdefault("optimizers", Value(optimizers, composed.source_of("optimizers")))
        elif (name := typed_key(key, composed)) is not None:
            named[name] = value
    return named


class Difference(NamedTuple):
    """A key that differs, and its values with their sources; None where a side has no such key."""

    key: str
    left: Value | None
    right: Value | None


def differences(left: Composed, right: Composed) -> list[Difference]:
    """What differs between two configurations, under the names that can be typed."""
    whole = _is_restructured(left) or _is_restructured(right)
    before, after = (typed_values(one, whole=whole) for one in (left, right))
    pairs = [Difference(key, before.get(key), after.get(key)) for key in before | after]
    return [pair for pair in pairs if pair.left is None or pair.right is None or pair.left.value != pair.right.value]


def _is_restructured(composed: Composed) -> bool:
    """Whether overrides changed which optimizers and groups there are."""
    return any(v.source.layer == "override" for k, v in composed.values.items() if k.endswith((".type", ".group")))


def typed_key(key: str, composed: Composed) -> str | None:
    """The name to type for a key of `composed.values`; None for what the names of others say already."""
    if not key.startswith("optimizers["):
        return key
    optimizers = composed.config.optimizers
    head, _, attribute = key.rpartition(".")
    index = int(head.split("[")[1].split("]")[0])
    name = optimizers[index].type
    if [o.type for o in optimizers].count(name) > 1:
        return key
    if attribute in ("type", "group"):
        return None
    if ".params[" in head:
        entry = optimizers[index].params[int(head.rsplit("[", 1)[1].removesuffix("]"))]
        return f"optimizers.{name}.{entry.group}.{attribute}"
    return f"optimizers.{name}.{attribute}"
