"""How two checkpoints differ, as far as their headers tell: never torch, never numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.checkpoint.format import MODEL_FILE
from core.checkpoint.inspect import Inspection

# What meta.json says of the training itself; hparams have a place of their own.
_FACTS = ("step", "tokens", "val_loss", "best_val", "tokens_per_step", "progress", "windows", "fingerprint")


@dataclass(frozen=True)
class Comparison:
    """What differs from `left` to `right`: keys and tensors that are the same in both are not in it.

    `facts` and `hparams` are by key what each side has; a key that a side lacks is absent from its mapping.
    `shapes` and `dtypes` are by tensor. `same_weights` says that both weight files are the same, bit for bit.
    """

    facts: dict[str, dict[str, Any]]
    hparams: dict[str, dict[str, Any]]
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    dtypes: dict[str, tuple[str, str]]
    same_weights: bool


def compare(left: Inspection, right: Inspection) -> Comparison:
    """What differs between two inspected checkpoints. Values of tensors: `core.checkpoint.statistics.movements`."""
    one, other = ({tensor.name: tensor for tensor in side.tensors} for side in (left, right))
    both = [name for name in one if name in other]
    return Comparison(
        facts=_differences(_facts(left), _facts(right)),
        hparams=_differences(named_hparams(left.meta.hparams), named_hparams(right.meta.hparams)),
        only_left=tuple(name for name in one if name not in other),
        only_right=tuple(name for name in other if name not in one),
        shapes={n: (one[n].shape, other[n].shape) for n in both if one[n].shape != other[n].shape},
        dtypes={n: (one[n].dtype, other[n].dtype) for n in both if one[n].dtype != other[n].dtype},
        same_weights=_hash_of_weights(left) == _hash_of_weights(right),
    )


def _differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By key `left` and `right`, each where that side has the key."""
    found = {}
    for key in {**left, **right}:
        sides = {name: side[key] for name, side in (("left", left), ("right", right)) if key in side}
        if len(sides) == 1 or sides["left"] != sides["right"]:
            found[key] = sides
    return found


def _facts(inspection: Inspection) -> dict[str, Any]:
    tokenizer = inspection.meta.tokenizer or {}
    facts = {
        **{name: getattr(inspection.meta, name) for name in _FACTS},
        "tokenizer": tokenizer.get("name"),
        "tokenizer fingerprint": tokenizer.get("fingerprint"),
        "parent": inspection.parent,
        "imported": (inspection.meta.imported or {}).get("layout"),
        **{f"version of {name}": version for name, version in inspection.meta.versions.items()},
    }
    return {name: value for name, value in facts.items() if value is not None}


def named_hparams(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """The hparams by key; what is inside an optimizer has the name that an override of it has."""
    named: dict[str, Any] = {}
    for key, value in hparams.items():
        types = _labels(value, "type") if key == "optimizers" else None
        if types is None:
            named[key] = value
            continue
        for name, optimizer in zip(types, value, strict=True):
            for inner, setting in optimizer.items():
                groups = _labels(setting, "group") if inner == "params" else None
                if groups is None:
                    named[f"{key}.{name}.{inner}"] = setting
                    continue
                for group, entry in zip(groups, setting, strict=True):
                    named |= {f"{key}.{name}.{group}.{k}": v for k, v in entry.items() if k != "group"}
            named.pop(f"{key}.{name}.type")
    return named


def _labels(entries: Any, key: str) -> list[str] | None:
    """What entries of a list call themselves, where all do and no two the same."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return None
    labels = [str(entry.get(key)) for entry in entries]
    return labels if all(key in entry for entry in entries) and len(set(labels)) == len(labels) else None


def _hash_of_weights(inspection: Inspection) -> str:
    return next(file.sha256 for file in inspection.files if file.name == MODEL_FILE)
