"""The last good flags on disk: whole or not at all, for their owner only."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flagmw.errors import TransportError
from flagmw.transports.cache import SnapshotCache, cache_path

SECRET = "the-secret-of-the-tests"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "featbit.flags"


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_was_saved_is_loaded(path: Path) -> None:
    SnapshotCache(path).save([b'{"a":', b"", b"1}"])
    assert SnapshotCache(path).load() == b'{"a":1}'


def test_an_empty_document_is_a_document(path: Path) -> None:
    SnapshotCache(path).save([])
    assert SnapshotCache(path).load() == b""


def test_a_later_save_replaces_an_earlier_one(path: Path) -> None:
    cache = SnapshotCache(path)
    cache.save([b"long" * 1000])
    cache.save([b"short"])
    assert cache.load() == b"short"
    assert files(path.parent) == [path.name]


def test_file_and_folder_are_for_their_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        SnapshotCache(path).save([b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700


def test_a_folder_that_is_there_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    SnapshotCache(path).save([b"x"])
    assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o755


def test_a_file_that_others_could_read_is_replaced_by_one_that_they_cannot(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"")
    path.chmod(0o666)
    SnapshotCache(path).save([b"x"])
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


# --- files that cannot be used --------------------------------------------------------------------------------


def test_a_missing_file_is_none_without_a_word(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert SnapshotCache(path).load() is None
    assert warnings(caplog) == []


def test_a_missing_file_creates_no_folder(path: Path) -> None:
    SnapshotCache(path).load()
    assert not path.parent.exists()


def _damage_last(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data[:-1], "damaged"),
        (_damage_last, "damaged"),
        (lambda data: data + b"x", "damaged"),
        (lambda data: data[:48], "damaged"),
        (lambda data: b"\0" * len(data), "not written by this version of flagmw"),
        (lambda data: b"", "not written by this version of flagmw"),
        (lambda data: data[:20], "not written by this version of flagmw"),
        (lambda data: data.replace(b"cache 1", b"cache 2"), "not written by this version of flagmw"),
        (lambda data: b'{"featureFlags": []}', "not written by this version of flagmw"),
    ],
)
def test_a_torn_or_foreign_file_is_none_with_one_warning(
    damage: object, why: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(damage)
    SnapshotCache(path).save([b'{"flags": "' + b"x" * 1000 + b'"}'])
    path.write_bytes(damage(path.read_bytes()))
    assert SnapshotCache(path).load() is None
    assert warnings(caplog) == [f"{path}: the flags kept there cannot be used: {why}"]


def test_a_file_that_is_too_large_is_not_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    SnapshotCache(path).save([b"x" * 101])
    assert SnapshotCache(path, max_bytes=100).load() is None
    assert warnings(caplog) == [f"{path}: the flags kept there cannot be used: larger than 100 bytes"]


def test_a_file_of_the_largest_size_is_read(path: Path) -> None:
    SnapshotCache(path).save([b"x" * 100])
    assert SnapshotCache(path, max_bytes=100).load() == b"x" * 100


def test_a_folder_in_its_place_is_none_with_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir(parents=True)
    assert SnapshotCache(path).load() is None
    assert len(warnings(caplog)) == 1


def test_a_pipe_in_its_place_holds_nobody_up(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    assert SnapshotCache(path).load() is None
    assert warnings(caplog) == [f"{path}: the flags kept there cannot be used: not a regular file"]


def test_a_file_in_the_place_of_its_folder_is_an_error_that_names_it(path: Path) -> None:
    path.parent.write_bytes(b"")
    assert SnapshotCache(path).load() is None
    with pytest.raises(TransportError, match=f"^{path}: "):
        SnapshotCache(path).save([b"x"])


# --- saving that fails ----------------------------------------------------------------------------------------


def test_a_full_disk_is_an_error_with_its_cause_and_leaves_the_file_before(path: Path) -> None:
    cache = SnapshotCache(path)
    cache.save([b"before"])

    def pieces() -> Iterator[bytes]:
        yield b"x"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(TransportError, match=f"^{path}: No space left on device$"):
        cache.save(pieces())
    assert cache.load() == b"before"
    assert files(path.parent) == [path.name]


def test_a_document_that_cannot_be_made_leaves_the_file_before(path: Path) -> None:
    cache = SnapshotCache(path)
    cache.save([b"before"])

    def pieces() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.save(pieces())
    assert (cache.load(), files(path.parent)) == (b"before", [path.name])


def test_a_limit_of_the_operating_system_is_an_error_and_leaves_the_file_before(path: Path) -> None:
    SnapshotCache(path).save([b"before"])
    code = (
        "import resource, sys\n"
        "from flagmw.errors import TransportError\n"
        "from flagmw.transports.cache import SnapshotCache\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: SnapshotCache(sys.argv[1]).save([b'x' * 700] * 20)\n"
        "except TransportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: File too large\n"
    assert (SnapshotCache(path).load(), files(path.parent)) == (b"before", [path.name])


def test_processes_that_save_at_once_leave_one_whole_file(path: Path) -> None:
    code = (
        "import sys\n"
        "from flagmw.transports.cache import SnapshotCache\n"
        "cache = SnapshotCache(sys.argv[1])\n"
        "for _ in range(50): cache.save([sys.argv[2].encode() * 20_000, sys.argv[2].encode() * 20_000])\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "abc"]
    seen = set()
    while any(process.poll() is None for process in processes):
        content = SnapshotCache(path).load()
        seen.add(None if content is None else (content[:1], set(content) == {content[0]}, len(content)))
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert seen <= {None, (b"a", True, 40_000), (b"b", True, 40_000), (b"c", True, 40_000)}
    assert seen & {(b"a", True, 40_000), (b"b", True, 40_000), (b"c", True, 40_000)}
    assert files(path.parent) == [path.name]


def test_threads_that_save_at_once_leave_one_whole_file(path: Path) -> None:
    caches = [SnapshotCache(path) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda cache=cache: [cache.save([b"x" * 10_000]) for _ in range(20)])
        for cache in caches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (caches[0].load(), files(path.parent)) == (b"x" * 10_000, [path.name])


# --- what the dead leave --------------------------------------------------------------------------------------


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _left(path: Path, pid: int, age_s: float, name: str | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    place = path.parent / f".{name or path.name}.{pid}.0123456789ab.tmp"
    place.write_bytes(b"half")
    then = place.stat().st_mtime - age_s
    os.utime(place, (then, then))
    return place


@pytest.mark.parametrize(
    ("is_alive", "age_s", "stays"),
    [(False, 3600, False), (False, 0, True), (True, 3600, True), (True, 100_000, False)],
)
def test_only_what_a_dead_process_left_some_time_ago_is_removed(
    is_alive: bool, age_s: float, stays: bool, path: Path
) -> None:
    place = _left(path, os.getpid() if is_alive else _dead_pid(), age_s)
    SnapshotCache(path).save([b"x"])
    assert place.exists() is stays


def test_what_belongs_to_another_file_is_left_alone(path: Path) -> None:
    places = [_left(path, _dead_pid(), 3600, "other.flags"), _left(path, _dead_pid(), 3600, "x" + path.name)]
    SnapshotCache(path).save([b"x"])
    assert all(place.exists() for place in places)


# --- names ----------------------------------------------------------------------------------------------------


def test_the_name_shows_the_service_and_a_hash_of_the_secret() -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert cache_path("/var/cache/app", "featbit", SECRET) == Path(f"/var/cache/app/featbit-{digest[:16]}.flags")


def test_other_secrets_have_other_names() -> None:
    names = {cache_path("/x", service, secret) for service in ("a", "b") for secret in ("1", "2", "", "\udc80")}
    assert len(names) == 8


def test_naming_creates_nothing(tmp_path: Path) -> None:
    cache_path(tmp_path / "new", "featbit", SECRET)
    assert files(tmp_path) == []
