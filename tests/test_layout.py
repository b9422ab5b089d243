"""The house rules that a reader would otherwise have to remember: who may import whom, and who may speak."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "jpst"

# Bottom to top: a module imports only modules below it. A new module gets its place here.
ORDER = (
    "errors",
    "streams",
    "shared_context",
    "cache_folder",
    "caching",
    "ranges",
    "recipe",
    "presets",
    "command_line",
    "resampling",
    "models.framing",
    "models.scaling",
    "models.convolution",
    "models.inception_resnet_v2",
    "models.mobilenet",
    "models.vgg16",
    "models.pspnet_families",
    "models.pspnet_network",
    "models",  # the networks: any other file of the folder
    "models.aesthetic_head",
    "models.scene_head",
    "weights.tensors",
    "weights.pickles",
    "weights.crc32c",
    "weights.zip_members",
    "weights.npy_files",
    "weights.hdf5_files",
    "weights.tf_bundle",
    "weights.tflite",
    "weights.torch_files",
    "weights.readers",
    "weights.checkpoint",
    "weights.registry",
    "weights.unfinished",
    "weights.downloads",
    "weights.tables",
    "weights.vgg19_tables",
    "weights.deeplab_tables",
    "weights.pspnet_tables",
    "weights.nima_tables",
    "weights.networks",
    "weights",
    "weights.shipped",
    "image.errors",
    "image.icc",
    "image.profiles",
    "image.png_chunks",
    "image.tiff_pages",
    "image.exif",
    "image.xmp",
    "image.metadata",
    "image.tiff_decoding",
    "image.opening",
    "image.writable",
    "image.decoding",
    "image.embedding",
    "image.encoding",
    "image",
    "pixels",
    "tone",
    "colours",
    "blending",
    "matting",
    "highres",
    "projection",
    "skin",
    "grams",
    "losses",
    "metrics",
    "faults",
    "aesthetics",
    "solver",
    "arguments",
    "total",
    "preparation",
    "optimise",
    "stacking",
    "masks",
    "levels",
    "story",
    "chunks",
    "scene",
    "resuming",
    "pyramid",
    "regions.ade20k",
    "regions.taxonomy",
    "regions.wordnet",
    "regions.mask_colours",
    "regions.segment",
    "regions.cosegment",
    "regions.colour_models",
    "regions.labelling",
    "regions.semantics",
    "regions.appearance",
    "regions.walks",
    "regions.trust",
    "regions.pairing",
    "regions",
    "data.make_wordnet",
    "memory",
    "estimate",
    "loading",
    "job",
    "identity",
    "record",
    "pipeline",
    "records",
    "outputs",
    "tensorboard",
    "evaluation",
    "lut_files",
    "lut",
    "many",
    "many.cells",
    "many.places",
    "many.manifest",
    "many.worker",
    "many.crew",
    "many.ray_driver",
    "many.ray_engine",
    "many.batch",
    "many.sweep",
    "many.sheet",
    "many.lines",
    "many.thumbnails",
    "many.curves",
    "many.sections",
    "many.report",
    "__init__",
    "terminal",
    "commands",
    "commands.transfer",
    "commands.batch",
    "commands.sweep",
    "commands.report",
    "commands.look",
    "commands.eval",
    "commands.segment",
    "commands.score",
    "commands.weights",
    "commands.cache",
    "app",
    "app.words",
    "app.display",
    "app.pairs",
    "app.session",
    "app.theme",
    "app.visit",
    "app.events",
    "app.page",
    "app.server",
    "commands.app",
    "cli",
    "__main__",
)
# What the order alone would allow and the design does not.
NOTHING_BUT = {
    "errors": set(),
    "streams": set(),
    "cache_folder": set(),
    "shared_context": set(),
    "caching": {"cache_folder", "shared_context"},
    "ranges": {"errors"},
    "resampling": set(),
    "recipe": {"errors", "ranges"},
    "presets": {"errors", "ranges", "recipe"},
    "command_line": {"presets", "recipe"},
    "image.errors": {"errors"},
    "image.icc": set(),
    "image.profiles": set(),
    "image.exif": set(),
    "image.xmp": set(),
    "image.metadata": {"image.exif", "image.xmp", "image.tiff_pages"},
    "image.embedding": {"image.exif", "image.xmp", "image.metadata"},
    "image.png_chunks": set(),
    "image.tiff_pages": {"image.errors"},
    "image.tiff_decoding": {"image.errors", "image.icc", "image.tiff_pages", "shared_context"},
    "image.opening": {"image.errors", "image.png_chunks", "image.tiff_pages", "shared_context"},
    "image.decoding": {
        "image.errors",
        "image.icc",
        "image.profiles",
        "image.metadata",
        "image.tiff_pages",
        "image.tiff_decoding",
        "image.opening",
    },
    "image.writable": {"image.errors", "image.opening"},
    "image.encoding": {"image.errors", "image.embedding", "image.icc", "image.opening"},
    "image": {
        "image.errors",
        "image.decoding",
        "image.embedding",
        "image.encoding",
        "image.opening",
        "image.writable",
        "image.metadata",
        "image.icc",
    },
    "regions.ade20k": set(),
    "regions.taxonomy": {"errors"},
    "regions.wordnet": {"regions.ade20k", "regions.taxonomy"},
    "data.make_wordnet": {"regions", "regions.ade20k"},
    "regions.mask_colours": set(),
    "pixels": {"caching", "resampling"},
    "tone": set(),
    "colours": {"pixels", "tone"},
    "blending": {"errors", "ranges", "recipe", "image.icc", "image", "pixels"},
    "matting": {"errors", "pixels"},
    "faults": {"pixels"},
    "highres": {"errors", "pixels", "caching"},
    "projection": {"colours", "pixels"},
    "grams": {"errors"},
    "losses": {"errors", "pixels", "matting", "grams"},
    "masks": {"caching", "pixels", "recipe"},
    "levels": {"errors", "pixels", "recipe", "models.vgg19"},
    "scene": {"levels", "losses", "masks", "pixels", "preparation", "recipe", "total"},
    "solver": {"caching", "recipe"},
    "arguments": {"errors", "ranges", "recipe"},
    "lut_files": {"errors", "image", "image.encoding"},
    "lut": {"lut_files", "pixels"},
    "memory": set(),
    "many.cells": {"errors", "recipe"},
    "many.places": {"errors", "image"},
    "many.manifest": {"errors", "presets", "ranges", "recipe", "many.cells", "many.places"},
    "many.sheet": {"command_line", "image", "recipe"},
    "records": {"errors", "image"},
    "many.thumbnails": {"errors", "image", "many.sheet"},
    "many.curves": set(),
    "many.sections": {
        "command_line",
        "errors",
        "faults",
        "optimise",
        "presets",
        "ranges",
        "recipe",
        "streams",
        "many.curves",
    },
    "many.crew": {"many.manifest"},  # the processes' own module is started by its name
    "many.ray_driver": {"caching", "errors", "weights", "weights.unfinished", "many.crew", "many.worker"},
    "many.ray_engine": {
        "errors",
        "ranges",
        "weights",
        "weights.unfinished",
        "many.crew",
        "many.manifest",
        "many.worker",
    },
    "app.words": {"presets", "ranges"},
    "app.theme": {"app.session", "regions.semantics"},
    "models.framing": {"resampling"},
    "models.scaling": set(),
    "models.convolution": set(),
    "weights.tensors": {"errors"},
    "weights.pickles": {"weights.tensors"},
    "weights.zip_members": set(),
    "weights.npy_files": {"weights.pickles", "weights.tensors", "weights.zip_members"},
    "weights.hdf5_files": {"weights.tensors", "weights.zip_members"},
    "weights.torch_files": {"weights.pickles", "weights.tensors", "weights.zip_members"},
    "weights.crc32c": set(),
    "weights.tf_bundle": {"weights.crc32c", "weights.tensors"},
    "weights.tflite": {"weights.tensors"},
    "weights.checkpoint": set(),
    "weights.registry": {"weights.checkpoint", "weights.readers"},
    "weights.unfinished": {"weights.tensors"},
    "weights.downloads": {
        "errors",
        "weights.checkpoint",
        "weights.readers",
        "weights.registry",
        "weights.tensors",
        "weights.unfinished",
    },
    "weights.tables": {"weights.readers"},
}
NETWORKS_MAY_IMPORT = {"errors", "caching", "resampling"}  # and one another: weight files are no matter of theirs
DRAWERS = {"utils", "util", "helpers", "types", "config", "common", "misc", "core"}
# Large or optional packages: imported where they are used, so that the rest works and starts without them.
LAZY = {
    "colour",
    "gradio",
    "h5py",
    "nltk",
    "pillow_heif",
    "tifffile",
    "ray",
    "keras",
    "tensorflow",
    "torch",
    "skimage",
    "sklearn",
    "starlette",
    "tensorboardX",
}
SPEAKERS = {"cli", "streams", "__main__"}


def module_name(path: Path) -> str:
    """jpst/models/vgg19.py -> models.vgg19; jpst/models/__init__.py -> models."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imported(name: str, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Dotted names that import statements ask for; of `from a import b` both a and a.b."""
    package = ["jpst", *name.split(".")[:-1]]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own_imports(name: str) -> set[str]:
    """Modules of jpst that one of them imports anywhere, inside functions too."""
    asked = {
        dotted.removeprefix("jpst.") for dotted in imported(name, ast.walk(TREES[name])) if dotted.startswith("jpst.")
    }
    found = {module for module in asked if module in MODULES and module != "models"}
    folder = name.rpartition(".")[0]  # `from jpst.image import icc` inside of it asks for the neighbour alone
    return found - {folder, name}


def rank(name: str) -> int:
    return ORDER.index(name if name in ORDER else "models" if name.startswith("models.") else name)


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Statements that run when the module is imported: not those of functions or for type checkers only."""
    waiting: list[ast.AST] = [*tree.body]
    while waiting:
        node = waiting.pop()
        yield node
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not typing_only and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def test_the_rules_see_the_modules_and_their_imports():
    assert {"recipe", "optimise", "models.vgg19"} <= MODULES.keys()
    assert {"losses", "matting", "models.vgg19"} <= own_imports("preparation")


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_point_down(name):
    known = name in ORDER or name.startswith("models.")
    assert known, f"{name} is new: give it a place in ORDER"
    upward = {other for other in own_imports(name) if rank(other) >= rank(name)}
    assert not upward, f"{name} imports {upward}, which stand above it or beside it"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("models.")])
def test_networks_know_nothing_of_weight_files(name):
    others = {other for other in own_imports(name) if not other.startswith("models.")}
    assert others <= NETWORKS_MAY_IMPORT


def test_every_module_named_here_exists():
    assert {name for name in ORDER if name != "models"} <= MODULES.keys()
    assert NOTHING_BUT.keys() <= MODULES.keys()


@pytest.mark.parametrize("name", sorted(NOTHING_BUT))
def test_the_lower_floors_import_nothing_else_of_jpst(name):
    assert own_imports(name) <= NOTHING_BUT[name]


@pytest.mark.parametrize("name", ["errors", "streams", "ranges", "recipe", "presets"])
def test_what_the_command_line_needs_first_imports_nothing_heavy(name):
    packages = {dotted.split(".")[0] for dotted in imported(name, ast.walk(TREES[name]))} - {"jpst", ""}
    assert packages <= sys.stdlib_module_names | {"tyro"}  # which the command line is made with


@pytest.mark.parametrize("name", MODULES)
def test_large_and_optional_packages_are_imported_where_they_are_used(name):
    packages = {dotted.split(".")[0] for dotted in imported(name, at_import(TREES[name]))}
    assert not packages & LAZY


def test_every_package_that_is_imported_is_declared():
    """Not only brought by another one, or by what the tests need: a newcomer would lack it."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    extra = ("heic", "lut", "app", "ray", "tensorboard")
    requirements = [*project["dependencies"], *(each for name in extra for each in extras[name])]
    declared = {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in requirements}
    # What nothing but the extras `app` and `ray` bring, which have environments of their own.
    distributions = {
        name: [name] for name in ("gradio", "starlette", "ray")
    } | importlib.metadata.packages_distributions()
    for name, tree in TREES.items():
        packages = {dotted.split(".")[0] for dotted in imported(name, ast.walk(tree))} - {"jpst", ""}
        for package in packages - sys.stdlib_module_names:
            owners = {owner.lower().replace("_", "-") for owner in distributions[package]}
            assert owners & declared, f"{name} imports {package}, of {owners}: declare it in pyproject.toml"


@pytest.mark.parametrize("name", MODULES)
def test_only_the_command_line_prints_or_exits(name):
    calls = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    spoken = {ast.unparse(call.func) for call in calls} & {
        "print",
        "exit",
        "quit",
        "sys.exit",
        "os._exit",
        "SystemExit",
    }
    assert not spoken or name in SPEAKERS, (
        f"{name} calls {spoken}: raise a JpstError, or return what cli.py shall print"
    )


def test_no_file_is_a_drawer_for_anything():
    assert not {path.stem for path in MODULES.values()} & DRAWERS


@pytest.mark.parametrize(
    "name", ["presets", "many.manifest", "commands.batch", "commands.sweep", "commands.app", "command_line", "cli"]
)
def test_importing_it_does_not_import_jax(name):
    program = f"import sys, jpst.{name}; print(*(m for m in ('jax', 'flax', 'optax', 'scipy') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "", "a call for --help would wait for it"
