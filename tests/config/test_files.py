"""Files are whole or not there, and what they replace stays until then."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ladder.config.files import replacing, replacing_folder, write_text


def test_an_error_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "made/file.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert [*path.parent.iterdir()] == [path]


def test_nobody_sees_half_a_file(tmp_path: Path):
    path = tmp_path / "file.txt"
    with replacing(path) as part:
        part.write_text("half")
        assert not [*tmp_path.glob("*.txt")]
        part.write_text("whole")
    assert path.read_text() == "whole"


def test_the_file_of_one_that_was_killed_is_overwritten(tmp_path: Path):
    (tmp_path / ".file.txt.part").write_text("half, and longer than what comes after it")
    write_text(tmp_path / "file.txt", "whole\r\n\u2028")
    assert (tmp_path / "file.txt").read_bytes() == "whole\r\n\u2028".encode()
    assert [*tmp_path.iterdir()] == [tmp_path / "file.txt"]


def test_a_link_is_replaced_and_not_what_it_points_at(tmp_path: Path):
    (tmp_path / "cache").write_text("kept")
    (tmp_path / "file").symlink_to("cache")
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "cache").read_text() == "kept"
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("name", ["n" * 255, "\N{STAR OF DAVID}" * 85])
def test_the_longest_names(name: str, tmp_path: Path):
    write_text(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text"


def test_several_write_one_shared_file_at_once(tmp_path: Path):
    texts = [str(number) * 100_000 for number in range(8)]
    threads = [
        threading.Thread(target=write_text, args=(tmp_path / "file", text, True)) for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_text() in texts
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path):
    folder = tmp_path / "model"
    for name in ("a", "b"):
        with replacing_folder(folder, "marker") as part:
            (part / "marker").touch()
            (part / name).touch()
    assert sorted(path.name for path in folder.iterdir()) == ["b", "marker"]
    with pytest.raises(OSError, match="full"), replacing_folder(folder, "marker"):
        raise OSError("full")
    assert sorted(path.name for path in folder.iterdir()) == ["b", "marker"]
    assert [*tmp_path.iterdir()] == [folder]


def test_a_folder_of_others_is_never_replaced(tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").touch()
    rule = "must be new, empty or a folder with marker"
    with pytest.raises(ValueError, match=rule), replacing_folder(tmp_path / "home", "marker"):
        pass
    assert [*tmp_path.rglob("*.tex")] == [tmp_path / "home/thesis.tex"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to("disk")
    with replacing_folder(tmp_path / "model") as part:
        (part / "weights").touch()
    assert (tmp_path / "disk/weights").is_file()
    assert (tmp_path / "model").is_symlink()
