"""What a transfer is asked to do: the static choices (`Recipe`) and the numbers (`Hyperparameters`).

Nothing here imports JAX, so that the command line is built, and a call for help answered, at once.
"""

import dataclasses
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import tyro

from jpst import ranges
from jpst.errors import JpstError
from jpst.ranges import Range

Preset = Literal["preview", "fast", "balanced", "quality", "paper", "readme", "paper-fast"]


class Hyperparameters(NamedTuple):
    """The numbers of a transfer: traced scalars and a pytree, so `vmap` sweeps them and new values never recompile.

    Names and defaults are the reference implementation's (arXiv 1901.03915), except the weights of coherence, edges and
    clipping, which are ours. They suit the preset "paper"; for another one, `jpst.preset` changes some of its numbers.
    """

    content_weight: float = 1.0
    """weight of the content term"""
    style_weight: float = 100.0
    """weight of the style term"""
    regularization_weight: float = 1e4
    """weight of the photorealism term, the matting Laplacian's energy"""
    nima_weight: float = 1e5
    """weight of the aesthetic term, 10 minus NIMA's mean score"""
    coherence_weight: float = 0.0
    """weight of the photorealism term at half the size, a quarter, ...: against clouds of colour (not in the paper)"""
    edge_weight: float = 0.0
    """weight of the term of edges, 1 minus their structural similarity with the content's (not in the paper)"""
    clipping_weight: float = 0.0
    """weight of the penalty on values outside 0..255 (not in the paper)"""
    learning_rate: float = 1.0
    """Adam's step in 8-bit levels"""
    beta1: float = 0.9
    """Adam's decay of the first moment"""
    beta2: float = 0.999
    """Adam's decay of the second moment"""
    epsilon: float = 1e-8
    """Adam's epsilon, for gradients per 8-bit level"""


ADAM_NUMBERS = ("learning_rate", "beta1", "beta2", "epsilon")
"""those of the numbers that only Adam reads"""

NUMBERS = {name: Range(0, 1e12) for name in Hyperparameters._fields if name.endswith("_weight")} | {
    "learning_rate": Range(0, 1000),
    "beta1": Range(0, 0.999999),  # nearer to 1, float32 rounds it to 1
    "beta2": Range(0, 0.999999),
    "epsilon": Range(1e-30, 1e6),
}
"""what each of `Hyperparameters` may be"""
CHOICES = {
    "size": Range(32, 100_000, whole=True),
    "size_multiple": Range(1, 256, whole=True),
    "plateau_tolerance": Range(0, 0.999),
    "nima_size": Range(32, 4096, whole=True, or_zero=True),
    "matting_epsilon": Range(1e-8, 1),
    "matched_noise": Range(1e-4, 1),
    "coherence_octaves": Range(0, 16, whole=True),
    "similarity_threshold": Range(0, 1000),
    "minimum_share": Range(0, 1),
}
"""what each number of a `Recipe` may be"""
STEPS = Range(0, 1_000_000, whole=True)
"""what the steps of a level may be"""
GAINS = Range(0, 1000)
"""what each of `matched_gains` may be"""
LAYERS = tuple(
    f"{kind}{block}_{number}"
    for block, depth in enumerate((2, 2, 4, 4, 4), 1)
    for number in range(1, depth + 1)
    for kind in ("conv", "relu")
)
"""of VGG19, which is not asked for them: it brings JAX"""
MOST_LEVELS = 8
"""of the pyramid"""
SEED = Range(0, 2**32 - 1, whole=True)
"""what a seed may be: JAX takes no more of its bits"""
STRENGTH = Range(0, 1.5)
"""how much of a result there may be: 0 is the content itself, 1 the result"""


def _check_field(name: str, value: Any, kind: Any) -> None:
    """Raises `JpstError` unless a field of `Recipe`, annotated as `kind`, may have this value."""
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(kind) is Literal:
        ranges.check_choice(name, value, get_args(kind))
    elif kind in (int, float):
        ranges.check(name, value, CHOICES[name])
    elif kind is bool:
        if not isinstance(value, bool):
            ranges.refuse(name, value, "True or False")
    elif kind is str:
        if not isinstance(value, str) or not value:
            ranges.refuse(name, value, "a text")
    else:
        checks = {"iterations": _check_steps, "matched_gains": _check_gains, "pairs": _check_pairs}
        checks.get(name, _check_layers)(name, value)


def _check_steps(name: str, steps: Any) -> None:
    if not isinstance(steps, tuple) or not 1 <= len(steps) <= MOST_LEVELS or not all(map(STEPS.holds, steps)):
        hint = f" Did you mean ({steps},)?" if STEPS.holds(steps) else ""
        needed = f"1 to {MOST_LEVELS} counts of steps as a tuple, coarsest level first, each {STEPS}"
        ranges.refuse(name, steps, needed, hint)


def _check_gains(name: str, gains: Any) -> None:
    if gains is None:
        return
    if not isinstance(gains, tuple) or len(gains) != 3 or not all(map(GAINS.holds, gains)) or gains[0] > min(gains[1:]):
        ranges.refuse(name, gains, f"None or three numbers as a tuple, the smallest first, each {GAINS}")


def _check_pairs(name: str, pairs: Any) -> None:
    if not isinstance(pairs, tuple) or not all(isinstance(pair, str) and _PAIR.fullmatch(pair) for pair in pairs):
        hint = f' Did you mean ("{pairs}",)?' if isinstance(pairs, str) and _PAIR.fullmatch(pairs) else ""
        ranges.refuse(name, pairs, "two regions as CONTENT=STYLE, or CONTENT=none, any number of them as a tuple", hint)


_PAIR = re.compile(r"\s*[^\s=][^=]*=\s*[^\s=][^=]*")


def _check_layers(name: str, layers: Any) -> None:
    if isinstance(layers, tuple) and layers and len(set(map(str, layers))) == len(layers):
        unknown = [layer for layer in layers if not isinstance(layer, str) or layer not in LAYERS]
        if not unknown:
            return
        hint = ranges.nearest(unknown[0], LAYERS)
    else:
        hint = f' Did you mean ("{layers}",)?' if isinstance(layers, str) and layers in LAYERS else ""
    needed = "one layer of VGG19 or more as a tuple, each once, of conv1_1 to conv5_4 and relu1_1 to relu5_4"
    ranges.refuse(name, layers, f"{needed} (a term is left out by a weight of 0)", hint)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Every static choice of a transfer: hashable, stored beside each result, and the source of the options."""

    name: Annotated[Preset, tyro.conf.arg(name="preset")] = "balanced"
    """the preset that all other options start from"""
    size: int = 384
    """longest side of the finest working picture, at 3:2, in pixels (much smaller photographs are worked on at half, a
    quarter)"""
    shape: Literal["common", "own"] = "common"
    """common: the working picture has one of few shapes (1:1, 3:2, 9:4, ...), so that one compiled step serves nearly
    all photographs; it is squeezed by 22 % at most, which the result undoes; own: it has the photograph's ratio"""
    size_multiple: int = 16
    """working sides are rounded to multiples of this (1: exact)"""
    iterations: tuple[int, ...] = (30, 15)
    """steps on each level of the pyramid, coarsest first; each level is twice the size of the one before; only the
    coarsest is worked on where the result is projected (see projection)"""
    optimiser: Literal["adam", "lbfgs"] = "lbfgs"
    """lbfgs moves smooth differences first and fine detail last, and needs half the steps of adam, the paper's"""
    plateau_tolerance: float = 0.0
    """end a level when 20 steps lowered its best total by less than this share (0: never)"""
    projection: Literal["grid", "none"] = "grid"
    """grid: the result of each level is brought into a family of colour changes that vary slowly over the picture and
    its brightness, and keeps other detail only where the photograph is textured: no melted edges, no blotches in smooth
    places, nothing of what a finer level would add; none, and wherever regions come from painted masks: it stays as the
    steps left it"""
    output_size: Literal["native", "working"] = "native"
    """size of the picture that is written: the content photograph's own, or the working size"""
    start: Literal["matched", "content", "noise", "style"] = "matched"
    """first image: the content with each region's colours matched to the style's (linear Monge-Kantorovich map),
    the content as it is, noise, or the style photograph"""
    matched_noise: float = 0.04
    """standard deviation, of 1, that the colour match of the start "matched" adds to both photographs' colours: it
    bounds how far flat colours are stretched"""
    matched_gains: tuple[float, float, float] | None = (0.5, 1.6, 1.5)
    """how far that match may shrink light and colour, stretch light, and stretch colour"""
    objective: Literal["relative", "paper"] = "relative"
    """relative: Grams divided by region area and every term relative to its target's size; paper: its own sums"""
    content_layers: tuple[str, ...] = ("relu4_2",)
    """VGG19 layers of the content term"""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """VGG19 layers of the style term"""
    feature_precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    """what VGG19 computes in; tensorfloat32: GPUs may round the factors of float32 to ten bits; bfloat16: for GPU and
    TPU, slow on a CPU"""
    nima_checkpoint: str = "auto"
    """NIMA network of the aesthetic term: auto takes the first that is here; else a name from `jpst weights list`, or a
    file"""
    nima_size: int = 224
    """side of the square to which the picture is brought for the aesthetic term (0: as it is); NIMA saw 224"""
    matting_epsilon: float = 1e-4
    """regularisation of the matting Laplacian's window covariances (it is divided by the 9 pixels of a window)"""
    matting_moments: Literal["float64", "float32"] = "float64"
    """precision of those covariances; float32 repeats the reference's rounding"""
    coherence_octaves: int = 3
    """how often the picture is halved for the coherence term"""
    grams: Literal["gathered", "dense"] = "gathered"
    """how the Grams of regions are summed: over each region's own pixels where masks overlap little, or over the whole
    picture for each of them, as the reference does"""
    laplacian: Literal["stencil", "bcoo"] = "stencil"
    """form of the matting Laplacian: a 5x5 stencil, or a sparse matrix (the same operator, slower on a CPU)"""
    segmenter: Literal["auto", "pspnet", "deeplab", "scene", "cluster", "none"] = "auto"
    """regions: auto takes the masks given or lying beside both photographs (NAME_seg.png), else the first that can be
    had of pspnet (150 scene classes, if its checkpoint is here), deeplab (31 of them, fetched at first use) and scene
    (the same 31, by the network that comes with jpst); cluster: a joint clustering of both photographs, without names,
    which is wrong more often; none: the whole picture is one region"""
    scene_mode: Literal["refined", "paper"] = "refined"
    """how PSPNet is run: refined as its authors test it, and to the picture's edges; paper as the reference does"""
    similarity: Literal["li", "wpath", "jcn", "lin", "wup", "res", "path"] = "li"
    """measure of WordNet similarity by which scene classes are grouped"""
    similarity_threshold: float = 0.8
    """scene classes in both photographs that are at least this similar become one region"""
    word_senses: Literal["fixed", "all"] = "fixed"
    """fixed: one WordNet meaning for each scene class; all: the reference's maximum over all meanings of the words"""
    minimum_share: float = 0.005
    """part of the picture below which a scene class is merged into the most similar one"""
    pairs: tuple[str, ...] = ()
    """other partners of regions that were found, each CONTENT=STYLE, as the table of regions names them (mountain=sky),
    or CONTENT=none: the region follows the whole style photograph"""
    hard_masks: bool = False
    """keep the regions' outlines as they are, instead of bringing them to the picture's edges"""

    def __post_init__(self) -> None:
        """Raises `JpstError` naming the field that cannot be used, what it is and what it may be."""
        for field in dataclasses.fields(self):
            _check_field(field.name, getattr(self, field.name), field.type)

    @property
    def optimises(self) -> bool:
        """Whether any network is asked what the picture looks like; without, the result is the base look."""
        return any(self.iterations) or self.start == "noise"


def check_read(recipe: Recipe, changed: Collection[str]) -> None:
    """Raises `JpstError` where numbers were changed, all of Adam's, that the recipe's optimiser does not read."""
    if changed and recipe.optimiser != "adam":
        raise JpstError(
            f"{', '.join(changed)}: only Adam reads it, and the optimiser is {recipe.optimiser}. Leave it out, or ask "
            'for `optimiser="adam"`, with about twice the `iterations`.'
        )
