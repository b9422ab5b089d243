"""Compiled programs cached on disk, so that a second run neither traces nor compiles them.

XLA needs about ten seconds to compile a step for each new shape. `cached` is `jax.jit` with compiled programs that are
written to a folder once `enable` was called. The key of a program holds all that it depends on: the function, its
static arguments, the shapes, JAX's settings, this package's source, the versions of JAX, Flax and optax, the
processor. A problem with the cache never ends a run: the program is compiled again.
"""

import functools
import hashlib
import os
import pickle
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.experimental import serialize_executable

from jpst import cache_folder
from jpst.shared_context import SharedContext

_FORMAT = b"jpst program 1\n"
_SUFFIX = ".program"
_SETTINGS = ("jax_default_matmul_precision", "jax_enable_x64", "jax_numpy_rank_promotion")

_folder: Path | None = None
_problem: str | None = None


class Info(NamedTuple):
    """The contents of the cache, for all versions and processors."""

    folder: Path
    programs: int
    bytes: int
    limit: int
    problem: str | None
    """why the cache is not used, in one sentence; None if it is"""


def enable(root: Path | None = None) -> None:
    """Turns the disk cache of `cached` functions on, under `root` (default: `cache_folder.directory()`).

    Old programs are removed, see `cache_folder.prepared`. Never raises: if the folder cannot be used, `problem` says
    why, and programs are compiled in every run. If JAX's own cache is set up (JAX_COMPILATION_CACHE_DIR), that one is
    used instead: programs that it has loaded cannot be written again.
    """
    global _folder, _problem
    _folder = _problem = None
    if jax.config.jax_compilation_cache_dir:  # pyright: ignore
        return
    try:
        root = root or cache_folder.directory()
        _folder = cache_folder.prepared(root)
    except Exception as error:  # an unknown home folder raises many kinds of errors
        _fail(f"{root or 'the cache folder'} is not used ({error})")


def disable() -> None:
    """Turns the disk cache off."""
    global _folder, _problem
    _folder = _problem = None


def problem() -> str | None:
    """Why compiled programs are not cached on disk, in one sentence; None if nothing went wrong."""
    return _problem


def info() -> Info:
    """Counts the programs in the cache and their bytes."""
    root = cache_folder.directory()
    sizes = [size for _, _, size in cache_folder.programs(root)]
    return Info(root, len(sizes), sum(sizes), cache_folder.LIMIT, _problem)


def clear() -> Info:
    """Removes all programs and returns the contents before. Raises OSError if they cannot be removed."""
    before = info()
    cache_folder.clear(before.folder)
    return before


class cached:
    """`jax.jit` of a function of arrays, with compiled programs cached on disk after `enable`.

    Inside a transformation (`jit`, `vmap`, `grad`), and for arrays on several devices, it is plain `jax.jit`.
    """

    def __init__(self, function: Callable[..., Any], static_argnums: tuple[int, ...] = ()) -> None:
        self.jitted = jax.jit(function, static_argnums=static_argnums)
        self._name, self._static = f"{function.__module__}.{function.__qualname__}", static_argnums
        self._programs: dict[Any, Future[Callable[..., Any]]] = {}
        self._lock = threading.Lock()
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """Runs the program for such arguments, compiled once."""
        if (device := _device(arguments)) is None:
            return self.jitted(*arguments)
        placed = self._placed(arguments, device)
        return self._program(placed, device)(*self._dynamic(placed))

    def compile(self, *arguments: Any) -> None:
        """Compiles the program for such arguments without running it; calls in the meantime wait for it.

        Arrays may be given as `jax.ShapeDtypeStruct`, as long as one is there to say on which device.
        """
        if (device := _device(arguments)) is not None:
            self._program(self._placed(arguments, device), device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.jitted, name)

    def _placed(self, arguments: tuple, device: Any) -> tuple:
        """The arguments as arrays committed to one device, as results of a program are: both use the same program."""

        def put(tree: Any) -> Any:
            return jax.tree.map(lambda x: x if _is_abstract(x) else jax.device_put(x, device), tree)

        return tuple(x if i in self._static else put(x) for i, x in enumerate(arguments))

    def _dynamic(self, arguments: tuple) -> list[Any]:
        return [x for i, x in enumerate(arguments) if i not in self._static]

    def _program(self, arguments: tuple, device: Any) -> Callable[..., Any]:
        """The compiled function of the dynamic arguments: from memory, from disk, or newly compiled and written."""
        leaves, tree = jax.tree.flatten(self._dynamic(arguments))
        static = tuple(arguments[i] for i in self._static)
        settings = tuple(getattr(jax.config, name) for name in _SETTINGS)
        shapes = tuple((x.shape, x.dtype, x.weak_type) for x in leaves)
        key = static, tree, shapes, settings, device.platform, device.device_kind, device.id
        with self._lock:
            program, missing = self._programs.get(key), key not in self._programs
            if program is None:
                program = self._programs[key] = Future()
        if missing:
            try:
                program.set_result(self._made(key, arguments, device))
            except BaseException as error:  # Ctrl-C too: other threads may wait for this program
                with self._lock:
                    del self._programs[key]
                program.set_exception(error)
        return program.result()

    def _made(self, key: Any, arguments: tuple, device: Any) -> Callable[..., Any]:
        if _folder is None:
            return self.jitted.lower(*arguments).compile()
        digest = hashlib.sha256(_source() + repr((self._name, key)).encode()).hexdigest()
        path = _folder / f"{self._name.rpartition('.')[2]}-{digest}{_SUFFIX}"
        if (loaded := _read(path, device)) is not None:
            return _Loaded(loaded, lambda: self._compiled(path, arguments))
        return self._compiled(path, arguments)

    def _compiled(self, path: Path, arguments: tuple) -> Callable[..., Any]:
        program = self.jitted.lower(*arguments).compile()
        _write(path, program)
        return program


class _Loaded:
    """A program from disk. It is compiled again if its first call fails, for example with another version of JAX."""

    def __init__(self, program: Callable[..., Any], compiled: Callable[[], Callable[..., Any]]) -> None:
        self._program, self._compiled, self._proven = program, compiled, False

    def __call__(self, *arguments: Any) -> Any:
        if self._proven:
            return self._program(*arguments)
        try:
            result = jax.block_until_ready(self._program(*arguments))
        except Exception:
            self._program = self._compiled()
            result = self._program(*arguments)
        self._proven = True
        return result


def _is_abstract(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _device(arguments: tuple) -> Any:
    """The device that holds all arrays; None if there are several, or if an array is abstract."""
    found = set()
    for leaf in jax.tree.leaves(arguments):
        if isinstance(leaf, Tracer):
            return None
        found |= leaf.devices() if isinstance(leaf, jax.Array) else set()
    return found.pop() if len(found) == 1 and not jax.config.jax_disable_jit else None  # pyright: ignore


@functools.cache
def _source() -> bytes:
    """A digest of what programs depend on besides their arguments: this package's source and its dependencies."""
    versions = [metadata.version(package) for package in ("jax", "jaxlib", "flax", "optax")]
    digest = hashlib.sha256(repr(versions).encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


@functools.cache
def _find_lapack() -> None:
    """Makes JAX load LAPACK, which it does when it lowers a function that needs it.

    A program from disk is not lowered, and would crash without.
    """
    jax.jit(jnp.linalg.eigh).lower(jax.ShapeDtypeStruct((2, 2), jnp.float32))


def _read(path: Path, device: Any) -> Callable[..., Any] | None:
    """Loads a program; None if the file is missing, damaged or does not fit this machine."""
    try:
        content = path.read_bytes()
        header, packed = content[: len(_FORMAT) + 32], content[len(_FORMAT) + 32 :]
        if header != _FORMAT + hashlib.sha256(packed).digest():
            return None
        _find_lapack()
        parts = pickle.loads(zlib.decompress(packed))
        with _quiet_xla:
            program = serialize_executable.deserialize_and_load(*parts, execution_devices=[device])
        with suppress(OSError):
            os.utime(path)  # the time of last use
        return program
    except Exception:  # other versions of JAX raise many kinds of errors
        return None


@contextmanager
def _without_errors_of_xla() -> Iterator[None]:
    """Hides what XLA writes to standard error when it loads a program on a processor with AVX-512.

    It takes hints for tuning for features that the processor lacks (openxla/xla issue 44565) and tells so twice for
    each program. A program of another processor is never loaded: `cache_folder` keeps them apart.
    """
    _set_log_level_of_xla(3)  # fatal errors only
    try:
        yield
    finally:
        level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "")
        _set_log_level_of_xla(int(level) if level.isdecimal() else 1)  # 1: warnings, as JAX does without it


def _set_log_level_of_xla(level: int) -> None:
    """As jax.config.jax_logging_level does, without what that changes in Python."""
    with suppress(ImportError, AttributeError):  # another version of JAX: the messages are only a nuisance
        from jax._src.lib import utils  # pyright: ignore[reportPrivateImportUsage]

        utils.absl_set_min_log_level(level)


_quiet_xla = SharedContext(_without_errors_of_xla)


def _write(path: Path, program: Any) -> None:
    """Writes a program atomically, so that several runs may write at once."""
    try:
        packed = zlib.compress(pickle.dumps(serialize_executable.serialize(program)), 1)
    except Exception:  # programs that call back to the host, for example, cannot be serialised
        return
    part = path.with_name(f"{uuid.uuid4().hex}{cache_folder.UNFINISHED}")
    try:
        part.write_bytes(_FORMAT + hashlib.sha256(packed).digest() + packed)
        part.replace(path)
    except OSError as error:
        _fail(f"{path.parent} cannot be written to ({error.strerror or error})")
    with suppress(OSError):
        part.unlink(missing_ok=True)


def _fail(reason: str) -> None:
    global _problem
    _problem = _problem or f"Compiled programs are not cached on disk: {reason}. Each run compiles them again."
