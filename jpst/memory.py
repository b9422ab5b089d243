"""Memory available to this process, from the system, a container or an accelerator."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def available(root: Path = Path("/")) -> int | None:
    """The total bytes that this process may use: those in use now plus those still available.

    On Linux the smallest of the system's MemAvailable and the limits of the process's control groups (versions 1 and 2,
    as containers set them); elsewhere the memory of the machine; None if the system does not report it. `root` is the
    folder with `proc` and `sys`.
    """
    free = list(_free(root))
    if free:
        return max(0, min(free)) + _resident(root)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        return None


def available_on_device(device: Any) -> int | None:
    """Bytes still available on one of `jax.devices()`; None for a CPU, or if the device does not report it."""
    statistics = device.memory_stats() if device.platform != "cpu" else None
    if not statistics or "bytes_limit" not in statistics:
        return None
    return int(statistics["bytes_limit"]) - int(statistics.get("bytes_in_use", 0))


def _free(root: Path) -> Iterator[int]:
    """Bytes left under each limit."""
    yield from _fields(root / "proc/meminfo", ("MemAvailable:",), unit=1024)
    for limit, usage, statistics in _groups(root):
        allowed, used = _number(limit), _number(usage)
        if allowed is not None and used is not None:
            # Cached files count as used but can be evicted. In version 1 totals and usage include nested groups.
            yield allowed - used + sum(_fields(statistics, ("total_inactive_file", "inactive_file")))


def _groups(root: Path) -> Iterator[tuple[Path, Path, Path]]:
    """The files with limit, usage and statistics of this process's memory control groups and of their parents."""
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
    """The value of the first of `names` found in a file of names and numbers; an empty list without one."""
    try:
        rows = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return []
    found = {row[0]: int(row[1]) * unit for row in rows if len(row) > 1 and row[1].isdigit()}
    return [found[name] for name in names if name in found][:1]


def _number(file: Path) -> int | None:
    """The number in a file; None if the file is missing or says "max"."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
