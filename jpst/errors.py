"""The base class of errors with a message for the user."""


class JpstError(Exception):
    """An error that the user can fix.

    The message says which input, what was expected, what was found, and what to do. The command line prints it and
    exits with status 1. Library users catch it or one of its subclasses, which are defined beside the code that raises
    them (`image.ImageError`, `regions.segment.MaskError`, ...).
    """


class CheckpointError(JpstError):
    """A weight file is missing, damaged, refused, or not the one that is needed."""
