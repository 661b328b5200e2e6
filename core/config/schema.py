"""The schema for editors and the reference page, both made from the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from core.config.fields import FieldSpec, field_specs
from core.config.model_spec import ModelSpec
from core.config.scalars import format_value
from core.config.train_config import AdamW, Muon, ParamGroup, TrainConfig


def json_schema(model: type[ModelSpec]) -> dict[str, Any]:
    """JSON Schema of one YAML layer: ModelSpec for a spec file, TrainConfig for a config file.

    In a config nothing is required: what is missing there may come from the spec or an override.
    """
    schema = model.model_json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    if model is TrainConfig:
        schema.pop("required", None)
    # Aliases are accepted too, so the name is any text to an editor.
    schema["properties"]["model_class"] |= {"type": "string"}
    schema["properties"]["model_class"].pop("const", None)
    _state_bounds(schema, model)
    for inner in (Muon, AdamW, ParamGroup):
        if inner.__name__ in schema.get("$defs", {}):
            _state_bounds(schema["$defs"][inner.__name__], inner)
    return schema


_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}


def _state_bounds(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Write the bounds of numbers, which pydantic leaves out where a field has a schema of its own."""
    for name, info in model.model_fields.items():
        entry = schema["properties"][name]
        entry["description"] = " ".join(entry.get("description", "").split())
        bounds = {
            keyword: getattr(rule, bound)
            for rule in info.metadata
            for bound, keyword in _BOUNDS.items()
            if getattr(rule, bound, None) is not None
        }
        for branch in _branches(entry):
            for bound in _BOUNDS:
                branch.pop(bound, None)
            if branch.get("type") in ("integer", "number"):
                branch.update(bounds)


def _branches(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield entry
    for branch in entry.get("anyOf", []):
        yield from _branches(branch)


def reference_page() -> str:
    """Every key as Markdown, by group."""
    lines = [
        "# Configuration keys",
        "",
        "Made from the models by `daisy config schema --markdown`. A key of the first table may stand in a model",
        "spec; any key may stand in a config or be overridden as `key=value`.",
        "",
        "## Model spec",
        "",
        *_table(field_specs(ModelSpec)),
    ]
    own = [spec for spec in field_specs(TrainConfig) if spec.name not in ModelSpec.model_fields]
    for group in dict.fromkeys(spec.group for spec in own):
        lines += ["", f"## {group}", "", *_table([spec for spec in own if spec.group == group])]
    for title, model in (("Muon", Muon), ("AdamW", AdamW), ("An entry of params", ParamGroup)):
        lines += ["", f"### {title}", "", *_table(field_specs(model))]
    return "\n".join(lines) + "\n"


def _table(specs: list[FieldSpec]) -> list[str]:
    rows = ["| key | default | unit | meaning |", "| --- | --- | --- | --- |"]
    for spec in specs:
        default = "required" if spec.required else _default(spec)
        meaning = spec.help.replace("|", "\\|")
        rows.append(f"| `{spec.name}` | {default} | {spec.unit or ''} | {meaning} |")
    return rows


def _default(spec: FieldSpec) -> str:
    if spec.name == "optimizers":
        return "Muon for matrices, AdamW for the rest"
    return f"`{format_value(spec.default)}`"
