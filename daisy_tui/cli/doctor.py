"""`daisy doctor`: what this machine has, what would fail, and how to mend it."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from daisy_tui.cli.text import echo, table, write
from daisy_tui.machine import MARKS, examine


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> int:
    """Look at devices, torch, compiler, memory, disk and leases. Exit code 1 where something would fail."""
    findings = list(examine())
    if as_json:
        write(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        rows = [(MARKS[f.verdict], f.what, f.found + (f": {f.mend}" if f.mend else "")) for f in findings]
        echo("\n".join(table(rows)))
    return int(any(finding.verdict == "problem" for finding in findings))
