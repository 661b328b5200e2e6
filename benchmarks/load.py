"""What goes on beside a terminal while benchmarks look at it: a process that trains a run and serves a chat."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.made_folder import Trainer
from core.inference.request import Piece, Request
from core.runs.heartbeat import EVERY_S
from core.runs.launch import child_environment

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the scripted server
from serving import ScriptedBackend, ScriptedEngine, Tell, running

ANSWER_TOKENS = 1000
SENTENCE = "It is a *truth* universally acknowledged, that a single `man` in possession of a good fortune"


@contextmanager
def load_beside(run: Path, points_s: float, tokens_s: float, *, max_seq_len: int = 1 << 20) -> Iterator[str]:
    """Have a run log so many points a second (0: none), and a server, whose URL this is, stream so many tokens."""
    program = "import sys; from benchmarks.load import live; live(*sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(run), str(points_s), str(tokens_s), str(max_seq_len)],
        env={**child_environment(), "PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.stdin.close()


def live(run: str, points_s: str, tokens_s: str, max_seq_len: str) -> None:
    """Log points and stream answers until the input ends."""
    ended = threading.Event()
    with running(ScriptedBackend(Streaming(float(tokens_s)), max_seq_len=int(max_seq_len))) as server:
        print(server.url, flush=True)
        if float(points_s):
            threading.Thread(target=_train, args=(Path(run), float(points_s), ended), daemon=True).start()
        sys.stdin.read()
        ended.set()


def _train(run: Path, points_s: float, ended: threading.Event) -> None:
    trainer, beaten = Trainer(run), 0.0
    while not ended.wait(1 / points_s):
        now = time.time()
        trainer.log(now)
        if now - beaten >= EVERY_S:
            trainer.beat(now)
            beaten = now


class Streaming(ScriptedEngine):  # type: ignore[misc]
    """Answers in words at a steady rate."""

    def __init__(self, tokens_s: float) -> None:
        super().__init__()
        self._tokens_s = tokens_s

    def submit(self, request: Request, tell: Tell) -> int:
        number: int = super().submit(request, tell)
        threading.Thread(target=self._answer, args=(number,), daemon=True).start()
        return number

    def _answer(self, number: int) -> None:
        began, words = time.perf_counter(), SENTENCE.split()
        for place in range(1, ANSWER_TOKENS + 1):
            time.sleep(max(0.0, began + place / self._tokens_s - time.perf_counter()))
            if number not in self.under_way:
                return
            end = "\n\n" if place % 60 == 0 else " "
            word = words[place % len(words)] + end
            self.tell(number, Piece(word, (), completion_tokens=place))
        self.tell(number, Piece("", (), "stop", completion_tokens=ANSWER_TOKENS))
