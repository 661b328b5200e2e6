"""Which run has which device: file locks that the kernel lets go when their holder ends, however it ends.

Two files a device, in one folder of the machine. Whoever runs on it holds `<device>.owner` alone; every process that
touches it holds `<device>.users` together with its fellows; a new owner needs both alone, so that not even an orphan
of the run before can share it. What is written in the owner's file says who it is, and counts while it is locked.

Waiting is a queue of locked records, `queue/<order>-<key>.json`: first come, first served, among those who want
the same devices. A record whose lock is free waits no more. Servers lock records in `serve/`: they are shown and
block nobody. Rejected: a daemon, which would have to be started, trusted by every user, and alive.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import DaisyError
from core.runs.opening import regular_descriptor
from core.runs.trusted import LEASE, parsed, trusted

_FILE_MODE, _FOLDER_MODE = 0o666, 0o1777  # every user's, and nobody removes another's
_GAP = 1 << 96  # between the orders of two tickets, for those that are put between them


class LeaseError(DaisyError):
    """A device that cannot be had, or a folder of leases that cannot be used."""


class Wanted(NamedTuple):
    """`number` of the devices `among`; all of them where there are no more."""

    among: tuple[str, ...]
    number: int


class Busy(NamedTuple):
    """A device that is not to be had, and what its owner, or who waits for it first, says of itself."""

    device: str
    owner: dict[str, Any]
    waiting: bool = False


class Ticket(NamedTuple):
    """A place in the queue. `waiting` is false where whoever took it is gone."""

    path: Path
    order: int
    key: str
    wanted: Wanted
    details: dict[str, Any]
    waiting: bool


def lease_folder() -> Path:
    """The folder that all users of this machine share; `DAISY_LEASES` names another.

    It lies in memory where it can, so that nobody's clearing of old files takes a lock away.
    """
    if given := os.environ.get("DAISY_LEASES"):
        return Path(given)
    memory = Path("/dev/shm")
    return (memory if os.access(memory, os.W_OK) else Path("/tmp")) / "daisy"


class Leases:
    """The leases of a machine. What is taken through this object is held until `release`, or until the process ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: list[int] = []
        for part in (folder, folder / "queue", folder / "serve"):
            _make_shared(part)

    def take(self, wanted: Wanted, details: dict[str, Any], *, key: str | None = None) -> tuple[list[str], list[Busy]]:
        """Own the devices wanted, all or none. Returns them, or else none and what was in the way.

        `key` is that of this process's own ticket. What those before it want is left to them, and without one what
        anybody waits for.
        """
        with self._locked(fcntl.LOCK_EX):
            taken, busy = self._try(wanted, key)
            for descriptor in taken.values():
                _write(descriptor, details)
            self._held += taken.values()
            return list(taken), busy

    def in_the_way(self, wanted: Wanted) -> list[Busy]:
        """What keeps the devices wanted from being had at this moment; none where they are free. Takes nothing."""
        with self._locked(fcntl.LOCK_EX):
            taken, busy = self._try(wanted, None)
            for descriptor in taken.values():
                os.close(descriptor)
            return busy

    def _try(self, wanted: Wanted, key: str | None) -> tuple[dict[str, int], list[Busy]]:
        """The devices wanted, by descriptor, all or none; and what was in the way."""
        before = reversed([*self._before(key)])
        first = {device: ticket for ticket in before for device in ticket.wanted.among}
        free = [device for device in wanted.among if device not in first]
        if len(free) < wanted.number:
            shared = [device for device in wanted.among if device in first]
            return {}, [Busy(device, first[device].details, waiting=True) for device in shared]
        taken: dict[str, int] = {}
        busy = []
        for device in free:
            descriptor = self._own(device) if len(taken) < wanted.number else None
            if descriptor is not None:
                taken[device] = descriptor
            elif len(taken) < wanted.number:
                busy.append(Busy(device, _held_record(self.folder / f"{device}.owner") or {}))
        if len(taken) < wanted.number:
            for descriptor in taken.values():
                os.close(descriptor)
            return {}, busy
        return taken, []

    def join(self, device: str) -> None:
        """Be one of the users of a device. Raises LeaseError where somebody is about to own it alone."""
        descriptor = _open(self.folder / f"{device}.users")
        if not _lock(descriptor, fcntl.LOCK_SH):
            os.close(descriptor)
            raise LeaseError(f"{device}: another run takes this device; this process came too late")
        self._held.append(descriptor)

    def owner(self, device: str) -> dict[str, Any] | None:
        """What the owner of a device says of itself; None where it is free."""
        return self.owners().get(device)

    def owners(self) -> dict[str, dict[str, Any]]:
        """The owners of all devices that have one."""
        with self._locked(fcntl.LOCK_SH):
            found = [(path.stem, _held_record(path)) for path in sorted(self.folder.glob("*.owner"))]
        return {device: record for device, record in found if record is not None}

    def wait(self, key: str, wanted: Wanted, details: dict[str, Any]) -> None:
        """Take the last place in the queue. The place is kept until `leave_queue`, or until the process ends."""
        record = {"among": wanted.among, "number": wanted.number, **details}
        with self._locked(fcntl.LOCK_EX):
            order = max((ticket.order for ticket in self._tickets()), default=0) + _GAP
            self._held.append(_locked_record(self.folder / "queue" / f"{order:040d}-{key}.json", record))

    def leave_queue(self, key: str) -> None:
        """Give a place up, whether it is still waited in or not. Another user's stays until its owner removes it."""
        for ticket in self.tickets():
            if ticket.key == key:
                with suppress(OSError):
                    ticket.path.unlink()

    def tickets(self) -> list[Ticket]:
        """The queue, first come first."""
        with self._locked(fcntl.LOCK_SH):
            return self._tickets()

    def move(self, key: str, place: int) -> None:
        """Put a ticket at a place of the queue, 1 being the next. Raises LeaseError where that cannot be."""
        with self._locked(fcntl.LOCK_EX):
            tickets = self._tickets()
            mine = next((ticket for ticket in tickets if ticket.key == key), None)
            if mine is None:
                raise LeaseError(f"{key}: waits in no queue")
            others = [ticket for ticket in tickets if ticket is not mine]
            place = min(max(place, 1), len(others) + 1)
            below = others[place - 2].order if place > 1 else 0
            above = others[place - 1].order if place <= len(others) else below + 2 * _GAP
            if above - below < 2:
                raise LeaseError(f"{key}: no place left between two others; move one of them first")
            try:
                mine.path.rename(mine.path.with_name(f"{(below + above) // 2:040d}-{key}.json"))
            except OSError as error:
                raise LeaseError(f"{key}: cannot be moved: {error.strerror}; it may be another user's") from error

    def serve(self, details: dict[str, Any]) -> None:
        """Be shown as a server, which shares its devices with whoever runs on them."""
        with self._locked(fcntl.LOCK_EX):
            self._held.append(_locked_record(self.folder / "serve" / f"{os.getpid()}.json", details))

    def servers(self) -> list[dict[str, Any]]:
        """What the servers say of themselves. Records of those that are gone are removed, but for another user's.

        A record that nobody holds is no new one, for whoever makes one is alone until it is held.
        """
        with self._locked(fcntl.LOCK_SH):
            found = [(path, _read(path)) for path in sorted((self.folder / "serve").glob("*.json"))]
            for path, record in found:
                if record is not None and not record[1]:
                    with suppress(OSError):
                        path.unlink()
        return [record[0] for _, record in found if record is not None and record[1]]

    def release(self) -> None:
        """Let everything go."""
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()

    def _tickets(self) -> list[Ticket]:
        found = (_ticket(path) for path in sorted((self.folder / "queue").glob("*.json")))
        return [ticket for ticket in found if ticket is not None]

    def _before(self, key: str | None) -> Iterator[Ticket]:
        for ticket in self._tickets():
            if ticket.key == key:
                return
            if ticket.waiting:
                yield ticket

    def _own(self, device: str) -> int | None:
        """The descriptor that owns a device, once nobody uses it; None where somebody owns or uses it."""
        owner, users = _open(self.folder / f"{device}.owner"), _open(self.folder / f"{device}.users")
        try:
            if _lock(owner, fcntl.LOCK_EX) and _lock(users, fcntl.LOCK_EX):
                return owner
            os.close(owner)
            return None
        finally:
            os.close(users)

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Who takes is alone; who reads is not in its way, for reading tries the locks. Neither takes long."""
        descriptor = _open(self.folder / "lock")
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


def busy_line(busy: Busy) -> str:
    """Whose a device is, in words."""
    who = busy.owner
    run, pid, user = who.get("run"), who.get("pid"), who.get("user")
    owner = f"run {run} (process {pid}, user {user})" if run else "a process that is still ending"
    verb = "is wanted first by" if busy.waiting else "is in use by"
    return f"{busy.device} {verb} {owner}; --queue waits for it"


def _make_shared(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
        folder.chmod(_FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():
            raise LeaseError(f"{folder}: is no folder, and the leases of devices are to lie there") from None
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise LeaseError(f"{folder}: the leases of devices lie there, and this user may not write there") from None
    except OSError as error:
        raise LeaseError(f"{folder}: cannot be made, for the leases of devices: {error.strerror}") from error


def _open(path: Path) -> int:
    """Open a file of every user's, making it where it is missing.

    Not with O_CREAT alone: Linux refuses that for another user's file in a sticky folder (fs.protected_regular).
    """
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise LeaseError(f"{path.parent}: was removed, and the leases of devices with it") from None
            with suppress(FileExistsError):
                os.close(_create(path))
        except OSError as error:
            raise LeaseError(f"{path}: cannot be opened, for the lease of a device: {error.strerror}") from error


def _create(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    os.fchmod(descriptor, _FILE_MODE)
    return descriptor


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(descriptor: int, record: dict[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(record).encode(), 0)


def _locked_record(path: Path, record: dict[str, Any]) -> int:
    """A new record that counts while this process holds it."""
    path.unlink(missing_ok=True)
    descriptor = _create(path)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _write(descriptor, record)
    return descriptor


def _read(path: Path) -> tuple[dict[str, Any], bool] | None:
    """What a record says and whether its holder lives; None where there is none."""
    try:
        descriptor = regular_descriptor(path, os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        held = not _lock(descriptor, fcntl.LOCK_SH)
        record = parsed(os.pread(descriptor, 1 << 16, 0) or b"{}")
    except ValueError:
        record = {}
    finally:
        os.close(descriptor)
    return (trusted(record, LEASE) if isinstance(record, dict) else {}), held


def _held_record(path: Path) -> dict[str, Any] | None:
    found = _read(path)
    return found[0] if found is not None and found[1] else None


def _ticket(path: Path) -> Ticket | None:
    order, _, key = path.stem.partition("-")
    found = _read(path)
    if found is None or not (order.isascii() and order.isdigit()):
        return None
    record, waiting = found
    among, number = record.pop("among", ()), record.pop("number", 0)
    return Ticket(path, int(order), key, Wanted(tuple(among), number), record, waiting)
