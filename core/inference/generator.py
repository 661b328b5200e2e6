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
from pydantic import TypeAdapter, ValidationError

from core.checkpoint.format import CheckpointError, read_meta
from core.checkpoint.load import model_from_checkpoint
from core.data.dataset import TokenizerInfo, dataset_tokenizer
from core.data.tokenizers import Tokenizer
from core.inference.sampler import SamplingError, SamplingParams, choose
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
        """The generator of a checkpoint; its tokenizer lies inside, so nothing else is needed."""
        folder = Path(path)
        try:
            info = TypeAdapter(TokenizerInfo).validate_python(read_meta(folder).get("tokenizer"))
        except ValidationError as error:
            raise CheckpointError(f"{folder}: its meta.json names no tokenizer") from error
        model, _ = model_from_checkpoint(folder, device)
        return cls(model, dataset_tokenizer(folder, info))

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
        cache = self.model.new_cache()
        waiting = torch.tensor(history, device=device)[None]
        for step in range(max_tokens):
            for chunk in torch.split(waiting, PREFILL_CHUNK, dim=1):
                hidden = self.model.hidden(chunk, cache=cache)
            token = choose(self.model.logits(hidden[0, -1]), params, history, step)
            if token == self.tokenizer.eot_token_id:
                return
            yield token
            history.append(token)
            waiting = torch.tensor([[token]], device=device)
