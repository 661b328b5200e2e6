from pathlib import Path

import pytest

from core.config.errors import ConfigError
from core.config.files import find_file, list_files


def test_a_shipped_config_is_found_from_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file("demo", "config").name == "demo.yml"
    assert find_file("daisy_pico", "spec").parent.name == "model_specs"


@pytest.mark.parametrize("place", ["demo.yml", "configs/demo.yml", "configs/demo.yaml"])
def test_a_file_in_the_working_directory_wins(workspace: Path, place: str) -> None:
    (workspace / place).write_text("seed: 1\n")
    assert find_file("demo", "config") == Path(place)
    if place.startswith("configs"):
        assert list_files("config")["demo"] == Path(place)


@pytest.mark.parametrize("typed", ["config/demo.yml", "configs/demo.yml", "demo.yml", "config/demo"])
def test_the_readme_path_finds_the_shipped_config(workspace: Path, typed: str) -> None:
    assert find_file(typed, "config").is_file()


def test_a_path_is_taken_as_it_is(workspace: Path) -> None:
    (workspace / "deep").mkdir()
    (workspace / "deep/mine.yml").write_text("seed: 1\n")
    assert find_file("deep/mine.yml", "config") == Path("deep/mine.yml")
    assert find_file("deep/mine", "config") == Path("deep/mine.yml")
    with pytest.raises(ConfigError, match="config 'deep/demo' does not exist"):
        find_file("deep/demo", "config")


def test_what_does_not_exist_lists_what_does(workspace: Path) -> None:
    with pytest.raises(ConfigError, match=r"config 'nope' does not exist; known: debug, demo, .*small"):
        find_file("nope", "config")


def test_a_near_name_is_suggested_and_a_spec_is_told_from_a_config(workspace: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'pretrain_1.6B'"):
        find_file("pretrain_1.6b", "config")
    with pytest.raises(ConfigError, match="it is a model spec: model_spec=daisy_150m chooses it"):
        find_file("daisy_150m", "config")
