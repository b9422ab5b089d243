"""What image files are refused with."""

from jpst.errors import JpstError


class ImageError(JpstError):
    """An image that cannot be read or written; the text names it and says what to do."""


class Refused(Exception):
    """Why an opened image is not taken, and what to do: `image_decoding.opened` makes it an `ImageError` that names
    the image."""
