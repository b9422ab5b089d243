"""The command line: parses arguments, runs a command, prints and exits.

Its options are the fields of `Recipe` and `Hyperparameters`.
"""

import sys
from itertools import pairwise
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from jpst import ranges, streams
from jpst.commands import options
from jpst.commands.app import App
from jpst.commands.batch import Batch
from jpst.commands.cache import Cache
from jpst.commands.eval import Eval
from jpst.commands.look import Look
from jpst.commands.report import Report
from jpst.commands.score import Score
from jpst.commands.segment import Segment
from jpst.commands.sweep import Sweep, single
from jpst.commands.transfer import Demo, Transfer
from jpst.commands.weights import Weights
from jpst.errors import OUT_OF_MEMORY, JpstError, UsageError, out_of_memory
from jpst.presets import PRESETS
from jpst.recipe import Recipe


@streams.forgiving
def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit status: 0 done, 1 the job failed, 2 wrong use, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = _parse(arguments)
        _run(command)
    except (JpstError, OSError) as error:  # such as a full disk
        told = f"jpst: {ranges.as_options(str(error), _OPTIONS)}"
        if not isinstance(error, UsageError):
            sys.exit(told)
        print(told, file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        sys.exit(f"jpst: {ranges.as_options(OUT_OF_MEMORY, _OPTIONS)}")
    except KeyboardInterrupt as interrupt:
        # CPython ends by SIGINT, not with 130, if the interrupt passed an `exec` of a string, as `dataclass` and
        # `namedtuple` have them, even if it was caught later. Another `exec` forgets that.
        exec("")
        told = interrupt.args[0] if interrupt.args else "interrupted, nothing was written."
        print(f"jpst: {told}", file=sys.stderr)
        sys.exit(130)


def _run(command: Any) -> None:
    """Runs a command with compiled programs cached on disk; prints a note if they cannot be cached."""
    from jpst import caching

    caching.enable()
    try:
        command.run()
    finally:
        if problem := caching.problem():
            print(f"Note: {problem}", file=sys.stderr)


def _parse(arguments: list[str]) -> Any:
    recipe, hyper = PRESETS[_asked_preset(arguments)]
    commands = (
        Annotated[
            Transfer,
            subcommand("transfer", default=Transfer(*[tyro.MISSING] * 3, recipe=recipe, hyper=hyper)),
        ]
        | Annotated[Batch, subcommand("batch", default=Batch(*[tyro.MISSING] * 2, recipe=recipe, hyper=hyper))]
        | Annotated[
            Sweep,
            subcommand("sweep", default=Sweep(*[tyro.MISSING] * 3, recipe=recipe, values=single(hyper))),
        ]
        | Annotated[Report, subcommand("report")]
        | Annotated[Look, subcommand("look")]
        | Annotated[Eval, subcommand("eval")]
        | Annotated[Demo, subcommand("demo")]
        | Annotated[Segment, subcommand("segment")]
        | Annotated[Score, subcommand("score")]
        | Annotated[App, subcommand("app")]
        | Annotated[Weights, subcommand("weights")]
        | Annotated[Cache, subcommand("cache")]
    )
    with streams.reader_may_leave():  # --help may be piped to `head`
        return tyro.cli(commands, prog="jpst", args=arguments, description=_DESCRIPTION, config=_NAMES)
    sys.exit(0)


_OPTIONS = options(Transfer, Batch, Sweep, App)
_NAMES = (OmitArgPrefixes, OmitSubcommandPrefixes)  # plain: no --recipe.size, no `weights action:list`
_DESCRIPTION = "Photo style transfer: give one photograph the light, weather, season or colour grade of another."


def _asked_preset(arguments: list[str]) -> str:
    """The preset given on the command line, found before parsing: it sets the defaults of all other options."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--preset=") else [word])]
    asked = [after for word, after in pairwise(words) if word == "--preset"]
    return asked[-1] if asked and asked[-1] in PRESETS else Recipe().name  # the parser refuses an unknown one
