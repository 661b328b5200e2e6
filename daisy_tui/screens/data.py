"""The Data screen: the datasets that there are, their documents as the model reads them, and how long those are.

It looks with the modules that `daisy data list` and `daisy data preview` use, and checks and prepares by running
`daisy data verify`, `daisy data prepare` and `daisy data demo` as children, whose progress it shows.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from core.data.demo import DEMO_FOLDER
from core.data.errors import ShardError
from core.text import printable
from daisy_tui.actions import Action
from daisy_tui.commands import CommandError
from daisy_tui.data.datasets import DatasetFound, datasets
from daisy_tui.data.documents import DocumentReader, Page, Place
from daisy_tui.data.lengths import LengthHistogram, length_histogram
from daisy_tui.screens.base import DaisyScreen
from daisy_tui.screens.prepare import PrepareScreen
from daisy_tui.widgets.dataset_text import facts, histogram, list_entry, verdict
from daisy_tui.widgets.document_view import DocumentView, document_head
from daisy_tui.widgets.job_bar import JobBar

_LOOK_EVERY_S = 3.0
_COUNTED_UNASKED = 200_000_000  # tokens, which take a fraction of a second
_DIGITS = 18
_NONE = "No datasets yet.\n\n  d  prepares six novels for the demo model\n  a  prepares text of your own"


class DataScreen(DaisyScreen):
    """Datasets on the left, the document on the right, and what is known of the dataset beside it or in its place."""

    NAME, TITLE = "data", "Data"
    CSS_PATH = "data.tcss"
    AUTO_FOCUS = "#datasets"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("next", "n", "Next", "The next document.", "daisy data preview DIR --document K"),
        Action("previous", "p", "Previous", "The document before.", "daisy data preview DIR --document K"),
        Action("document", "j", "Go to …", "Go to a document.", "daisy data preview DIR --document K", footer=False),
        Action("next_page", "right_square_bracket", "Next page", "Further on in a long document.", footer=False),
        Action("previous_page", "left_square_bracket", "Page before", "Back in a long document.", footer=False),
        Action("split", "s", "Split", "Documents to train on, or to validate on.", footer=False),
        Action(
            "about", "l", "Lengths", "Facts and document lengths, in place of the document.", "daisy data verify DIR"
        ),
        Action("marks", "m", "Marks", "Show or hide the marks at token boundaries.", footer=False),
        Action("verify", "v", "Verify", "Check every shard, hash and token.", "daisy data verify DIR"),
        Action(
            "prepare", "a", "Prepare …", "Turn text into a dataset.", "daisy data prepare SOURCE --out DIR", acts=True
        ),
        Action("demo", "d", "Demo", "Prepare the bundled novels.", "daisy data demo", acts=True, footer=False),
        Action("stop", "x", "Cancel", "End what is under way; it goes on where it was when repeated.", footer=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self._found: list[DatasetFound] | None = None  # before the first look
        self._place: Place | None = None
        self._wanted: Path | None = None
        self._reader = DocumentReader()
        self._shown: Page | None = None
        self._lengths: dict[tuple[Path, str, int], LengthHistogram] = {}
        self._verified: dict[Path, dict[str, Any]] = {}
        self._count = 0  # which count of lengths is wanted: an older one stops

    def body(self) -> ComposeResult:
        with Horizontal(id="data-body"):
            yield OptionList(id="datasets", markup=False)
            with Vertical(id="document-pane"):
                yield Static("", id="document-head", markup=False)
                yield Input(placeholder="number of the document", id="document-number", type="integer", compact=True)
                yield DocumentView("looking for datasets …", id="document")
            with VerticalScroll(id="about-pane"):
                yield Static("", id="facts", markup=False)
                yield Static("", id="verdict", markup=False)
                yield Static("", id="lengths", markup=False)
        yield JobBar()

    def on_mount(self) -> None:
        for pane, title in (("#datasets", "Datasets"), ("#document-pane", "Document"), ("#about-pane", "Dataset")):
            self.query_one(pane).border_title = title
        self.poll("datasets", _LOOK_EVERY_S, partial(datasets, self._root), self._take_datasets)

    def context(self, **what: Any) -> None:
        """`folder`: the dataset to show."""
        folder = what.get("folder")
        if folder is not None:
            self._wanted = self._root / folder
            self._choose_wanted()

    def command_for(self, action: str) -> list[str] | None:
        if action == "demo":
            return ["data", "demo"]
        if (found := self.dataset) is None:
            return None
        path = str(found.path)
        if action == "verify":
            return ["data", "verify", path]
        if action in ("next", "previous", "document") and self._place is not None:
            number = max(0, self._place.document + {"next": 1, "previous": -1}.get(action, 0))
            split = ["--split", self._place.split] if self._place.split != "train" else []
            return ["data", "preview", path, "--document", str(number), *split]
        return None

    def step_out(self) -> None:
        if self.has_class("-about"):
            self.remove_class("-about")
        else:
            super().step_out()
            self.query_one("#datasets").focus()

    # The datasets

    @property
    def dataset(self) -> DatasetFound | None:
        """The dataset that is shown."""
        return next((one for one in self._found or () if self._place and one.path == self._place.path), None)

    @property
    def _root(self) -> Path:
        """The folder, by the shortest name: its own is in every message."""
        return Path() if self.services.folder == Path.cwd() else self.services.folder

    def _take_datasets(self, found: list[DatasetFound]) -> None:
        if found == self._found:
            return
        before, self._found = self.dataset, found
        options = self.query_one("#datasets", OptionList)
        with self.prevent(OptionList.OptionHighlighted):
            options.clear_options()
            options.add_options([Option(list_entry(one)) for one in found])
            index = next((at for at, one in enumerate(found) if self._place and one.path == self._place.path), 0)
            options.highlighted = index if found else None
        self.set_class(not found, "-empty")
        if not found:
            self._place = self._shown = None
            self._say_nothing(_NONE)
        elif self._wanted is not None:
            self._choose_wanted()
        elif before is None or self.dataset != before:
            self._choose(found[index])

    def _choose_wanted(self) -> None:
        for index, found in enumerate(self._found or ()):
            if self._wanted is not None and found.path.resolve() == self._wanted.resolve():
                self._wanted = None
                self.query_one("#datasets", OptionList).highlighted = index
                self._choose(found)
                return

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if self._found and event.option_index < len(self._found):
            found = self._found[event.option_index]
            if self._place is None or found.path != self._place.path:
                self._choose(found)

    def on_option_list_option_selected(self, _event: OptionList.OptionSelected) -> None:
        self.query_one(DocumentView).focus()

    def _choose(self, found: DatasetFound) -> None:
        split = self._place.split if self._place and self._place.split in found.splits else next(iter(found.splits), "")
        self._go(Place(found.path, split))
        self._show_about()

    # The document

    def _go(self, place: Place) -> None:
        """Show the page at a place, or say why there is none."""
        if self._shown is not None and self._shown.place.path != place.path:
            self._shown = None
        self._place = place
        found = self.dataset
        if found is None or not found.splits:
            self._shown = None
            self._say_nothing((found.problem if found is not None else None) or "")
            return
        self.in_thread("document", partial(self._reader.read, place), self._show_page, self._no_page)

    def _show_page(self, page: Page) -> None:
        self._place, self._shown = page.place, page
        found = self.dataset
        documents = found.splits[page.place.split].documents if found and page.place.split in found.splits else None
        self._say_where(document_head(page, documents))
        self.query_one(DocumentView).show(page)

    def _no_page(self, error: Exception) -> None:
        if not isinstance(error, ShardError):
            self._place = self._shown.place if self._shown is not None else self._place
            raise error
        if self._shown is None:
            self._say_nothing(str(error))
            return
        self._place = self._shown.place
        self.notify(printable(str(error)), severity="warning", markup=False)

    def _say_nothing(self, why: str) -> None:
        self._say_where("")
        self.query_one(DocumentView).say(why)
        if self.dataset is None:
            for name in ("facts", "verdict", "lengths"):
                self.query_one(f"#{name}", Static).update("")

    def _say_where(self, head: str) -> None:
        shown = self.query_one("#document-head", Static)
        shown.update(Content(head))
        shown.display = bool(head)

    def _walk(self, documents: int) -> None:
        if self._place is not None and self._place.split and self._place.document + documents >= 0:
            self._go(self._place._replace(document=self._place.document + documents, page=0))

    def _turn(self, pages: int) -> None:
        if self._shown is not None and 0 <= self._shown.place.page + pages < self._shown.pages:
            self._go(self._shown.place._replace(page=self._shown.place.page + pages))

    def action_next(self) -> None:
        self._walk(1)

    def action_previous(self) -> None:
        self._walk(-1)

    def action_next_page(self) -> None:
        self._turn(1)

    def action_previous_page(self) -> None:
        self._turn(-1)

    def action_split(self) -> None:
        if (found := self.dataset) is not None and self._place is not None and len(found.splits) > 1:
            names = list(found.splits)
            after = names[(names.index(self._place.split) + 1) % len(names)] if self._place.split in names else names[0]
            self._go(Place(found.path, after))
            self._show_about()

    def action_marks(self) -> None:
        view = self.query_one(DocumentView)
        view.marks = not view.marks

    def action_document(self) -> None:
        self.remove_class("-about")
        self.add_class("-asking")
        self.query_one("#document-number").focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        typed = event.value.strip()[:_DIGITS]  # of which there is no document either
        if self._place is not None and typed.isdecimal():
            self._go(self._place._replace(document=int(typed), page=0))
        event.input.value = ""
        self.query_one(DocumentView).focus()

    def on_descendant_blur(self) -> None:
        if not isinstance(self.focused, Input):
            self.remove_class("-asking")

    # What is known of the dataset

    def action_about(self) -> None:
        self.toggle_class("-about")
        if self.focused is not self.query_one("#datasets"):
            self.query_one("#about-pane" if self.has_class("-about") else "#document").focus()
        self._show_about(asked=True)

    def _show_about(self, *, asked: bool = False) -> None:
        found, place = self.dataset, self._place
        if found is None or place is None:
            return
        self.query_one("#facts", Static).update(facts(found))
        report = self._verified.get(found.path)
        said = Content("v checks every shard, hash and token") if report is None else verdict(report)
        self.query_one("#verdict", Static).update(said)
        self._count_lengths(found, place.split, asked=asked)

    def _count_lengths(self, found: DatasetFound, split: str, *, asked: bool) -> None:
        shown = self.query_one("#lengths", Static)
        if split not in found.splits:
            shown.update("")
            return
        key = (found.path, split, found.splits[split].tokens)
        if key in self._lengths:
            self._show_lengths()
            return
        if not asked and found.splits[split].tokens > _COUNTED_UNASKED:
            shown.update(Content("l counts the documents' lengths, by reading all of them"))
            return
        shown.update(Content("counting documents …"))
        self._count = number = self._count + 1

        def take(lengths: LengthHistogram | None) -> None:
            if lengths is not None:
                self._lengths[key] = lengths
                self._show_lengths()

        count = partial(length_histogram, found.path, split, stop=lambda: self._count != number)
        self.in_thread("lengths", count, take, lambda error: shown.update(Content(printable(str(error)))))

    def _show_lengths(self) -> None:
        found, place = self.dataset, self._place
        if found is None or place is None or place.split not in found.splits:
            return
        lengths = self._lengths.get((found.path, place.split, found.splits[place.split].tokens))
        if lengths is not None:
            width = self.query_one("#about-pane").content_size.width or 60
            self.query_one("#lengths", Static).update(histogram(lengths, place.split, width))

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_lengths)

    # What takes a while

    def action_verify(self) -> None:
        if (found := self.dataset) is not None and (arguments := self.command_for("verify")) is not None:
            self._verify(found.path, arguments)

    def action_demo(self) -> None:
        self._prepare(["data", "demo"], self._root / DEMO_FOLDER)

    @work(group="act", exit_on_error=False)
    async def action_prepare(self) -> None:
        form = await self.app.push_screen_wait(PrepareScreen(self.services.folder))
        if form is not None:
            self._prepare(form.arguments(), self._root / form.out.strip())

    def action_stop(self) -> None:
        if (bar := self.query_one(JobBar)).is_busy:
            self.workers.cancel_group(self, "job")
            again = "" if "verify" in bar.command else "; repeated, it goes on from what it has done"
            self.notify(f"cancelled: {bar.command}{again}", markup=False)

    def _is_free(self) -> bool:
        if self.query_one(JobBar).is_busy:
            self.notify("one thing at a time: x cancels what is under way", severity="warning", markup=False)
            return False
        return True

    @work(group="job", exit_on_error=False)
    async def _verify(self, path: Path, arguments: list[str]) -> None:
        if not self._is_free():
            return
        bar = self.query_one(JobBar)
        try:
            await bar.follow(self.services.commands, [*arguments, "--json"])
        except CommandError as error:
            if (report := _first_object(bar.said)) is None:
                raise
            report["problems"] = report.get("problems") or list(error.lines)
        else:
            report = _first_object(bar.said) or {}
        self._verified[path] = report
        if not self.has_class("-wide"):
            self.add_class("-about")
        self._show_about()

    @work(group="job", exit_on_error=False)
    async def _prepare(self, arguments: list[str], out: Path) -> None:
        if not self._is_free():
            return
        said = await self.query_one(JobBar).follow(self.services.commands, arguments)
        self.notify(printable("\n".join(said[:1]) or "prepared"), markup=False)
        self._verified.pop(out, None)
        self._wanted = out
        self.refresh_polls()


def _first_object(lines: list[str]) -> dict[str, Any] | None:
    """The JSON object that a command printed, whatever stands behind it."""
    text = "\n".join(lines)
    try:
        value, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
