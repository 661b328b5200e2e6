"""Text from a checkpoint, for programs.

generator = Generator.from_checkpoint("runs/.../checkpoints/latest")
for piece in generator.generate("Emma Woodhouse, ", max_tokens=100):
    print(piece, end="")
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from core.data.tokenizers import Tokenizer
from core.inference.engine import Engine
from core.inference.loaded import Loaded, load
from core.inference.request import Piece, Request, SamplingParams
from core.inference.sampler import LogitsError
from core.model.daisy_core import DaisyCore


class Generator:
    """A model and its tokenizer."""

    def __init__(self, model: DaisyCore, tokenizer: Tokenizer, weights: str = "auto") -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._weights = weights

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: str = "cpu", weights: str = "auto") -> Generator:
        """The generator of a checkpoint; its tokenizer lies inside, so nothing else is needed.

        Raises CheckpointError or ShardError where checkpoint or tokenizer cannot be used.
        """
        loaded = load(Path(path), device)
        return cls(loaded.model, loaded.tokenizer, weights)

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 256,
        params: SamplingParams | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """Pieces of text that go on from the prompt, until end-of-text, a stop string or `max_tokens`.

        Raises SamplingError where prompt and `max_tokens` do not fit max_seq_len.
        """
        for piece in self.pieces(prompt, max_tokens, params or SamplingParams(), stop):
            if piece.text:
                yield piece.text

    def pieces(self, prompt: str, max_tokens: int, params: SamplingParams, stop: Sequence[str] = ()) -> Iterator[Piece]:
        """What `generate` makes text of, with tokens and counts. Only an empty prompt begins with end-of-text.

        Raises LogitsError where the model gives no numbers.
        """
        ids = [int(token) for token in self.tokenizer.encode(prompt)] or [self.tokenizer.eot_token_id]
        loaded = Loaded(self.model, self.tokenizer, {}, Path())
        # Rings that are longer than all that there will be take memory, and hold nothing more.
        longest = min(len(ids) + max(max_tokens, 1), self.model.spec.max_seq_len)
        engine = Engine(loaded, slots=1, weights=self._weights, longest=longest, prefill_chunk=512)
        told: list[Piece] = []
        engine.submit(Request(tuple(ids), max_tokens, params, tuple(stop)), told.append)
        more = True
        while more:
            more = engine.step()
            for piece in told:
                if piece.error is not None:
                    raise LogitsError(piece.error)
                yield piece
            told.clear()
