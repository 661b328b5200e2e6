"""The runs that a list shows: those that a filter picks, in an order, with the course of those in sight.

A query that cannot be understood changes nothing: the last one that could stays, beside what is wrong with the new one.
To be looked at in a thread, for a query may read two hundred configs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from daisy_tui.runs.runs_order import Order, ordered

if TYPE_CHECKING:
    from daisy_tui.runs.query import Query
    from daisy_tui.runs.watching import RunRow, RunsWatch

Window = tuple[int, int] | None


class Picked(NamedTuple):
    """The runs at a moment: all of them, those that the filter picked in their order, and what is wrong with it."""

    every: tuple[RunRow, ...] = ()
    rows: tuple[RunRow, ...] = ()
    problem: str | None = None


class Picker:
    """Picks again and again; one thread at a time."""

    def __init__(self) -> None:
        self._typed = ""
        self._query: Query | None = None
        self._problem: str | None = None
        self._drawn: set[str] = set()

    def pick(self, watch: RunsWatch, typed: str, order: Order, window: Window) -> Picked:
        """The runs for a filter as `typed`. `window` are the places in sight, first and behind the last, or None."""
        query = self._understood(typed)
        every = watch.look(self._drawn)
        rows = _rows(every, query, order)
        drawn = {row.id for row in rows[slice(*window)]} if window is not None else set()
        if drawn - self._drawn:  # they came into sight with this very look
            every = watch.look(drawn)
            rows = _rows(every, query, order)
        self._drawn = drawn
        problem = self._problem
        if query is not None and not rows and problem is None:
            from daisy_tui.runs.query import missing_key

            problem = missing_key(query, watch.configs())
        return Picked(every, tuple(rows), problem)

    def _understood(self, typed: str) -> Query | None:
        """The last query that could be understood; None where all runs are picked."""
        if typed != self._typed:
            from daisy_tui.runs.query import QueryError, parse_query

            self._typed, self._problem = typed, None
            try:
                self._query = parse_query(typed) if typed.strip() else None
            except QueryError as error:
                self._problem = str(error)
        return self._query


def _rows(every: tuple[RunRow, ...], query: Query | None, order: Order) -> list[RunRow]:
    return ordered(every if query is None else [row for row in every if query.matches(row.value)], order)
