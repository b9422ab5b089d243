"""Functions whose programs are kept between runs: a second run neither traces nor lowers them.

JAX's persistent cache keeps what XLA compiled, but each run still traces every function to find it there, which takes
seconds for all that a transfer consists of. Here the lowered program itself (`jax.export`) is kept beside it, under
what it depends on: the shapes, the static arguments, JAX's settings, and this package's source.
"""

import functools
import hashlib
import pickle
import uuid
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_FORMAT = b"1"
_SETTINGS = ("jax_default_matmul_precision", "jax_enable_x64", "jax_numpy_rank_promotion", "jax_default_device")

_folder: Path | None = None


def keep_in(folder: Path | None) -> None:
    """From now on `kept` functions are kept in `folder`; None: no longer.

    What lies there is trusted as JAX's own cache of compiled programs is: it must not be writable by others.
    """
    global _folder
    _folder = folder


class kept:
    """`jax.jit` of a function of arrays, whose lowered program `keep_in` can have kept between runs.

    Under a transformation, and wherever keeping is off or an array lies on several devices, it is that `jax.jit`.
    """

    def __init__(self, function: Callable[..., Any], static_argnums: tuple[int, ...] = ()) -> None:
        self.jitted = jax.jit(function, static_argnums=static_argnums)
        self._function, self._static = function, static_argnums
        self._programs: dict[Any, Callable[..., Any] | None] = {}
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        dynamic = [argument for i, argument in enumerate(arguments) if i not in self._static]
        leaves, tree = jax.tree.flatten(dynamic)
        devices = _devices(leaves)
        if _folder is None or len(devices) != 1:
            return self.jitted(*arguments)
        # what a program returns is bound to its device: arguments that are not would make another program of it
        leaves = jax.device_put([jnp.asarray(leaf) for leaf in leaves], *devices)
        settings = tuple(getattr(jax.config, name) for name in _SETTINGS)
        static = tuple(arguments[i] for i in self._static)
        key = static, tree, tuple((x.shape, x.dtype, x.weak_type) for x in leaves), settings
        if key not in self._programs:
            self._programs[key] = self._program(key, arguments, leaves, tree, _folder)
        program = self._programs[key]
        return program(*leaves) if program else self.jitted(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.jitted, name)

    def _program(self, key: Any, arguments: tuple, leaves: list, tree: Any, folder: Path) -> Callable[..., Any] | None:
        """The function of the leaves, from its file or traced now and written there; None if it cannot be kept."""
        told = repr((self._function.__module__, self._function.__qualname__, key, jax.default_backend()))
        path = folder / f"{self._function.__name__}-{hashlib.sha256(_source() + told.encode()).hexdigest()}"
        try:
            program, output = _read(path) or self._exported(path, arguments, leaves, tree)
        except (ValueError, NotImplementedError):  # it calls what JAX does not keep, such as the host
            return None
        call = jax.jit(program.call)
        return lambda *leaves: jax.tree.unflatten(output, call(*leaves))

    def _exported(self, path: Path, arguments: tuple, leaves: list, tree: Any) -> tuple[Any, Any]:
        """The program of the leaves and the structure of what it returns, traced now and written to its file."""
        output = None

        def flat(*leaves: Any) -> list[Any]:
            nonlocal output
            dynamic = iter(jax.tree.unflatten(tree, leaves))
            given = [argument if i in self._static else next(dynamic) for i, argument in enumerate(arguments)]
            results, output = jax.tree.flatten(self._function(*given))
            return results

        program = jax.export.export(jax.jit(flat))(*leaves)
        _write(path, pickle.dumps((program.serialize(), output)))
        return program, output


def _devices(leaves: list[Any]) -> set[Any]:
    """Where the arrays are; none where one is abstract, or something else than an array or a number."""
    found = set()
    for leaf in leaves:
        if isinstance(leaf, Tracer) or not isinstance(leaf, jax.Array | np.ndarray | float | int):
            return set()
        found |= leaf.devices() if isinstance(leaf, jax.Array) else set()
    return found


@functools.cache
def _source() -> bytes:
    """What programs follow from beside their arguments: a digest of this package and of what it is written with."""
    versions = [metadata.version(package) for package in ("jax", "jaxlib", "flax", "optax")]
    digest = hashlib.sha256(_FORMAT + repr(versions).encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def _read(path: Path) -> tuple[Any, Any] | None:
    """A program and the structure of what it returns; None where the file is absent or damaged."""
    try:
        serialised, output = pickle.loads(path.read_bytes())
        return jax.export.deserialize(serialised), output
    except Exception:  # of a damaged file pickle raises nearly anything
        return None


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; where it cannot be written, the program is traced again in the next run."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    with suppress(OSError):
        part.unlink()
