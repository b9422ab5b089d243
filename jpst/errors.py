"""The base class of errors with a message for the user, and what memory that ran out is told as."""

OUT_OF_MEMORY = "There was not enough memory. Choose a smaller photograph or `size`, or close other programs."


class JpstError(Exception):
    """An error that the user can fix.

    The message says which input, what was expected, what was found, and what to do. The command line prints it and
    exits with status 1. Library users catch it or one of its subclasses, which are defined beside the code that raises
    them (`image.ImageError`, `regions.segment.MaskError`, ...).
    """


class UsageError(JpstError):
    """The command line cannot be meant so, which its parser does not see. It exits with status 2."""


class CheckpointError(JpstError):
    """A weight file is missing, damaged, refused, or not the one that is needed."""


def told_of(path: object, error: BaseException) -> str:
    """What went wrong with one of several files: errors for the user name it, memory that ran out does not."""
    return f"{path}: {OUT_OF_MEMORY}" if out_of_memory(error) else str(error)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in Python or in XLA, whose errors say so in their text alone."""
    told = str(error) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in told or "Out of memory" in told
