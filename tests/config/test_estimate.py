import pytest

from core.config.compose import compose
from core.config.estimate import estimate, flops_per_token
from core.config.model_spec import padded_vocab
from core.config.parameters import parameter_counts, parameters
from core.config.windows import layer_windows, long_window_at, mean_visible_keys


@pytest.mark.parametrize(("window", "document"), [(1, 1), (1, 9), (4, 3), (4, 4), (4, 5), (7, 100), (128, 64)])
def test_mean_visible_keys_counts_the_mask(window: int, document: int) -> None:
    visible = sum(q - k < window for q in range(document) for k in range(q + 1))
    assert mean_visible_keys(window, document) == pytest.approx(visible / document)


@pytest.mark.parametrize(("vocab", "rows"), [(50257, 50304), (4096, 4096), (1, 128), (129, 256)])
def test_the_vocabulary_is_padded_to_tiles(vocab: int, rows: int) -> None:
    assert padded_vocab(vocab) == rows


def test_windows_follow_the_pattern_and_the_last_layer_is_long() -> None:
    spec = compose("demo", ["num_layers=6", "window_pattern=SSL", "attention_window_len=512"]).config
    assert layer_windows(spec) == [256, 256, 512, 256, 256, 512]
    assert layer_windows(spec, long_window=128) == [64, 64, 128, 64, 64, 128]
    assert layer_windows(compose("demo", ["num_layers=5", "window_pattern=LS"]).config)[-1] == 512
    assert layer_windows(spec, long_window=1) == [1] * 6


def test_the_long_window_grows_in_blocks_to_the_full_one() -> None:
    grown = [long_window_at(progress / 100, full=3456, block=128) for progress in range(101)]
    assert grown[0] == 128
    assert grown[-1] == 3456
    assert grown == sorted(grown)
    assert all(window % 128 == 0 for window in grown)
    assert long_window_at(0.0, full=3456, block=128, full_windows=True) == 3456


def test_parameters_of_the_pico_spec_add_up_by_hand() -> None:
    counts = parameter_counts(compose("demo").config)
    layer = 4 * 128 * 128 + 2 * 128 * 4 * 128
    assert counts == {
        "embed_params": 4096 * 128,
        "hidden_matrix_params": 4 * layer,
        "scalar_params": 4 + 4,
        "head_params": 4096 * 128,
    }


def test_optional_parts_add_exactly_their_parameters() -> None:
    plain = sum(parameter_counts(compose("demo").config).values())
    tables = compose(
        "demo", ["value_embeddings=2", "optimizers[1].params[0].group=embed_params", *_value_group()]
    ).config
    assert sum(parameter_counts(tables).values()) - plain == 2 * 4096 * 128 + 4
    skips = compose("demo", ["depth_skips=true", "x0_mixing=false"]).config
    assert sum(parameter_counts(skips).values()) - plain == 2 - 4


def _value_group() -> list[str]:
    groups = ("embed_params", "value_embed_params", "head_params", "scalar_params")
    return [f"optimizers[1].params=[{', '.join(f'{{group: {group}, lr: 0.1}}' for group in groups)}]"]


def test_parameter_names_are_unique() -> None:
    names = [parameter.name for parameter in parameters(compose("pretrain_350m").config)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("pretrain_150m", 145, 155),
        ("pretrain_350m", 345, 357),
        ("pretrain_450m", 445, 460),
        ("pretrain_1.6B", 1580, 1630),
    ],
)
def test_specs_are_named_by_what_a_token_streams(name: str, low: int, high: int) -> None:
    assert low < estimate(compose(name).config).parameters_streamed / 1e6 < high


def test_flops_follow_the_stated_formula() -> None:
    config = compose("demo").config
    matmul = 4 * (4 * 128 * 128 + 8 * 128 * 128) + 4096 * 128
    keys = 3 * mean_visible_keys(256, 1000) + mean_visible_keys(512, 1000)
    assert flops_per_token(config, 1000) == pytest.approx(6 * matmul + 12 * 2 * 64 * keys)


def test_growing_windows_cost_less_than_full_ones() -> None:
    growing = estimate(compose("demo").config)
    full = estimate(compose("demo", ["full_windows=true"]).config)
    assert growing.flops_per_token_mean < growing.flops_per_token
    assert full.flops_per_token_mean == full.flops_per_token == growing.flops_per_token


def test_steps_epochs_and_documents() -> None:
    config = compose("demo", ["target_tokens=10001", "batch_tokens=4096"]).config
    figures = estimate(config, train_tokens=20_002, document_tokens=500)
    assert (figures.steps, figures.epochs, figures.document_tokens) == (3, 0.5, 500)
    unknown = estimate(config)
    assert (unknown.epochs, unknown.train_tokens, unknown.document_tokens) == (None, None, 2048)


def test_memory_by_part_follows_the_stated_formulas() -> None:
    config = compose("demo", ["loss_chunk_tokens=1024"]).config
    counts = parameter_counts(config)
    memory = estimate(config, precision="bf16").memory
    assert memory.parameters == memory.gradients == 4 * sum(counts.values())
    assert memory.optimizer["hidden_matrix_params"] == 4 * counts["hidden_matrix_params"]
    assert memory.optimizer["head_params"] == 8 * counts["head_params"]
    assert memory.activations == 36 * 128 * 4 * 2048
    assert memory.logits == 8 * 1024 * 4096
    assert estimate(config, precision="fp32").memory.activations == 2 * memory.activations


def test_activation_checkpointing_keeps_one_block_and_every_input() -> None:
    config = compose("demo", ["activation_checkpointing=true"]).config
    assert estimate(config, precision="bf16").memory.activations == (36 + 4 * 2) * 128 * 2048


def test_the_checkpoint_holds_weights_and_moments() -> None:
    figures = estimate(compose("demo").config)
    assert figures.checkpoint_bytes == 4 * figures.parameters + sum(figures.memory.optimizer.values())
    assert figures.to_dict()["memory"]["total"] == figures.memory.total
