"""Members of zip archives, of which no more comes out than the archive says."""

from __future__ import annotations

import zipfile


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member's `file_size` bytes, checksum verified; whoever asks has made sure that they are not too many."""
    # Other ways to compress give all that they hold at once, however much was asked for.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed in a way that no checkpoint is")
    with archive.open(member) as file:
        data = file.read(member.file_size)  # with a number, or else all that is there would be unfolded
    if len(data) != member.file_size:
        raise ValueError(f"{member.filename} has {len(data)} of its {member.file_size} bytes")
    return data
