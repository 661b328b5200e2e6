"""What a draft comes to: values with their sources, what is wrong beside each field, and what it will cost.

A pure look at the files: the same draft gives the same composition until a file changes. It takes some tens of
milliseconds, so screens call it in a thread. Rejected: keeping a composed configuration and changing it, which goes
stale when somebody edits a file in another terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from core.config.compose import Composed, compose
from core.config.errors import ConfigError, Problem
from core.config.estimate import Estimate, estimate
from core.config.typed import Difference, differences
from core.data.survey import Survey, survey
from core.errors import DaisyError
from core.runs.devices import DeviceError, is_number
from daisy_tui.composing.configs import missing_packages
from daisy_tui.composing.drafts import Draft
from daisy_tui.composing.targets import Machine, Target
from daisy_tui.composing.throughput import Measured, last_measured
from daisy_tui.naming import checkpoint_folder
from daisy_tui.runs.resuming import architecture, check_warm_start

P = ParamSpec("P")
T = TypeVar("T")

_MOST_RANKS = 1024
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Composition:
    """`composed` is the configuration that would be trained, None while `problems` forbid it.

    `shown` is the same, or else what is left without the values that are wrong; `base` is the config's file by itself.
    `followed` are the overrides that the parent checkpoint's architecture makes. `warnings` forbid nothing here.
    """

    draft: Draft
    target: Target | None
    composed: Composed | None = None
    shown: Composed | None = None
    base: Composed | None = None
    followed: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    found: Survey | None = None
    figures: Estimate | None = None
    measured: Measured | None = None

    @property
    def memory_needed(self) -> int | None:
        """Bytes that the run takes of the memory of one device; on a CPU of all ranks together."""
        if self.figures is None or self.target is None:
            return None
        return self.figures.memory.total * (self.target.world_size if self.target.is_cpu else 1)

    @property
    def differences(self) -> list[Difference]:
        """What differs from the config's file by itself."""
        if self.base is None or self.shown is None:
            return []
        return differences(self.base, self.shown)


def compose_draft(draft: Draft, machine: Machine, folder: Path = Path()) -> Composition:
    """Everything there is to say about a draft on a machine; `folder` holds `runs/`.

    What is wrong with the draft or the files it names is in the composition, and raises nothing.
    """
    problems: list[Problem] = []
    target = _target(draft, machine, problems)
    base = _or_problems([], "", compose, draft.config)
    parent, followed = _parent(draft, problems)
    typed = [*followed, *draft.overrides, *([f"init_checkpoint={parent}"] if parent is not None else [])]
    world_size = target.world_size if target is not None else None
    composed = _or_problems(problems, "", compose, draft.config, typed, world_size=world_size)
    problems = [_keyed(_of_parent(problem, followed), draft, base is not None) for problem in problems]
    result = Composition(draft, target, None, composed, base, followed, tuple(problems))
    if composed is None:
        shown, rest = _without_wrong(draft, followed, problems)
        more: list[Problem] = []  # rules between the other values, which nobody looks at while one value is wrong
        _or_problems(more, "", compose, rest.config, [*followed, *rest.overrides], world_size=world_size)
        known = {problem.message for problem in problems}
        problems += [problem for problem in more if problem.message not in known] if shown is not None else []
        return replace(result, shown=shown or base, problems=tuple(problems))
    return _surveyed(result, composed, parent, folder)


def _surveyed(result: Composition, composed: Composed, parent: Path | None, folder: Path) -> Composition:
    """A composition with what its shards and its parent say, and its figures where nothing is wrong."""
    draft, target = result.draft, result.target
    problems = [*result.problems, *missing_packages(composed)]
    found = _or_problems(problems, "train_shards", survey, composed)
    if found is not None and parent is not None:
        insist = draft.value("force") is not None
        _or_problems(problems, "init_checkpoint", check_warm_start, parent, composed.config, found, insist=insist)
    result = replace(result, problems=tuple(problems), warnings=tuple(found.missing) if found else (), found=found)
    if problems or found is None or target is None:
        return result
    figures = estimate(
        composed.config,
        world_size=target.world_size,
        precision=target.precision,
        train_tokens=found.train_tokens,
        document_tokens=found.document_tokens,
    )
    measured = last_measured(composed.config, target.name, folder, devices=target.world_size)
    return replace(result, composed=composed, figures=figures, measured=measured)


def _target(draft: Draft, machine: Machine, problems: list[Problem]) -> Target | None:
    if len(draft.value("name") or "") > _LONGEST_NAME:
        problems.append(Problem("name", f"the name of a run has at most {_LONGEST_NAME} letters"))
    nproc = draft.value("nproc")
    if nproc is not None and not (is_number(nproc) and 1 <= int(nproc) <= _MOST_RANKS):
        problems.append(Problem("nproc", f"-n {nproc}: a whole number from 1 to {_MOST_RANKS}"))
        return None
    try:
        return machine.target(draft.value("devices"), int(nproc) if nproc is not None else None)
    except DeviceError as error:
        problems.append(Problem("nproc" if str(error).startswith("-n") else "devices", str(error)))
        return None


def _parent(draft: Draft, problems: list[Problem]) -> tuple[Path | None, tuple[str, ...]]:
    """The checkpoint that the weights come from, and its architecture as overrides."""
    name = draft.parent
    if name is None:
        return None, ()
    try:
        path = checkpoint_folder(name).resolve()
        return path, tuple(architecture(path))
    except (DaisyError, OSError) as error:
        problems.append(Problem("init_checkpoint", str(error)))
        return None, ()


def _without_wrong(draft: Draft, followed: Sequence[str], problems: list[Problem]) -> tuple[Composed | None, Draft]:
    """What a draft comes to, rules between fields aside, without the values that are wrong, and what is left of it.

    None where nothing can be composed.
    """
    while True:
        problems = [_keyed(problem, draft) for problem in problems]
        composed = _or_problems([], "", compose, draft.config, [*followed, *draft.overrides], rules=False)
        wrong = [key for key in draft.keys if any(_is_about(problem, key) for problem in problems)]
        if composed is not None or not wrong:
            return composed, draft
        draft = draft.without(*wrong)
        problems = []
        _or_problems(problems, "", compose, draft.config, [*followed, *draft.overrides], rules=False)


def _keyed(problem: Problem, draft: Draft, file_is_good: bool = True) -> Problem:
    """A problem with the key that it belongs to: what is wrong with a file or with what was typed may name none."""
    if problem.key:
        return problem
    typed = [key for key, value in draft.touched if f"'{key}={value}'" in problem.message]
    typed += [] if file_is_good else ["config"]
    typed += ["model_spec"] if "model_spec" in draft.keys else []
    return Problem(next(iter(typed), ""), problem.message)


def _of_parent(problem: Problem, followed: Sequence[str]) -> Problem:
    """A problem in words that do not say of the parent's architecture that somebody typed it."""
    message = problem.message
    for override in followed:
        message = message.replace(f"override '{override}'", f"the checkpoint's {override}")
    return Problem(problem.key, message)


def _is_about(problem: Problem, key: str) -> bool:
    return bool(problem.key) and root(problem.key) == root(key)


def root(key: str) -> str:
    """The first word of a key: `optimizers` of `optimizers[0].lr`."""
    return key.partition(".")[0].partition("[")[0]


def _or_problems(
    problems: list[Problem], key: str, work: Callable[P, T], *arguments: P.args, **named: P.kwargs
) -> T | None:
    """What `work` returns; else None, and what it has to say is in `problems`, under `key` where it names none."""
    try:
        return work(*arguments, **named)
    except ConfigError as error:
        problems += error.problems
    except DaisyError as error:
        problems += [Problem(key, line) for line in error.lines]
    except OSError as error:
        problems.append(Problem(key, f"{error.filename or key}: {error.strerror or error}"))
    return None
