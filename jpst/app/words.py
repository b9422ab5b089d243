"""What the page says: names and hints of its controls, and sentences of the library in these words."""

from collections.abc import Sequence
from typing import Any

from jpst import ranges
from jpst.presets import PRESETS

CONTENT, STYLE = "content", "style"
PHOTOGRAPHS = {
    CONTENT: ("Your photograph (content)", "The one to change"),
    STYLE: ("The look (style)", "The one with the look"),
}
"""label and hint of each drop zone"""
PRESET_CHOICES = [
    ("Preview, in seconds", "preview"),
    ("Fast", "fast"),
    ("Balanced", "balanced"),
    ("Quality, slower", "quality"),
]
"""the presets that need no patience and no further networks"""
SEGMENTER_CHOICES = [
    ("Automatic", "auto"),
    ("PSPNet, 150 kinds of things", "pspnet"),
    ("DeepLab, 31 kinds of things", "deeplab"),
    ("The small network that comes with jpst", "scene"),
    ("Clusters: transfers more, is wrong more often", "cluster"),
    ("None: the picture as a whole", "none"),
]
NAMES = {
    "name": "Preset",
    "segmenter": "Regions",
    "size": "Working size",
    "style_weight": "Style",
    "edge_weight": "Edges",
    "regularization_weight": "Photorealism",
    "coherence_weight": "Calm areas",
    "strength": "Strength",
}
"""the page's words for fields of recipe and numbers"""
SEGMENTER = "Sky takes its look from sky: what finds such regions."
STRENGTH = "0 is your photograph, 1 the result, above 1 more of it. Changes at once, without a new run."
NUMBERS = {
    "size": (64, 1024, 16, "Longest side while it is worked on, in pixels; takes time as its square."),
    "style_weight": (0, 10, 0.1, "How much the look counts."),
    "edge_weight": (0, 1, 0.05, "Against lost and invented edges."),
    "regularization_weight": (0, 100, 5, "Against what no photograph has: brush strokes, bent lines."),
    "coherence_weight": (0, 20, 1, "Against clouds of colour across a wall or a sky."),
}
"""least, most, step and hint of each number"""
PAIRS = (
    "What has one colour goes together: a region of your photograph takes its look from the region of that colour. "
    "What is grey takes it from the whole picture. <strong>To change that, click a region of your photograph, then its "
    "partner</strong>, or choose both in the lists. You see the base look at once; press Transfer for the result."
)
PICKED, PARTNER, WHOLE = "Region of your photograph", "takes its look from", "The whole picture"
OTHER_PAIRS = "This is the base look, a colour match, with your pairs. Press Transfer for the result."
TITLE = (
    "<h1>Photo style transfer</h1><p>Give one photograph the light, weather, season or colours of another. It stays a "
    "photograph. Everything happens on this computer: no picture leaves it.</p>"
)
EMPTY = (
    '<div class="empty"><strong>The result appears here</strong><span>Drop two photographs, then press Transfer.<br>'
    "A first look comes after seconds, the result after about a minute.</span></div>"
)


def defaults(preset: str, names: Sequence[str]) -> dict[str, Any]:
    """The values of these fields in a preset."""
    recipe, numbers = PRESETS[preset]
    return {name: getattr(numbers if hasattr(numbers, name) else recipe, name) for name in names}


def told(sentence: str, options: dict[str, str]) -> str:
    """A sentence of the library in the page's words; what the page does not have as an option of the command line."""
    return ranges.as_options(sentence, options | NAMES)
