"""The bundled corpus: six novels by Jane Austen (public domain, 4.03 MB), one document a chapter."""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from core.data.dataset import read_dataset
from core.data.documents import TextSource
from core.data.errors import DataUsageError
from core.data.prepare import Prepared, PrepareOptions, Progress, prepare
from core.data.tokenizers import demo_tokenizer

DEMO_FOLDER = Path("data/demo")
VAL_FRACTION = 0.04
_GIVEN = "austen.txt"
_TITLES = "EMMA|MANSFIELD PARK|NORTHANGER ABBEY|PERSUASION|PRIDE AND PREJUDICE|SENSE AND SENSIBILITY"
# A chapter begins at its heading, or at the title or volume line that stands above the heading.
_CHAPTER = re.compile(
    rf"^(?=(?:{_TITLES})$)|(?:(?<=\n\n)|^)(?=(?:VOLUME [IVX]+\s+)?(?:CHAPTER|Chapter) [IVXLC0-9]+\.?$)", re.MULTILINE
)
_HEADING_ONLY = 200


def demo_documents() -> list[str]:
    """The chapters in order; a title page is part of the chapter that follows it."""
    packed = (files("core.data") / "assets" / "austen.txt.xz").read_bytes()
    text = lzma.decompress(packed).decode()
    starts = sorted({0, *(match.start() for match in _CHAPTER.finditer(text))})
    chapters: list[str] = []
    held = ""
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        held += text[start:end]
        if len(held) > _HEADING_ONLY:
            chapters.append(held)
            held = ""
    return chapters


def prepare_demo(
    out: Path,
    workers: int = 1,
    *,
    overwrite: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Prepared:
    """Prepare the bundled corpus with the bundled tokenizer, or return it where it is already."""
    source, tokenizer = TextSource(_GIVEN, demo_documents()), demo_tokenizer()

    def run(replace: bool) -> Prepared:
        options = PrepareOptions("demo", val_fraction=VAL_FRACTION, workers=workers, overwrite=replace)
        return prepare(source, tokenizer, out, options, report=report, stop=stop)

    try:
        return run(overwrite)
    except DataUsageError:
        # Made from the corpus of another version of Daisy: that one is ours to replace.
        present = read_dataset(out)
        if present is None or present.source.get("given") != [_GIVEN]:
            raise
        return run(True)
