"""Output files of the commands: checked against the inputs before the work starts, and written with their record."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from PIL import ExifTags

from jpst import image, levels, pipeline, pixels, records, streams
from jpst.errors import JpstError
from jpst.image import encoding, exif
from jpst.image.exif import Exif
from jpst.image.metadata import Metadata
from jpst.pyramid import Progress
from jpst.recipe import Recipe
from jpst.regions import ade20k, segment
from jpst.regions.segment import Segmentation
from jpst.weights import downloads, readers
from jpst.weights.registry import REGISTRY

_SHEET = "contact sheet of jpst sweep"
_ELSEWHERE = "Choose another folder, or move it."


class OutputError(JpstError):
    """A file cannot be written or would replace another; the message says which, and what to do."""


def check_transfer(
    picture: Path, inputs: Sequence[Path], recipe: Recipe, previews: bool, others: Sequence[Path] = ()
) -> None:
    """Checks that a transfer can write `picture`, its record and its previews without overwriting other files.

    Args:
      inputs: content, style and, if given, their masks.
      others: further files that it writes.

    Raises:
      JpstError: an output cannot be written, is an input or another output, or is too large for its format; or the
        record would replace a file that is not the record of the same picture.
    """
    _check_picture(picture, result_size(inputs[0], recipe))
    written = [picture, record_of(picture), *others]
    if previews:
        written += _previews(picture, sum(recipe.iterations))
    masks = [mask for photograph in inputs[:2] if photograph.name and (mask := segment.beside(photograph))]
    check(written, [*inputs, *masks, *checkpoints(recipe.nima_checkpoint)])
    check_record(picture)


def check_sweep(sheet: Path, pictures: Sequence[Path], inputs: Sequence[Path], recipe: Recipe) -> None:
    """Checks that a sweep can write its pictures, their records and the sheet; makes their folder.

    Raises:
      JpstError: as `check_transfer`, and for a picture that is there and that jpst did not write.
    """
    make_folder(sheet.parent)
    for picture in pictures:
        check_transfer(picture, inputs, recipe, previews=False)
        check_ours(picture)
    check([sheet, *pictures, *map(record_of, pictures)], inputs)
    if sheet.exists() and not _is_sheet(sheet):
        raise OutputError(f"{sheet}: this is no sheet of jpst's; the sweep's would replace it. {_ELSEWHERE}")


def write_sheet(path: Path, sheet: PIL.Image.Image) -> None:
    """Writes a contact sheet, which says in its EXIF that it is one, atomically."""
    said = Metadata(Exif("<", {ExifTags.Base.ImageDescription: exif.text(_SHEET)}, {}, {}))
    image.write(path, np.asarray(sheet, np.float32) / 255, metadata=said)


def _is_sheet(path: Path) -> bool:
    try:
        with PIL.Image.open(path) as found:
            return found.getexif().get(ExifTags.Base.ImageDescription) == _SHEET
    except Exception:  # Pillow raises many kinds of errors
        return False


def check_segmentation(labels: Path, overlay: Path | None, photograph: Path) -> None:
    """Checks that the label map and overlay of a photograph can be written; raises `JpstError`."""
    if labels.suffix.lower() != ".png":
        raise OutputError(f"{labels}: label maps are indexed PNG files. Use the suffix .png.")
    written = [labels, *([overlay] if overlay else [])]
    for path in written:
        _check_picture(path, image.size(photograph))
    check(written, [photograph, *checkpoints()])


def check_conversion(converted: Path, source: Path) -> None:
    """Checks that a converted checkpoint can be written; raises `JpstError`."""
    if converted.suffix.lower() != ".npz":
        raise OutputError(f"{converted}: converted checkpoints are .npz files. Use the suffix .npz.")
    check([converted], readers.files(source))


def check(written: Iterable[Path], read: Iterable[Path]) -> None:
    """Raises `OutputError` unless every output can be written and is neither an input nor another output.

    Two paths are equal if they lead to the same file: by symbolic links, hard links, or on a case-insensitive file
    system. Files that do not exist yet are compared by their path with links resolved.
    """
    inputs = {_identity(path): path for path in read}
    outputs: dict[Any, Path] = {}
    for path in written:
        _check_place(path)
        identity = _identity(path)
        if identity in inputs:
            raise OutputError(f"{path}: this would overwrite an input, {inputs[identity]}. Choose another output.")
        if identity in outputs:
            raise OutputError(f"{path}: this is also the output {outputs[identity]}. Give each output its own file.")
        outputs[identity] = path


def make_folder(folder: Path) -> None:
    """Makes a folder for outputs, unless it is there; raises `OutputError` if that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror or error}). Choose another folder.") from error


def checkpoints(named: str = "auto") -> list[Path]:
    """The existing files of registered checkpoints, and of `named` if it is a file."""
    names = [name for each in REGISTRY.values() for name in (each.filename, f"{each.name}.npz")]
    paths = [downloads.directory() / name for name in names] + [Path(named)]
    return [file for path in paths for file in (path.iterdir() if path.is_dir() else [path]) if file.is_file()]


def result_size(content: Path, recipe: Recipe) -> tuple[int, int]:
    """(height, width) of the result of a transfer; reads only the header of the photograph."""
    return levels.output_size(image.size(content), recipe)


def record_of(picture: Path) -> Path:
    """The path of a picture's record: its name with .json."""
    return picture.with_suffix(".json")


def preview_of(picture: Path, step: int) -> Path:
    """The path of the picture after `step` steps: OUT-stepN."""
    return picture.with_name(f"{picture.stem}-step{step:04d}{picture.suffix}")


def write_result(picture: Path, run: pipeline.Run) -> dict[str, Any]:
    """Writes a finished transfer and then its record, each atomically. Returns the record.

    The record names its picture, so that a later run can tell to which picture it belongs.
    """
    metadata = run.photograph.metadata
    told = {"metadata": metadata.kinds() if metadata else [], "left_out": image.left_out(picture, run.photograph)}
    record = {"output": picture.name, **run.record, **told}
    text = streams.as_json(record)
    image.write(picture, **run.photograph._asdict())
    _write_record(picture, text)
    return record


def add_to_record(picture: Path, record: dict[str, Any], **told: Any) -> dict[str, Any]:
    """Writes the record of a picture anew, with more in it, and returns it."""
    record = {**record, **told}
    _write_record(picture, streams.as_json(record))
    return record


def _write_record(picture: Path, text: str) -> None:
    with encoding.replacing(record_of(picture)) as file:
        file.write(text.encode())


def write_preview(picture: Path, now: Progress, every: int, photograph: tuple[int, int]) -> None:
    """Writes the best result so far, as `preview` gives it, if it is `due`."""
    if due(now, every):
        image.write(preview_of(picture, now.step), preview(now, photograph))


def due(now: Progress, every: int) -> bool:
    """Whether a multiple of `every` steps was reached since the last report (0: never)."""
    return every > 0 and now.step // every > (now.step - now.chunk) // every


def preview(now: Progress, photograph: tuple[int, int]) -> np.ndarray:
    """The best result so far, [h, w, 3], for a photograph of (height, width).

    It has about as many pixels as the working image, and the aspect ratio of the photograph.
    """
    size = pixels.working_size(*photograph, max(now.level.content))
    return np.asarray(pixels.at_size(np.asarray(now.best), size))


def write_segmentation(labels: Path, overlay: Path | None, photograph: np.ndarray, found: Segmentation) -> None:
    """Writes the label map of a photograph and, unless `overlay` is None, the photograph with coloured regions."""
    image.write_labels(labels, found.labels, palette())
    if overlay:
        image.write(overlay, (photograph + palette()[found.labels] / np.float32(255)) / 2)


def palette() -> np.ndarray:
    """The colours of label maps: ADE20K's, uint8 [150, 3]."""
    return np.array([each.colour for each in ade20k.CLASSES], np.uint8)


class Share(NamedTuple):
    """A region of one photograph, for display."""

    label: int
    name: str
    percent: float
    confidence: float | None
    """mean probability of the label over its pixels; None if it is not known"""


def region_shares(found: Segmentation) -> list[Share]:
    """All regions that have pixels, the largest first."""
    counts = np.bincount(found.labels.ravel(), minlength=len(found.names))
    shares = 100 * counts / found.labels.size
    sure = None
    if found.confidence is not None:
        sure = np.bincount(found.labels.ravel(), found.confidence.ravel(), len(found.names)) / np.maximum(counts, 1)
    return [
        Share(label, found.names[label], float(shares[label]), None if sure is None else round(float(sure[label]), 3))
        for label in np.argsort(-shares, kind="stable").tolist()
        if shares[label] > 0
    ]


def _identity(path: Path) -> tuple[int, int] | str:
    """A key that is equal for two paths of the same file, as in `os.path.samefile`; opens nothing."""
    try:
        found = os.stat(path)
        return found.st_dev, found.st_ino
    except OSError:
        return os.path.realpath(path)


def _check_picture(path: Path, size: tuple[int, int]) -> None:
    _exists(path)
    image.check_writable(path, size)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}). Choose another name.") from error


def _check_place(path: Path) -> None:
    """Raises `OutputError` unless a file can be created or replaced at `path`."""
    target, exists = Path(os.path.realpath(path)), _exists(path)
    if target.is_dir():
        raise OutputError(f"{path}: expected a file name, got a folder. Move it, or choose another name.")
    if exists and not target.is_file():
        raise OutputError(f"{path}: expected a file name, got a device or a pipe. Choose another name.")
    if exists and not os.access(target, os.W_OK):
        raise OutputError(f"{path}: the file exists and is not writable. Choose another name.")
    folder = next(parent for parent in target.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: {folder} is not a writable folder. Choose another.")


def _previews(picture: Path, steps: int) -> list[Path]:
    """The existing previews of a run of `steps` steps, and the one with the longest name."""
    prefix = f"{picture.stem}-step".lower()
    ends = [path.stem[len(prefix) :] for path in picture.parent.iterdir() if path.stem.lower().startswith(prefix)]
    numbers = {int(end) for end in ends if end.isascii() and end.isdigit() and len(end) < 10}
    paths = [preview_of(picture, number) for number in sorted(numbers) if number <= steps]
    return list(dict.fromkeys([*filter(os.path.lexists, paths), preview_of(picture, steps)]))


def check_record(picture: Path) -> None:
    """Raises `OutputError` if the record would replace a file that is not the record of the same picture."""
    record = record_of(picture)
    if not record.exists() or _is_of(record, picture):
        return
    named = records.picture_named_by(record)
    found = f"is the record of {named}" if named else f"is not jpst's record of {picture.name}"
    raise OutputError(f"{record}: {found}; the new record would replace it. Choose another OUT, or move it.")


def check_ours(picture: Path) -> None:
    """Raises `OutputError` if there is a picture that is not `ours`: of commands that choose names by themselves."""
    if not ours(picture):
        raise OutputError(f"{picture}: this is there already, without a record of jpst's. {_ELSEWHERE}")


def ours(picture: Path) -> bool:
    """Whether a picture may be replaced unasked: there is none yet, or it has a record that names it."""
    record = record_of(picture)
    return not os.path.exists(picture) or (os.path.isfile(record) and _is_of(record, picture))


def _is_of(record: Path, picture: Path) -> bool:
    """Whether a file is the record of this picture."""
    named = records.picture_named_by(record)
    return named is not None and (named == picture.name or _identity(record.with_name(named)) == _identity(picture))
