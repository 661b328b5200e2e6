"""What a draft comes to in words, on which devices, with which schedules, and from where it can begin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from composing_story import CPU, GPUS
from made_checkpoints import write_checkpoint

from core.config.compose import Composed, compose
from core.config.errors import ConfigError
from core.config.schedule import learning_rate_factor
from core.runs.devices import DeviceError
from core.runs.leases import Leases, Wanted, lease_folder
from daisy_tui.composing import effects
from daisy_tui.composing.composition import Composition, compose_draft
from daisy_tui.composing.drafts import Draft
from daisy_tui.composing.optimizer_edits import added, group_rows, missing_groups, moved, removed
from daisy_tui.composing.picks import config_picks, device_picks, draft_for, first_config, spec_picks
from daisy_tui.composing.schedules import learning_rate_shapes, long_windows, token_samples
from daisy_tui.composing.targets import Machine, look_at_machine
from daisy_tui.composing.throughput import note

TOOK = {"peak_memory": 3 << 30, "tokens_per_s": 100.0, "eta_s": 100.0, "checkpoint_bytes": 5 << 20, "time": 0.0}


def made(*overrides: str, machine: Machine = CPU, **options: str) -> Composition:
    draft = Draft.of("small", overrides)
    for key, text in options.items():
        draft = draft.having(key, text)
    return compose_draft(draft, machine)


def test_what_is_composed_needs_no_screen_no_click_and_no_torch() -> None:
    modules = sorted(path.stem for path in Path(effects.__file__).parent.glob("*.py") if path.stem != "__init__")
    probe = f"import sys; from daisy_tui.composing import {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not {"textual", "click", "torch"} & set(done.stdout.split())


# Figures


def test_a_figure_that_nobody_measured_is_not_made_up(workspace: Path) -> None:
    rows = {row.name: row for row in effects.figures(made("batch_tokens=1024"))}
    assert (rows["tokens per step"].estimate, rows["steps"].estimate, rows["steps"].note) == (
        "1,024",
        "10",
        "to 10k tokens",
    )
    assert (rows["tokens/s"].measured, rows["ETA"].measured) == ("-", "-")
    assert rows["epochs"].estimate == "-"


def test_an_eta_says_who_measured_when(workspace: Path) -> None:
    note(compose("small").config, "cpu", workspace, 100.0, now=1000.0)
    rows = {row.name: row for row in effects.figures(made(), now=1000.0 + 3600 * 5)}
    assert (rows["ETA"].measured, rows["tokens/s"].measured, rows["tokens/s"].note) == (
        "1:40",
        "100",
        "preflight, full windows, 5 h ago",
    )
    assert "ETA 1:40" in effects.summary(made())


def test_a_preflight_stands_beside_the_estimate(workspace: Path) -> None:
    rows = {row.name: row for row in effects.figures(made(), TOOK)}
    assert (rows["memory"].measured, rows["ETA"].measured, rows["checkpoint"].measured) == (
        "3.00 GiB",
        "1:40",
        "5.00 MiB",
    )
    assert rows["memory"].estimate != "3.00 GiB"


def test_memory_that_does_not_fit_is_said_with_what_takes_less(workspace: Path) -> None:
    small = Machine(memory={"cpu": 1 << 20})
    fits = effects.fit(made(machine=small))
    assert fits is not None
    assert str(fits).endswith("%: does not fit")
    assert "activation_checkpointing=true" in effects.risks(made(machine=small))[-1]
    assert effects.summary(made(machine=small)).startswith("! ")
    assert str(effects.fit(made(machine=Machine()))).endswith("what the device has is not known")


def test_measured_memory_of_ranks_on_a_cpu_is_added_up(workspace: Path) -> None:
    fits = effects.fit(made(nproc="2"), TOOK)
    assert fits is not None
    assert fits.needed == 6 << 30


def test_the_parts_of_the_memory_add_up(workspace: Path) -> None:
    composition = made()
    assert composition.figures is not None
    assert sum(part for _, part in effects.memory_parts(composition)) == composition.figures.memory.total


def test_details_are_what_the_figures_do_not_say(workspace: Path) -> None:
    assert [name for name, _ in effects.details(made()) if name] == ["by group", "FLOPs per token", "document"]


def test_with_problems_there_are_no_figures_and_the_first_is_named(workspace: Path) -> None:
    broken = made("lr_scale=x")
    assert effects.figures(broken) == effects.memory_parts(broken) == effects.details(broken) == []
    assert effects.fit(broken) is None
    assert effects.summary(broken).startswith("✗ 1 problem: override 'lr_scale=x'")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "just now"), (300, "5 min ago"), (3 * 3600, "3 h ago"), (86_400 * 3, "3 days ago")],
)
def test_how_long_ago_something_was(seconds: float, said: str) -> None:
    assert effects.ago(seconds) == said


# Schedules


def test_schedules_are_those_of_training(compose_text: Callable[..., Composed]) -> None:
    config = compose_text("", "cooldown_frac=0.5", "attention_window_len=512", "training_sequence_length=512").config
    tokens = token_samples(config, 5)
    assert tokens == [0, 2500, 5000, 7500, 10_000]
    shapes = learning_rate_shapes(config, tokens)
    assert shapes["shared"] == [learning_rate_factor("linear_decay", at / 10_000, 0.5) for at in tokens]
    assert shapes["constant"] == [1.0] * 5, "Muon's default"
    assert long_windows(config, tokens) == [128, 128, 256, 384, 512]


def test_only_the_schedules_that_optimizers_have_are_drawn(compose_text: Callable[..., Composed]) -> None:
    config = compose_text("", "optimizers.Muon.schedule=shared").config
    assert list(learning_rate_shapes(config, [0.0])) == ["shared"]


# Devices


def test_devices_are_chosen_as_daisy_train_does() -> None:
    assert GPUS.target(None, None).wanted.among == ("GPU-a",)
    two = GPUS.target("any:2", None)
    assert (two.world_size, two.name, two.precision, two.memory) == (2, "H100", "bf16", 80 << 30)
    cpu = GPUS.target("cpu", 3)
    assert (cpu.world_size, cpu.is_cpu, cpu.precision) == (3, True, "fp32")
    with pytest.raises(DeviceError):
        GPUS.target("7", None)


def test_devices_are_busy_where_too_few_are_free() -> None:
    assert GPUS.busy(Wanted(("GPU-a", "GPU-b"), 1)) == []
    assert GPUS.busy(Wanted(("GPU-b",), 1)) == ["run 20260301-110000-other"]


def test_this_machine_tells_its_memory_and_whose_devices_are(tmp_path: Path) -> None:
    free = look_at_machine()
    assert free.memory["cpu"] > 1 << 28
    assert free.owners == {}
    leases = Leases(lease_folder())
    leases.take(Wanted(("cpu",), 1), {"run": str(tmp_path / "20260301-110000-x"), "pid": os.getpid(), "user": "me"})
    assert look_at_machine().owners == {"cpu": "run 20260301-110000-x"}
    leases.release()


def test_leases_that_cannot_be_read_leave_devices_unowned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DAISY_LEASES", str(tmp_path / "file"))
    assert look_at_machine().owners == {}


def test_devices_to_pick_say_what_they_hold_and_whose_they_are() -> None:
    picks = {pick.value: pick.note for pick in device_picks(GPUS)}
    assert list(picks) == ["null", "0", "1", "any:1", "any:2", "cpu"]
    assert picks["0"] == "H100, 80.00 GiB, free"
    assert picks["1"].endswith("run 20260301-110000-other")


# Where a draft begins


def test_configs_and_specs_to_pick_include_broken_ones(workspace: Path) -> None:
    (workspace / "configs/broken.yml").write_text("a: [")
    (workspace / "model_specs/broken.yml").write_text("a: [")
    for picks in (config_picks(), spec_picks()):
        broken = next(pick for pick in picks if pick.value == "broken")
        assert broken.wrong
        assert "not valid YAML" in broken.note
    assert "10k tokens, configs/small.yml" in next(pick.note for pick in config_picks() if pick.value == "small")


def test_it_begins_with_the_config_that_was_changed_last_or_the_demo(workspace: Path) -> None:
    (workspace / "configs/newer.yml").write_text("x: 1")
    os.utime(workspace / "configs/small.yml", (1, 1))
    assert first_config() == "newer"
    for path in (workspace / "configs").iterdir():
        path.unlink()
    assert first_config() == "demo"


def test_a_parent_brings_the_config_of_its_run(workspace: Path) -> None:
    run = workspace / "runs/20260301-110000-x"
    checkpoint = write_checkpoint(run / "checkpoints/step_000000007")
    (run / "config.yaml").write_text("seed: 1")
    draft = draft_for(None, [], checkpoint, workspace)
    assert (draft.config, draft.parent) == (
        "runs/20260301-110000-x/config.yaml",
        str(checkpoint.relative_to(workspace)),
    )
    (run / "run.json").write_text(json.dumps({"config": "configs/small.yml"}))
    assert draft_for(None, [], checkpoint, workspace).config == "configs/small.yml"
    assert draft_for("demo", ["seed=3"], checkpoint, workspace).config == "demo"


def test_a_parent_elsewhere_is_named_whole(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("there") / "step_000000007"
    assert draft_for("demo", [], elsewhere, workspace).parent == str(elsewhere)


# Optimizers


@pytest.fixture
def small(compose_text: Callable[..., Composed]) -> Composed:
    return compose_text(
        "optimizers:\n"
        "  - {type: Muon, params: [{group: hidden_matrix_params, lr: 0.02}]}\n"
        "  - type: AdamW\n"
        "    params:\n"
        "      - {group: embed_params, lr: 0.3}\n"
        "      - {group: head_params, lr: 0.01}\n"
        "      - {group: scalar_params, lr: 0.1}\n"
    )


def groups(text: str | None, *more: str) -> dict[str, list[str]]:
    """The groups by optimizer of the config `small` with these optimizers."""
    assert text is not None
    config = compose("small", [*more, f"optimizers={text}"], rules=False).config
    return {optimizer.type: [entry.group for entry in optimizer.params] for optimizer in config.optimizers}


def test_the_table_has_a_row_for_each_group_and_names_what_is_typed(small: Composed) -> None:
    rows = group_rows(small)
    assert [(row.group, row.type) for row in rows][:2] == [("hidden_matrix_params", "Muon"), ("embed_params", "AdamW")]
    assert rows[0].cells["lr"].key == "optimizers.Muon.hidden_matrix_params.lr"
    assert rows[1].cells["betas"].text == "[0.8, 0.95]"
    assert rows[1].cells["momentum"].key is None, "AdamW has none"
    for row in rows:
        for cell in row.cells.values():
            if cell.key is not None:
                compose("small", [f"{cell.key}={cell.text}"])


def test_a_group_moves_to_the_other_optimizer_where_that_can_have_it(small: Composed) -> None:
    config = small.config
    assert groups(moved(config, "hidden_matrix_params")) == {
        "AdamW": ["embed_params", "head_params", "scalar_params", "hidden_matrix_params"]
    }
    assert moved(config, "head_params") is None
    back = compose("small", [f"optimizers={moved(config, 'hidden_matrix_params')}"]).config
    assert groups(moved(back, "hidden_matrix_params"))["Muon"] == ["hidden_matrix_params"]


def test_a_group_that_a_new_key_brings_can_be_added(small: Composed) -> None:
    config = compose("small", ["value_embeddings=1"], rules=False).config
    assert missing_groups(config) == ["value_embed_params"]
    assert "value_embed_params" in groups(added(config, "value_embed_params"), "value_embeddings=1")["AdamW"]


def test_groups_are_removed_but_the_last(small: Composed) -> None:
    assert groups(removed(small.config, "hidden_matrix_params")) == {
        "AdamW": ["embed_params", "head_params", "scalar_params"]
    }
    alone: Any = compose("small", ["optimizers=[{type: AdamW, params: [{group: head_params, lr: 1}]}]"], rules=False)
    assert removed(alone.config, "head_params") is None


def test_without_rules_what_breaks_them_is_composed_all_the_same(workspace: Path) -> None:
    assert compose("small", ["num_heads=3"], rules=False).config.num_heads == 3
    with pytest.raises(ConfigError, match="expected a number"):
        compose("small", ["lr_scale=x"], rules=False)
