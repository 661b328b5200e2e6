"""An answer's text as its tokens come: whole characters, up to a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from core.data.tokenizers import Tokenizer

_LONGEST_CHARACTER = 4  # bytes, in UTF-8


class Detokenizer:
    """The text of tokens as they come: a character that several make up appears once, whole.

    `before` are the tokens that precede. Where they end inside a character, the first text is that character, whole.
    Bytes that are no text become U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in before[-_LONGEST_CHARACTER:]:
            self.add(token)

    def add(self, token: int) -> str:
        """What one more token makes whole."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def end(self) -> str:
        """What is left of a character that never became whole."""
        return self._decoder.decode(b"", final=True)


class StopStrings:
    """Ends a text before the first stop string in it, however the string was split, and holds back no more than needed.

    What is held back is the longest end of the text that a stop string could begin with.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""

    def add(self, text: str) -> tuple[str, str | None]:
        """The text that may be shown now, and the stop string that ended it."""
        if not self._stops:
            return text, None
        text = self._held + text
        found = [(place, stop) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            # The one that begins first; of those that begin together the longest has been asked for most exactly.
            place, stop = min(found, key=lambda match: (match[0], -len(match[1])))
            self._held = ""
            return text[:place], stop
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], None

    def end(self) -> str:
        """What was held back, for a text that ends of itself."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of a text that the stop string begins with, and that is not all of it."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
