"""Dialogue: what stands above a screen, asks for something and returns it. What goes wrong in its workers is said.

Textual tells nobody but the node whose worker it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen
from textual.worker import Worker, WorkerState

if TYPE_CHECKING:
    from textual.dom import DOMNode as _Mixed

    from daisy_tui.app import DaisyApp
else:
    _Mixed = object

Answer = TypeVar("Answer")


class SaysErrors(_Mixed):
    """To be mixed into what has workers: their errors are said as all are."""

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            cast("DaisyApp", self.app).report(event.worker.error)


class Dialogue(SaysErrors, ModalScreen[Answer], Generic[Answer]):
    """The base of all dialogues."""

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Answer, once. Textual would close what is below when a dialogue that is closed is answered again."""
        return super().dismiss(result) if self.is_active else AwaitComplete()
