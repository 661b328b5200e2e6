"""The Data screen: datasets found, documents walked through, lengths counted, and data checked and prepared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from snapshots import check_picture
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer, load_tokenizer
from daisy_tui.app import DaisyApp
from daisy_tui.commands import CommandError
from daisy_tui.screens.base import Open
from daisy_tui.screens.data import DataScreen
from daisy_tui.screens.prepare import PrepareScreen
from daisy_tui.services import Services
from daisy_tui.widgets.document_view import DocumentView
from daisy_tui.widgets.job_bar import JobBar

TEXTS = ["one [bold]two", "three\nfour \x1b[2J", "five ☃ six", "seven " * 400]
SOUND = {"ok": True, "hashes_checked": True, "problems": []}
Story = Callable[[Pilot[Any]], Any]


class HeldCommands(ScriptedCommands):
    """Commands that tell one progress and then take as long as a test wants."""

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__()
        self.gate, self.interrupted = gate, False

    async def lines(self, *arguments: str) -> AsyncGenerator[str, None]:
        self.said.append(list(arguments))
        told = {
            "what": "preparing",
            "done": 1 << 20,
            "total": 4 << 20,
            "detail": "9k tokens",
            "rate": 1e6,
            "eta_s": 3.0,
        }
        try:
            yield json.dumps({"progress": told})
            await self.gate.wait()
            yield "data/demo: 'demo'"
        except (GeneratorExit, asyncio.CancelledError):
            self.interrupted = True
            raise


def _make(folder: Path, name: str, texts: list[str] | None = None, val: float = 0.2) -> Path:
    path = folder / "data" / name
    prepare(TextSource("t", texts or TEXTS), ByteTokenizer(), path, PrepareOptions(name, val_fraction=val))
    return path


def _tell(services: Services, story: Story, size: tuple[int, int] = (80, 24)) -> DaisyApp:
    app = app_of(services, "data")
    drive(app, story, size)
    return app


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


def _shown(app: DaisyApp) -> str:
    """The text of the document, without marks and frames."""
    return "\n".join("".join(piece.text for piece in line) for line in app.screen.query_one(DocumentView)._lines)


def test_an_empty_folder_says_how_data_comes_about(services: Services, said: ScriptedCommands) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        assert "No datasets yet" in words(pilot.app)
        assert "prepares text of your own" in words(pilot.app)
        await _press(pilot, "n", "p", "v", "l", "s", "right_square_bracket", "m")

    _tell(services, story)
    assert said.said == [], "and no key falls over what is not there"


def test_datasets_are_listed_and_documents_walked_through(services: Services, tmp_path: Path) -> None:
    _make(tmp_path, "mine", val=0)

    async def story(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert "data/mine" in words(app)
        assert "train document 0 of 0–3" in words(app)
        assert "⟨<|endoftext|> 256⟩" in words(app)
        assert "│o│n│e│ │[│b│o│l│d│]│t" in _shown(app)
        await _press(pilot, "n")
        assert "│t│h│r│e│e│↵\n" in _shown(app)
        assert "\\x1b" in _shown(app)
        await _press(pilot, "n", "n", "n")
        assert "train document 3 of 0–3" in words(app)
        assert any("no document 4" in said for said in toasts(app))
        await _press(pilot, "p", "p", "p", "p")
        assert "train document 0 of 0–3" in words(app)
        await _press(pilot, "j", "2", "enter")
        assert "train document 2 of 0–3" in words(app)
        assert "\\xe2│\\x98│\\x83" in _shown(app), "bytes that are parts of a character"
        await _press(pilot, "m")
        assert "five " in _shown(app)
        check_picture(app, "data-document-80")

    _tell(services, story)


def test_fast_keys_count_each(services: Services, tmp_path: Path) -> None:
    _make(tmp_path, "mine", val=0)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("n", "n", "n")
        await finish(pilot)
        assert "train document 3 of 0–3" in words(pilot.app)

    _tell(services, story)


def test_a_long_document_has_pages(services: Services, tmp_path: Path) -> None:
    _make(tmp_path, "mine", val=0)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "j", "3", "enter", "right_square_bracket", "right_square_bracket", "right_square_bracket")
        assert "page 3/3: tokens 2,048–2,400" in words(pilot.app)
        await _press(pilot, "left_square_bracket")
        assert "page 2/3" in words(pilot.app)
        await _press(pilot, "p")
        assert "page" not in words(pilot.app).split("Document", 1)[1].split("\n")[1]

    _tell(services, story, (120, 40))


def test_the_split_changes_and_so_do_the_lengths(services: Services, tmp_path: Path) -> None:
    _make(tmp_path, "mine")

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "l")
        assert "3 documents in train" in words(pilot.app)
        await _press(pilot, "s")
        assert "1 document in val" in words(pilot.app)
        await _press(pilot, "escape")
        assert "val document 0 of 0–0" in words(pilot.app)

    _tell(services, story)


def test_a_wide_terminal_shows_everything_at_once(services: Services, tmp_path: Path) -> None:
    _make(tmp_path, "mine")

    async def story(pilot: Pilot[Any]) -> None:
        for shown in ("data/mine", "train document 0", "documents in train", "tokenizer", "bytes, 257 ids"):
            assert shown in words(pilot.app)
        check_picture(pilot.app, "data-wide-200")

    _tell(services, story, (200, 60))


def test_resizing_keeps_the_place(services: Services, tmp_path: Path) -> None:
    _make(tmp_path, "mine", val=0)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "n")
        for size in ((40, 12), (200, 60), (100, 30)):
            await pilot.resize_terminal(*size)
            await finish(pilot)
            assert "three" in _shown(pilot.app).replace("│", "")
            width = pilot.app.screen.query_one(DocumentView).size.width
            assert all(len(line) <= width for line in _shown(pilot.app).split("\n"))

    _tell(services, story)


def test_a_damaged_dataset_is_listed_and_said_and_the_others_stay(services: Services, tmp_path: Path) -> None:
    _make(tmp_path, "good")
    shard = _make(tmp_path, "bad") / "bad_train_000000.bin"
    shard.write_bytes(shard.read_bytes()[:-2])

    async def story(pilot: Pilot[Any]) -> None:
        assert "damaged" in words(pilot.app)
        assert "truncated" in words(pilot.app)
        await _press(pilot, "n", "down")
        assert "train document 0" in words(pilot.app)

    _tell(services, story)


def test_a_dataset_that_appears_is_listed_and_one_that_goes_leaves(services: Services, tmp_path: Path) -> None:
    first = _make(tmp_path, "b")

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "n")
        _make(tmp_path, "a")
        await settle(pilot)
        assert "data/a" in words(pilot.app)
        assert "train document 1" in words(pilot.app), "what is read is not disturbed"
        first.rename(tmp_path / "gone")
        await settle(pilot)
        assert "data/b" not in words(pilot.app)
        assert "train document 0" in words(pilot.app)

    _tell(services, story)


def test_it_opens_at_the_dataset_that_was_asked_for(services: Services, tmp_path: Path) -> None:
    _make(tmp_path, "a")
    _make(tmp_path, "b", ["bee", "bees"])

    async def story(pilot: Pilot[Any]) -> None:
        pilot.app.screen.post_message(Open("data", folder=Path("data/b")))
        await finish(pilot)
        await finish(pilot)
        assert "│b│e│e" in _shown(pilot.app)
        assert pilot.app.screen.query_one("#datasets", OptionList).highlighted == 1

    _tell(services, story)


def test_verify_is_a_command_whose_verdict_is_shown(services: Services, said: ScriptedCommands, tmp_path: Path) -> None:
    _make(tmp_path, "mine")
    said.answers["data", "verify"] = json.dumps(SOUND, indent=2)

    async def story(pilot: Pilot[Any]) -> None:
        place = pilot.app.screen
        assert isinstance(place, DataScreen)
        assert place.command_for("verify") == ["data", "verify", "data/mine"]
        await _press(pilot, "v")
        assert "✓ sound: headers, lengths, hashes and tokens checked" in words(pilot.app)

    _tell(services, story)
    assert said.said == [["data", "verify", "--progress-json", "data/mine", "--json"]]


def test_what_verify_finds_is_shown_whole_though_the_command_fails(services: Services, tmp_path: Path) -> None:
    class Failing(ScriptedCommands):
        async def lines(self, *arguments: str) -> AsyncGenerator[str, None]:
            problems = [f"data/mine/x{n}.bin: its hash differs" for n in range(3)]
            for line in json.dumps(SOUND | {"ok": False, "problems": problems}, indent=2).split("\n"):
                yield line
            yield "error: data/mine/x0.bin: its hash differs"
            raise CommandError("data/mine/x0.bin: its hash differs")

    _make(tmp_path, "mine")
    services.__dict__["commands"] = Failing()

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "v")
        assert "✗ 3 problems" in words(pilot.app)
        assert "x2.bin: its hash differs" in words(pilot.app)

    assert toasts(_tell(services, story)) == []


def test_a_command_that_cannot_run_is_said(services: Services, said: ScriptedCommands, tmp_path: Path) -> None:
    _make(tmp_path, "mine")
    said.answers["data", "verify"] = CommandError("data/mine: no such folder [x]")

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "v")

    assert "data/mine: no such folder [x]" in toasts(_tell(services, story))


def test_preparing_shows_its_progress_and_can_be_cancelled(services: Services) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        commands = services.__dict__["commands"] = HeldCommands(asyncio.Event())
        await pilot.press("d")
        await pilot.pause()
        await pilot.pause()
        assert "⋯ daisy data demo" in words(pilot.app)
        assert " 25%  ETA 0:03, 1.00 MiB of 4.00 MiB" in words(pilot.app)
        check_picture(pilot.app, "data-preparing-80")
        await pilot.press("d")
        await pilot.pause()
        assert any("one thing at a time" in said for said in toasts(pilot.app))
        await _press(pilot, "x")
        assert commands.interrupted
        assert not pilot.app.screen.query_one(JobBar).is_busy
        assert commands.said == [["data", "demo", "--progress-json"]]
        assert any(said.startswith("cancelled: daisy data demo; repeated") for said in toasts(pilot.app))

    _tell(services, story)


def test_a_dataset_that_was_prepared_is_shown(services: Services, tmp_path: Path) -> None:
    _make(tmp_path, "a")

    async def story(pilot: Pilot[Any]) -> None:
        commands = services.__dict__["commands"] = HeldCommands(asyncio.Event())
        await pilot.press("d")
        await pilot.pause()
        _make(tmp_path, "demo", ["demo text", "more"])
        commands.gate.set()
        await finish(pilot)
        assert "data/demo: 'demo'" in toasts(pilot.app)
        assert "│d│e│m│o" in _shown(pilot.app)

    _tell(services, story)


def test_a_read_only_terminal_prepares_nothing_and_still_reads(
    services: Services, said: ScriptedCommands, tmp_path: Path
) -> None:
    services.readonly = True
    _make(tmp_path, "mine", val=0)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "d", "a", "n")
        assert "train document 1" in words(pilot.app)

    _tell(services, story)
    assert said.said == []


def test_the_form_prepares_what_was_filled_in(services: Services, said: ScriptedCommands, tmp_path: Path) -> None:
    (tmp_path / "my texts").mkdir()
    (tmp_path / "my texts/a.txt").write_text("a")

    async def story(pilot: Pilot[Any]) -> None:
        app = pilot.app
        await _press(pilot, "a")
        assert isinstance(app.screen, PrepareScreen)
        await _press(pilot, "enter")
        assert "a file, a folder or a glob of" in words(app), "what is missing is said, and the form stays"
        await pilot.press(*"my", "space", *"texts")
        await pilot.pause()
        assert app.screen.query_one("#out", Input).value == "data/my_texts"
        app.screen.query_one("#tokenizer", Input).value = "bytes"
        app.screen.query_one("#val_fraction", Input).value = "2"
        await pilot.pause()
        assert "validation: a share from 0 to below 1" in words(app)
        app.screen.query_one("#val_fraction", Input).value = "0"
        await pilot.pause()
        check_picture(app, "data-form-80")
        assert "$ daisy data prepare --out data/my_texts --tokenizer bytes" in words(app)
        await _press(pilot, "ctrl+s")
        assert isinstance(app.screen, DataScreen)

    _tell(services, story)
    (command,) = said.said
    assert command == [
        *("data", "prepare", "--progress-json", "--out", "data/my_texts", "--tokenizer", "bytes"),
        *("--val-fraction", "0", "my texts"),
    ]


def test_escape_leaves_the_form_and_nothing_is_prepared(services: Services, said: ScriptedCommands) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "a", "x", "escape")
        assert isinstance(pilot.app.screen, DataScreen)

    _tell(services, story)
    assert said.said == []


def test_the_source_is_picked_among_files(services: Services, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("a")

    async def story(pilot: Pilot[Any]) -> None:
        from textual_fspicker import FileOpen

        await _press(pilot, "a")
        await pilot.click("#pick-file")
        await finish(pilot)
        assert isinstance(pilot.app.screen, FileOpen)
        pilot.app.screen.query_one(Input).value = "book.txt"
        await pilot.click("#select")
        await finish(pilot)
        assert pilot.app.screen.query_one("#source", Input).value == "book.txt"
        assert pilot.app.screen.query_one("#out", Input).value == "data/book"

    _tell(services, story, (100, 40))


def test_a_reader_that_fails_is_said_where_the_document_would_be(services: Services, tmp_path: Path) -> None:
    path = _make(tmp_path, "mine")

    async def story(pilot: Pilot[Any]) -> None:
        (path / "mine_train_000000.bin").unlink()
        await _press(pilot, "n")
        assert any(
            "listed in dataset.json, but missing" in said or "cannot be read" in said for said in toasts(pilot.app)
        )

    _tell(services, story)


def test_gpt2_text_is_shown_by_its_tokens(services: Services, tmp_path: Path) -> None:
    source = TextSource("t", ["Hello 世界", "x"])
    prepare(source, load_tokenizer("gpt2"), tmp_path / "data/g", PrepareOptions("g", val_fraction=0))

    async def story(pilot: Pilot[Any]) -> None:
        assert "⟨<|endoftext|> 50256⟩│Hello│" in _shown(pilot.app)

    _tell(services, story)
