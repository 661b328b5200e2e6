"""The engine: many answers from one model at once, each as if it were alone.

Requests join and leave between two steps. A step reads at most one chunk of one prompt and then decodes one token of
every answer, so that a long prompt keeps nobody waiting for longer than a chunk. The engine's own thread is the only
one that touches the model; without `start`, whoever calls `step` is that thread.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

import torch
from torch import Tensor

from core.config.windows import layer_windows
from core.inference.answer import Answer
from core.inference.loaded import Loaded
from core.inference.request import (
    MAX_LOGPROBS,
    EngineClosedError,
    EngineStats,
    OtherModelError,
    Piece,
    QueueFullError,
    Request,
    SamplingError,
    Scored,
    SlotState,
)
from core.inference.sampler import LogitsError, check, choose, logprobs
from core.inference.slots import Slots
from core.inference.steps import best_step
from core.model.cache import Rows

_GIVES_UP_AFTER = 3  # steps in a row that fail outside of any answer's own


class _Swap:
    """Weights that wait for a step to end. `why_not` says what has kept them from being taken."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.done = threading.Event()
        self.why_not: Exception | None = None


class Engine:
    """Answers from a checkpoint's model, in `slots` places.

    At most `max_queue` requests wait for one. Prompts are read `prefill_chunk` tokens at a time. With `deterministic`
    an answer is the same bit for bit whatever else is asked; without it, up to the rounding of sums. `weights` are
    those of `core.inference.steps.best_step`. `longest` bounds the tokens of prompt and answer, and so the memory,
    below the model's max_seq_len.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        slots: int = 8,
        max_queue: int = 64,
        prefill_chunk: int = 256,
        deterministic: bool = False,
        weights: str = "auto",
        longest: int | None = None,
    ) -> None:
        model = loaded.model.requires_grad_(False)
        if model.embed.weight.is_cuda:
            model.to(model.compute_dtype)  # masters in fp32 would be read, and made smaller, for every token
        self._loaded, self._model = loaded, model
        self._max_queue, self._chunk, self._deterministic = max_queue, prefill_chunk, deterministic
        # As long as the windows may become where a checkpoint that is still trained is followed.
        windows = zip(layer_windows(model.spec), model.windows, strict=True)
        self._longest = min(longest or model.spec.max_seq_len, model.spec.max_seq_len)
        self._cache = model.new_cache(slots, rings=[min(max(pair), self._longest) for pair in windows])
        self._step = best_step(model, self._cache, weights, deterministic=deterministic)
        self._slots = Slots(self._cache)
        self._running: list[Answer] = []
        self._waiting: deque[Answer] = deque()
        self._swaps: deque[_Swap] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closes_at: float | None = None
        self.failure: str | None = None  # why it has ended by itself
        self._requests = self._version = self._steps = 0
        self._counts = Counter[str]()
        self._finished = Counter[str]()
        self._stats = self._snapshot()

    @property
    def loaded(self) -> Loaded:
        """The checkpoint whose weights are in force."""
        return self._loaded

    @property
    def form(self) -> str:
        """The form in which the model decodes: TorchStep, NativeStep or GraphStep."""
        return type(self._step).__name__

    def start(self) -> None:
        """Work in a thread of the engine's own, until `close`."""
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, tell: Callable[[Piece], None]) -> int:
        """Ask for an answer; `tell` gets its pieces in the engine's thread, and must be quick. Returns a number for it.

        Raises QueueFullError, EngineClosedError, or SamplingError for what this model cannot answer.
        """
        self._check(request)
        with self._changed:
            if self._closes_at is not None:
                raise EngineClosedError(self.failure or "the engine has ended, and takes no more requests")
            if len(self._waiting) >= self._max_queue:
                raise QueueFullError(f"{len(self._waiting)} requests wait already, which is as many as may")
            self._requests += 1
            self._waiting.append(Answer(self._requests, request, tell, self._loaded.tokenizer))
            self._changed.notify()
            return self._requests

    def cancel(self, number: int) -> None:
        """End an answer that nobody wants any more, before the next step; nothing where it has ended."""
        with self._changed:
            for answer in (*self._waiting, *self._running):
                if answer.number == number:
                    answer.is_cancelled = True
            self._changed.notify()

    def stats(self) -> EngineStats:
        """The engine as it was after the last step."""
        with self._changed:
            return self._stats._replace(waiting=len(self._waiting))

    def swap(self, loaded: Loaded) -> int:
        """Go on with other weights of the same model from the next step on; answers under way keep what they hold.

        Returns once that is done, with the number of weights there have been. Raises OtherModelError where the model or
        its tokenizer is another one, EngineClosedError where the engine ends first.
        """
        if loaded.model.spec != self._model.spec:
            raise OtherModelError(f"{loaded.folder}: another model than that of {self._loaded.folder}")
        if loaded.tokenizer.fingerprint() != self._loaded.tokenizer.fingerprint():
            raise OtherModelError(f"{loaded.folder}: another tokenizer than that of {self._loaded.folder}")
        swap = _Swap(loaded)
        with self._changed:
            if self._closes_at is not None:
                raise EngineClosedError("the engine has ended, and takes no other weights")
            self._swaps.append(swap)
            self._changed.notify()
        if self._thread is None:
            self.step()
        swap.done.wait()
        if swap.why_not is not None:
            raise swap.why_not
        return self._version

    def close(self, grace_s: float = 0.0) -> None:
        """Take no more requests, let those under way end for so many seconds, and end the others as cancelled."""
        with self._changed:
            self._closes_at = time.monotonic() + grace_s
            for answer in self._waiting:
                answer.is_cancelled = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        else:
            while self.step():
                pass

    @torch.no_grad()
    def step(self) -> bool:
        """Read a chunk of one prompt, and decode a token of every answer. Returns whether there is more to do."""
        with self._changed:
            swaps, ends = [*self._swaps], self._closes_at
            self._swaps.clear()
        for swap in swaps:
            try:
                self._take_over(swap.loaded)
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                swap.why_not = error
            swap.done.set()
        self._end_cancelled(everybody=ends is not None and time.monotonic() >= ends)
        self._admit()
        reading = next((answer for answer in self._running if answer.waiting), None)
        if reading is not None:
            self._read(reading)
        if speaking := [answer for answer in self._running if answer.said]:
            self._speak(speaking)
        self._steps += bool(self._running)
        stats = self._snapshot()
        with self._changed:
            self._stats = stats
            return bool(self._running or self._waiting or self._swaps)

    def _work(self) -> None:
        failures = 0
        while True:
            try:
                more = self.step()
                failures = 0
            except Exception as error:  # noqa: BLE001 - a defect fails those under way; a dead thread would fail all
                failures += 1
                try:
                    self._fail([*self._running], error)
                except Exception:  # noqa: BLE001 - not even that: the device is gone
                    failures = _GIVES_UP_AFTER
                if failures >= _GIVES_UP_AFTER:
                    self._give_up(error)
                    return
                more = True
            with self._changed:
                if not more and not (self._waiting or self._swaps):
                    if self._closes_at is not None:
                        return
                    self._changed.wait()

    def _give_up(self, error: Exception) -> None:
        """Nothing works any more, as after an illegal access of a GPU's memory: tell everybody, and take no more."""
        self.failure = f"the engine has failed and takes no more requests: {_words(error)}"
        with self._changed:
            self._closes_at = time.monotonic()
            answers, swaps = [*self._running, *self._waiting], [*self._swaps]
            self._waiting.clear()
            self._swaps.clear()
        for answer in answers:
            answer.finish("error", error=self.failure)
            self._leave(answer, "error")
        for swap in swaps:
            swap.why_not = EngineClosedError(self.failure)
            swap.done.set()

    def _check(self, request: Request) -> None:
        if not request.prompt:
            raise SamplingError("the prompt must have at least one token", "prompt")
        if request.max_tokens < 0:
            raise SamplingError(f"max_tokens must be at least 0; got {request.max_tokens}", "max_tokens")
        if len(request.prompt) + request.max_tokens > self._longest:
            given = f"the prompt's {len(request.prompt)} tokens and max_tokens {request.max_tokens}"
            raise SamplingError(f"{given} are more than the model's {self._longest}", "max_tokens")
        ids = {
            "prompt": request.prompt,
            "logit_bias": [token for token, _ in request.params.logit_bias],
            "stop_token_ids": request.params.stop_tokens,
        }
        for name, tokens in ids.items():
            if tokens and not 0 <= min(tokens) <= max(tokens) < self._vocabulary:
                wrong = next(token for token in tokens if not 0 <= token < self._vocabulary)
                raise SamplingError(f"{name}: there is no token {wrong}; ids are 0 to {self._vocabulary - 1}", name)
        if request.logprobs is not None and not 0 <= request.logprobs <= MAX_LOGPROBS:
            raise SamplingError(f"logprobs must be from 0 to {MAX_LOGPROBS}; got {request.logprobs}", "logprobs")

    @property
    def _vocabulary(self) -> int:
        """A model may have more ids than its tokenizer, which has no text for them: they are never chosen."""
        return self._loaded.tokenizer.vocab_size

    def _take_over(self, loaded: Loaded) -> None:
        for own, other in zip(self._model.parameters(), loaded.model.parameters(), strict=True):
            own.copy_(other)
        self._model.windows = list(loaded.model.windows)
        self._cache.set_windows(self._model.windows)
        self._step.refresh()
        self._slots.forget()
        self._loaded = loaded._replace(model=self._model)
        self._version += 1

    def _end_cancelled(self, *, everybody: bool) -> None:
        with self._changed:
            gone = [answer for answer in self._waiting if answer.is_cancelled or everybody]
            self._waiting = deque(answer for answer in self._waiting if answer not in gone)
        for answer in gone + [answer for answer in self._running if answer.is_cancelled or everybody]:
            answer.finish("cancelled")
            self._leave(answer, "cancelled")

    def _admit(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    return
                answer = self._waiting[0]
                reuse = not (self._deterministic or answer.wants_prompt)
                found = self._slots.take(answer.request.prompt, reuse=reuse)
                if found is None:
                    return
                self._waiting.popleft()
            answer.begin(*found)
            self._running.append(answer)
            self._counts.update(prompt=len(answer.request.prompt), cached=answer.cached)

    def _read(self, answer: Answer) -> None:
        """Read one chunk of a prompt; behind its last token the first one of the answer is chosen."""
        assert answer.slot is not None
        slot, request = answer.slot, answer.request
        chunk, begin = answer.waiting[: self._chunk], len(slot.tokens)
        device = self._model.embed.weight.device
        try:
            rows = Rows(torch.tensor([begin], device=device), torch.tensor([slot.number], device=device))
            tokens, last_only = torch.tensor([chunk], device=device), not answer.wants_prompt
            hidden = self._model.hidden(tokens, cache=self._cache, rows=rows, last_only=last_only)[0]
            slot.tokens += chunk
            if answer.wants_prompt:
                self._score_prompt(answer, hidden, begin)
            if answer.waiting:
                return
            answer.hear_prompt()
            if request.max_tokens == 0:
                answer.finish("length")
                self._leave(answer, "length")
                return
            self._choose([answer], self._model.logits(hidden[-1:])[:, : self._vocabulary])
        except Exception as error:  # noqa: BLE001 - it fails one request, and not the engine
            self._fail([answer], error)

    def _score_prompt(self, answer: Answer, hidden: Tensor, begin: int) -> None:
        prompt, top = answer.request.prompt, answer.request.logprobs or 0
        following = prompt[begin + 1 : begin + 1 + len(hidden)]
        if begin == 0:
            answer.scored.append(Scored(prompt[0]))
        if following:
            logits = self._model.logits(hidden[: len(following)])[:, : self._vocabulary]
            check(logits)
            told = logprobs(logits, following, top)
            answer.scored += [Scored(token, *told_of) for token, told_of in zip(following, told, strict=True)]

    def _speak(self, answers: list[Answer]) -> None:
        """Decode one token of each answer."""
        slots = [answer.slot for answer in answers if answer.slot is not None]
        try:
            logits = self._step(
                [answer.said[-1] for answer in answers],
                [slot.number for slot in slots],
                [len(slot.tokens) for slot in slots],
            )
        except Exception as error:  # noqa: BLE001 - it fails those that were in the step, and not the engine
            self._fail(answers, error)
            return
        for answer, slot in zip(answers, slots, strict=True):
            slot.tokens.append(answer.said[-1])
        self._choose(answers, logits[:, : self._vocabulary])

    def _choose(self, answers: list[Answer], logits: Tensor) -> None:
        """Choose the next token of each answer and tell it. An answer whose logits are no numbers fails alone."""
        try:
            tokens = choose(logits, [answer.row for answer in answers])
        except LogitsError as error:
            if len(answers) == 1:
                self._fail(answers, error)
            else:
                for index, answer in enumerate(answers):
                    self._choose([answer], logits[index : index + 1])
            return
        for index, (answer, token) in enumerate(zip(answers, tokens, strict=True)):
            scored = Scored(token)
            if answer.request.logprobs is not None:
                scored = Scored(token, *logprobs(logits[index : index + 1], [token], answer.request.logprobs)[0])
            self._counts.update(completion=1)
            if how := answer.hear(scored):
                self._leave(answer, how)

    def _fail(self, answers: list[Answer], error: Exception) -> None:
        for answer in answers:
            answer.finish("error", error=_words(error))
            self._leave(answer, "error")
        for slot in [answer.slot for answer in answers if answer.slot is not None]:
            slot.tokens.clear()  # what is not a number must not be seen by whoever comes after
            for layer in self._cache.layers:
                layer.keys[slot.number].zero_()
                layer.values[slot.number].zero_()

    def _leave(self, answer: Answer, how: str) -> None:
        self._finished[how] += 1
        if answer in self._running:
            self._running.remove(answer)
        if answer.slot is not None:
            answer.slot.is_free = True

    def _snapshot(self) -> EngineStats:
        by_slot = {answer.slot.number: answer for answer in self._running if answer.slot is not None}
        states = []
        for slot in self._slots.all:
            answer = by_slot.get(slot.number)
            if answer is None:
                states.append(SlotState(slot.number, "idle", len(slot.tokens), 0, 0))
            else:
                done, wanted = len(answer.said), answer.request.max_tokens
                states.append(SlotState(slot.number, "decode" if done else "prefill", len(slot.tokens), done, wanted))
        places = sum(layer.ring for layer in self._cache.layers)
        held = sum(min(len(slot.tokens), layer.ring) for slot in self._slots.all for layer in self._cache.layers)
        return EngineStats(
            tuple(states),
            len(self._waiting),
            held / (places * len(self._slots.all)),
            self._version,
            self._steps,
            self._counts["prompt"],
            self._counts["cached"],
            self._counts["completion"],
            dict(self._finished),
        )


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
