"""Errors for image files."""

from jpst.errors import JpstError


class ImageError(JpstError):
    """An image cannot be read or written; the message names it and says what to do."""


class Refused(Exception):
    """Why an opened image is refused, and what to do.

    `opening.opened` turns it into an `ImageError` that names the image.
    """
