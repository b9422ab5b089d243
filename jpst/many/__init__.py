"""Many pictures: batches of pairs (`batch`, of a `manifest`), done by processes (`crew`, each a `worker`) or Ray."""

from typing import Literal

from jpst.ranges import Range

WORKERS = Range(1, 256, whole=True)
"""what `workers` may be"""
FAILURES = Range(0, 1_000_000_000, whole=True)
"""what `max_failures` may be"""
TOGETHER = Range(0, 1024, whole=True)
"""what `together` may be"""
Engine = Literal["local", "ray"]
"""who runs the workers of a batch"""
