"""What `daisy` alone shows: what is here, and the next commands."""

from __future__ import annotations

from pathlib import Path

from daisy_tui.cli.text import echo, table
from daisy_tui.data.datasets import dataset_row, datasets


def show_start(folder: Path = Path()) -> None:
    """Print configs, prepared data, and what can be run from `folder`."""
    from daisy_tui.composing.configs import config_rows

    echo("Daisy: train GPT models of your own, and talk to them.\n")
    echo("Configs")
    rows = [("name", "spec", "streamed", "target tokens", "from"), *config_rows()]
    echo("\n".join(table(rows, indent="  ")))
    echo("\nData")
    found = [("path", "tokens", "documents", "tokenizer", "read by"), *map(dataset_row, datasets(folder))]
    echo(
        "\n".join(table(found, indent="  "))
        if len(found) > 1
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
