"""The paper's objective against time: the reference's Adam schedule in PyTorch, and the preset "paper-fast".

    python benchmarks/convergence.py ../shared/dpst [--pairs 30 04 16] [--size 256] [--steps 4000] [-o FOLDER]

Pairs are folders with content.png, style.png and their painted masks, CONTENT_seg.png and so on. Both minimise the
same total (without the aesthetic term): the two losses at the first image are compared before anything is timed. The
reference is Adam with learning rate 1 in 8-bit levels from the content photograph, PyTorch with channels last. Its
time is the number of steps times the median of some taken just before and just after ours, so that both meet the same
machine. Ours includes everything after reading the photographs but compilation, which a first run of one step (on a
GPU, of one scan) does; PyTorch's preparation is not counted.

The objective goes on falling slowly for thousands of steps, so a target taken after fewer than 4000 is an easier one.
The reference's totals are kept in FOLDER: an interrupted run goes on where it stopped.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro
from torch_objective import DEVICE, Torch

import jpst
from jpst import caching, chunks, preparation, pyramid, total
from jpst.loading import load_networks
from jpst.losses import Targets
from jpst.models import vgg19
from jpst.presets import preset
from jpst.pyramid import Progress
from jpst.total import Networks

HYPER = preset("paper-fast")[1]._replace(nima_weight=0.0)
KEEP_EVERY = 20  # steps of the reference between two saves
TIMED = 12  # steps of the reference before, and after, each run of ours
RATIOS = (1.10, 1.05, 1.02, 1.00)  # of the reference's last best total


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare how fast the paper's objective falls."""

    folder: tyro.conf.Positional[Path]
    pairs: tuple[str, ...] = ("30", "04", "16")
    size: int = 256
    """longest side of the working picture"""
    steps: int = 4000
    """of the reference"""
    iterations: tuple[int, ...] | None = None
    """steps of paper-fast on each level; the preset's unless given"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("convergence")
    """folder for what is kept between runs"""


class Case:
    """One pair of photographs, read and with its regions found."""

    def __init__(self, folder: Path, networks: Networks, size: int, iterations: tuple[int, ...] | None) -> None:
        fast = preset("paper-fast")[0]
        self.recipe = dataclasses.replace(fast, size=size, iterations=iterations or fast.iterations)
        paths = (folder / f"{name}.png" for name in ("content", "style", "content_seg", "style_seg"))
        content, style, content_seg, style_seg = paths
        job = jpst.plan(
            content,
            style,
            recipe=self.recipe,
            hyper=HYPER,
            content_seg=content_seg,
            style_seg=style_seg,
            networks=networks,
        )
        self.networks, self.levels, self.pair = networks, job.levels, job.pair

    def targets(self) -> Targets:
        """The reference's: of the finest level, from the content photograph."""
        recipe, level = dataclasses.replace(self.recipe, start="content"), self.levels[-1]
        return preparation.prepare(*self.pair.at(level, recipe).arrays, self.networks, recipe=recipe)

    def solve(self, steps: tuple[int, ...]) -> tuple[list[float], list[float]]:
        """(seconds, best total) after each of ours at the finest level; compiled before."""
        finest, seconds, best = self.levels[-1], [], []

        def record(now: Progress) -> None:
            if now.level == levels[-1]:
                seconds.append(time.perf_counter() - started)
                best.append(min([now.terms["total"], *best[-1:]]))

        levels = tuple(level._replace(steps=n) for level, n in zip(self.levels, steps, strict=True))
        assert levels[-1].content == finest.content
        started = time.perf_counter()
        pyramid.climb(self.pair, levels, self.networks, HYPER, recipe=self.recipe, on_step=record)
        return seconds, best


def check(theirs: Torch, targets: Targets, networks: Networks) -> float:
    """Relative difference of the two losses at the first image and at a noisy one; at most 1e-3."""
    image = jnp.clip(targets.start + 0.05 * jax.random.normal(jax.random.key(0), targets.start.shape), 0, 1)
    objective, hyper, apart = jax.jit(total.objective), jax.tree.map(jnp.float32, HYPER), 0.0
    for at in (targets.start, image):
        ours = float(objective(at, targets, hyper, networks)[0])
        with torch.no_grad():
            expected = float(theirs.loss(torch.tensor(np.asarray(at), device=DEVICE)))
        apart = max(apart, abs(ours / expected - 1))
    assert apart < 1e-3, f"the two losses differ by {apart:.1e}"
    return apart


def adam(first: np.ndarray) -> tuple[torch.Tensor, torch.optim.Adam]:
    """The reference's image in 8-bit levels, and its optimiser."""
    levels = torch.tensor(255 * first, device=DEVICE, requires_grad=True)
    return levels, torch.optim.Adam([levels], lr=HYPER.learning_rate, betas=(0.9, 0.999), eps=1e-8)


def step(theirs: Torch, levels: torch.Tensor, optimiser: torch.optim.Adam) -> float:
    """One of the reference's; the total before it."""
    optimiser.zero_grad()
    total = theirs.loss(levels / 255)
    total.backward()
    optimiser.step()
    return float(total.detach())


def reference(theirs: Torch, first: np.ndarray, steps: int, kept: Path) -> list[float]:
    """The total before each of the reference's steps, going on from what is kept."""
    levels, optimiser = adam(first)
    totals: list[float] = []
    if kept.is_file():
        state = torch.load(kept, map_location=DEVICE)
        totals = state["totals"]
        optimiser.load_state_dict(state["adam"])
        levels.data.copy_(state["image"])
    while len(totals) < steps:
        totals.append(step(theirs, levels, optimiser))
        if len(totals) % KEEP_EVERY == 0 or len(totals) == steps:
            state = {"totals": totals, "adam": optimiser.state_dict(), "image": levels.data}
            torch.save(state, kept.with_suffix(".part"))
            kept.with_suffix(".part").replace(kept)
            print(f"  reference: step {len(totals)}, best {min(totals):.5g}", flush=True)
    return totals[:steps]


def timed(theirs: Torch, first: np.ndarray) -> list[float]:
    """Seconds of `TIMED` of the reference's steps, after two to warm up."""
    levels, optimiser = adam(first)
    seconds = []
    for _ in range(TIMED + 2):
        started = time.perf_counter()
        step(theirs, levels, optimiser)
        seconds.append(time.perf_counter() - started)
    return seconds[2:]


def compare(name: str, arguments: Arguments, variables: vgg19.Variables, networks: Networks) -> None:
    """The rows of one pair."""
    case = Case(arguments.folder / name, networks, arguments.size, arguments.iterations)
    targets = case.targets()
    theirs = Torch(variables, targets, HYPER)
    apart = check(theirs, targets, networks)
    height, width = targets.start.shape[:2]
    print(f"pair {name}, {width} x {height}, {len(case.pair.names)} regions; losses {apart:.0e} apart", flush=True)
    first, kept = np.asarray(targets.start), arguments.output / f"{name}_{arguments.size}.pt"
    totals = reference(theirs, first, arguments.steps, kept)
    case.solve(tuple(map(chunks.length, case.recipe.iterations)))
    before = timed(theirs, first)
    ours, best = case.solve(case.recipe.iterations)
    one = float(np.median(before + timed(theirs, first)))
    print(f"  paper-fast: {len(best)} steps at the finest size, best {best[-1]:.5g}", flush=True)
    goal, whole = min(totals), len(totals) * one
    rows = [_row(ratio, goal, ours, best, one, whole) for ratio in RATIOS]
    print(f"  the reference's best of {len(totals)} steps: {goal:.5g}, in {whole:.0f} s ({one:.2f} s a step)")
    print("  reach    ours, s  in PyTorch steps  reference's time / ours")
    print("\n".join(rows), flush=True)
    story = {"torch_step": one, "torch_totals": totals, "seconds": ours, "best": best}
    kept.with_suffix(".json").write_text(json.dumps(story))


def _row(ratio: float, goal: float, ours: list[float], best: list[float], step: float, whole: float) -> str:
    reached = next((at for at, total in zip(ours, best, strict=True) if total <= ratio * goal), None)
    if reached is None:
        return f"  {ratio:.2f}x  not reached; the best was {best[-1] / goal:.3f}x after {ours[-1]:.1f} s"
    return f"  {ratio:.2f}x  {reached:8.1f}  {reached / step:16.0f}  {whole / reached:15.0f}"


def main() -> None:
    arguments = tyro.cli(Arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    caching.enable()
    jax.config.update("jax_default_matmul_precision", "float32")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = jax.devices()[0].device_kind
    print(f"{device}, {torch.get_num_threads()} threads; JAX {jax.__version__}, PyTorch {torch.__version__}")
    loaded = load_networks(preset("paper-fast")[0], HYPER)
    for name in arguments.pairs:
        compare(name, arguments, loaded.vgg19, loaded)


if __name__ == "__main__":
    main()
