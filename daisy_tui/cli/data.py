"""`daisy data list|prepare|demo|train-tokenizer|preview|verify`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from core.data.demo import DEMO_FOLDER, prepare_demo
from core.data.documents import Errors, FileSource, Format, Position
from core.data.errors import DataUsageError, ShardError
from core.data.files import write_failure
from core.data.prepare import Prepared, PrepareOptions, Progress, dataset_name, prepare
from core.data.preview import Preview, TokenView, preview
from core.data.tokenizers import RANKS_FILE, load_tokenizer, train_bpe
from core.data.verify import PERCENTILES, Report, verify
from core.files import write_atomic
from core.text import plural, printable, size
from daisy_tui.cli.progress import PROGRESS_JSON, Update, progress, stop_requests, tokens_detail
from daisy_tui.cli.text import JSON, echo, print_json, table
from daisy_tui.data.datasets import dataset_row, datasets


class Folder(click.Path):
    """A folder to write to; nothing at all is not the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name of a folder is empty; write . for the working directory", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.ParamType[int]):
    """A whole number as people type it: 100M, 3e9, 65_536."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from core.config.scalars import parse_number

        number = parse_number(str(value))
        if number is None or number != number.to_integral_value() or not 0 < number < 10**18:
            self.fail(f"'{value}' is not a whole number from 1 to 1e18, such as 100M, 3e9 or 65_536", param, ctx)
        return int(number)


_HELP = {"help_option_names": ["-h", "--help"]}
_SOURCES = click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
_TEXT_KEY = click.option(
    "--text-key", default="text", show_default=True, help="The field or column that holds the text."
)
_FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "text", "jsonl", "parquet"]),
    default="auto",
    show_default=True,
    help="What the files hold; auto goes by their names, and takes standard input as text.",
)
_ERRORS = click.option(
    "--errors",
    type=click.Choice(["strict", "replace"]),
    default="strict",
    show_default=True,
    help="At bytes that are not UTF-8: stop, or put U+FFFD there.",
)
_WORKERS = click.option("--workers", type=click.IntRange(1), help="Threads that tokenise. [default: one a core]")
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace the dataset that is there.")


@click.command("list", context_settings=_HELP)
@JSON
def list_command(as_json: bool) -> None:
    """List the datasets in ./data and those that configs read: counts, tokenizer, and what is wrong with one."""
    found = datasets()
    if as_json:
        print_json([dataset.to_dict() for dataset in found])
    elif found:
        echo("\n".join(table([("path", "tokens", "documents", "tokenizer", "read by"), *map(dataset_row, found)])))
    else:
        echo("none yet in ./data; `daisy data demo` prepares the bundled novels")


@click.command("prepare", context_settings=_HELP)
@_SOURCES
@click.option("--out", type=Folder(path_type=Path), required=True, help="Folder of the dataset.")
@click.option(
    "--tokenizer",
    default="gpt2",
    show_default=True,
    help="gpt2, bytes, cl100k_base, ..., or the path of a trained one.",
)
@click.option("--name", help="Name of the dataset and beginning of its file names. [default: the folder's name]")
@click.option("--val-fraction", type=float, default=0.01, show_default=True, help="Share of the tokens for validation.")
@click.option("--shard-tokens", type=Number(), default="100M", show_default=True, help="Tokens in one shard.")
@_WORKERS
@_TEXT_KEY
@_FORMAT
@_ERRORS
@_OVERWRITE
@PROGRESS_JSON
def prepare_command(
    sources: tuple[str, ...],
    out: Path,
    tokenizer: str,
    name: str | None,
    val_fraction: float,
    shard_tokens: int,
    workers: int | None,
    text_key: str,
    format_: Format,
    errors: Errors,
    overwrite: bool,
    progress_json: bool,
) -> None:
    """Turn text into shards, on all cores. Goes on where it was stopped.

    SOURCE is a .txt or .md file (one document), a .jsonl or .parquet file (one document a row), a folder,
    a glob, or - for standard input.
    """
    source = FileSource(sources, text_key=text_key, kind=format_, errors=errors)
    options = PrepareOptions(
        name=_checked_name(name) if name else dataset_name(out),
        val_fraction=val_fraction,
        shard_tokens=shard_tokens,
        workers=workers or _cores(),
        overwrite=overwrite,
    )
    chosen = load_tokenizer(tokenizer)
    with stop_requests() as stop, progress("preparing", as_json=progress_json) as update:
        prepared = prepare(source, chosen, out, options, report=lambda p: _report(p, update), stop=stop)
    _show_dataset(prepared, out)


@click.command(context_settings=_HELP)
@click.option(
    "--out", type=Folder(path_type=Path), default=DEMO_FOLDER, show_default=True, help="Folder of the dataset."
)
@_WORKERS
@_OVERWRITE
@PROGRESS_JSON
def demo(out: Path, workers: int | None, overwrite: bool, progress_json: bool) -> None:
    """Prepare the bundled corpus, six novels by Jane Austen, for the demo model."""
    with stop_requests() as stop, progress("preparing", as_json=progress_json) as update:
        prepared = prepare_demo(
            out, workers or _cores(), overwrite=overwrite, report=lambda p: _report(p, update), stop=stop
        )
    _show_dataset(prepared, out)


@click.command("train-tokenizer", context_settings=_HELP)
@_SOURCES
@click.option("--vocab-size", type=Number(), required=True, help="Ids in all: 256 bytes, merges, and end-of-text last.")
@click.option("--out", type=Folder(path_type=Path), required=True, help="Folder for the tokenizer.")
@_TEXT_KEY
@_FORMAT
@_ERRORS
@click.option("--overwrite", is_flag=True, help="Replace the tokenizer that is there.")
def train_tokenizer(
    sources: tuple[str, ...],
    vocab_size: int,
    out: Path,
    text_key: str,
    format_: Format,
    errors: Errors,
    overwrite: bool,
) -> None:
    """Train a byte-pair encoding on text; --tokenizer then takes the folder."""
    if (out / RANKS_FILE).exists() and not overwrite:
        raise DataUsageError(f"{out / RANKS_FILE}: already there; use --overwrite to replace it, or another --out")
    source = FileSource(sources, text_key=text_key, kind=format_, errors=errors)
    with progress("reading") as update:

        def texts() -> Iterator[str]:
            done = 0
            for piece in source.pieces(Position()):
                done += piece.size
                update(done, source.total_bytes, "")
                yield piece.text

        tokenizer = train_bpe(texts(), vocab_size)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(out / RANKS_FILE, tokenizer.ranks_file() or b"")
    except OSError as error:
        raise write_failure(error, out, "nothing was written") from error
    echo(f"{out / RANKS_FILE}: {tokenizer.vocab_size:,} ids, end-of-text is {tokenizer.eot_token_id}")


@click.command("preview", context_settings=_HELP)
@click.argument("path", metavar="DIR|SHARD", type=click.Path(path_type=Path))
@click.option("--document", type=click.IntRange(0), metavar="K", help="Show document K, counted from 0.")
@click.option("--tokens", "range_", metavar="A:B", help="Tokens A up to, not including, B. [default: the first 256]")
@click.option("--split", type=click.Choice(["train", "val"]), default="train", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def preview_command(path: Path, document: int | None, range_: str | None, split: str, as_json: bool) -> None:
    """Show tokens as the model reads them, with their boundaries."""
    start, stop = _parse_range(range_) if range_ is not None else (None, None)
    shown = preview(path, split=split, document=document, start=start, stop=stop)
    echo(json.dumps(_preview_json(shown), indent=2) if as_json else _preview_text(shown))


@click.command("verify", context_settings=_HELP)
@click.argument("path", metavar="DIR|SHARD", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@PROGRESS_JSON
def verify_command(path: Path, as_json: bool, progress_json: bool) -> None:
    """Check every header, length, hash and token, and count documents and their lengths."""
    with progress("verifying", as_json=progress_json) as update:
        report = verify(path, lambda done, total: update(done, total, ""))
    if as_json:
        echo(json.dumps(_report_json(report), indent=2))
    else:
        _show_report(report, path)
    if report.problems:
        raise ShardError(*report.problems)


def _report(p: Progress, update: Update) -> None:
    update(p.bytes_done, p.total_bytes, tokens_detail(p.tokens, p.documents))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked_name(name: str) -> str:
    if dataset_name(Path(name)) != name:
        raise click.BadParameter(
            f"'{name}' cannot begin a file name; use letters, digits, . _ and -", param_hint="--name"
        )
    return name


def _parse_range(text: str) -> tuple[int | None, int | None]:
    first, colon, last = text.partition(":")
    parts = (first.strip(), last.strip())
    if not colon or not all(part == "" or (part.isdecimal() and len(part) <= 18) for part in parts):
        raise click.BadParameter(f"'{text}' is not a range; write A:B, A: or :B", param_hint="--tokens")
    start, stop = (int(part) if part else None for part in parts)
    if start is not None and stop is not None and stop <= start:
        raise click.BadParameter(f"'{text}' is empty; the end lies behind the beginning", param_hint="--tokens")
    return start, stop


def _show_dataset(prepared: Prepared, out: Path) -> None:
    dataset = prepared.dataset
    total = sum(split.tokens for split in dataset.splits.values())
    rows = [
        (
            name,
            f"{split.tokens:,} tokens ({split.tokens / total:.1%})",
            plural(split.documents, "document"),
            f"{size(split.text_bytes)} of text",
            plural(len(split.shards), "shard"),
        )
        for name, split in dataset.splits.items()
        if split.shards
    ]
    already = " (already prepared, nothing to do)" if prepared.already else ""
    echo(f"{out}: '{dataset.name}', tokenizer '{dataset.tokenizer.name}'{already}")
    echo("\n".join(table(rows, indent="  ")))


def _preview_text(shown: Preview) -> str:
    where = f"document {shown.document}" if shown.document is not None else "tokens"
    first = shown.tokens[0].position if shown.tokens else 0
    last = shown.tokens[-1].position if shown.tokens else 0
    head = f"{shown.shard}: {where}, positions {first} to {last}, tokenizer '{shown.tokenizer}'; | parts tokens"
    body = "|".join(_token_text(view) for view in shown.tokens)
    return f"{printable(head)}\n\n{body}{' ...' if shown.continues else ''}"


def _token_text(view: TokenView) -> str:
    try:
        text = view.data.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in view.data)
    return printable(text).replace("\n", "\u21b5\n")


def _preview_json(shown: Preview) -> dict[str, Any]:
    tokens = [
        {"position": v.position, "id": v.id, "text": v.data.decode(errors="replace"), "bytes": v.data.hex()}
        for v in shown.tokens
    ]
    return {
        "shard": str(shown.shard),
        "tokenizer": shown.tokenizer,
        "document": shown.document,
        "tokens": tokens,
        "continues": shown.continues,
    }


def _report_json(report: Report) -> dict[str, Any]:
    splits = {
        name: {
            "shards": s.shards,
            "tokens": s.tokens,
            "documents": s.documents,
            "mean_length": s.mean_length,
            "length_percentiles": {str(p): n for p, n in s.lengths.items()},
        }
        for name, s in report.splits.items()
    }
    return {
        "ok": not report.problems,
        "tokenizer": report.tokenizer.name,
        "vocab_size": report.tokenizer.vocab_size,
        "hashes_checked": report.hashes_checked,
        "splits": splits,
        "problems": report.problems,
    }


def _show_report(report: Report, path: Path) -> None:
    known = "" if report.hashes_checked else "; no dataset.json, so read as GPT-2's"
    echo(f"{path}: tokenizer '{report.tokenizer.name}', {report.tokenizer.vocab_size:,} ids{known}")
    columns = [f"p{p}" if 0 < p < 100 else "min" if p == 0 else "max" for p in PERCENTILES]
    rows = [("", "shards", "tokens", "documents", "mean", *columns)]
    for name, split in report.splits.items():
        lengths = [f"{split.lengths[p]:,}" if split.lengths else "-" for p in PERCENTILES]
        counts = (f"{split.shards:,}", f"{split.tokens:,}", f"{split.documents:,}", f"{split.mean_length:,.1f}")
        rows.append((name, *counts, *lengths))
    echo("\n".join(table(rows, indent="  ")))
    if not report.problems:
        checked = "headers, lengths, hashes and tokens" if report.hashes_checked else "headers, lengths and tokens"
        echo(f"  sound: {checked} checked; mean to max are document lengths in tokens")
