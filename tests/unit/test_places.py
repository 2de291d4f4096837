"""The folder where processes meet: private, or not used at all."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from flagmw.lifecycle.places import VARIABLE, StatePlace, state_root


def place(root: Path | None, *identity: str) -> StatePlace:
    return StatePlace(root, "featbit", identity or ("secret", "https://flags.example.com"))


def test_naming_a_place_makes_nothing(tmp_path: Path) -> None:
    place(tmp_path / "state").path()
    assert not (tmp_path / "state").exists()


def test_opening_makes_folders_for_their_owner_only(tmp_path: Path) -> None:
    folder = place(tmp_path / "state").open()
    assert folder is not None
    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent)] == [0o700, 0o700]


def test_opening_again_gives_the_same_folder(tmp_path: Path) -> None:
    assert place(tmp_path / "state").open() == place(tmp_path / "state").open()


@pytest.mark.parametrize("other", [("secret", "https://elsewhere.example.com"), ("other", "https://flags.example.com")])
def test_another_secret_or_address_is_another_folder(tmp_path: Path, other: tuple[str, str]) -> None:
    assert place(tmp_path).path() != place(tmp_path, *other).path()


def test_parts_of_an_identity_do_not_run_together(tmp_path: Path) -> None:
    assert place(tmp_path, "ab", "c").path() != place(tmp_path, "a", "bc").path()


def test_neither_name_nor_repr_shows_the_secret(tmp_path: Path) -> None:
    made = place(tmp_path, "my-secret", "https://flags.example.com")
    assert "my-secret" not in f"{made!r} {made.path()}"


def test_the_root_is_what_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "here"))
    assert (state_root(), state_root(tmp_path)) == (tmp_path / "here", tmp_path)


def test_without_a_name_the_root_is_this_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    assert state_root().name == f"flagmw-{os.geteuid()}"


def spoil_mode(root: Path) -> None:
    root.mkdir()
    root.chmod(0o755)


def spoil_kind(root: Path) -> None:
    root.write_text("a file")


def spoil_link(root: Path) -> None:
    (root.parent / "elsewhere").mkdir(mode=0o700)
    root.symlink_to(root.parent / "elsewhere")


@pytest.mark.parametrize("spoil", [spoil_mode, spoil_kind, spoil_link])
def test_a_folder_that_others_may_have_made_is_not_used(tmp_path: Path, spoil: object) -> None:
    spoil(tmp_path / "state")  # type: ignore[operator]  # a function, as listed
    assert place(tmp_path / "state").open() is None


def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    root = tmp_path / "state"
    root.mkdir(mode=0o700)
    os.chown(root, 12345, -1) if os.geteuid() == 0 else os.chmod(root, 0o755)
    assert place(root).open() is None


def test_what_is_wrong_is_told_once_with_the_way_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spoil_kind(tmp_path / "state")
    with caplog.at_level(logging.WARNING, "flagmw"):
        for _ in range(3):
            place(tmp_path / "state").open()
    (record,) = caplog.records
    assert "state_dir" in record.getMessage()
    assert VARIABLE in record.getMessage()
