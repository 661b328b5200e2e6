"""Kill a preparation at every step that it takes on the file system, then follow it up.

Run as a program, so that forking is safe. Prints one line per scenario: its name, how many kills, and
what was wrong. A test reads the lines.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from core.data.documents import TextSource
from core.data.errors import ShardError
from core.data.folder import open_folder
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer, Tokenizer, demo_tokenizer
from core.data.verify import verify

SMALL = [f"small {n} " * 3 for n in range(4)]
LARGE = [f"large {n} " * 3 for n in range(12)]
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}


def run(out: Path, texts: list[str], tokenizer: Tokenizer, name: str = "x", overwrite: bool = False) -> None:
    options = PrepareOptions(name, val_fraction=0.3, shard_tokens=60, overwrite=overwrite)
    prepare(TextSource(name, texts), tokenizer, out, options, save_every_tokens=40)


def killed_at(step: int, out: Path, texts: list[str], tokenizer: Tokenizer, name: str, overwrite: bool) -> bool:
    """Run in a child that dies before its n-th step below `out`; says whether it died."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in EVENTS and str(out) in str(arguments[0]):
                seen += 1
                if seen == step:
                    os._exit(99)

        sys.addaudithook(hook)
        run(out, texts, tokenizer, name, overwrite)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 99


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def looks_finished(out: Path, wholes: list[dict[str, bytes]]) -> bool:
    """Whether the folder can be read although it is no whole dataset."""
    try:
        open_folder(out)
    except ShardError:
        return False
    visible = {name: data for name, data in files(out).items() if not name.startswith(".")}
    return visible not in wholes


def scenario(base: Path, name: str, before: str | None, after: str) -> str:
    new = ByteTokenizer()
    old: tuple[list[str], Tokenizer, str] | None = {
        None: None,
        "the same": (SMALL, new, "x"),
        "more shards": (LARGE, demo_tokenizer(), "x"),
        "another name": (LARGE, demo_tokenizer(), "y"),
    }[before]
    whole_new, whole_old = base / "new", base / "old"
    run(whole_new, SMALL, new)
    expected = files(whole_new)
    if old:
        run(whole_old, *old)
    problems: list[str] = []
    step = 0
    while True:
        step += 1
        out = base / f"{step}"
        if old:
            shutil.copytree(whole_old, out)
        if not killed_at(step, out, SMALL, new, "x", overwrite=old is not None):
            return f"{name}: {step - 1} kills" + "".join(f"; {problem}" for problem in problems)
        if out.exists() and looks_finished(out, [expected, files(whole_old) if old else expected]):
            problems.append(f"step {step}: looks finished")
        try:
            if after == "the same command":
                run(out, SMALL, new, overwrite=old is not None)
                wanted = expected
            else:
                run(out, LARGE, new, overwrite=True)
                run(base / f"large{step}", LARGE, new)
                wanted = files(base / f"large{step}")
        except ShardError as error:
            problems.append(f"step {step}: {error}")
            continue
        if files(out) != wanted or verify(out).problems:
            problems.append(f"step {step}: differs: {sorted(files(out))}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for before in (None, "the same", "more shards", "another name"):
            for after in ("the same command", "another command"):
                name = f"over {before or 'nothing'}, then {after}"
                base = Path(folder) / name
                base.mkdir()
                print(scenario(base, name, before, after), flush=True)


if __name__ == "__main__":
    main()
