"""What memory there is, read from files laid out as Linux lays them out."""

import types

import pytest

from jpst import memory

GIB = 2**30


@pytest.fixture
def system(tmp_path):
    """system(files): a root folder with these, of a machine with 8 GiB free and a process of 1 GiB."""

    def make(files: dict[str, str]):
        base = {
            "proc/meminfo": f"MemTotal: {16 * GIB // 1024} kB\nMemAvailable: {8 * GIB // 1024} kB\n",
            "proc/self/status": f"Name:\tpython\nVmRSS:\t{GIB // 1024} kB\n",
        }
        for name, text in (base | files).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


def test_what_is_free_and_what_the_process_has_already(system):
    assert memory.available(system({})) == 9 * GIB


@pytest.mark.parametrize(
    ("cgroup", "folder", "names", "cache"),
    [
        ("0::/", "sys/fs/cgroup", ("memory.max", "memory.current"), "inactive_file"),
        ("0::/user/job", "sys/fs/cgroup/user/job", ("memory.max", "memory.current"), "inactive_file"),
        ("0::/user/job", "sys/fs/cgroup/user", ("memory.max", "memory.current"), "inactive_file"),
        (
            "5:cpu:/\n4:memory:/docker/a:b",
            "sys/fs/cgroup/memory/docker/a:b",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            "total_inactive_file",
        ),
    ],
)
def test_a_control_group_around_the_process_limits_it(system, cgroup, folder, names, cache):
    # 4 GiB allowed, 2.5 used, of which half a GiB are files that give way: 2 left, and the process's own 1
    values = {names[0]: 4 * GIB, names[1]: 5 * GIB // 2}
    files = {f"{folder}/{name}": f"{value}\n" for name, value in values.items()}
    files[f"{folder}/memory.stat"] = f"anon 5\n{cache} {GIB // 2}\n"
    assert memory.available(system({"proc/self/cgroup": cgroup + "\n", **files})) == 3 * GIB


def test_a_control_group_without_a_limit_does_not(system):
    files = {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": f"{GIB}\n"}
    assert memory.available(system({"proc/self/cgroup": "0::/\n", **files})) == 9 * GIB


def test_an_overfull_control_group_leaves_what_the_process_has(system):
    files = {"sys/fs/cgroup/memory.max": f"{GIB}\n", "sys/fs/cgroup/memory.current": f"{2 * GIB}\n"}
    assert memory.available(system({"proc/self/cgroup": "0::/\n", **files})) == GIB


def test_systems_without_such_files_give_the_machines_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__, raising=False)
    assert memory.available(tmp_path) == 4_096_000
    monkeypatch.delattr(memory.os, "sysconf")
    assert memory.available(tmp_path) is None


@pytest.mark.parametrize(
    ("platform", "statistics", "expected"),
    [
        ("gpu", {"bytes_limit": 100, "bytes_in_use": 30}, 70),
        ("gpu", {"bytes_limit": 100}, 100),
        ("tpu", None, None),
        ("gpu", {}, None),
        ("cpu", {"bytes_limit": 100}, None),
    ],
)
def test_accelerators_tell_their_own(platform, statistics, expected):
    device = types.SimpleNamespace(platform=platform, memory_stats=lambda: statistics)
    assert memory.available_on_device(device) == expected
