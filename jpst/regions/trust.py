"""Which regions of two labelled photographs may take their look from each other. Host code.

A wrong pair costs more than a right one gains: only what is surely the same kind of thing in both is paired, and only
where the closed-form match of its colours does no harm. All else is `semantics.REST`.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jpst import colours, faults, pixels
from jpst.caching import cached
from jpst.regions import walks
from jpst.regions.segment import WHOLE, Segmentation
from jpst.regions.semantics import REST, Move, Regions, Side, WordSimilarity, merge_alike, relabelled, shares_by_name

_BUILT = ("building", "house", "wall", "skyscraper", "hovel", "floor", "ceiling", "road", "sidewalk", "path", "runway")
_GROWN = ("tree", "grass", "plant", "field", "earth", "sand", "mountain", "hill", "rock", "land", "dirt track")
_WATER = ("sky", "water", "sea", "lake", "river", "waterfall", "swimming pool")
STUFF = frozenset((*_BUILT, *_GROWN, *_WATER))
"""classes of ADE20K that look alike from one photograph to the next: people, vehicles and things have any colour"""
TRUSTED_SHARE = 0.06  # of each photograph
TRUSTED_CONFIDENCE = 0.7  # mean probability of a label over its pixels
KNOWN = 0.4  # probability of a pixel's label; below, what is there counts as unknown
BLOWN = 0.9  # of the least of R, G, B: what is brighter shows light, not a surface, unless its region is bright
BRIGHT = 0.8  # mean luminance of such a region: a white sky
LIGHTER = 0.1  # luminance by which a region is clearly lighter, or darker, than its photograph
LEAST_LIGHTER = 0.45  # of that difference, which its counterpart must have in the style
LOST = 0.02  # of a photograph's strong edges, that the match of the regions' colours may lose or reverse
SPREAD = 6.0  # CIELAB, as `faults` has it: how far that match may move apart what was alike
SPOTS = 98, 8.0
"""percentile, and CIELAB: how far it may do so in small parts of the photograph, such as a piece of a sky that is taken
for something else"""
NEW_EDGES = faults.BOUNDS.new_edges  # share of the flat places in which that match may make edges
MASKS = 9  # are filled up to so many with empty ones, so that one compiled match serves nearly all pairs


def trusted(
    content: Segmentation, style: Segmentation, similarity: WordSimilarity, *, threshold: float = 0.8
) -> Regions:
    """The regions of two labelled photographs that are surely the same kind of thing; all else is `REST`.

    Labels at least `threshold` alike count as one. A region needs `TRUSTED_SHARE` of both photographs and a mean
    confidence of `TRUSTED_CONFIDENCE` in both; pixels that are less sure than `KNOWN` are nowhere counted. What only
    one of them has is not given to something else. Without any such region, the whole image is the one region.
    """
    sides: dict[Side, Segmentation] = {"content": known(content), "style": known(style)}
    labels = {name for side in sides.values() for name in shares_by_name(side)} - {REST}
    alike = merge_alike(labels, similarity, threshold)
    targets = {name: alike.get(name, (name, ""))[0] for name in labels}
    doubts = {target: _doubt(target, targets, sides) for target in sorted(set(targets.values()))}
    kept = tuple(sorted(target for target, doubt in doubts.items() if not doubt))
    moves = []
    for side, segmentation in sides.items():
        for name, share in shares_by_name(segmentation).items():
            if name == REST:
                reason = "labels that are not sure"
            elif targets[name] not in kept:
                reason = doubts[targets[name]]
            else:
                reason = alike[name][1] if name in alike else ""
            home = targets[name] if targets.get(name) in kept else REST
            moves.append(Move(name, side, share, home if kept else WHOLE, reason))
    return relabelled(sides, (*kept, REST) if kept else (WHOLE,), moves)


def filled(
    regions: Regions,
    pair: tuple[Segmentation, Segmentation],
    pictures: tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h2 w2 3"]],
) -> Regions:
    """The regions with what is not sure in `REST` added to those that it runs into without an edge (`walks.filled`)."""
    if regions.whole is None:
        return regions
    rest, maps = regions.whole, []
    for labels, found, picture in zip((regions.content, regions.style), pair, pictures, strict=True):
        sure = np.ones_like(labels) if found.confidence is None else found.confidence
        maps.append(walks.filled(labels, (labels == rest) & (sure < TRUSTED_CONFIDENCE), picture))
    return regions.with_maps(*maps)


def plausible(
    regions: Regions,
    content: Float[np.ndarray, "h w 3"],
    style: Float[np.ndarray, "h2 w2 3"],
    *,
    noise: float,
    gains: tuple[float, float, float] | None,
) -> Regions:
    """The regions whose colours can go to their counterparts' without harm.

    A bright sky over dark hills may not take the black of a sky at night, and half a lake not that of a sky. First,
    regions are given up that are clearly lighter or darker than the whole content, but not so in the style. Then more
    are, each time the one that helps most, until the closed-form match (`colours.base_look`, with `noise` and `gains`)
    loses or reverses at most `LOST` of the content's strong edges, has a spread of at most `SPREAD` (`SPOTS` in small
    parts) and makes edges in at most `NEW_EDGES` of its flat places, or none helps. Overexposed pixels are `REST`: a
    surface in the sun is not given the look of one in the shade.

    Args:
      regions: as `trusted` gives them.
      content, style: sRGB in [0, 1], at the sizes of the label maps.
    """
    if regions.whole is None:
        return regions
    luminances = content @ pixels.LUMINANCE, style @ pixels.LUMINANCE
    regions = _without_blown(regions, (content, style), luminances)
    for name in regions.names[:-1]:
        if not _keeps_light(regions, regions.names.index(name), luminances):
            regions = _without(regions, name, _STANDS_OUT)
    harm = partial(_harm, content=content, style=style, noise=noise, gains=gains)
    current = harm(regions) if regions.whole is not None else 0.0
    while regions.whole is not None and current > 1:
        fewer = [_without(regions, name, _HARMFUL) for name in regions.names if name != REST]
        harms = [harm(each) for each in fewer]
        if (least := min(harms)) >= current:
            break
        regions, current = fewer[harms.index(least)], least
    return regions


_STANDS_OUT = "clearly lighter, or darker, than its photograph in the content only"
_HARMFUL = "its look would turn light and dark round, move apart what is alike, or make edges in flat places"


def _without_blown(
    regions: Regions, pictures: tuple[np.ndarray, np.ndarray], luminances: tuple[np.ndarray, np.ndarray]
) -> Regions:
    """With overexposed pixels as `REST`, but for those of a bright region."""
    rest, labels = len(regions.names) - 1, []
    for found, picture, luminance in zip((regions.content, regions.style), pictures, luminances, strict=True):
        counts = np.bincount(found.ravel(), minlength=len(regions.names))
        means = np.bincount(found.ravel(), luminance.ravel(), len(regions.names)) / np.maximum(counts, 1)
        blown = (picture.min(-1) > BLOWN) & (means[found] < BRIGHT)
        labels.append(np.where(blown, rest, found).astype(np.int32))
    return regions.with_maps(*labels)


def _keeps_light(regions: Regions, number: int, luminances: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether a region that is lighter or darker than the whole content is so in the style, too."""
    content, style = (
        float(luminance[labels == number].mean() - luminance.mean())
        for luminance, labels in zip(luminances, (regions.content, regions.style), strict=True)
    )
    return abs(content) < LIGHTER or style * content >= LEAST_LIGHTER * content**2


_base_look = cached(colours.base_look, static_argnums=(4, 6))


def _harm(
    regions: Regions, content: np.ndarray, style: np.ndarray, noise: float, gains: tuple[float, float, float] | None
) -> float:
    """Of the closed-form match with these regions; 1 is the most that is allowed."""
    parts, style_parts = (
        jnp.stack([jnp.asarray(labels == number, jnp.float32) for number in range(max(MASKS, len(regions.names)))])
        for labels in (regions.content, regions.style)
    )
    masks, style_masks = (
        each if regions.whole is None else each.at[regions.whole].set(1.0) for each in (parts, style_parts)
    )
    matched = _base_look(jnp.asarray(content), jnp.asarray(style), masks, style_masks, noise, parts, gains)
    found, apart = faults.measured(content, np.round(255 * np.clip(np.asarray(matched), 0, 1)) / 255)
    spots = float(np.percentile(apart, SPOTS[0]))
    return max(found.edges_lost / LOST, found.spread / SPREAD, spots / SPOTS[1], found.new_edges / NEW_EDGES)


def _without(regions: Regions, name: str, reason: str) -> Regions:
    """With the region `name` in `REST`, for a reason; with nothing else left, the whole image is the one region."""
    names = tuple(other for other in regions.names if other != name)
    names = names if len(names) > 1 else (WHOLE,)
    home = names[-1]
    found = [names.index(other) if other in names else len(names) - 1 for other in regions.names]
    numbers = np.array(found, np.int32)
    at = regions.names.index(name)
    moves = [move._replace(target=home) if move.target == REST else move for move in regions.moves]
    sides: dict[Side, tuple[float, ...]] = {"content": regions.content_share, "style": regions.style_share}
    for side, shares in sides.items():
        if not any(move.side == side and move.target == name for move in moves):
            moves.append(Move(name, side, shares[at], home, reason))
    moves = [move._replace(target=home, reason=reason) if move.target == name else move for move in moves]

    def added(shares: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(np.bincount(numbers, shares, len(names)).tolist())

    return Regions(
        names,
        numbers[regions.content],
        numbers[regions.style],
        added(regions.content_share),
        added(regions.style_share),
        tuple(moves),
    )


def known(found: Segmentation) -> Segmentation:
    """A segmentation with the pixels whose label is not sure under `REST`."""
    if found.confidence is None:
        return found._replace(names=(*found.names, REST))
    labels = np.where(found.confidence < KNOWN, len(found.names), found.labels).astype(np.int32)
    return found._replace(labels=labels, names=(*found.names, REST))


def _doubt(target: str, targets: dict[str, str], sides: dict[Side, Segmentation]) -> str:
    """Why a region is not trusted; nothing if it is."""
    if not set(target.split(" + ")) <= STUFF:
        return "people, vehicles and things have colours of their own"
    for side, found in sides.items():
        members = [number for number, name in enumerate(found.names) if targets.get(name) == target]
        covered = np.isin(found.labels, members)
        if not covered.any():
            other = "style" if side == "content" else "content"
            return f"only in the {other}"
        if covered.mean() < TRUSTED_SHARE:
            return f"less than {100 * TRUSTED_SHARE:.2g} % of the {side}"
        sure = 1.0 if found.confidence is None else float(found.confidence[covered].mean())
        if sure < TRUSTED_CONFIDENCE:
            return f"a confidence below {100 * TRUSTED_CONFIDENCE:.0f} % in the {side}"
    return ""
