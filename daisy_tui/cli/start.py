"""What `daisy` alone shows: what is here, and the next commands."""

from __future__ import annotations

from pathlib import Path

from core.data.dataset import read_dataset
from core.data.errors import ShardError
from core.text import count
from daisy_tui.cli.text import echo, table


def show_start(folder: Path = Path()) -> None:
    """Print configs, prepared data, and what can be run from `folder`."""
    from daisy_tui.cli.config import config_rows

    echo("Daisy: train GPT models of your own, and talk to them.\n")
    echo("Configs")
    rows = [("name", "spec", "streamed", "target tokens", "from"), *config_rows()]
    echo("\n".join(table(rows, indent="  ")))
    echo("\nData")
    found = _datasets(folder)
    echo(
        "\n".join(table(found, indent="  "))
        if found
        else "  none yet in ./data; `daisy data demo` prepares the bundled novels"
    )
    echo("\nWhat to run")
    commands = [
        ("daisy data demo", "prepare six novels for the demo model"),
        ("daisy data preview data/demo", "look at its tokens"),
        ("daisy config show demo", "every value, its source, and the cost"),
        ("daisy train demo", "train the demo model, in about two minutes"),
        ("daisy sample latest", "text from the run that was trained last"),
        ("daisy chat latest", "a chat with it"),
        ("daisy serve latest --follow", "the same over HTTP, for OpenAI's clients"),
        ("daisy data prepare SOURCE --out DIR", "prepare text of your own"),
        ("daisy --help", "all commands"),
    ]
    echo("\n".join(table(commands, indent="  ")))


def _datasets(folder: Path) -> list[tuple[str, str, str]]:
    rows = []
    for path in sorted((folder / "data").glob("*/dataset.json")):
        try:
            dataset = read_dataset(path.parent)
        except ShardError as error:
            rows.append((str(path.parent), "damaged", str(error)))
            continue
        if dataset is not None:
            sizes = ", ".join(f"{count(split.tokens)} {name}" for name, split in dataset.splits.items())
            rows.append((str(path.parent), f"{sizes} tokens", f"tokenizer {dataset.tokenizer.name}"))
    return rows
