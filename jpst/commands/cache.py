"""The command line's `jpst cache`: show and clear the compiled programs on disk."""

import dataclasses
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, subcommand

from jpst import streams


@dataclasses.dataclass(frozen=True)
class CacheInfo:
    """Show where compiled programs are cached, their number and their size."""

    json: FlagCreatePairsOff[bool] = False
    """print a JSON object"""

    def run(self) -> None:
        """Prints what the cache holds."""
        from jpst import caching, terminal

        found = caching.info()
        if self.json:
            return streams.say_json({**found._asdict(), "folder": str(found.folder)})
        terminal.show_cache(found, terminal.console())


@dataclasses.dataclass(frozen=True)
class CacheClear:
    """Remove all compiled programs. They are compiled again when needed."""

    def run(self) -> None:
        """Clears the cache."""
        from jpst import caching

        before = caching.clear()
        streams.say(f"{before.programs} programs removed from {before.folder}, {before.bytes / 1e6:.1f} MB.")


@dataclasses.dataclass(frozen=True)
class Cache:
    """Show or clear the cache of compiled programs, which saves later runs the compilation."""

    action: Annotated[CacheInfo, subcommand("info")] | Annotated[CacheClear, subcommand("clear")]

    def run(self) -> None:
        """Runs the action."""
        self.action.run()
