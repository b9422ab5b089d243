"""The command line's `jpst weights`: list, fetch, convert and verify checkpoints."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg, subcommand

from jpst import streams
from jpst.errors import JpstError


@dataclasses.dataclass(frozen=True)
class List:
    """List known checkpoints: which are present, where to get the others, and their licences."""

    json: FlagCreatePairsOff[bool] = False
    """print a JSON list"""

    def run(self) -> None:
        """Prints the registry."""
        from jpst import terminal, weights
        from jpst.weights import downloads

        rows = [
            {name: value if value is None else str(value) for name, value in row._asdict().items()}
            for row in weights.listing()
        ]
        if self.json:
            return streams.say_json(rows)
        terminal.show_checkpoints(rows, downloads.directory(), terminal.console())


@dataclasses.dataclass(frozen=True)
class Fetch:
    """Download a checkpoint into the checkpoints folder and check its hash."""

    name: Annotated[Positional[str], arg(metavar="NAME")] = "vgg19"
    """a name from `jpst weights list`; or vgg19 or deeplab, the networks with a default checkpoint"""

    def run(self) -> None:
        """Fetches one checkpoint."""
        from jpst import terminal

        streams.say(terminal.fetch(self.name, terminal.console()))


@dataclasses.dataclass(frozen=True)
class Convert:
    """Convert a weight file to jpst's .npz format."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """checkpoint: Keras .h5 or .keras, PyTorch .pth, TensorFlow, .tflite, .safetensors, .npz or .npy, codebook .bin"""
    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")]
    """file to write (.npz)"""
    network: str = "vgg19"
    """the network that the weights belong to"""

    def run(self) -> None:
        """Converts one file."""
        from jpst import outputs, weights

        outputs.check_conversion(self.output, self.file)
        streams.say(weights.convert(self.file, self.network, self.output))


@dataclasses.dataclass(frozen=True)
class Verify:
    """Check the hashes of the checkpoints in the checkpoints folder; exit status 1 if one is wrong."""

    def run(self) -> None:
        """Verifies every file in the checkpoints folder."""
        from jpst import weights
        from jpst.weights import downloads

        found = weights.verify()
        for name, status in found:
            streams.say(f"{name}: {status}")
        if not found:
            streams.say(f"There are no checkpoints in {downloads.directory()}.")
        damaged = [name for name, status in found if status != "ok"]
        if damaged:
            raise JpstError(f"{', '.join(damaged)}: damaged. Delete and fetch again with `jpst weights fetch`.")


@dataclasses.dataclass(frozen=True)
class Weights:
    """List, fetch, convert and verify network weights."""

    action: (
        Annotated[List, subcommand("list")]
        | Annotated[Fetch, subcommand("fetch")]
        | Annotated[Convert, subcommand("convert")]
        | Annotated[Verify, subcommand("verify")]
    )

    def run(self) -> None:
        """Runs the action."""
        self.action.run()
