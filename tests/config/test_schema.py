import json

import jsonschema
import pytest
import yaml

from core.config.fields import field_specs
from core.config.files import list_files
from core.config.model_spec import ModelSpec
from core.config.schema import json_schema, reference_page
from core.config.train_config import AdamW, Muon, ParamGroup, TrainConfig

ROOT = list_files("config")["demo"].parents[1]


@pytest.mark.parametrize(
    ("path", "model"), [("configs/train_config", TrainConfig), ("model_specs/model_spec", ModelSpec)]
)
def test_the_shipped_schema_is_the_models(path: str, model: type[ModelSpec]) -> None:
    assert json.loads((ROOT / f"{path}.schema.json").read_text()) == json_schema(model)


def test_the_reference_page_is_the_models() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == reference_page()


@pytest.mark.parametrize(("kind", "model"), [("config", TrainConfig), ("spec", ModelSpec)])
def test_shipped_files_name_their_schema_and_satisfy_it(kind: str, model: type[ModelSpec]) -> None:
    for path in list_files(kind).values():  # type: ignore[arg-type]
        text = path.read_text()
        named = text.splitlines()[0].partition("$schema=")[2]
        assert (path.parent / named).is_file()
        jsonschema.validate(yaml.safe_load(text), json_schema(model))


@pytest.mark.parametrize(
    "text", ["num_layers: 0", "num_layers: many", "cooldown_frac: 1.5", "colour: red", "learning_rate_schedule: cosine"]
)
def test_the_schema_refuses_what_compose_refuses(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), json_schema(TrainConfig))


@pytest.mark.parametrize("model", [TrainConfig, Muon, AdamW, ParamGroup])
def test_every_field_says_what_it_means(model: type[TrainConfig]) -> None:
    for spec in field_specs(model):
        assert len(spec.help) > 10, spec.name
        assert spec.group, spec.name
