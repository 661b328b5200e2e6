"""The model against a naive fp64 version of itself, its cache, and the estimate's list of parameters."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from core.config.model_spec import ModelSpec
from core.config.parameters import parameters
from core.config.windows import layer_windows
from core.model.attention import reference_attention
from core.model.block import norm
from core.model.cache import Rows
from core.model.daisy_core import DaisyCore, initialize
from core.model.rotary import rotate, rotation
from core.model.visibility import document_starts

PLAIN = ModelSpec(
    num_layers=4,
    num_heads=2,
    head_dim=8,
    model_dim=16,
    vocab_size=100,
    eos_token_id=99,
    max_seq_len=256,
    attention_window_len=16,
    x0_mixing=False,
)
FULL = PLAIN.model_copy(update={"x0_mixing": True, "depth_skips": True, "value_embeddings": 1, "num_layers": 5})
SPECS = {"plain": PLAIN, "every option": FULL}


def _model(spec: ModelSpec, dtype: torch.dtype = torch.float32) -> DaisyCore:
    """A model whose every parameter counts: what is initialised to zero is set to something."""
    model = DaisyCore(spec, compute_dtype=dtype).to(dtype)
    initialize(model, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator).to(dtype))
    return model


def _tokens(time: int, batch: int = 1) -> Tensor:
    return torch.randint(0, 100, (batch, time), generator=torch.Generator().manual_seed(time))


def _naive(model: DaisyCore, tokens: Tensor, documents: Tensor) -> Tensor:
    """The model as its description says it, with the T x T reference attention."""
    spec, gates, windows = model.spec, model.gates, layer_windows(model.spec)
    starts = document_starts(documents)
    cos, sin = rotation(torch.arange(tokens.shape[1]), spec.head_dim, spec.rope_theta)
    x = x0 = norm(model.embed(tokens))
    outputs: list[Tensor] = []
    k = spec.value_embeddings
    for layer, block in enumerate(model.blocks):
        if gates.skip is not None and layer >= spec.num_layers - spec.num_layers // 2:
            mirror = spec.num_layers - 1 - layer
            x = x + gates.skip[mirror] * outputs[mirror]
        x = gates.residual[layer] * x
        if gates.x0 is not None:
            x = x + gates.x0[layer] * x0
        h, shape = norm(x), (*tokens.shape, spec.num_heads, spec.head_dim)
        wq, wk, wv, wo = block.attention.qkvo
        query, key, value = (h @ wq.T).view(shape), (h @ wk.T).view(shape), (h @ wv.T).view(shape)
        if gates.value is not None and (layer < k or layer >= spec.num_layers - k):
            table = layer if layer < k else layer - (spec.num_layers - k)
            gate = gates.value[layer if layer < k else k + table]
            value = value + gate * model.value_embeds[table](tokens).view(shape)
        query, key = rotate(norm(query), cos, sin), rotate(norm(key), cos, sin)
        y = reference_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), starts, windows[layer]
        )
        x = x + y.transpose(1, 2).reshape((*h.shape[:2], -1)) @ wo
        x = x + norm(x).matmul(block.feedforward.up.T).relu().square() @ block.feedforward.down
        outputs.append(x)
    logits = norm(x) @ model.head.weight.T
    return spec.logit_softcap * (logits / spec.logit_softcap).tanh()[..., : spec.vocab_size]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("time", [1, 15, 16, 17, 70])
def test_forward_is_the_naive_model(spec: ModelSpec, time: int) -> None:
    model = _model(spec)
    documents = (torch.arange(time) // 23)[None]
    exact = _model(spec).double()
    reference = _naive(exact, _tokens(time), documents)
    torch.testing.assert_close(model(_tokens(time), documents).double(), reference, atol=1e-4, rtol=0)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_decode_equals_forward_beyond_several_windows(spec: ModelSpec) -> None:
    model, tokens = _model(spec), _tokens(90, batch=2)
    whole = model(tokens)
    cache = model.new_cache(slots=2)
    steps = [model(tokens[:, t : t + 1], cache=cache, rows=Rows(torch.tensor([t, t]))) for t in range(90)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-4, rtol=0)
    assert whole.abs().max() > 1  # logits that say something


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("slots", [[3, 0, 2], None])
def test_rows_of_different_lengths_do_not_know_of_each_other(spec: ModelSpec, slots: list[int] | None) -> None:
    model, tokens = _model(spec), _tokens(90, batch=3)
    whole, lengths = model(tokens), [40, 1, 17]
    cache = model.new_cache(slots=4)
    for layer in cache.layers:
        layer.keys.fill_(3.0)  # of whoever had the slot before
        layer.values.fill_(1e3)
    for row, (slot, length) in enumerate(zip(slots or [0, 1, 2], lengths, strict=True)):
        rows = Rows(torch.tensor([0]), torch.tensor([slot]))
        model(tokens[row : row + 1, :length], cache=cache, rows=rows)
    for step in range(50):
        positions = torch.tensor(lengths) + step
        rows = Rows(positions, None if slots is None else torch.tensor(slots))
        logits = model(tokens[torch.arange(3), positions][:, None], cache=cache, rows=rows)
        torch.testing.assert_close(logits[:, 0], whole[torch.arange(3), positions], atol=1e-4, rtol=0)


def test_a_window_may_grow_up_to_its_ring_and_what_was_kept_is_seen() -> None:
    model, tokens = _model(PLAIN), _tokens(60)
    cache = model.new_cache(windows=[4, 4, 4, 8], rings=[8, 8, 8, 16])
    rows = Rows(torch.tensor([0]))
    narrow = model(tokens[:, :40], cache=cache, rows=rows)
    torch.testing.assert_close(narrow, model(tokens[:, :40], windows=[4, 4, 4, 8]), atol=1e-4, rtol=0)
    layer = cache.layers[0]
    cache.set_windows([8, 8, 8, 1000])
    assert [layer.window for layer in cache.layers] == [8, 8, 8, 16]
    query = Rows(torch.tensor([40]))
    assert int(layer.visible(query, 8).sum()) == 8
    layer.window = 3
    places = layer.visible(query, 8)[0].nonzero().flatten().tolist()
    assert places == sorted(p % 8 for p in (38, 39, 40))


@pytest.mark.parametrize("chunks", [[90], [50, 40], [1, 3, 16, 17, 53], [7] * 12 + [6]])
def test_prefill_in_any_chunks_equals_forward(chunks: list[int]) -> None:
    model, tokens = _model(FULL), _tokens(90)
    cache = model.new_cache()
    begins = [sum(chunks[:index]) for index in range(len(chunks))]
    parts = [
        model(part, cache=cache, rows=Rows(torch.tensor([begin])))
        for begin, part in zip(begins, tokens.split(chunks, dim=1), strict=True)
    ]
    torch.testing.assert_close(torch.cat(parts, 1), model(tokens), atol=1e-4, rtol=0)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_last_position_alone_is_that_of_all_and_leaves_the_same_cache(spec: ModelSpec) -> None:
    model, tokens = _model(spec), _tokens(70, batch=2)
    caches = model.new_cache(slots=2), model.new_cache(slots=2)
    for begin, end in ((0, 33), (33, 34), (34, 70)):
        rows = Rows(torch.tensor([begin, begin]))
        whole = model.hidden(tokens[:, begin:end], cache=caches[0], rows=rows)
        last = model.hidden(tokens[:, begin:end], cache=caches[1], rows=rows, last_only=True)
        torch.testing.assert_close(last, whole[:, -1:], atol=1e-5, rtol=0)
    for one, other in zip(*(cache.layers for cache in caches), strict=True):
        torch.testing.assert_close(one.keys, other.keys, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.values, other.values, atol=1e-5, rtol=0)


def test_the_cache_is_as_long_as_each_layers_window() -> None:
    cache = DaisyCore(PLAIN).new_cache(slots=3)
    assert [layer.keys.shape[2] for layer in cache.layers] == layer_windows(PLAIN) == [8, 8, 8, 16]


def test_windows_in_force_are_those_given() -> None:
    model, tokens = _model(PLAIN), _tokens(40)
    narrow = model(tokens, windows=[4, 4, 4, 8])
    assert not torch.allclose(narrow, model(tokens))
    cache = model.new_cache(windows=[4, 4, 4, 8])
    torch.testing.assert_close(model(tokens, cache=cache, rows=Rows(torch.tensor([0]))), narrow, atol=1e-4, rtol=0)


def test_a_later_token_or_another_document_changes_nothing_earlier() -> None:
    model, tokens = _model(FULL), _tokens(60)
    documents = (torch.arange(60) // 30)[None]
    changed = tokens.clone()
    changed[0, 45] = (changed[0, 45] + 1) % 100
    before, after = model(tokens, documents), model(changed, documents)
    assert torch.equal(before[0, :45], after[0, :45])
    assert not torch.equal(before[0, 45:], after[0, 45:])
    changed = tokens.clone()
    changed[0, 29] = (changed[0, 29] + 1) % 100
    assert torch.equal(model(tokens, documents)[0, 30:], model(changed, documents)[0, 30:])


def test_parameters_are_those_of_the_estimate_name_by_name() -> None:
    for spec in SPECS.values():
        planned = {parameter.name: parameter.shape for parameter in parameters(spec)}
        assert {name: tuple(p.shape) for name, p in DaisyCore(spec).named_parameters()} == planned


def test_no_logit_of_the_padding_is_ever_seen_nor_trained() -> None:
    model = _model(PLAIN)
    with torch.no_grad():
        model.head.weight[100:] = 1000.0
        model.embed.weight[100:] = float("nan")
    logits = model(_tokens(20))
    assert logits.shape[-1] == 100
    assert logits.isfinite().all()
    logits.logsumexp(-1).sum().backward()
    assert model.head.weight.grad is not None
    assert (model.head.weight.grad[100:] == 0).all()


def test_logits_are_capped() -> None:
    model = _model(PLAIN)
    with torch.no_grad():
        model.head.weight.mul_(1e4)
    assert model(_tokens(9)).abs().max() <= PLAIN.logit_softcap


def test_a_fresh_model_knows_nothing() -> None:
    model = DaisyCore(FULL)
    initialize(model, seed=3)
    loss = torch.nn.functional.cross_entropy(model(_tokens(30))[0], _tokens(30)[0])
    assert loss.item() == pytest.approx(math.log(100), abs=1e-6)


def test_one_seed_gives_one_model_and_another_another() -> None:
    def weights(seed: int) -> Tensor:
        model = DaisyCore(FULL)
        initialize(model, seed)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_activation_checkpointing_changes_no_gradient() -> None:
    tokens = _tokens(40)
    gradients = []
    for spec in (FULL, FULL.model_copy(update={"activation_checkpointing": True})):
        model = _model(spec)
        model(tokens).logsumexp(-1).sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_every_parameter_of_a_trained_model_has_a_gradient() -> None:
    model = _model(FULL)
    model(_tokens(40)).logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
