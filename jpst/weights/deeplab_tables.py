"""How MLPerf's files of DeepLab name and lay out its tensors."""

from jpst.models.deeplab import BLOCKS
from jpst.models.scaling import SYMMETRIC
from jpst.weights.tables import Preprocessing, Rule, Table

_POINTWISE, _DEPTHWISE = (1, 2, 3, 0), (1, 2, 0, 3)  # from TensorFlow Lite's layouts to Flax's


def _rules(theirs: str, ours: str, depthwise: bool = False) -> tuple[Rule, ...]:
    """For the weights and the bias of a layer.

    Its output's name begins with `theirs` and goes on with what was fused into it.
    """
    axes = _DEPTHWISE if depthwise else _POINTWISE
    return (
        Rule(rf"{theirs}/.*/weights", f"params/{ours}/convolution/kernel", axes),
        Rule(rf"{theirs}/.*/bias", f"params/{ours}/bias"),
        Rule(rf"{theirs}/.*/range", f"ranges/{ours}/output"),
    )


def _block_rules(number: int) -> tuple[Rule, ...]:
    theirs = rf"MobilenetV2/expanded_conv{f'_{number}' if number else ''}"
    layers = (
        rule
        for part in ("expand", "depthwise", "project")
        for rule in _rules(f"{theirs}/{part}", f"block_{number}/{part}", depthwise=part == "depthwise")
    )
    return *layers, Rule(f"{theirs}/add/range", f"ranges/block_{number}/sum")


TABLES = (
    Table(
        "MLPerf's TensorFlow Lite files",
        rules=(
            *_rules("MobilenetV2/Conv", "conv"),
            *(rule for number in range(len(BLOCKS)) for rule in _block_rules(number)),
            *_rules("image_pooling", "image_pooling"),
            *_rules("aspp0", "aspp"),
            *_rules("concat_projection", "concat_projection"),
            *_rules("decoder/feature_projection0", "feature_projection"),
            *(
                rule
                for number in (0, 1)
                for kind in ("depthwise", "pointwise")
                for rule in _rules(
                    f"decoder/decoder_conv{number}_{kind}", f"decoder_{number}_{kind}", depthwise=kind == "depthwise"
                )
            ),
            *_rules("logits/semantic", "logits"),
        ),
        preprocessing=Preprocessing("RGB", *SYMMETRIC),
        first_kernel="params/conv/convolution/kernel",
        ignore=r".*/(size|axis|shape)",
    ),
)
