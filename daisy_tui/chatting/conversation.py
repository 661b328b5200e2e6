"""A conversation with a served model, without a screen: what is sent, what is kept, and what may be said instead."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Literal

from daisy_tui.chatting.answering import Answering, Asking, Keeper
from daisy_tui.chatting.client import Client, ClientError
from daisy_tui.chatting.lens import Alternative, forked, ids, texts
from daisy_tui.chatting.room import Room, answer_limit, as_count
from daisy_tui.chatting.turns import Speed, Turn, Turns

# By the model's chat template; as plain text, in which every question begins a line; or as text exactly as typed.
Form = Literal["chat", "plain", "text"]
_COUNTS_WITHIN_S = 20.0


class NoKeeper:
    """Nothing is written down."""

    def begun(self, turn: Turn) -> None: ...

    def grown(self, turn: Turn) -> None: ...

    def ended(self, turn: Turn) -> None: ...

    def removed(self, turn: Turn) -> None: ...


@dataclass
class Conversation:
    """Turns with one model.

    `alternatives` are asked for at the place of each token; None asks for no logprobs at all. Only a server of Daisy's
    `gives_ids`, from which an answer can be taken up, `end` being that of end-of-text. `model` is written beside what
    it says; it holds `size` tokens, 0 where nobody has said how many. Without max_tokens among the `sampling`, an
    answer has `answer_limit` of them, or all that are left.
    """

    client: Client
    sampling: dict[str, Any] = field(default_factory=dict)
    system: str = ""
    form: Form = "chat"
    alternatives: int | None = None
    gives_ids: bool = False
    end: int | None = None
    model: str = ""
    size: int = 0
    tree: Turns = field(default_factory=Turns)
    keeper: Keeper = field(default_factory=NoKeeper)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    speed: Speed | None = None  # of the last answer that was asked for here

    # For who reads an answer where it is asked for

    @property
    def turns(self) -> list[dict[str, str]]:
        """What was said on the path that is chosen."""
        return [{"role": turn.role, "content": turn.text} for turn in self.tree.path]

    def ask(self, text: str) -> Generator[str, None, None]:
        """The answer as it comes; kept as far as it came, also where whoever listens stops. Raises ClientError."""
        question = self.say(text)
        answering = self.begin(question)
        try:
            yield from answering.pieces()
        except ClientError:
            if not answering.turn.pieces:  # it was never taken: it is not part of what was said
                for turn in (answering.turn, question):
                    self.tree.remove(turn)
                    self.keeper.removed(turn)
            raise
        finally:
            self.speed = answering.turn.speed

    def retry(self) -> Generator[str, None, None]:
        """Another answer to the last question. Raises ClientError where there is none."""
        question = next((turn for turn in reversed(self.tree.path) if turn.role == "user"), None)
        if question is None:
            raise ClientError("nothing has been asked yet")
        answering = self.begin(question)
        try:
            yield from answering.pieces()
        finally:
            self.speed = answering.turn.speed

    def copy(self, other: Conversation) -> None:
        """Have said what was said on another conversation's path."""
        self.tree, self.system = Turns(), other.system
        for turn in other.tree.path:
            mine = self.tree.add(turn.role, self.tree.tip, turn.text)
            mine.tokens, mine.prompt_ids, mine.asked = [*turn.tokens], turn.prompt_ids, turn.asked
            mine.model, mine.time, mine.ended, mine.speed = turn.model, turn.time, turn.ended, turn.speed

    def room(self, turn: Turn | None = None) -> Room | None:
        """What is taken of what the model holds up to a turn, or to the last one; None where nobody knows."""
        line = _line(self.tree.tip if turn is None else turn)
        held = next((turn.held for turn in reversed(line) if turn.held is not None), None)
        return Room(self.size, held) if self.size and held is not None else None

    def new(self) -> None:
        """Begin anew, beside what was said; the system's text stays."""
        self.tree.leave(self.tree.root)

    # For who reads it elsewhere

    def say(self, text: str, behind: Turn | None = None) -> Turn:
        """A turn of the person's: behind the last one, or behind the one given, beside what was said there."""
        turn = self.tree.add("user", self.tree.tip if behind is None else behind, text)
        turn.time = self.now()
        return turn

    def write(self, text: str, seen: Callable[[str], str] = lambda text: text) -> Turn:
        """Have the path be a text, whose beginning it may be already; `seen` is how a turn's text stands in it.

        Returns its last turn, which an answer goes on with. What was changed stands beside what it was.
        """
        last, rest = self.tree.root, text
        for turn in self.tree.path:
            if not rest.startswith(seen(turn.text)):
                break
            last, rest = turn, rest[len(seen(turn.text)) :]
        if rest:
            return self.say(rest, last)
        self.tree.leave(last)
        return last

    def begin(self, question: Turn, *, seed: int | None = None, already: int | None = None) -> Answering:
        """An answer to a turn, beside those that there are; `seed` where the conversation has none of its own.

        The same seed would give the same answer: every further one has the next. With `already` so many answers count,
        so that another conversation, which may have more of them, has the same.
        """
        asked = self._asked(len(question.children) if already is None else already, seed)
        turn = self._answer(question, asked)
        return Answering(self.client, turn, lambda: self._asking(question, asked), self.clock, self.keeper)

    def fork(self, turn: Turn, place: int, alternative: Alternative | None = None) -> Answering:
        """An answer that is this one up to a place, has an alternative there, and goes on by itself from those ids.

        Raises ClientError where the ids are not known.
        """
        assert turn.parent is not None
        kept = turn.tokens[:place] if alternative is None else forked(turn.tokens, place, alternative)
        said = ids(kept)
        if turn.prompt_ids is None or said is None or not 0 <= place <= len(turn.tokens) or not turn.tokens:
            raise ClientError("the ids of this answer are not known, and it can only be taken up by them")
        asked = self._asked(0, None)
        new = self._answer(turn.parent, asked)
        is_over = alternative is not None and alternative.id == self.end
        new.pieces = [text for text in texts(kept[:-1] if is_over else kept) if text]
        new.tokens, new.prompt_ids = kept, turn.prompt_ids
        prompt = [*turn.prompt_ids, *said]

        def asking() -> Asking:
            # Going on where an answer was cut is another one, whose tokens count anew.
            counted = 0 if alternative is None else len(said)
            return Asking("", {}, is_over=True) if is_over else self._asking_on(prompt, counted, asked)

        return Answering(self.client, new, asking, self.clock, self.keeper)

    def _answer(self, question: Turn, asked: dict[str, Any]) -> Turn:
        turn = self.tree.add("assistant", question)
        turn.asked, turn.model, turn.time = asked, self.model, self.now()
        return turn

    def _asked(self, already: int, seed: int | None) -> dict[str, Any]:
        asked = {**({"seed": seed} if seed is not None else {}), **self.sampling}
        if "seed" in asked:
            asked["seed"] += already
        return asked

    # What is sent

    def messages(self, question: Turn) -> list[dict[str, str]]:
        """What the model is told for an answer to a turn, where it has a template."""
        said = [{"role": turn.role, "content": turn.text} for turn in _line(question)]
        system = [{"role": "system", "content": self.system}] if self.system else []
        # An answer of which nothing came is none.
        return [*system, *(entry for entry in said if entry["content"] or entry["role"] == "user")]

    def prompt(self, question: Turn) -> str:
        """The text that the model goes on with, where it has none."""
        text = self.system if self.form == "plain" else ""
        for turn in _line(question):  # an answer goes on with what was typed; what is typed next begins a line
            begins = self.form == "plain" and text and not text.endswith("\n") and turn.role == "user"
            text += ("\n" if begins else "") + turn.text
        return text

    def _asking(self, question: Turn, asked: dict[str, Any]) -> Asking:
        is_chat = self.form == "chat"
        said = {"messages": self.messages(question)} if is_chat else {"prompt": self.prompt(question)}
        counts, path = ("/v1/chat/render", "/v1/chat/completions") if is_chat else ("/tokenize", "/v1/completions")
        most = {} if "max_tokens" in asked else self._most(*self._count(counts, said))
        return Asking(path, {**said, **most, **asked, **self._options(is_chat)}, self.size)

    def _asking_on(self, prompt: list[int], counted: int, asked: dict[str, Any]) -> Asking:
        """Going on from ids, so many of which count as said already."""
        size, _ = self._count("/tokenize", {"prompt": ""})
        wanted = max(1, asked["max_tokens"] - counted) if "max_tokens" in asked else None
        most = self._most(size, len(prompt), wanted)
        stops = [*asked.get("stop", ())]
        if self.form == "chat":
            stops += self.client.post("/v1/chat/render", {"messages": [{"role": "user", "content": ""}]})["stop"]
        body = {"prompt": prompt, **asked, **most, **({"stop": stops} if stops else {}), **self._options(False)}
        return Asking("/v1/completions", body, self.size)

    def _options(self, is_chat: bool) -> dict[str, Any]:
        options: dict[str, Any] = {"stream_options": {"include_usage": True}}
        if self.alternatives is not None:
            options |= {"return_token_ids": True} if self.gives_ids else {}
            chat = {"logprobs": True, "top_logprobs": self.alternatives}
            options |= chat if is_chat else {"logprobs": self.alternatives}
        return options

    def _count(self, path: str, said: dict[str, Any]) -> tuple[int, int]:
        """The tokens that the model holds, and those of what is said; 0 where its server does not know."""
        try:
            counted = self.client.post(path, said, within_s=_COUNTS_WITHIN_S)
        except ClientError:  # another program's server, or one that will say the same of the question itself
            return self.size, 0
        self.size = as_count(counted.get("max_model_len")) or self.size
        return self.size, max(1, as_count(counted.get("count")))  # an empty prompt is end-of-text

    @staticmethod
    def _most(size: int, held: int, wanted: int | None = None) -> dict[str, int]:
        """How long an answer may be: what is wanted, or what is sensible, and no more than there is room for."""
        most = answer_limit(size) if wanted is None else wanted
        if size and held >= size:
            return {}  # the server says so better
        return {"max_tokens": min(most, size - held) if size else most}


def _line(turn: Turn) -> list[Turn]:
    """A turn and those before it, the first one first."""
    found = []
    while turn.parent is not None:
        found.append(turn)
        turn = turn.parent
    return found[::-1]
