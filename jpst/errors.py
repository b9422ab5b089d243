"""The one exception that carries a message for the person at the keyboard."""


class JpstError(Exception):
    """A failure that the user can mend.

    Its text says which input is meant, what was found, what is needed and what to do. The command line
    prints it as it stands and exits with status 1; library users catch it or one of its subclasses, which
    live beside the code that raises them (`image.ImageError`, `weights.CheckpointError`, ...).
    """
