"""A plain install carries all it needs: the wheel is built and run from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    (wheel,) = folder.glob("daisy_tui-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def _run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The wheel comes first on the path, before the checkout that an editable install would answer with.
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "daisy_tui", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def test_configs_specs_and_data_travel_with_the_wheel(site: Path, tmp_path: Path) -> None:
    shown = _run(site, tmp_path, "config", "show", "demo", "--json")
    assert shown.returncode == 0, shown.stderr
    assert str(site / "configs/demo.yml") in shown.stdout
    made = _run(site, tmp_path, "data", "demo")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "data/demo/dataset.json").is_file()
    assert "epochs" in _run(site, tmp_path, "config", "show", "demo", "--strict").stdout


def test_the_wheel_holds_the_promised_folders_the_licence_and_nothing_of_the_tests(site: Path) -> None:
    top = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"configs", "core", "daisy_tui", "model_specs", "server"}
    licences = {path.name for path in site.rglob("licenses/**/*") if path.is_file()}
    assert licences == {"LICENSE", "LICENSE-gpt2-vocab"}
