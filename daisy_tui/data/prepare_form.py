"""What a person fills in to prepare data, and the `daisy data prepare` command that comes of it. No screen in it."""

from __future__ import annotations

from dataclasses import dataclass
from glob import has_magic, iglob
from pathlib import Path

from core.config.scalars import parse_number

FORMATS = ("auto", "text", "jsonl", "parquet")
TOKENIZERS = ("gpt2", "bytes", "cl100k_base", "o200k_base")


@dataclass(frozen=True)
class PrepareForm:
    """The fields as typed; what is left empty has the command's own default."""

    source: str = ""
    out: str = ""
    tokenizer: str = ""
    name: str = ""
    val_fraction: str = ""
    shard_tokens: str = ""
    text_key: str = ""
    format: str = "auto"
    replace_errors: bool = False
    overwrite: bool = False

    def arguments(self) -> list[str]:
        """The arguments of `daisy` that do it. Only what was filled in is named."""
        options = {
            "--out": _expanded(self.out),
            "--tokenizer": self.tokenizer,
            "--name": self.name,
            "--val-fraction": self.val_fraction,
            "--shard-tokens": self.shard_tokens,
            "--text-key": self.text_key,
            "--format": self.format if self.format != "auto" else "",
            "--errors": "replace" if self.replace_errors else "",
        }
        typed = [word for name, value in options.items() if value.strip() for word in (name, value.strip())]
        source = _expanded(self.source)
        return [
            *("data", "prepare", *typed),
            *(["--overwrite"] if self.overwrite else []),
            *(["--"] if source.startswith("-") else []),
            *([source] if source else []),
        ]

    def problems(self, folder: Path) -> dict[str, str]:
        """What is wrong by field, as far as it can be told without reading; the command checks everything."""
        found: dict[str, str] = {}
        source, out = _expanded(self.source), _expanded(self.out)
        if not source:
            found["source"] = "a file, a folder or a glob of .txt, .md, .jsonl or .parquet"
        elif not _exists(folder, source):
            found["source"] = "nothing matches this glob" if has_magic(source) else "no such file or folder"
        if not out:
            found["out"] = "the folder that the dataset is to be in, such as data/mine"
        elif problem := _taken(folder / out):
            found["out"] = problem
        if self.val_fraction.strip() and not _is_share(self.val_fraction):
            found["val_fraction"] = "a share from 0 to below 1, such as 0.01"
        if self.shard_tokens.strip():
            number = parse_number(self.shard_tokens.strip())
            if number is None or number < 1 or number != number.to_integral_value():
                found["shard_tokens"] = "a whole number, such as 100M"
        return found


def _expanded(path: str) -> str:
    """A path as typed; there is no shell that would know `~`."""
    try:
        return str(Path(path.strip()).expanduser()) if path.strip().startswith("~") else path.strip()
    except RuntimeError:  # ~somebody who has no home
        return path.strip()


def _taken(out: Path) -> str | None:
    """Why no folder can be at a path; None where one can."""
    try:
        return "a file is in its place" if out.is_file() else None
    except (OSError, ValueError):  # a name too long, a null byte
        return "no name that a folder can have"


def _exists(folder: Path, source: str) -> bool:
    """Whether something is there; of `**`, which may go through a whole disk at every key, the command will tell."""
    try:
        if (folder / Path(source)).exists() or "**" in source:
            return True
        return has_magic(source) and any(True for _ in iglob(source, root_dir=folder))
    except (OSError, ValueError):  # a name too long, a null byte
        return False


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) < 1
    except ValueError:
        return False
