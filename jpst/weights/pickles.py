"""Pickles read without running them.

A pickle is a program: it names functions and calls them. Here a name gets one of our own stand-ins, or else
becomes an `Inert` class that swallows whatever is done with it. So the odd object in a checkpoint's notes
(a date, a configuration) hurts nobody, and a tensor that depends on one is found out and refused.

Objects in a pickle may be named again and again: a few bytes can stand for a dict in a dict in a dict that would
take for ever to go through. So nothing here prints, compares, hashes or copies what a pickle nests, and `leaves`
counts how often it comes by.
"""

from __future__ import annotations

import io
import mmap
import pickle
import pickletools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

from jpst.weights.tensors import LONGEST_NAME, CheckpointError

Names = Mapping[tuple[str, str], Any]
"""Stand-ins by (module, name). Adding one must never add a way to run or read anything."""

MOST_NODES = 500_000
"""Steps of a pickle, and entries of the dicts that it makes."""
_REPEATED = 4  # times that a dict may be met: an average of the weights may be the weights, a nest without end is none
_DEEPEST = 50
_MOST_UNKNOWN = 1_000
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
_UNUSED = ("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "EXT1", "EXT2", "EXT4")


class Call(NamedTuple):
    """What a pickle gets when it names a function. A tuple has no attributes for it to overwrite."""

    function: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        """What stands for the call."""
        return self.function(*args)


class Dict(dict):
    """Stands in for OrderedDict; the attributes that state dicts hang on it (`_metadata`) are dropped."""

    __slots__ = ()

    def __setstate__(self, _state: Any) -> None:
        pass


class Inert:
    """An unknown name, as a subclass of its own, and whatever the pickle makes of it: nothing goes in or out.

    A class, because some opcodes make instances of classes only.
    """

    __slots__ = ()
    asked = ""

    def __new__(cls, *_args: Any, **_options: Any) -> Inert:
        """An empty object, whatever it is asked to hold."""
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_options: Any) -> None:
        pass

    def __call__(self, *_args: Any) -> Inert:
        """What stands for the call."""
        return self

    def __setstate__(self, _state: Any = None) -> None:
        pass

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def append(self, _item: Any) -> None:
        """Swallows the item, as do the others."""

    extend = add = update = append


def inert_name(node: Any) -> str | None:
    """The dotted name that an `Inert` class or instance stands for; None for anything else."""
    kind = node if isinstance(node, type) else type(node)
    return kind.asked if issubclass(kind, Inert) else None


def refusal(path: str | Path, name: str) -> CheckpointError:
    """The error for a file whose tensors depend on an unknown name."""
    return CheckpointError(
        f"{path}: its pickle asks for {name}, which could run code and is refused; "
        "expected a file of tensors only (save the state dict alone, or as .npz or .safetensors)."
    )


class Unpickler(pickle._Unpickler):
    """Unpickles containers, numbers, strings and the stand-ins of `names`; other names become `Inert`.

    This is Python's own unpickler in Python, as the one in C hashes any key, and so any nest of tuples. Here an entry
    of a dict is kept if its key is text or a whole number; sets stay empty.
    """

    # What the class says of itself in code only.
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: io.BytesIO | mmap.mmap, names: Names, encoding: str = "utf-8") -> None:
        super().__init__(file, encoding=encoding)
        self._file = file
        self._names = names
        self._unknown: dict[tuple[str, str], type[Inert]] = {}

    def load(self) -> Any:
        """Reads the one object; raises CheckpointError for a pickle that asks for more than it may."""
        start = self._file.tell()
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(Any, self._file))):
            # The unpickler keeps a list as long as the largest memo index: one of 32 bits would fill the memory.
            if opcode.name in _UNUSED or (opcode.name in _MEMO and cast(int, argument) > count):
                raise ValueError(f"{opcode.name} {argument} is nothing that belongs in a checkpoint")
            if count == MOST_NODES:
                raise ValueError(f"a pickle of more than {MOST_NODES} steps")
        self._file.seek(start)
        return super().load()

    def _enter(self, items: list[Any]) -> None:
        owner = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str | int):
                owner[key] = value

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._enter(items)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._enter([key, value])

    def _frozenset(self) -> None:
        self.pop_mark()
        self.append(frozenset())

    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.SETITEM[0]] = _setitem
    dispatch[pickle.SETITEMS[0]] = lambda self: self._enter(self.pop_mark())
    dispatch[pickle.ADDITEMS[0]] = lambda self: self.pop_mark()
    dispatch[pickle.FROZENSET[0]] = _frozenset

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a class or function: one of the names allowed, or an `Inert`."""
        if (module, name) in self._names:
            return self._names[module, name]
        if len(self._unknown) == _MOST_UNKNOWN:
            raise ValueError(f"more than {_MOST_UNKNOWN} unknown names")
        made = lambda: type("Inert", (Inert,), {"__slots__": (), "asked": f"{module}.{name}"})  # noqa: E731
        return self._unknown.get((module, name)) or self._unknown.setdefault((module, name), made())


def leaves(tree: Any, separator: str, skipped: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """What nested dicts hold, in their order, under its keys joined; the top level's `skipped` keys are left out."""
    met: Counter[int] = Counter()
    entries = 0

    def walk(node: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
        nonlocal entries
        entries += 1
        if entries > MOST_NODES or len(name) > LONGEST_NAME:
            raise ValueError(f"more than {MOST_NODES} entries, or one with an endless name")
        if not isinstance(node, dict):
            yield name, node
            return
        met[id(node)] += 1
        # A dict may contain itself, or each of thirty dicts the next one twice.
        if met[id(node)] > _REPEATED or depth > _DEEPEST:
            raise ValueError("a dict that is among its own entries, or among those of many others")
        for key, child in node.items():
            if isinstance(key, str | int) and (depth or str(key) not in skipped):
                yield from walk(child, f"{name}{separator}{key}" if depth else str(key), depth + 1)

    return walk(tree, "", 0)
