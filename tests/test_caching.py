"""Programs cached on disk: the same values, nothing compiled a second time, and whatever goes wrong costs time only."""

import json
import multiprocessing
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from jpst import cache_folder, caching, cli, losses, preparation, total
from jpst.caching import cached
from jpst.recipe import Recipe


class Pair(NamedTuple):
    one: jax.Array
    other: dict[str, jax.Array]


class Traced:
    """A function that counts how often Python runs it; two of them are as two runs of a program."""

    def __init__(self):
        self.times = 0

        def scaled(pair: Pair, factor: float, power: int) -> Pair:
            self.times += 1
            return Pair((pair.one * factor) ** power, {"sum": pair.one + pair.other["x"]})

        self.run = cached(scaled, static_argnums=(2,))


PAIR = Pair(jnp.arange(6.0).reshape(2, 3), {"x": jnp.ones(3)[None]})


@pytest.fixture(autouse=True)
def without_jaxs_own_cache():
    """The tests use JAX's cache, beside which ours stays off."""
    used = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", used)
    compilation_cache.reset_cache()


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The cache's folder, in use."""
    monkeypatch.setenv("JPST_CACHE", str(tmp_path / "cache"))
    caching.enable()
    assert caching.problem() is None
    yield tmp_path / "cache"
    caching.disable()


def programs(root: Path) -> list[Path]:
    return sorted(root.glob("*/*.program"))


def check(found: Pair, factor: float, power: int) -> None:
    assert isinstance(found, Pair)
    np.testing.assert_allclose(found.one, (np.asarray(PAIR.one) * factor) ** power, rtol=1e-6)
    np.testing.assert_array_equal(found.other["sum"], np.asarray(PAIR.one) + 1)


def run_twice() -> tuple[int, int]:
    """How often the function was traced in two runs."""
    first, second = Traced(), Traced()
    check(first.run(PAIR, 2.0, 3), 2.0, 3)
    check(second.run(PAIR, 2.0, 3), 2.0, 3)
    return first.times, second.times


def test_a_second_run_traces_and_compiles_nothing(root, no_compilation):
    first, second = Traced(), Traced()
    check(first.run(PAIR, 2.0, 3), 2.0, 3)
    with no_compilation():
        check(second.run(PAIR, 2.0, 3), 2.0, 3)
        check(second.run(PAIR, 5.0, 3), 5.0, 3)  # the number is an argument, not part of the program
    assert (first.times, second.times) == (1, 0)
    assert len(programs(root)) == 1


@pytest.mark.parametrize("level", ["", "2", "warning"])
def test_programs_are_read_whatever_xlas_log_level_is_called(root, monkeypatch, level):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    assert run_twice() == (1, 0)


LINEAR_ALGEBRA = """
import jax, jax.numpy as jnp
from jpst import caching

@caching.cached
def powers(matrix):
    print("traced")
    values, vectors = jnp.linalg.eigh(matrix)
    return vectors * values @ vectors.T, jnp.linalg.solve(matrix, matrix), jnp.fft.rfft(matrix)

caching.enable()
print([float(each.real.sum()) for each in powers(jnp.diag(jnp.arange(1.0, 4.0)))], caching.problem())
"""


def test_a_process_that_traces_nothing_finds_the_libraries_that_its_programs_call(tmp_path):
    environment = {**os.environ, "JPST_CACHE": str(tmp_path / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = [
        subprocess.run(
            [sys.executable, "-c", LINEAR_ALGEBRA], capture_output=True, text=True, env=environment, check=True
        )
        for _ in range(2)
    ]
    told = [each.stdout.splitlines() for each in done]
    assert told == [["traced", "[6.0, 3.0, 4.5] None"], ["[6.0, 3.0, 4.5] None"]]
    assert [each.stderr for each in done] == ["", ""]  # XLA complains of programs from disk on processors with AVX-512


def test_what_comes_out_goes_in_without_another_compilation(root, no_compilation):
    traced = Traced()
    once = traced.run(PAIR, 2.0, 1)
    again = Pair(once.one, PAIR.other)
    with no_compilation():
        again = Pair(traced.run(again, 2.0, 1).one, PAIR.other)
    np.testing.assert_array_equal(traced.run(again, 2.0, 1).one, 8 * PAIR.one)


def test_other_static_arguments_shapes_and_settings_are_other_programs(root):
    traced = Traced()
    check(traced.run(PAIR, 2.0, 3), 2.0, 3)
    check(traced.run(PAIR, 2.0, 2), 2.0, 2)
    traced.run(jax.tree.map(lambda x: x[:1], PAIR), 2.0, 2)
    with jax.default_matmul_precision("float32"):
        check(traced.run(PAIR, 2.0, 2), 2.0, 2)
    assert traced.times == len(programs(root)) == 4


def test_another_source_is_another_program(root, monkeypatch):
    Traced().run(PAIR, 2.0, 3)
    monkeypatch.setattr(caching, "_source", lambda: b"changed")
    traced = Traced()
    check(traced.run(PAIR, 2.0, 3), 2.0, 3)
    assert traced.times == 1


def test_compile_does_the_work_of_the_first_call(root, no_compilation):
    traced = Traced()
    traced.run.compile(PAIR, 2.0, 3)
    with no_compilation():
        check(traced.run(PAIR, 2.0, 3), 2.0, 3)
    assert traced.times == 1


def test_a_compilation_that_fails_fails_in_every_call_and_hangs_none(root):
    @cached
    def wrong(x):
        raise ValueError("not this")

    for _ in range(2):
        with pytest.raises(ValueError, match="not this"):
            wrong(PAIR.one)


def flip_a_byte(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def delete(path: Path, _: random.Random) -> None:
    path.unlink()


def forbid(path: Path, _: random.Random) -> None:
    path.chmod(0)


def replace_by_a_folder(path: Path, _: random.Random) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spoil", [delete, truncate, flip_a_byte, forbid, replace_by_a_folder])
def test_a_damaged_file_costs_a_compilation_only(root, spoil, seed):
    Traced().run(PAIR, 2.0, 3)
    (path,) = programs(root)
    spoil(path, random.Random(seed))
    first, _ = run_twice()
    assert first == (0 if spoil is forbid and os.access(path, os.R_OK) else 1)  # root may read it all the same


@pytest.mark.parametrize("spoil", [delete, truncate, flip_a_byte])
def test_a_damaged_file_is_written_anew(root, spoil):
    Traced().run(PAIR, 2.0, 3)
    spoil(programs(root)[0], random.Random(0))
    assert run_twice() == (1, 0)


def test_a_folder_that_cannot_be_made_is_told_once_and_costs_time_only(tmp_path):
    (tmp_path / "file").write_text("where a folder would be")
    caching.enable(tmp_path / "file")
    problem = caching.problem()
    assert problem
    assert str(tmp_path / "file") in problem
    assert run_twice() == (1, 1)


def test_a_folder_that_vanishes_is_told_and_costs_time_only(root):
    programs_folder = caching._folder
    assert programs_folder is not None
    programs_folder.rmdir()
    assert run_twice() == (1, 1)
    problem = caching.problem()
    assert problem
    assert problem.count("\n") == 0


def test_a_full_disk_is_told_and_costs_time_only(root, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run_twice() == (1, 1)
    assert "No space left on device" in str(caching.problem())
    assert list(root.glob("*/*")) == []


@pytest.mark.parametrize("missing", ["serialize", "deserialize_and_load"])
def test_a_jax_that_cannot_write_or_read_programs_costs_time_only(root, monkeypatch, missing):
    monkeypatch.delattr(caching.serialize_executable, missing)
    assert run_twice() == (1, 1)


def test_a_program_that_loads_and_does_not_run_is_compiled_again(root, monkeypatch):
    Traced().run(PAIR, 2.0, 3)

    def broken(*_, **__):
        def program(*_):
            raise RuntimeError("Function broadcast_add_fusion not found")

        return program

    monkeypatch.setattr(caching.serialize_executable, "deserialize_and_load", broken)
    assert run_twice() == (1, 1)


def test_jaxs_own_cache_is_used_where_it_is_set_up(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    caching.enable(tmp_path / "ours")
    assert run_twice() == (1, 1)
    assert caching.problem() is None
    assert not (tmp_path / "ours").exists()


def test_no_home_costs_time_only(monkeypatch):
    def lost(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("platformdirs.user_cache_path", lost)
    monkeypatch.delenv("JPST_CACHE", raising=False)
    caching.enable()
    assert "home directory" in str(caching.problem())
    assert run_twice() == (1, 1)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows closes a user's folders to others")
def test_the_folder_is_its_owners_alone_and_one_that_others_may_write_to_is_not_read(root):
    assert {path.stat().st_mode & 0o777 for path in (root, *root.iterdir())} == {0o700}
    Traced().run(PAIR, 2.0, 3)
    for shared in (root, *root.iterdir()):
        shared.chmod(0o770)
        caching.enable()
        assert "other users may write to it" in str(caching.problem())
        assert run_twice() == (1, 1)
        shared.chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows closes a user's folders to others")
def test_a_folder_of_another_user_is_not_read(root, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: root.stat().st_uid + 1)
    caching.enable()
    assert "belongs to another user" in str(caching.problem())
    assert run_twice() == (1, 1)


def test_programs_of_other_versions_are_removed_and_nothing_else(root):
    Traced().run(PAIR, 2.0, 3)
    old, foreign = root / "jaxlib-0.1.2-x86_64-0123abcd", root / "photographs"
    other_processor = root / f"{cache_folder._version_folder()}-of-another-machine"
    for folder in (old, foreign, other_processor):
        folder.mkdir()
        (folder / "step.program").write_bytes(b"x")
    caching.enable()
    assert not old.exists()
    assert len(programs(root)) == 3


def test_the_folders_name_tells_the_jaxlib_and_the_processor(root, monkeypatch):
    (folder,) = root.iterdir()
    assert jax.lib.__version__ in folder.name
    cache_folder._version_folder.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "flags : sse avx512f")
    assert cache_folder._version_folder() != folder.name
    cache_folder._version_folder.cache_clear()


def test_the_least_recently_used_programs_are_removed_beyond_the_limit(root, monkeypatch):
    traced = Traced()
    for power in (1, 2, 3):
        traced.run(PAIR, 2.0, power)
    for age, path in enumerate(programs(root)):
        os.utime(path, (1e9 - age, 1e9 - age))
    kept = programs(root)[0]
    monkeypatch.setattr(cache_folder, "LIMIT", kept.stat().st_size + 10)
    caching.enable()
    assert programs(root) == [kept]


def test_using_a_program_keeps_it_young(root):
    Traced().run(PAIR, 2.0, 3)
    (path,) = programs(root)
    os.utime(path, (1e9, 1e9))
    Traced().run(PAIR, 2.0, 3)
    assert path.stat().st_mtime > 1e9


def test_what_a_killed_run_left_unfinished_is_removed_but_not_what_another_is_writing(root):
    (folder,) = root.iterdir()
    old, new = folder / "old.part", folder / "new.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    caching.enable()
    assert list(folder.iterdir()) == [new]


def _worker(root: Path, seed: int) -> None:
    caching.enable(root)
    for _ in range(10):
        power = 1 + seed % 2
        check(Traced().run(PAIR, 2.0, power), 2.0, power)
        for path in programs(root):
            if random.random() < 0.3:
                path.unlink(missing_ok=True)


def test_several_runs_at_once_read_and_write_whole_programs(root):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_worker, args=(root, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert not list(root.glob("*/*.part"))


def test_what_calls_the_host_is_not_cached_but_runs(root):
    @cached
    def hosted(x):
        return jax.pure_callback(lambda x: np.asarray(x) + 1, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    for _ in range(2):
        np.testing.assert_array_equal(hosted(PAIR.one), np.asarray(PAIR.one) + 1)
    assert not programs(root)


def test_transformations_and_several_devices_are_left_to_jax(root):
    traced = Traced()
    batched = jax.vmap(lambda factor: traced.run(PAIR, factor, 2).one)(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(batched[1], 4 * PAIR.one**2)
    slope = jax.grad(lambda factor: traced.run(PAIR, factor, 2).one.sum())(3.0)
    np.testing.assert_allclose(slope, 6 * np.sum(np.asarray(PAIR.one) ** 2))
    everywhere = jax.NamedSharding(jax.make_mesh((2,), ("x",)), jax.P())
    check(traced.run(jax.device_put(PAIR, everywhere), 2.0, 2), 2.0, 2)
    assert not programs(root)


def test_without_a_folder_nothing_is_written_and_it_is_a_jitted_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    traced = Traced()
    check(traced.run(PAIR, 2.0, 3), 2.0, 3)
    assert traced.run.lower(PAIR, 2.0, 3).compile() is not None
    assert not list(tmp_path.iterdir())


def test_a_transfers_second_run_traces_no_network(root, photograph, soft_masks, vgg19_tiny, monkeypatch):
    networks = total.Networks(vgg19_tiny)
    pictures = (jnp.asarray(make(32, 40, seed=seed)) for make in (photograph, soft_masks) for seed in (0, 1))
    scene = list(pictures)

    def run() -> losses.Targets:
        for function in (preparation._features, preparation._targets, preparation._first):
            function._programs.clear()
        return preparation.prepare(*scene, networks, recipe=Recipe(size=32))

    first = run()
    monkeypatch.setattr("jpst.models.vgg19.VGG19", None)
    jax.tree.map(np.testing.assert_array_equal, run(), first)


def test_the_command_line_tells_what_is_cached_and_clears_it(root, capsys):
    Traced().run(PAIR, 2.0, 3)
    cli.main(["cache", "info", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["folder"], told["programs"], told["problem"]) == (str(root), 1, None)
    assert told["bytes"] == programs(root)[0].stat().st_size <= told["limit"]
    cli.main(["cache", "info"])
    assert "1 compiled programs" in capsys.readouterr().out
    cli.main(["cache", "clear"])
    assert "1 programs removed" in capsys.readouterr().out
    assert not programs(root)


def test_a_home_folder_that_there_is_not_is_one_line(monkeypatch):
    monkeypatch.setenv("JPST_CACHE", "~nosuchuser/x")
    with pytest.raises(
        SystemExit, match=r"^jpst: ~nosuchuser/x: there is no such home directory.*set JPST_CACHE"
    ) as ended:
        cli.main(["cache", "info"])
    caching.disable()  # or every later command would tell of it
    assert "\n" not in str(ended.value)


def test_a_cache_that_cannot_be_used_is_one_line_of_the_command(tmp_path):
    (tmp_path / "file").write_text("where a folder would be")
    done = subprocess.run(
        [sys.executable, "-c", "from jpst.cli import main; main(['weights', 'list'])"],
        capture_output=True,
        text=True,
        env={**os.environ, "JPST_CACHE": str(tmp_path / "file")},
    )
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Note: Compiled programs are not cached on disk")
