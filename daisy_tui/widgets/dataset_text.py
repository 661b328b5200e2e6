"""A dataset in words and bars: its row in the list, its facts, what a check of it found, and how long documents are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.content import Content

from core.text import count, plural, printable, size
from daisy_tui.data.datasets import DatasetFound
from daisy_tui.data.lengths import LengthHistogram

_SIGNS = {"whole": "✓", "unfinished": "◐", "damaged": "✗"}  # in no colour, which would not be seen under the cursor
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LABEL, _COUNT = 17, 16  # columns


def list_entry(found: DatasetFound) -> Content:
    """Two lines: the path with its state, and how much there is."""
    state = "being prepared" if found.is_busy else found.state
    head = Content.assemble((f"{_SIGNS[found.state]} {printable(str(found.path))}", "bold"), (f"  {state}", "dim"))
    if found.problem is not None:
        problem = found.problem.removeprefix(f"{found.path}").lstrip("/: ")
        return head + Content.assemble("\n  ", (printable(problem), "dim"))
    tokens = ", ".join(f"{count(split.tokens)} {name}" for name, split in found.splits.items())
    return head + Content.assemble("\n  ", (printable(f"{tokens} · {found.tokenizer}"), "dim"))


def facts(found: DatasetFound) -> Content:
    """What dataset.json and the headers say."""
    rows = [("tokenizer", f"{found.tokenizer}, {found.vocab_size:,} ids" if found.vocab_size is not None else "-")]
    for name, split in found.splits.items():
        documents = plural(split.documents, "document") if split.documents is not None else "documents not counted"
        text = f", {size(split.text_bytes)} of text" if split.text_bytes is not None else ""
        rows.append((name, f"{split.tokens:,} tokens, {documents}{text}, {plural(split.shards, 'shard')}"))
    rows += [("on disk", size(found.size)), ("read by", ", ".join(found.configs) or "no config here")]
    lines = [Content.assemble((f"{name:<10} ", "dim"), printable(words)) for name, words in rows]
    if found.problem is not None:
        lines.append(Content.styled(printable(f"✗ {found.problem}"), "$text-error"))
    return Content("\n").join(lines)


def verdict(report: dict[str, Any]) -> Content:
    """What `daisy data verify --json` said."""
    problems: Sequence[Any] = report.get("problems") or ()
    if problems:
        head = Content.styled(f"✗ {plural(len(problems), 'problem')}", "$text-error")
        return Content("\n").join([head, *(Content(f"  {printable(str(problem))}") for problem in problems)])
    checked = "headers, lengths, hashes and tokens" if report.get("hashes_checked") else "headers, lengths and tokens"
    return Content.assemble(("✓ sound", "$text-success"), f": {checked} checked")


def histogram(lengths: LengthHistogram, split: str, width: int) -> Content:
    """Bars of document lengths, in `width` columns."""
    if not lengths.documents:
        return Content(f"{split}: no documents")
    head = (
        f"{plural(lengths.documents, 'document')} in {split}: median {lengths.median:,.0f} tokens, "
        f"mean {lengths.mean:,.0f}, longest {lengths.longest:,}"
    )
    lines = [Content.styled(printable(head), "bold")]
    room = max(4, width - _LABEL - _COUNT)
    most = max(bar.documents for bar in lengths.bars)
    for bar in lengths.bars:
        label = f"{bar.low:,}" if bar.low == bar.high else f"{bar.low:,}–{bar.high:,}"
        share = f"{bar.documents / lengths.documents:.0%}"
        drawn = _drawn(bar.documents / most, room)
        counted = Content.assemble(f" {bar.documents:,} ", (share, "dim"))
        lines.append(Content.assemble((f"{label:>{_LABEL - 1}} ", "dim"), (drawn, "$primary")) + counted)
    return Content("\n").join(lines)


def _drawn(share: float, room: int) -> str:
    """A bar of eighths of columns; what is there at all is seen."""
    eighths = max(round(share * room * 8), 1 if share else 0)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
