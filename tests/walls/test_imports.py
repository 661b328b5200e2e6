"""The walls of the design: import-linter for what imports what, a subprocess for what gets loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROBE = """
import json, sys
from daisy_tui.cli.main import main
code = main(sys.argv[1:])
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""


def _modules_after(*arguments: str, folder: Path = ROOT) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True, cwd=folder
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


COMMANDS = [
    [],
    ["--help"],
    ["config", "list"],
    ["config", "show", "demo"],
    ["config", "schema"],
    ["data", "--help"],
    ["data", "demo"],
    ["data", "preview", "data/demo"],
    ["data", "verify", "data/demo"],
    ["data", "list"],
    ["preflight", "--help"],
    ["train", "--help"],
    ["train", "demo", "--dry-run"],
    ["sample", "--help"],
    ["import", "--help"],
    ["inspect", "--help"],
    ["inspect", "checkpoint", "--verify"],
    ["inspect", "checkpoint", "--stats", "--json"],
    ["inspect", "checkpoint", "--diff", "checkpoint", "--stats"],
    ["export", "checkpoint", "--out", "copy"],
    ["runs", "checkpoints", "--tree"],
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, save_model: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("walls")
    _modules_after("data", "demo", folder=folder)
    save_model(folder / "checkpoint")
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_of_the_ground_floor_imports_torch_or_textual(command: list[str], prepared: Path) -> None:
    modules = _modules_after(*command, folder=prepared)
    assert not modules & {"torch", "textual", "aiohttp", "requests"}


def test_an_inspection_without_statistics_loads_no_numpy(prepared: Path) -> None:
    assert "numpy" not in _modules_after("inspect", "checkpoint", "--diff", "checkpoint", folder=prepared)
    assert "numpy" not in _modules_after("inspect", "checkpoint", "--json", "--verify", folder=prepared)


def test_help_loads_click_and_nothing_else_of_ours_or_others() -> None:
    modules = _modules_after("--help")
    assert not modules & {"pydantic", "yaml", "numpy", "rich", "tiktoken", "asyncio", "core.config", "core.data"}
    assert "click" in modules


def test_configuration_loads_no_numpy_to_compose() -> None:
    probe = "import sys; from core.config.compose import compose; compose('demo'); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_package_files_on_the_ranks_path_are_empty() -> None:
    # Ranks set their death signal before anything is imported, so these must import nothing.
    assert (ROOT / "core/__init__.py").read_text() == ""
    assert (ROOT / "core/training/__init__.py").read_text() == ""
