"""Conversations on disk: `chats/<time>-<name>.jsonl`, appended to while they are held, so that a crash loses nothing.

A file is a log of what happened: its first line says what it is, then a line each for a turn that was begun, for text
that has come, for an answer's end, and for the path that was chosen. Read from the first line on, it gives the whole
tree again; a torn line costs itself. Rejected: the tree as one object, which would be written whole for every word.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import DaisyError
from core.files import write_atomic
from core.runs.follow import RecordTail, record_of
from daisy_tui.chatting.lens import packed, unpacked
from daisy_tui.chatting.room import as_count
from daisy_tui.chatting.turns import Speed, Turn, Turns

FOLDER = "chats"
_FORMAT = 1
_EVERY_S = 1.0
_TITLE = 60
_ROLES, _FORMS = ("user", "assistant"), ("chat", "plain", "text")
_ENDED = ("stop", "length", "full", "cut", "failed")


class TranscriptError(DaisyError):
    """A transcript that cannot be written or read."""


@dataclass
class Saved:
    """A conversation as a file has it. `source` is the checkpoint or run that was talked to, `form` how."""

    source: str = ""
    form: str = "text"
    system: str = ""
    began: float = 0.0
    tree: Turns = field(default_factory=Turns)


@dataclass(frozen=True)
class Listed:
    """A transcript in a list: its first words, and when it was last written (seconds of the time of day)."""

    path: Path
    title: str
    source: str
    changed: float


class Transcript:
    """A conversation's file, open for appending: the keeper of a `Conversation`. No file before anything is said.

    Methods wait for the disk: call them in a thread. What cannot be written ends no answer: `failure` says so until it
    can, and then all of it is.
    """

    def __init__(self, path: Path, saved: Saved, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.failure = ""
        self._saved, self._clock = saved, clock
        self._lock = threading.Lock()
        self._file: int | None = None
        self._is_torn = False
        self._written: dict[int, tuple[int, int]] = {}  # pieces and tokens, by the number of their turn
        self._coming: set[int] = set()  # answers under way
        self._is_over = False
        self._path: list[int] = []
        self._system = saved.system
        self._last = 0.0

    @property
    def is_begun(self) -> bool:
        """Whether there is anything in the file, so that its name stays."""
        return self._file is not None or bool(self._written)

    @classmethod
    def reopened(cls, path: Path, clock: Callable[[], float] = time.monotonic) -> tuple[Transcript, Saved]:
        """Go on with a file. Raises TranscriptError where it cannot be read, or another terminal has it open."""
        saved = read(path)
        transcript = cls(path, saved, clock)
        try:
            transcript._open(new=False)
        except OSError as error:
            raise TranscriptError(f"{path}: cannot be gone on with: {error.strerror}") from error
        transcript._written = {turn.number: (len(turn.pieces), len(turn.tokens)) for turn in saved.tree}
        transcript._path = [turn.number for turn in saved.tree.path]
        return transcript, saved

    def begun(self, turn: Turn) -> None:
        """An answer is asked for: it is written down, with what was said before it that is not."""
        with self._writing():
            self._coming.add(turn.number)
            for missing in self._missing(turn):
                self._write_turn(missing)
            self._sync()

    def said(self, turn: Turn) -> None:
        """It is to be kept, though no answer to it was asked for."""
        with self._writing():
            for missing in self._missing(turn):
                self._write_turn(missing)
            self._sync()

    def grown(self, turn: Turn) -> None:
        """More of it has come; it is written about every second."""
        if self._clock() - self._last >= _EVERY_S:
            with self._writing():
                self._last = self._clock()
                self._write_more(turn)

    def ended(self, turn: Turn) -> None:
        """It is complete, or will never be."""
        with self._writing():
            for missing in self._missing(turn):
                self._write_turn(missing)
            self._write_more(turn)
            end: dict[str, Any] = {"turn": turn.number, "ended": turn.ended, "prompt_ids": turn.prompt_ids}
            if turn.failure:
                end["failure"] = turn.failure
            if turn.held is not None:
                end["held"] = turn.held
            if turn.speed is not None:
                end["speed"] = [turn.speed.tokens, round(turn.speed.first_s, 4), round(turn.speed.rest_s, 4)]
                end |= {"cut": turn.speed.cut} if turn.speed.cut else {}
            self._append(end)
            self._sync()
        self._coming.discard(turn.number)
        if self._is_over:
            self.close()

    def removed(self, turn: Turn) -> None:
        """It is no part of the conversation any more."""
        with self._writing():
            if turn.number in self._written:
                self._append({"removed": turn.number})
                del self._written[turn.number]

    def chosen(self, path: list[Turn], system: str) -> None:
        """The path through the tree, and what the model is told first, if either is another than was written."""
        numbers = [turn.number for turn in path]
        with self._writing():
            if self._file is None:
                self._system = system  # which the first line will say
                return
            if system != self._system:
                self._append({"system": system})
                self._system = system
            if numbers != self._path and all(number in self._written for number in numbers):
                self._append({"path": numbers})
                self._path = numbers

    def close(self) -> None:
        """Let the file go, once no answer is under way."""
        self._is_over = True
        with self._lock:
            if self._file is not None and not self._coming:
                os.close(self._file)
                self._file = None

    # Writing

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except OSError as error:
                self.failure = f"{self.path}: cannot be written: {error.strerror}; this chat is not saved"
            else:
                self.failure = ""

    def _missing(self, turn: Turn) -> list[Turn]:
        """Turns up to this one that are not written down, the first one first."""
        found = []
        at: Turn | None = turn
        while at is not None and at.parent is not None and at.number not in self._written:
            found.append(at)
            at = at.parent
        return found[::-1]

    def _write_turn(self, turn: Turn) -> None:
        assert turn.parent is not None
        record: dict[str, Any] = {"turn": turn.number, "parent": turn.parent.number, "role": turn.role}
        record |= {"time": round(turn.time, 3)} if turn.time else {}
        record |= {"asked": turn.asked} if turn.asked else {}
        record |= {"model": turn.model} if turn.model else {}
        self._append(record)
        self._written[turn.number] = (0, 0)
        self._path = [*self._path[: _place(self._path, turn.parent.number)], turn.number]
        self._write_more(turn)

    def _write_more(self, turn: Turn) -> None:
        """What a turn has gained since it was last written."""
        pieces, tokens = self._written.get(turn.number, (0, 0))
        news, said = turn.pieces[pieces:], turn.tokens[tokens:]
        if news or said:
            record: dict[str, Any] = {"turn": turn.number, "text": "".join(news)}
            self._append(record | ({"tokens": [packed(token) for token in said]} if said else {}))
            self._written[turn.number] = pieces + len(news), tokens + len(said)

    def _append(self, record: dict[str, Any]) -> None:
        """One line, in one write."""
        if self._file is None:
            self._open(new=True)
        assert self._file is not None
        # Half of a surrogate pair, which somebody may have typed, has no UTF-8.
        line = json.dumps(record, ensure_ascii=False).encode(errors="replace") + b"\n"
        data = b"\n" * self._is_torn + line  # a torn line would tear this one too
        written = os.write(self._file, data)
        self._is_torn = written < len(data)
        if self._is_torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _open(self, *, new: bool) -> None:
        """Open the file, which nobody else then writes to. Raises OSError, TranscriptError where somebody does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if new else 0)
        file = os.open(self.path, flags, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise TranscriptError(f"{self.path}: is open already, here or in another terminal") from None
        except OSError:  # a file system without locks
            pass
        self._file = file
        if new:
            self._begin_file()
        elif size := os.fstat(file).st_size:
            self._is_torn = os.pread(file, 1, size - 1) != b"\n"

    def _begin_file(self) -> None:
        saved = self._saved
        head = {"chat": _FORMAT, "began": saved.began, "source": saved.source, "form": saved.form}
        try:
            self._append({**head, "system": self._system})
        except OSError:  # without its first line it would be no transcript
            assert self._file is not None
            os.close(self._file)
            self._file, self._is_torn = None, False
            self.path.unlink(missing_ok=True)
            raise

    def _sync(self) -> None:
        if self._file is not None:
            os.fsync(self._file)


def new_path(folder: Path, name: str, now: float) -> Path:
    """Where a conversation of this moment is kept; `folder` holds `chats/`."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:40] or "chat"
    path = folder / FOLDER / f"{stamp}-{words}.jsonl"
    number = 1
    while path.exists():
        number += 1
        path = path.with_name(f"{stamp}-{words}-{number}.jsonl")
    return path


def read(path: Path) -> Saved:
    """The conversation in a file; what was torn or is of no known kind is left out. Raises TranscriptError."""
    try:
        with path.open("rb") as file:
            head = record_of(file.readline())
    except OSError as error:
        raise TranscriptError(f"{path}: cannot be read: {error.strerror}") from error
    if head is None or head.get("chat") != _FORMAT:
        raise TranscriptError(f"{path}: is no transcript of a chat; those in {FOLDER}/ are")
    form = head.get("form")
    saved = Saved(str(head.get("source", "")), form if form in _FORMS else "text", str(head.get("system", "")))
    saved.began = float(head.get("began") or 0.0)
    for record in RecordTail(path, from_start=True).new():
        try:
            _replay(saved, record)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    for turn in saved.tree:
        if turn.role == "assistant" and turn.ended is None:
            turn.ended = "cut"  # whoever wrote it down was killed
    return saved


def listed(folder: Path) -> list[Listed]:
    """The transcripts in `folder`'s `chats/`, the one written last first."""
    try:
        paths = [path for path in (folder / FOLDER).iterdir() if path.suffix == ".jsonl"]
    except OSError:
        return []
    found = [entry for path in paths if (entry := _listed(path)) is not None]
    return sorted(found, key=lambda entry: -entry.changed)


def markdown(saved: Saved) -> str:
    """The path that is chosen, as a document."""
    path = saved.tree.path
    models = ", ".join(dict.fromkeys(turn.model for turn in path if turn.model)) or saved.source
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(saved.began)) if saved.began else ""
    parts = [f"# {_title(saved) or 'Conversation'}", " · ".join(filter(None, (models, when)))]
    if saved.form == "text":
        return "\n\n".join([*filter(None, parts), "".join(turn.text for turn in path).strip("\n")]) + "\n"
    if saved.system:
        parts.append("\n".join(f"> {line}" for line in saved.system.splitlines()))
    for turn in path:
        who = "You" if turn.role == "user" else turn.model or "Answer"
        others = f" ({turn.place} of {len(turn.siblings)})" if len(turn.siblings) > 1 else ""
        parts += [f"## {who}{others}", turn.text.strip("\n")]
        parts += [f"*{turn.failure or 'stopped'}*"] if turn.failure or turn.ended == "cut" else []
    return "\n\n".join(filter(None, parts)) + "\n"


def write_markdown(path: Path, saved: Saved) -> None:
    """Write the document, whole or not at all. Raises TranscriptError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, markdown(saved).encode(errors="replace"))
    except OSError as error:
        raise TranscriptError(f"{path}: cannot be written: {error.strerror}") from error


def _replay(saved: Saved, record: dict[str, Any]) -> None:
    """Have happen what a line tells of. Raises KeyError, TypeError, ValueError or AttributeError where it tells nothing
    that can be."""
    tree = saved.tree
    if "parent" in record:
        number, role = int(record["turn"]), record["role"]
        if number in tree.by_number or role not in _ROLES:
            raise ValueError(number)
        turn = tree.add(role, tree.by_number[record["parent"]], number=number)
        turn.asked, turn.model = dict(record.get("asked") or {}), str(record.get("model") or "")
        turn.time = float(record.get("time") or 0.0)
    elif "text" in record:
        turn = tree.by_number[record["turn"]]
        tokens = [unpacked(token) for token in record.get("tokens") or ()]
        turn.pieces += [str(record["text"])] if record["text"] else []
        turn.tokens += tokens
    elif "ended" in record:
        turn = tree.by_number[record["turn"]]
        turn.ended = record["ended"] if record["ended"] in _ENDED else "cut"
        turn.failure = str(record.get("failure") or "")
        turn.prompt_ids = [int(token) for token in record["prompt_ids"]] if record.get("prompt_ids") else None
        if speed := record.get("speed"):
            tokens, first, rest = speed
            cut = str(record.get("cut") or ("cut at max_tokens" if turn.ended == "length" else ""))
            turn.speed = Speed(int(tokens), float(first), float(rest), cut)
        turn.held = as_count(record.get("held")) or None
    elif "removed" in record:
        tree.remove(tree.by_number[record["removed"]])
    elif "path" in record:
        turns = [tree.by_number[number] for number in record["path"]]
        tree.leave(turns[-1] if turns else tree.root)
    elif "system" in record and "chat" not in record:
        saved.system = str(record["system"])


def _listed(path: Path) -> Listed | None:
    """What a list says of a file, from its first lines; None for what is no transcript."""
    saved = Saved()
    try:
        changed = path.stat().st_mtime
        with path.open("rb") as file:
            head = record_of(file.readline())
            if head is None or head.get("chat") != _FORMAT:
                return None
            for _ in range(4):
                record = record_of(file.readline(1 << 16))
                if record is not None:
                    _replay(saved, record)
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return Listed(path, _title(saved), str(head.get("source", "")), changed)


def _title(saved: Saved) -> str:
    """The first words that were said."""
    words = " ".join(" ".join(turn.text for turn in saved.tree.path[:1]).split())
    return words if len(words) <= _TITLE else words[: _TITLE - 1] + "…"


def _place(path: list[int], number: int) -> int:
    return path.index(number) + 1 if number in path else 0
