"""Raw sets on file systems of fsspec are curated as those of the disk are, and brought once."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from tests.data.curation.test_curate import same_bytes
from tests.test_end_to_end import configured

from ladder.cli.main import main
from ladder.data.sources import remote
from ladder.data.training.encoded import open_split

ROOT = Path(__file__).parents[3]


@pytest.fixture
def memory(picture, image_file):
    """Two sets in a folder of fsspec's memory, and the same files by their paths."""
    system = fsspec.filesystem("memory")
    files = {}
    for name in ("cats", "dogs"):
        for number in range(12):
            seed = number + 100 * (name == "dogs")
            files[f"{name}/deep/{number}.png"] = image_file(picture(seed))
            files[f"{name}/deep/{number}.txt"] = f"picture {number} of {name}".encode()
    for path, data in files.items():
        system.pipe_file(f"/raw/{path}", data)
    yield system, files
    system.rm("/raw", recursive=True)


def ladder(*words: object) -> int:
    return main([*map(str, words), "curation.workers=0"])


@pytest.fixture
def outside(tmp_path, monkeypatch, memory) -> Path:
    """A folder in no repository, with the same sets on the disk."""
    for path, data in memory[1].items():
        (tmp_path / "raw" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / path).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_by_url_gives_the_bytes_of_the_folder(outside):
    assert ladder("curate", "raw", "--out", "here") == 0
    assert ladder("curate", "memory://raw", "--out", "there") == 0
    same_bytes(outside / "here", outside / "there")


def test_single_sets_come_from_anywhere(outside):
    assert ladder("curate", "raw", "--out", "here") == 0
    sets = ("--set", "cats=memory://raw/cats", "--set", f"dogs={outside / 'raw/dogs'}")
    assert ladder("curate", *sets, "--out", "there") == 0
    same_bytes(outside / "here", outside / "there")
    assert ladder("curate", "--set", "dogs=memory://raw/dogs", "--out", "there") == 0
    assert {path.name for path in (outside / ".there.sets").iterdir()} == {"dogs"}


def test_only_what_changed_is_brought_again(memory, tmp_path, monkeypatch, image_file, picture):
    system, files = memory
    brought = []
    real = type(system).get_file
    monkeypatch.setattr(
        type(system), "get_file", lambda *args: brought.append(args[1]) or real(*args)
    )
    folder = remote.bring("memory://raw", tmp_path / "raw")
    held = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")
            if p.is_file() and not p.name.startswith(".")}  # fmt: skip
    assert held == files
    assert len(brought) == len(files)
    brought.clear()
    system.pipe_file("/raw/cats/deep/3.png", image_file(picture(77)))
    system.rm("/raw/dogs/deep/4.txt")
    remote.bring("memory://raw", tmp_path / "raw")
    assert brought == ["/raw/cats/deep/3.png"]
    assert not (folder / "dogs/deep/4.txt").exists()
    assert (folder / "cats/deep/3.png").read_bytes() == image_file(picture(77))


def test_what_is_missing_is_named_with_what_to_install(outside, capsys):
    text = "Install nopackage to read it"
    fsspec.register_implementation("absent", "nopackage.System", errtxt=text, clobber=True)
    assert ladder("curate", "absent://bucket/raw", "--out", "there") == 2
    said = capsys.readouterr().err
    assert said == (
        "ladder curate: absent://bucket/raw: what reads absent:// must be installed here; "
        "Install nopackage to read it\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing://raw"], "Protocol not known: nothing"),
        (["memory://empty"], "memory://empty must be a folder with files, and has none"),
        (["--set", "cats"], "--set must be NAME=PLACE, NAME of letters, digits, _ and -, got cats"),
        (["--set", "../cats=raw"], "--set must be NAME=PLACE"),
        (["--set", "cats=elsewhere"], "elsewhere: a raw set must be a folder"),
        (["raw", "--set", "cats=raw"], "takes a folder of raw sets or single ones, got raw"),
        (["raw", "--profile", "smoke"], "profiles and arms are in a repository"),
    ],
)
def test_what_is_no_set_is_said_in_a_line(outside, capsys, words, said):
    assert ladder("curate", *words, "--out", "there") == 2
    assert said in capsys.readouterr().err


def test_without_out_it_is_of_a_repository(outside, capsys):
    assert ladder("curate", "raw") == 2
    assert "must run inside a clone of the repository" in capsys.readouterr().err


def test_encode_works_outside_as_well(outside, generator):
    assert ladder("curate", "raw", "--out", "curated") == 0
    words = [f"foundations.generator={generator}", "foundations.dtype=float32"]
    assert main(["encode", "curated", "--out", "encoded", *words]) == 0
    assert (outside / "encoded/cats/train").is_dir()


def test_training_reads_encoded_sets_from_anywhere(outside, memory, generator, monkeypatch):
    """Of a URL, a copy near the repository that one stands in; a path is read where it is."""
    settings = ("encoding.workers=0", f"foundations.generator={generator}")
    assert ladder("curate", "raw", "--out", "curated") == 0
    assert main(["encode", "curated", "--out", "encoded", *settings]) == 0
    memory[0].put(str(outside / "encoded"), "/encoded", recursive=True)
    configured(outside)
    asked = []
    monkeypatch.setattr(
        "ladder.training.stages.run_stage",
        lambda config, stage, encoded, export: asked.append(encoded.absolute()),
    )
    assert main(["train", "t2i", "--encoded", "memory://encoded"]) == 0
    assert main(["train", "t2i", "--encoded", "encoded"]) == 0
    assert main(["train", "t2i"]) == 0
    data = outside / "data"
    assert asked == [data / ".encoded.brought", outside / "encoded", data / "encoded"]
    memory[0].rm("/encoded", recursive=True)
    for path in (outside / "encoded").rglob("*.*"):
        brought = data / ".encoded.brought" / path.relative_to(outside / "encoded")
        assert brought.read_bytes() == path.read_bytes()
    (part,) = open_split(data / ".encoded.brought/cats/train").values()
    assert len(part) > 0
