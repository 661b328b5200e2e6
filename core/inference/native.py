"""A decode step in compiled C (native.c), for few rows on a CPU, where a token costs what its weights take to read.

The plain model is what it must agree with and what runs where there is no compiler. The library is built at first use
with the machine's own compiler, for its own processor, and kept in a cache folder. Rejected: shipping binaries (one a
platform, none of them made for the machine at hand); torch's C++ extensions (they need ninja and a minute);
torch.compile (36 s for 12 layers of 768, for 1.7 times the speed of plain torch; this is 2.7 to 3.4 times).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from ctypes import POINTER, Structure, c_float, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from core.errors import DaisyError
from core.model.cache import KVCache
from core.model.daisy_core import DaisyCore
from core.model.rotary import rotation

Weights = Literal["float32", "bfloat16", "int8"]
_KINDS: dict[Weights, int] = {"float32": 0, "bfloat16": 1, "int8": 2}

_SOURCE = Path(__file__).with_name("native.c")
_COMPILERS = ("gcc", "cc", "clang")
_FLAGS = ("-std=gnu11", "-O3", "-fopenmp", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC")
# Some compilers know no "native" on some processors; without it they still make a library that works.
_TARGETS = (("-march=native",), ())
_DIGEST = hashlib.sha256


class NativeError(DaisyError):
    """No compiled step on this machine or for this model. The plain model does the same, slower."""


class NativeStep:
    """Decode steps of a model on a CPU by compiled code, over the model's own cache.

    fp32 weights are read where they lie. bfloat16 and int8 (symmetric, a scale for each row of a matrix as it is
    stored) are copies, made here and by `refresh`; embeddings, of which a token reads one row, stay fp32. Sums are
    fp32 in all three. For one caller at a time; torch.get_num_threads() threads.

    Raises NativeError where there is no compiler, it fails, or the model does not compute in fp32 on a CPU.
    """

    def __init__(self, model: DaisyCore, cache: KVCache, *, weights: Weights = "float32") -> None:
        tensors = [*model.parameters(), *(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))]
        if model.compute_dtype != torch.float32 or any(t.dtype != torch.float32 or not t.is_cpu for t in tensors):
            raise NativeError("the compiled step is for models whose weights and cache are float32 on a CPU")
        if not all(tensor.is_contiguous() for tensor in tensors):
            raise NativeError("the compiled step reads weights and caches where they lie: they must be contiguous")
        self._model, self._cache, self._weights = model, cache, weights
        self._library = load_library()
        self._workspace = torch.empty(0, dtype=torch.uint8)  # torch aligns it to a cache line
        self._held: list[object] = []
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Look at the model and its cache again, after weights or windows were changed in place."""
        model, spec, gates = self._model, self._model.spec, self._model.gates
        parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
        self._held = []  # what the structures point to, kept alive; the old copies go before the new are made
        skips = 0 if gates.skip is None else len(gates.skip)
        layers = (_Layer * spec.num_layers)()
        for index, cached in enumerate(self._cache.layers):
            layer, block = layers[index], f"blocks.{index}"
            qkvo = parameters[f"{block}.attention.qkvo"]
            layer.qkv, layer.out = self._matrix(qkvo[:3].flatten(0, 1)), self._matrix(qkvo[3])
            layer.up = self._matrix(parameters[f"{block}.feedforward.up"])
            layer.down = self._matrix(parameters[f"{block}.feedforward.down"])
            layer.keys, layer.values = self._pointer(cached.keys), self._pointer(cached.values)
            layer.ring, layer.window = cached.ring, cached.window
            layer.residual = gates.residual[index].item()
            layer.x0 = 0.0 if gates.x0 is None else gates.x0[index].item()
            mirror = spec.num_layers - 1 - index
            layer.skip_from = mirror if mirror < skips else -1
            layer.skip = 0.0 if gates.skip is None or mirror >= skips else gates.skip[mirror].item()
            tables = spec.value_embeddings
            if gates.value is not None and (index < tables or mirror < tables):
                table = index if index < tables else tables - 1 - mirror
                layer.value_table = self._pointer(parameters[f"value_embeds.{table}.weight"])
                layer.value = gates.value[table if index < tables else tables + table].item()
        self._held.append(layers)
        self._structure = _Model(
            layers=spec.num_layers,
            heads=spec.num_heads,
            head_dim=spec.head_dim,
            dim=spec.model_dim,
            hidden=spec.mlp_ratio * spec.model_dim,
            vocabulary=spec.vocab_size,
            kind=_KINDS[self._weights],
            skips=skips,
            embed=self._pointer(parameters["embed.weight"]),
            head=self._matrix(parameters["head.weight"][: spec.vocab_size]),
            layer=ctypes.cast(layers, c_void_p),
            softcap=spec.logit_softcap,
        )

    def __call__(self, tokens: list[int], slots: list[int], positions: list[int]) -> Tensor:
        """Soft-capped logits (rows, vocab_size) fp32 of one more token for each of the slots, which differ.

        The same as `model(tokens[:, None], cache=cache, rows=Rows(positions, slots))[:, 0]`, keys and values stored
        alike; what a row gives does not depend on the others, bit for bit. Raises IndexError for what is out of range.
        """
        spec, rows = self._model.spec, len(tokens)
        _check("token", tokens, spec.vocab_size, rows)
        _check("slot", slots, self._cache.slots, rows)
        _check("position", positions, 2**31, rows)
        if len(set(slots)) < rows:
            raise IndexError(f"two rows have the same slot: {slots}")
        logits = torch.empty(rows, spec.vocab_size)
        if not rows:
            return logits
        places = torch.tensor([tokens, slots, positions])
        cos, sin = rotation(places[2], spec.head_dim, spec.rope_theta)
        threads = torch.get_num_threads()
        needed = self._library.daisy_workspace(self._structure, rows, threads)
        if len(self._workspace) < needed:
            self._workspace = torch.empty(needed, dtype=torch.uint8)
        self._library.daisy_step(
            self._structure,
            rows,
            *(row.data_ptr() for row in places),
            *(tensor.data_ptr() for tensor in (cos, sin, self._workspace, logits)),
            threads,
        )
        return logits

    def _pointer(self, tensor: Tensor) -> int:
        self._held.append(tensor)
        return tensor.data_ptr()

    def _matrix(self, matrix: Tensor) -> _Matrix:
        """The matrix as this step reads it: itself, or a copy that is smaller."""
        if self._weights == "float32":
            return _Matrix(self._pointer(matrix), None)
        if self._weights == "bfloat16":
            return _Matrix(self._pointer(matrix.to(torch.bfloat16)), None)
        scale = matrix.abs().amax(1) / 127
        whole = (matrix / scale.clamp(min=1e-30)[:, None]).round_().to(torch.int8)
        return _Matrix(self._pointer(whole), self._pointer(scale))


def _check(name: str, values: list[int], end: int, rows: int) -> None:
    if len(values) != rows:
        raise IndexError(f"{rows} tokens need as many {name}s; got {len(values)}")
    if rows and not 0 <= min(values) <= max(values) < end:
        raise IndexError(f"each {name} must be from 0 to {end - 1}; got {values}")


class _Matrix(Structure):
    _fields_ = (("data", c_void_p), ("scale", c_void_p))


class _Layer(Structure):
    _fields_ = (
        *((name, _Matrix) for name in ("qkv", "out", "up", "down")),
        *((name, c_void_p) for name in ("keys", "values", "value_table")),
        *((name, c_int64) for name in ("ring", "window", "skip_from")),
        *((name, c_float) for name in ("residual", "x0", "skip", "value")),
    )


class _Model(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("layers", "heads", "head_dim", "dim", "hidden", "vocabulary", "kind", "skips")),
        ("embed", c_void_p),
        ("head", _Matrix),
        ("layer", c_void_p),
        ("softcap", c_float),
    )


def load_library() -> ctypes.CDLL:
    """The compiled step, built now if this machine's cache has none that is whole. Raises NativeError."""
    failures = []
    for compiler, flags in _ways():
        try:
            path = _built(compiler, flags)
            library = ctypes.CDLL(str(path))
        except NativeError as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(" ".join(str(error).split()))
        else:
            return _declared(library)
    raise NativeError(failures[0] if failures else f"no C compiler was found (looked for {', '.join(_COMPILERS)})")


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.daisy_layout.argtypes, library.daisy_layout.restype = [], c_int64
    library.daisy_workspace.argtypes = [POINTER(_Model), c_int64, c_int64]
    library.daisy_workspace.restype = c_int64
    library.daisy_step.argtypes = [POINTER(_Model), c_int64, *[c_void_p] * 7, c_int]
    library.daisy_step.restype = None
    library.daisy_read.argtypes, library.daisy_read.restype = [c_void_p, c_int64, c_int], c_float
    assert library.daisy_layout() == ctypes.sizeof(_Model) * 1000 + ctypes.sizeof(_Layer)
    return library


def _ways() -> Iterator[tuple[str, tuple[str, ...]]]:
    """The compilers of this machine, each with the flags to try in turn."""
    found = dict.fromkeys(str(Path(path).resolve()) for name in _COMPILERS if (path := shutil.which(name)))
    for target in _TARGETS:
        for compiler in found:
            yield compiler, (*_FLAGS, *target)


def _built(compiler: str, flags: tuple[str, ...]) -> Path:
    """The library in the cache folder, whole. Its name says what it was made of, with what, and for what processor."""
    said = [_run([compiler, "--version"]), *flags, _processor()]
    key = _DIGEST("\0".join(said).encode() + _SOURCE.read_bytes()).hexdigest()[:24]
    folder = _cache_folder()
    path = folder / f"native-{key}.so"
    if _is_whole(path):
        return path
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            made = Path(name) / "native.so"
            _run([compiler, *flags, "-o", str(made), str(_SOURCE), "-lm"])
            library = made.read_bytes()
            made.write_bytes(library + _DIGEST(library).digest())
            made.replace(path)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise NativeError(f"{folder}: no library can be kept there ({reason}); DAISY_CACHE names another") from error
    return path


def _is_whole(path: Path) -> bool:
    """Whether a library ends with the digest of all before: a linker may crash on half a library."""
    if not path.is_file():
        return False
    data, length = path.read_bytes(), len(_DIGEST(b"").digest())
    return _DIGEST(data[:-length]).digest() == data[-length:]


def _cache_folder() -> Path:
    if given := os.environ.get("DAISY_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "daisy"


def _processor() -> str:
    """What tells processors apart whose compilers mean different things by "native"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").split("\n\n")[0].splitlines() if info.is_file() else []
    told = ("model name", "flags", "Features", "CPU implementer", "CPU part", "isa")
    return "\n".join([platform.machine(), platform.processor(), *(line for line in lines if line.startswith(told))])


def _run(command: list[str]) -> str:
    """What a compiler prints. Raises NativeError with the line that says what is wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeError(f"{command[0]}: {' '.join(str(error).split())}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise NativeError(f"{command[0]}: {next((line for line in lines if 'error' in line), lines[-1])}")
    return done.stdout
