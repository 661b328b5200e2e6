"""Record the README's film: the main path of the control center, lived in a real terminal, from nothing to a chat.

    pip install termtosvg
    python docs/record_story.py docs/pictures/story.svg

Besides termtosvg (or its path in TERMTOSVG), which nothing else of Daisy needs, it takes pyte, of the extra `dev`. This
Python's `daisy` is opened in an empty folder, and each key is pressed once what it answers has appeared. Waiting is
shortened: minutes of training are played in seconds, so that the film is about one minute long on any machine. Its last
row, below the terminal, says what is pressed. Rejected: asciinema's recorder, which knows no waits to shorten, and
svg-term-cli, which loses Textual's colours and blanks.
"""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pyte

COLUMNS, ROWS = 100, 30
MOST_WAIT_S, MOST_TRAINING_S = 120.0, 1800.0
KEY_S = 0.12
LOSS = 4.4  # with which the run is stopped, minutes before its end
FRAME_S = 0.25  # the film has at most one frame in so long
# Between these two is one update of the screen, in terminals that say that they know them:
# https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036
ASKED, ANSWER, BEGIN, END = "\x1b[?2026$p", b"\x1b[?2026;2$y", "\x1b[?2026h", "\x1b[?2026l"
KEYS = {"enter": "\r", "tab": "\t", "space": " ", "up": "\x1b[A", "end": "\x1b[F", "f3": "\x1bOR", "f4": "\x1bOS"}
KEYS |= {f"ctrl+{letter}": chr(ord(letter) & 31) for letter in "abcdefghijklmnopqrstuvwxyz"}


def story(terminal: Terminal) -> None:
    """What is lived: keys, what they are for, and what must appear before the next one."""
    press, look, until = terminal.press, terminal.look, terminal.until
    until("$ ")
    press(*"daisy", "enter", caption="daisy, in an empty folder")
    until("Three steps", "○ 1  Prepare six novels", plays=1)
    look(1.5)
    press("enter", caption="⏎  six novels become tokens")
    until("✓ 1  Prepare six novels", plays=2)
    look(1)

    press("2", caption="2  Compose: a config as a form, and at once what it costs")
    until("nothing touched", "parameters", plays=1)
    look(3)
    press("/", caption="/  finds a field")
    until("words")
    press(*"target_tok")
    until("target_tokens = 800000")
    press("enter")
    until("l Launch")
    press("enter", caption="⏎  changes it: 2M tokens")
    until("target_tokens = 800000", lambda shown: "⏎ edits" not in shown)
    press("ctrl+a", "ctrl+k", *"2M", "enter")
    until("1 touched", "2000000")
    look(2)
    press("l", caption="l  launches it: this is the command that does it")
    until("$ daisy train demo target_tokens=2M --detach --json")
    look(2)

    press("y", caption="y  a process of its own; this screen looks at what it writes")
    until("● running", loss_below(99), plays=4)
    look(1)
    terminal.caption = "its loss falls: minutes of training in a few seconds"
    until(loss_below(LOSS), plays=10, within=MOST_TRAINING_S)
    look(1)
    press("1", caption="1  Dashboard: every run, devices, servers")
    until("● running", "demo")
    look(3)
    press("x", caption="x  stops it, with a checkpoint")
    until("$ daisy runs stop")
    look(1.5)
    press("y")
    until("■ stopped", plays=2)
    look(1)

    press("t", caption="t  Chat: a server of its own loads the checkpoint")
    until("● demo step", "no chat template", plays=2)
    press("f4", *["tab"] * 5, *"200", caption="f4  how the model is to choose, and how much")
    until("max tokens    200")
    look(1)
    press("f4", *"Emma Woodhouse", caption="ctrl+g  it has read novels only: it goes on with a text")
    until("Emma Woodhouse")
    press("ctrl+g")
    until("200 tokens", "first after", plays=4)
    look(2)
    press("f3", caption="f3  the token lens: how likely was each?")
    until("by probability")
    look(1.5)
    press("space", caption="space  to the next surprise, and what else might have stood there")
    look(1)
    press("space")
    look(1.5)
    press("enter", "up", "up", caption="⏎  another word in its place, and it goes on from there")
    look(1)
    press("enter")
    until("‹ 2/2 ›", "tokens/s", plays=3)
    look(2)

    press("5", caption="5  Checkpoints: what they are, and where they come from")
    until("by descent", "latest")
    look(1)
    press("end")
    until("What can be done with it", plays=2)
    look(3)
    press("ctrl+q", caption="ctrl+q  all that matters is in the folder; `daisy` opens it again")
    until(lambda shown: shown.startswith("$ "), plays=2)
    press(*"ls runs/*", "enter")
    until("checkpoints", "metrics.jsonl")


def loss_below(bound: float) -> Callable[[str], bool]:
    """Whether the training loss on the screen is below a bound."""

    def holds(shown: str) -> bool:
        found = re.search(r"train (\d+\.\d+)", shown)
        return found is not None and float(found[1]) < bound

    return holds


class Said(NamedTuple):
    """What a terminal wrote, when the film shows it (in seconds), and the caption by then."""

    at: float
    text: str
    caption: str


class Terminal:
    """A shell in a terminal, which is recorded. `length` is that of the film so far, in seconds."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.film: list[Said] = []
        self.length = 0.0
        self.caption = ""
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.Stream(self._screen)
        self._lock = threading.Lock()
        self._new: list[tuple[float, str]] = []
        self._since = time.monotonic()
        pid, self._master = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.execvpe("sh", ["sh", "-i"], environment)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        threading.Thread(target=self._read, daemon=True).start()

    def shown(self) -> str:
        with self._lock:
            return "\n".join(self._screen.display)

    def press(self, *keys: str, caption: str | None = None) -> None:
        """Press keys one after the other, as a person does: names, or letters."""
        self.caption = self.caption if caption is None else caption
        for key in keys:
            os.write(self._master, (KEYS[key] if len(key) > 1 else key).encode())
            self.look(KEY_S)

    def look(self, seconds: float) -> None:
        """Let a person look at what there is."""
        time.sleep(seconds)
        self._play(seconds)

    def until(self, *wanted: str | Callable[[str], object], plays: float = 1.0, within: float = MOST_WAIT_S) -> None:
        """Wait until all of it stands on the screen, twice in a row; the film shows that in at most `plays` seconds."""
        held, begun = 0, time.monotonic()
        while held < 2:
            shown = self.shown()
            held = held + 1 if all(w in shown if isinstance(w, str) else w(shown) for w in wanted) else 0
            if time.monotonic() - begun > within:
                sys.exit(f"{wanted} did not appear within {within:.0f} s; there is:\n{shown}")
            time.sleep(0.05)
        self._play(plays)

    def frames(self) -> Iterator[Said]:
        """The film in as few pieces as it needs, of whole updates of the screen."""
        frame = self.film[0]
        for said in self.film[1:]:
            if said.at - frame.at < FRAME_S or not _is_whole(frame.text):
                frame = frame._replace(text=frame.text + said.text, caption=said.caption)
            else:
                yield frame
                frame = said
        yield frame

    def _play(self, seconds: float) -> None:
        """Have the film show what was written since the last time, in at most so many seconds."""
        now = time.monotonic()
        with self._lock:
            new, self._new = self._new, []
        speed = max(1.0, (now - self._since) / seconds)
        for read, text in new:
            self.film.append(Said(self.length + max(0.0, read - self._since) / speed, text, self.caption))
        self.length += (now - self._since) / speed
        self._since = now

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")()  # what is read may end within a character
        with suppress(OSError):  # the shell has ended
            while True:
                text = _plain(decoder.decode(os.read(self._master, 1 << 16)))
                if ASKED in text:
                    os.write(self._master, ANSWER)
                with self._lock:
                    self._stream.feed(text)
                    self._new.append((time.monotonic(), text))


def _is_whole(text: str) -> bool:
    """Whether neither an update of the screen nor a control sequence is under way at its end."""
    return text.count(BEGIN) == text.count(END) and re.search(r"\x1b[^A-Za-z]*$", text) is None


def _plain(text: str) -> str:
    """Without what pyte takes for text, or does not know: keyboard protocols, and that the other screen is cleared."""
    return re.sub(r"\x1b\[[<>=]\d*u", "", text).replace("\x1b[?1049l", "\x1b[2J\x1b[H")


@contextmanager
def an_empty_folder() -> Iterator[Path]:
    """A folder with nothing in it, whose processes end with it."""
    with tempfile.TemporaryDirectory(prefix="daisy-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve() / "novels"
        folder.mkdir()
        try:
            yield folder
        finally:
            for process in psutil.process_iter(["cwd"]):
                if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(folder):
                    with suppress(psutil.Error):
                        process.kill()
                        process.wait(10)


def environment_of(folder: Path) -> dict[str, str]:
    """Settings and leases of nobody else, this Python's `daisy`, and all colours."""
    given = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TMUX", "ENV")}
    own = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PS1": "$ ", "LANG": "C.UTF-8"}
    own |= {"XDG_CONFIG_HOME": str(folder.parent / "home"), "DAISY_LEASES": str(folder.parent / "leases")}
    return given | own | {"PATH": f"{Path(sys.executable).parent}:{given['PATH']}"}


def write_cast(terminal: Terminal, path: Path) -> None:
    """The film in asciinema's format, version 2; one row more than the terminal has is the caption's."""
    lines: list[object] = [{"version": 2, "width": COLUMNS, "height": ROWS + 1}]
    for frame in terminal.frames():
        caption = f"\x1b7\x1b[{ROWS + 1};1H\x1b[0;1m {frame.caption}\x1b[K\x1b8"
        lines.append([round(frame.at, 3), "o", frame.text + caption])
    lines.append([round(terminal.length, 3), "o", ""])
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def draw(termtosvg: str, cast: Path, out: Path) -> None:
    """The film as a picture that moves, with one ground colour, and blanks that every browser keeps."""
    subprocess.run([termtosvg, "render", str(cast), str(out), "-t", "window_frame", "-D", "3000"], check=True)
    svg = out.read_text()
    ground = Counter(re.findall(r'<rect [^>]*fill="(#\w+)"/>', svg)).most_common(1)[0][0]
    svg = re.sub(rf'<rect [^>]*fill="{ground}"/>', "", svg)
    svg = re.sub(r"\.background {fill: #\w+}", f".background {{fill: {ground}}}", svg)
    out.write_text(re.sub(r">([^<]+)</text>", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), svg))


def main() -> None:
    termtosvg = os.environ.get("TERMTOSVG") or shutil.which("termtosvg")
    if len(sys.argv) != 2 or termtosvg is None:
        sys.exit(
            "usage: python docs/record_story.py OUT.svg; it needs `pip install termtosvg`, or its path in TERMTOSVG"
        )
    out = Path(sys.argv[1]).resolve()
    with an_empty_folder() as folder:
        terminal = Terminal(folder, environment_of(folder))
        story(terminal)
        cast = folder.parent / "story.cast"
        write_cast(terminal, cast)
        draw(termtosvg, cast, out)


if __name__ == "__main__":
    main()
