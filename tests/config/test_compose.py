from collections.abc import Callable
from pathlib import Path

import pytest

from core.config.compose import Composed, compose, load_spec
from core.config.errors import ConfigError
from core.config.files import list_files

ComposeText = Callable[..., Composed]

README_SPEC = """\
model_class: models.daisy.daisy_core.DaisyCore
eos_token_id: 50256
vocab_size: 50257
num_layers: 24
num_heads: 16
head_dim: 64
model_dim: 1024
attention_window_len: 3456
max_seq_len: 65536
"""


def _source(composed: Composed, key: str) -> tuple[str, str | None, int | None]:
    source = composed.values[key].source
    return source.layer, source.file, source.line


def test_overrides_win_over_config_over_spec_over_defaults(compose_text: ComposeText) -> None:
    composed = compose_text("num_layers: 3\nseed: 7\n", "seed=8")
    assert composed.config.seed == 8
    assert composed.config.num_layers == 3
    assert composed.config.num_heads == 2
    assert composed.config.log_every_steps == 10


def test_every_value_knows_its_layer_file_and_line(compose_text: ComposeText) -> None:
    composed = compose_text("# a comment\n\nseed: 7\n", "cooldown_frac=0.5")
    assert _source(composed, "seed") == ("config", "configs/small.yml", 7)
    assert _source(composed, "model_dim") == ("spec", "model_specs/tiny.yml", 5)
    assert _source(composed, "cooldown_frac") == ("override", None, None)
    assert _source(composed, "log_every_steps") == ("default", None, None)


def test_values_inside_optimizers_have_their_own_lines(compose_text: ComposeText) -> None:
    text = """\
optimizers:
  - type: Muon
    params:
      - group: hidden_matrix_params
        lr: 0.1
  - type: AdamW
    params: [{group: embed_params, lr: 1}, {group: head_params, lr: 1}, {group: scalar_params, lr: 1}]
"""
    composed = compose_text(text, "optimizers.AdamW.head_params.lr=0.3")
    assert _source(composed, "optimizers[0].params[0].lr") == ("config", "configs/small.yml", 9)
    assert _source(composed, "optimizers[1].params[0].lr") == ("config", "configs/small.yml", 11)
    assert _source(composed, "optimizers[1].params[1].lr")[0] == "override"
    assert _source(composed, "optimizers[1].eps")[0] == "default"
    assert composed.config.optimizers[1].params[1].lr == 0.3


def test_defaults_can_be_reached_into(compose_text: ComposeText) -> None:
    composed = compose_text("", "optimizers.Muon.hidden_matrix_params.lr=0.5", "optimizers[1].betas[1]=0.99")
    assert composed.config.optimizers[0].params[0].lr == 0.5
    assert composed.values["optimizers[1].betas"].value == [0.8, 0.99]
    assert _source(composed, "optimizers[1].betas")[0] == "override"


@pytest.mark.parametrize("typed", ["1e-3", "0.001", "1.0e-3"])
def test_a_number_without_a_dot_is_a_number(compose_text: ComposeText, typed: str) -> None:
    assert compose_text(f"lr_scale: {typed}\n").config.lr_scale == 0.001
    assert compose_text("", f"lr_scale={typed}").config.lr_scale == 0.001


def test_text_stays_what_was_typed(compose_text: ComposeText) -> None:
    composed = compose_text("wandb_run_name: 007\ntags: [no, 1e3, 2024-01-01]\n")
    assert composed.config.wandb_run_name == "007"
    assert composed.config.tags == ["no", "1e3", "2024-01-01"]


def test_validation_sets_may_be_one_many_or_named(compose_text: ComposeText) -> None:
    assert compose_text("val_shards: a.bin\n").config.val_shards == {"val": ["a.bin"]}
    assert compose_text("val_shards: [a.bin, b.bin]\n").config.val_shards == {"val": ["a.bin", "b.bin"]}
    named = compose_text("val_shards: {web: w.bin}\n", "val_shards.books=[b.bin, c.bin]").config.val_shards
    assert named == {"web": ["w.bin"], "books": ["b.bin", "c.bin"]}


def test_the_readme_spec_loads_verbatim(workspace: Path) -> None:
    path = workspace / "model_specs/daisy_350m.yml"
    path.write_text(README_SPEC)
    spec = load_spec(path)
    assert (spec.model_class, spec.num_layers, spec.attention_window_len) == ("DaisyCore", 24, 3456)


def test_a_config_may_carry_the_spec_itself(workspace: Path) -> None:
    spec = (workspace / "model_specs/tiny.yml").read_text()
    config = (workspace / "configs/small.yml").read_text().replace("model_spec: tiny\n", "")
    (workspace / "whole.yml").write_text(spec + config)
    assert compose("whole.yml").config.model_spec is None


def test_another_spec_can_be_chosen_on_the_command_line(workspace: Path) -> None:
    spec = (workspace / "model_specs/tiny.yml").read_text()
    (workspace / "other.yml").write_text(spec.replace("num_layers: 2", "num_layers: 5"))
    assert compose("small", ["model_spec=other.yml"]).config.num_layers == 5


def test_the_batch_is_checked_against_the_number_of_devices(workspace: Path) -> None:
    assert compose("small", ["batch_tokens=1024"], world_size=4).config.tokens_per_step(4) == 1024
    with pytest.raises(ConfigError, match="on 8 devices; the nearest are 2048"):
        compose("small", ["batch_tokens=1024"], world_size=8)


def test_tokens_per_step_counts_accumulation_and_devices(workspace: Path) -> None:
    config = compose("small", ["grad_acc_steps=3"]).config
    assert config.tokens_per_step(4) == 256 * 3 * 4


# Every kind of bad input: what is typed or written, and what the one line must say.
BAD_OVERRIDES = [
    ("num_layer=3", "unknown key 'num_layer'; did you mean 'num_layers'?"),
    ("optimizers[0].momentun=0.9", "unknown key 'momentun'; did you mean 'momentum'?"),
    ("num_layers=many", "num_layers: expected a whole number, such as"),
    ("num_layers=2.5", "expected a whole number"),
    ("num_layers=1e400", "expected a whole number"),
    ("num_layers=[1]", "got a list (1 entries)"),
    ("num_layers=0", "must be at least 1; got '0'"),
    ("cooldown_frac=1.5", "must be at most 1; got '1.5'"),
    ("lr_scale=0", "must be greater than 0; got '0'"),
    ("lr_scale=nan", "expected a number"),
    ("full_windows=maybe", "expected true or false; got 'maybe'"),
    ("learning_rate_schedule=cosine", "expected 'linear_decay', 'linear_warmup_cosine_decay' or"),
    ("wandb_project={a: b}", "expected text; got a mapping (a)"),
    ("tags=a", "expected a list [...]; got 'a'"),
    ("model_class=GPT2", "the model class must be DaisyCore"),
    ("head_dim=7", "must be a multiple of 2"),
    ("window_pattern=SXL", "must match ^[LS]+$"),
    ("train_shards=null", "expected a glob such as"),
    ("train_shards=[]", "expected a glob such as"),
    ("val_shards={a b: x}", "'a b' cannot name a validation set"),
    ("model_spec=giant", "model spec 'giant' does not exist; known: daisy_1.6B, daisy_150m"),
    ("window_block_size=96", "does not divide attention_window_len 128 or training_sequence_length 256; 64 divides"),
    ("attention_window_len=200", "does not divide attention_window_len 200; the nearest multiples are 128 and 256"),
    ("attention_window_len=2048", "longer than max_seq_len 1024"),
    ("num_heads=3", "num_heads=2 or model_dim=24 would fit"),
    ("eos_token_id=300", "outside the vocabulary (0 to 299)"),
    ("value_embeddings=2", "needs 4 layers, but num_layers is 2; at most 1 fits"),
    ("batch_tokens=300", "the nearest are 256 and 512"),
    ("optimizers[1].params[0].group=head_params", "parameter group head_params is named twice"),
    ("optimizers[0].params[0].group=head_params", "no optimizer names hidden_matrix_params"),
    ("optimizers[1].params[0].group=body_params", "expected 'embed_params'"),
    ("optimizers[1].betas=[0.9, 1]", "a decay rate lies in [0, 1); got 1.0"),
    ("optimizers=[{type: SGD}]", "unknown optimizer type 'SGD'"),
    ("optimizers=[{params: []}]", "an optimizer needs `type: Muon` or `type: AdamW`"),
    ("optimizers=[{type: Muon}]", "'params' is missing"),
    ("optimizers[0]=fast", "expected a mapping"),
    ("optimizers[4].momentum=0.9", "optimizers has 2 entries, so [4] is out of range"),
    ("tags=[a", "not valid YAML"),
]


@pytest.mark.parametrize(("typed", "said"), BAD_OVERRIDES, ids=[typed for typed, _ in BAD_OVERRIDES])
def test_a_bad_override_is_named_with_what_would_work(compose_text: ComposeText, typed: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_text("", typed)
    assert said in str(caught.value)
    # One of the lines quotes what was typed; none is a traceback or runs over several lines.
    assert any(f"override '{typed}'" in problem.message for problem in caught.value.problems)
    assert len(str(caught.value).splitlines()) == len(caught.value.problems)


BAD_LINES = [
    ("colour: red\n", "configs/small.yml:5: unknown key 'colour'"),
    ("seed: x\n", "configs/small.yml:5: seed: expected a whole number"),
    ("seed: 1\nseed: 2\n", "configs/small.yml:6:1: duplicate key 'seed', first given on line 5"),
    (
        "optimizers:\n  - {type: Muon, type: AdamW}\n",
        "configs/small.yml:6:18: duplicate key 'type', first given on line 6",
    ),
    ("tags: [a\n", "configs/small.yml:6:1: not valid YAML"),
    ("\tseed: 1\n", "configs/small.yml:5:1: not valid YAML"),
    ("seed: &x 1\nlog_every_steps: *x\n", "configs/small.yml:6:18: aliases (*name) are not supported"),
    (
        "tags: !!python/object:os.system [a]\n",
        "configs/small.yml:5:7: tags (tag:yaml.org,2002:python/object:os.system)",
    ),
    ("? [a, b]\n: 1\n", "configs/small.yml:5:3: a key must be a word"),
    ("window_block_size: 96\n", "configs/small.yml:5: window_block_size 96 does not divide"),
]


@pytest.mark.parametrize(("text", "said"), BAD_LINES, ids=[said for _, said in BAD_LINES])
def test_a_bad_line_is_named_by_file_and_line(compose_text: ComposeText, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_text(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no keys; begin with a line such as"),
        (b"- a\n- b\n", "expected `key: value` lines, found a list"),
        (b"\xff\xfe\x00", "not a text file (byte 0 is not UTF-8)"),
        (b"a: \x00\n", "not valid YAML"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_config_says_so_in_one_line(workspace: Path, content: bytes, said: str) -> None:
    (workspace / "configs/small.yml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        compose("small")
    assert said in str(caught.value)
    assert all("configs/small.yml" in line for line in str(caught.value).splitlines())


def test_missing_keys_are_told_together_with_where_they_may_come_from(workspace: Path) -> None:
    (workspace / "bare.yml").write_text("seed: 1\n")
    with pytest.raises(ConfigError) as caught:
        compose("bare.yml")
    spec, training = str(caught.value).splitlines()
    assert spec.startswith("bare.yml: required and given nowhere: num_layers, num_heads,")
    assert "name a model_spec" in spec
    assert training.startswith("bare.yml: required and given nowhere: train_shards, training_sequence_length,")


def test_a_replaced_list_has_the_source_of_what_replaced_it(compose_text: ComposeText) -> None:
    groups = ", ".join(f"{{group: {group}_params, lr: 1}}" for group in ("embed", "head", "scalar", "hidden_matrix"))
    composed = compose_text("", f"optimizers=[{{type: AdamW, params: [{groups}]}}]")
    assert _source(composed, "optimizers[0].params[0].lr")[0] == "override"
    assert _source(composed, "optimizers[0].eps")[0] == "default"
    with pytest.raises(ConfigError, match=r"^override 'optimizers=.*no optimizer names hidden_matrix_params"):
        compose_text("", "optimizers=[{type: AdamW, params: [{group: embed_params, lr: 1}]}]")


def test_a_training_key_in_a_spec_is_sent_to_the_config(workspace: Path) -> None:
    with (workspace / "model_specs/tiny.yml").open("a") as file:
        file.write("target_tokens: 5\n")
    with pytest.raises(ConfigError, match=r"tiny.yml:10: 'target_tokens' is a training key; it belongs in a config"):
        compose("small")


def test_a_rule_names_every_place_its_values_come_from(compose_text: ComposeText) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_text("", "num_heads=4")
    assert str(caught.value).startswith("override 'num_heads=4': num_heads * head_dim is 4 * 8 = 32")
    assert "model_dim is from model_specs/tiny.yml:5" in str(caught.value)


def test_several_problems_are_told_at_once(compose_text: ComposeText) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_text("seed: x\n", "num_layers=y")
    assert sorted(problem.key for problem in caught.value.problems) == ["num_layers", "seed"]


def test_an_empty_group_may_be_named_but_a_full_one_must_be(compose_text: ComposeText) -> None:
    assert compose_text("value_embeddings: 0\n").config  # the defaults name value_embed_params
    without = (
        "optimizers: [{type: Muon, params: [{group: hidden_matrix_params, lr: 1}]}, {type: AdamW, params: [%s]}]\n"
    )
    rest = ", ".join(f"{{group: {group}_params, lr: 1}}" for group in ("embed", "head", "scalar"))
    assert compose_text(without % rest).config
    with pytest.raises(ConfigError, match="no optimizer names value_embed_params"):
        compose_text(without % rest, "value_embeddings=1")


@pytest.mark.parametrize("name", sorted(list_files("config")))
def test_shipped_configs_compose(name: str) -> None:
    composed = compose(name)
    assert composed.spec_path is not None
    assert composed.config.tokens_per_step() > 0


@pytest.mark.parametrize("name", ["demo", "debug", "pretrain_150m", "pretrain_350m", "pretrain_450m", "pretrain_1.6B"])
def test_the_promised_configs_are_shipped(name: str) -> None:
    assert name in list_files("config")


@pytest.mark.parametrize("name", ["daisy_pico", "daisy_150m", "daisy_350m", "daisy_450m", "daisy_1.6B"])
def test_the_promised_specs_are_shipped(name: str) -> None:
    assert load_spec(list_files("spec")[name])


def test_the_shipped_350m_spec_is_the_readme_example_and_more() -> None:
    text = list_files("spec")["daisy_350m"].read_text()
    assert all(line in text.splitlines() for line in README_SPEC.splitlines())
