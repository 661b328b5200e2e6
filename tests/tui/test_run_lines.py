"""A list of many lines: its cursor by keys and by the mouse, what it makes of them, and what can be copied of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from terminal import words
from textual.app import App, ComposeResult
from textual.events import MouseScrollDown, MouseScrollUp
from textual.pilot import Pilot

from daisy_tui.widgets.cursor_list import Row
from daisy_tui.widgets.run_lines import LineList


class Probe(App[None]):
    """A list, and what it tells."""

    def __init__(self, number: int, *, follow: bool = False) -> None:
        super().__init__()
        self.made: set[int] = set()
        self.told: list[str] = []
        self._number, self._follow = number, follow

    def compose(self) -> ComposeResult:
        yield LineList(why="There is [nothing].", follow=self._follow)

    @property
    def lines(self) -> LineList:
        return self.query_one(LineList)

    def on_mount(self) -> None:
        self.lines.focus()
        self.show(self._number)

    def show(self, number: int, moved: int = 0) -> None:
        self.lines.show(number, self.row, 60, moved=moved, why="There is [nothing].")

    def row(self, index: int) -> Row:
        self.made.add(index)
        return [("! ", "warning"), (f"line {index} [b]{'界' if index == 1 else ''}", "")]

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        self.told.append(f"chosen {event.index}")

    def on_line_list_reached(self, event: LineList.Reached) -> None:
        self.told.append("end" if event.end else "begin")

    def on_line_list_followed(self, event: LineList.Followed) -> None:
        self.told.append(f"follow {event.follow}")


Story = Callable[[Pilot[Any]], Awaitable[None]]


def tell(app: Probe, story: Story) -> None:
    async def run() -> None:
        async with app.run_test(size=(40, 10)) as pilot:
            await pilot.pause()
            await story(pilot)

    asyncio.run(run())


def shown(app: Probe) -> list[str]:
    return [line.rstrip() for line in words(app).splitlines()]  # type: ignore[arg-type]


def test_only_the_lines_in_sight_are_made() -> None:
    app = Probe(100_000)

    async def story(pilot: Pilot[Any]) -> None:
        assert "! line 0 [b]" in shown(app)[0]
        assert "! line 1 [b]界" in shown(app)[1]
        await pilot.press("end")
        await pilot.pause()
        assert any("! line 99999 [b]" in line for line in shown(app))
        assert len(app.made) < 50

    tell(app, story)


def test_keys_move_the_cursor_and_the_lines_with_it() -> None:
    app = Probe(50)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("down", "j", "up", "k", "down")
        assert app.lines.cursor == 1
        await pilot.press("pagedown")
        assert app.lines.cursor == 10
        await pilot.pause()
        assert any("line 10 " in line for line in shown(app))
        await pilot.press("pageup", "enter")
        await pilot.pause()
        assert app.lines.cursor == 1
        await pilot.press("home", "end", "down")
        await pilot.pause()
        assert app.told == ["begin", "chosen 1", "begin", "end", "end"]
        assert app.lines.cursor == 49

    tell(app, story)


def test_long_lines_are_seen_by_going_aside() -> None:
    app = Probe(3)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("right")
        await pilot.pause()
        assert "[b]" in shown(app)[0]
        assert "! line" not in shown(app)[0]
        await pilot.press("left")
        await pilot.pause()
        assert "! line 0" in shown(app)[0]

    tell(app, story)


def test_a_click_puts_the_cursor_and_a_second_one_chooses() -> None:
    app = Probe(50)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.click(LineList, offset=(3, 4))
        assert app.lines.cursor == 4
        await pilot.click(LineList, offset=(3, 4), times=2)
        await pilot.pause()
        assert app.told == ["chosen 4"]

    tell(app, story)


def test_a_followed_end_stays_in_sight_until_the_wheel_goes_up() -> None:
    app = Probe(50, follow=True)

    async def story(pilot: Pilot[Any]) -> None:
        assert any("line 49" in line for line in shown(app))
        app.show(60)
        await pilot.pause()
        assert any("line 59" in line for line in shown(app))
        await pilot._post_mouse_events([MouseScrollUp], LineList, offset=(2, 2))
        await pilot.pause()
        assert app.told == ["follow False"]
        app.show(70)
        await pilot.pause()
        assert not any("line 69" in line for line in shown(app))
        for _ in range(20):
            await pilot._post_mouse_events([MouseScrollDown], LineList, offset=(2, 2))
        await pilot.pause()
        assert app.told[-1] == "end"

    tell(app, story)


def test_lines_that_came_before_move_cursor_and_sight_along() -> None:
    app = Probe(50)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press(*["down"] * 12)
        await pilot.pause()
        top = app.lines.scroll_offset.y
        app.show(80, moved=30)
        await pilot.pause()
        assert app.lines.cursor == 42
        assert app.lines.scroll_offset.y == top + 30

    tell(app, story)


@pytest.mark.parametrize("keys", [["enter"], ["up", "down", "home", "end", "pagedown"]])
def test_an_empty_list_says_why_and_nothing_happens(keys: list[str]) -> None:
    app = Probe(0)

    async def story(pilot: Pilot[Any]) -> None:
        assert shown(app)[0] == "There is [nothing]."
        await pilot.press(*keys)
        await pilot.click(LineList, offset=(1, 1))
        await pilot.pause()
        assert app.told == []
        assert app.lines.cursor == 0

    tell(app, story)


def test_why_a_list_is_empty_is_told_in_as_many_lines_as_it_takes() -> None:
    app = Probe(0)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.resize_terminal(8, 5)
        await pilot.pause()
        assert [line.strip() for line in shown(app)[:3]] == ["There is", "[nothing", "]."]

    tell(app, story)


def test_what_is_selected_with_the_mouse_can_be_copied() -> None:
    app = Probe(50)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.mouse_down(LineList, offset=(2, 2))
        await pilot.hover(LineList, offset=(8, 3))
        await pilot.mouse_up(LineList, offset=(8, 3))
        await pilot.pause()
        assert app.screen.get_selected_text() == "line 2 [b]\n! line 3 "

    tell(app, story)


def test_the_colours_of_cursor_and_selection_let_the_ground_through_as_far_as_they_say() -> None:
    app = Probe(50)

    def grounds(y: int) -> set[str]:
        styles = (style for _, style, _ in app.lines.render_line(y))
        return {style.bgcolor.get_truecolor().hex for style in styles if style is not None and style.bgcolor}

    def laid_over(part: str) -> str:
        colour = app.lines.get_component_styles(f"lines--{part}").background
        assert 0 < colour.a < 1
        return (app.lines.background_colors[1] + colour).hex6.lower()

    async def story(pilot: Pilot[Any]) -> None:
        app.screen.set_focus(None)
        await pilot.pause()
        assert grounds(0) == {laid_over("cursor")}
        await pilot.mouse_down(LineList, offset=(2, 2))
        await pilot.hover(LineList, offset=(8, 3))
        await pilot.mouse_up(LineList, offset=(8, 3))
        await pilot.pause()
        assert laid_over("chosen") in grounds(2)

    tell(app, story)


def test_a_line_that_goes_on_to_the_right_says_so_and_its_end_does_not() -> None:
    class Wide(Probe):
        def row(self, index: int) -> Row:
            return [(f"line {index} " + "x" * 100 * index + "end", "")]

        def show(self, number: int, moved: int = 0) -> None:
            self.lines.show(number, self.row, 120, moved=moved)

    app = Wide(2)

    async def story(pilot: Pilot[Any]) -> None:
        first, second, *_ = words(app).splitlines()
        assert first.rstrip() == "line 0 end"
        assert second[: app.lines.width].endswith("x…")
        await pilot.press(*["right"] * 20)
        assert "…" not in words(app)
        assert "xend" in words(app)

    tell(app, story)
