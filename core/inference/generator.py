"""Generate text from a checkpoint, one token at a time, with a KV cache.

generator = Generator.from_checkpoint("runs/.../checkpoints/latest")
for piece in generator.generate("Emma Woodhouse, ", max_tokens=100):
    print(piece, end="")
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from core.data.tokenizers import Tokenizer
from core.inference.loaded import load
from core.inference.request import SamplingError, SamplingParams
from core.inference.sampler import choose
from core.model.cache import Rows
from core.model.daisy_core import DaisyCore

# Prompt tokens that go through the model at once.
PREFILL_CHUNK = 512


class Generator:
    """A model and its tokenizer."""

    def __init__(self, model: DaisyCore, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: str = "cpu") -> Generator:
        """The generator of a checkpoint; its tokenizer lies inside, so nothing else is needed.

        Raises CheckpointError or ShardError where checkpoint or tokenizer cannot be used.
        """
        loaded = load(Path(path), device)
        return cls(loaded.model, loaded.tokenizer)

    def generate(
        self, prompt: str = "", *, max_tokens: int = 256, params: SamplingParams | None = None
    ) -> Iterator[str]:
        """Pieces of text that go on from the prompt, until end-of-text or `max_tokens`.

        Raises SamplingError where prompt and `max_tokens` do not fit max_seq_len.
        """
        return self.text(self.tokens(prompt, max_tokens, params or SamplingParams()))

    def text(self, tokens: Iterable[int]) -> Iterator[str]:
        """The text of tokens as they come; a character that several make up appears once it is whole."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in tokens:
            if piece := decoder.decode(self.tokenizer.token_bytes(token)):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest

    @torch.no_grad()
    def tokens(self, prompt: str, max_tokens: int, params: SamplingParams) -> Iterator[int]:
        """The ids that `generate` makes text of, without end-of-text. Only an empty prompt begins with it."""
        history = [int(token) for token in self.tokenizer.encode(prompt)] or [self.tokenizer.eot_token_id]
        limit = self.model.spec.max_seq_len
        if len(history) + max_tokens > limit:
            raise SamplingError(
                f"the prompt's {len(history)} tokens and max_tokens {max_tokens} are more than the model's {limit}"
            )
        device = self.model.embed.weight.device
        # A window longer than all that there will be holds nothing more, and takes memory.
        cache = self.model.new_cache(windows=[min(window, len(history) + max_tokens) for window in self.model.windows])
        waiting = torch.tensor(history, device=device)[None]
        position = 0
        for step in range(max_tokens):
            for chunk in torch.split(waiting, PREFILL_CHUNK, dim=1):
                rows = Rows(torch.tensor([position], device=device))
                hidden = self.model.hidden(chunk, cache=cache, rows=rows)
                position += chunk.shape[1]
            # A model may have more ids than its tokenizer, which has no text for them.
            logits = self.model.logits(hidden[0, -1])[: self.tokenizer.vocab_size]
            token = choose(logits, params, history, step)
            if token == self.tokenizer.eot_token_id:
                return
            yield token
            history.append(token)
            waiting = torch.tensor([[token]], device=device)
