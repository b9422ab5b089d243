"""How much memory this process may have, its own included: the system's, a container's, an accelerator's."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def available(root: Path = Path("/")) -> int | None:
    """Bytes that this process may come to in all: what it has now and what is still to be had.

    On Linux the least of the system's MemAvailable and the limits of its control groups (versions 1 and 2, as
    containers set them); elsewhere the machine's whole memory; None where the system tells nothing. `root` is where
    `proc` and `sys` lie.
    """
    free = list(_free(root))
    if free:
        return max(0, min(free)) + _resident(root)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        return None


def available_on_device(device: Any) -> int | None:
    """Bytes still to be had on one of `jax.devices()`; None where it does not tell, and for a CPU."""
    statistics = device.memory_stats() if device.platform != "cpu" else None
    if not statistics or "bytes_limit" not in statistics:
        return None
    return int(statistics["bytes_limit"]) - int(statistics.get("bytes_in_use", 0))


def _free(root: Path) -> Iterator[int]:
    """Bytes left, by each authority that has a say."""
    yield from _fields(root / "proc/meminfo", ("MemAvailable:",), unit=1024)
    for limit, usage, statistics in _groups(root):
        allowed, used = _number(limit), _number(usage)
        if allowed is not None and used is not None:
            # files kept in memory count as used, and give way; version 1's totals include, as its usage, groups inside
            yield allowed - used + sum(_fields(statistics, ("total_inactive_file", "inactive_file")))


def _groups(root: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Limit, usage and statistics of the memory control groups that this process is in, and of those around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, names = "sys/fs/cgroup", ("memory.max", "memory.current", "memory.stat")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
            mount = "sys/fs/cgroup/memory"
        else:
            continue
        inside = Path(path.lstrip("/"))
        for folder in (inside, *inside.parents):
            limit, usage, statistics = (root / mount / folder / name for name in names)
            yield limit, usage, statistics


def _resident(root: Path) -> int:
    return sum(_fields(root / "proc/self/status", ("VmRSS:",), unit=1024))


def _fields(file: Path, names: tuple[str, ...], unit: int = 1) -> list[int]:
    """The first of `names` that stands in a file of names and numbers; nothing where there is none."""
    try:
        rows = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return []
    found = {row[0]: int(row[1]) * unit for row in rows if len(row) > 1 and row[1].isdigit()}
    return [found[name] for name in names if name in found][:1]


def _number(file: Path) -> int | None:
    """The number in a file; None where there is no file, or it says "max"."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
