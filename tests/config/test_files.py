import os
from collections.abc import Callable
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


@pytest.mark.parametrize("typed", ["there", "configs/there.yml"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.symlink_to(path.name), "is a link that leads back to itself"),
        (lambda path: path.symlink_to("gone.yml"), "is a link to gone.yml, which is not there"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: os.mkfifo(path), "is a pipe or a device"),
    ],
)
def test_what_lies_in_the_place_of_a_config_is_said(
    workspace: Path, make: Callable[[Path], None], said: str, typed: str
) -> None:
    make(workspace / "configs/there.yml")
    with pytest.raises(ConfigError) as error:
        find_file(typed, "config")
    assert str(error.value).startswith(f"config '{typed}': configs/there.yml {said}; name a file, or one of: ")
    assert "there, " not in str(error.value), "it is no config that could be named"


def test_a_name_that_no_file_can_have_does_not_exist(workspace: Path) -> None:
    for name in ("a" * 300, "a\0b"):
        with pytest.raises(ConfigError, match="does not exist"):
            find_file(name, "config")
