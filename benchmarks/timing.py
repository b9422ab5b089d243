"""How the benchmarks time two contestants in one run."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np


def interleaved(contestants: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, taken in turns after one run to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(taken[1:])) for name, taken in seconds.items()}


def busy(run: Callable[[], object], repeats: int) -> float:
    """Part of the time of this process's processors that it computes; 1 is all of them, always."""
    jax.block_until_ready(run())
    started, used = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        jax.block_until_ready(run())
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (time.process_time() - used) / (time.perf_counter() - started) / processors


def processor() -> str:
    """Its name, where the system tells; times without it say little."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
