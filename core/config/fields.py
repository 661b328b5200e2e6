"""What every field of the configuration carries beside its type: group, unit, and its docstring.

The models are the single source of the command-line help, the form, the JSON Schema and the
reference page, so the text for people stands once, as the docstring below each field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Base of all configuration models: unknown keys are errors, values never change after checking."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        # A field called model_dim is the field's own word, not pydantic's namespace.
        protected_namespaces=(),
    )


def field(default: Any = ..., *, group: str, unit: str | None = None, **constraints: Any) -> Any:
    """A field of a form `group`, counted in `unit`. `default` may be omitted: then it is required."""
    extra: dict[str, Any] = {"group": group} | ({"unit": unit} if unit else {})
    if callable(default):
        return Field(default_factory=default, json_schema_extra=extra, **constraints)
    return Field(default, json_schema_extra=extra, **constraints)


@dataclass(frozen=True)
class FieldSpec:
    """One top-level key, as a form or a reference page needs it."""

    name: str
    group: str
    unit: str | None
    required: bool
    default: Any
    help: str


def field_specs(model: type[BaseModel]) -> list[FieldSpec]:
    """Every key of a model in order of declaration, from the model alone."""
    specs = []
    for name, info in model.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        specs.append(
            FieldSpec(
                name=name,
                group=str(extra.get("group", "")),
                unit=str(extra["unit"]) if "unit" in extra else None,
                required=info.is_required(),
                default=default,
                help=" ".join((info.description or "").split()),
            )
        )
    return specs
