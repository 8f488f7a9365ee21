"""Every fault of the faults table is written here and must come out as the table says."""

from __future__ import annotations

import json
import random
import struct
import tarfile
import zlib

import pytest

from ladder.data.shards import Sample
from ladder.data.sources.open import open_raw
from ladder.data.sources.record import Rejected

KEYS = [f"{number:05d}" for number in range(8)]


@pytest.fixture
def members(picture, image_file) -> dict[str, bytes]:
    """Eight good samples, in the order of a tar."""
    return {
        name: data
        for number, key in enumerate(KEYS)
        for name, data in (
            (f"{key}.png", image_file(picture(number))),
            (f"{key}.txt", f"caption {number}".encode()),
        )
    }


@pytest.fixture
def read(tmp_path, write_tar, read_set):
    """Members in order -> (samples, rejections) of a set with that one tar."""

    def _read(members) -> tuple[dict[str, Sample], list[Rejected]]:
        pairs = members.items() if isinstance(members, dict) else members
        write_tar(tmp_path / "raw/00000.tar", pairs)
        return read_set(tmp_path / "raw")

    return _read


def test_good_samples(read, members, picture):
    samples, rejected = read(members)
    assert rejected == []
    for number, key in enumerate(KEYS):
        assert samples[key] == Sample(key, (f"caption {number}",), picture(number))


def test_further_captions_and_truth(read, members):
    facts = {"captions": ["another", " third "], "truth": {"things": [1]}, "width": 32}
    members["00003.json"] = json.dumps(facts).encode()
    samples, _ = read(members)
    assert samples["00003"].captions == ("caption 3", "another", "third")
    assert samples["00003"].truth == {"things": [1]}


@pytest.mark.parametrize("data", [b"", b"garbage", None])
def test_garbage_or_truncated_image(read, members, data):
    members["00002.png"] = members["00002.png"][:100] if data is None else data
    assert_one_rejected(read(members), "00002", "undecodable")


def test_missing_caption(read, members):
    del members["00002.txt"]
    assert_one_rejected(read(members), "00002", "no_caption")


def test_missing_image(read, members):
    del members["00002.png"]
    assert_one_rejected(read(members), "00002", "no_image")


def test_parts_that_are_not_adjacent_are_paired(read, members, picture):
    shuffled = list(members.items())
    random.Random(0).shuffle(shuffled)
    samples, rejected = read(shuffled)
    assert rejected == []
    assert all(samples[key].target == picture(number) for number, key in enumerate(KEYS))


@pytest.mark.parametrize("place", [4, 16])
def test_duplicate_key(read, members, picture, image_file, place):
    """Adjacent or apart, the first sample of the key stays and the second is rejected."""
    pairs = list(members.items())
    pairs[place:place] = [("00001.png", image_file(picture(99))), ("00001.txt", b"other")]
    samples, rejected = read(pairs)
    assert rejected == [Rejected("00001", "00000.tar", "duplicate_key")]
    assert samples["00001"].target == picture(1)
    assert len(samples) == 8


def test_dotted_keys_and_capital_extensions(read, members):
    samples, rejected = read({f"a.b.{name}".upper(): data for name, data in members.items()})
    assert rejected == []
    assert list(samples) == [f"A.B.{key}" for key in KEYS]


def test_truncated_shard(tmp_path, write_tar, members, read_set):
    """Wherever it breaks off, whole samples are kept and the shard is reported."""
    path = write_tar(tmp_path / "raw/00000.tar", members.items())
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1].offset_data
    kept = []
    for size in range(600, last + 600, 512):
        path.write_bytes(data[:size])
        samples, rejected = read_set(tmp_path / "raw")
        assert {rejection.reason for rejection in rejected} == {"truncated_shard"}, size
        assert list(samples) == KEYS[: len(samples)]
        kept.append(len(samples))
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (0, 8)


def test_truncated_in_the_captions_file_names_the_key(tmp_path, write_tar, members, read_set):
    path = write_tar(tmp_path / "raw/00000.tar", members.items())
    with tarfile.open(path) as tar:
        cut = tar.getmember("00005.txt").offset_data + 2
    path.write_bytes(path.read_bytes()[:cut])
    samples, rejected = read_set(tmp_path / "raw")
    assert list(samples) == KEYS[:5]
    assert rejected == [Rejected("00005", "00000.tar", "truncated_shard")]


@pytest.mark.parametrize("data", [b"", b"<!DOCTYPE html><html>403</html>" * 50])
def test_not_a_tar(tmp_path, write_tar, members, data, read_set):
    write_tar(tmp_path / "raw/00000.tar", members.items())
    (tmp_path / "raw/00001.tar").write_bytes(data)
    samples, rejected = read_set(tmp_path / "raw")
    assert len(samples) == 8
    assert rejected == [Rejected("", "00001.tar", "not_a_tar")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("Größe".encode("latin-1"), "bad_encoding"),
        (b"", "empty_caption"),
        (b" \n\t", "empty_caption"),
        ("\ufeff\u200b\u00a0".encode(), "empty_caption"),
    ],
)
def test_bad_captions(read, members, data, reason):
    members["00002.txt"] = data
    assert_one_rejected(read(members), "00002", reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "bad_json"),
        (b"[]", "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"captions": "one"}', "bad_json"),
        (b'{"captions": [1]}', "bad_json"),
        (b'{"truth": 3}', "bad_json"),
        (b'{"captions": [" "]}', "empty_caption"),
        (rb'{"captions": ["\ud800"]}', "bad_encoding"),
        (b'{"captions": ["\xff"]}', "bad_encoding"),
    ],
)
def test_bad_json(read, members, data, reason):
    members["00002.json"] = data
    assert_one_rejected(read(members), "00002", reason)


@pytest.mark.parametrize("prefix", ["../", "/tmp/", "a/../../"])
def test_names_that_lead_out(read, members, prefix):
    for extension in ("png", "txt"):
        members[f"{prefix}x.{extension}"] = members[f"00001.{extension}"]
    samples, rejected = read(members)
    assert len(samples) == 8
    assert rejected == [Rejected(f"{prefix}x", "00000.tar", "unsafe_member")]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices(read, members, kind):
    info = tarfile.TarInfo("00002.png")
    info.type, info.linkname = kind, "/etc/passwd"
    pairs = [(info, b"") if name == info.name else (name, data) for name, data in members.items()]
    assert_one_rejected(read(pairs), "00002", "unsafe_member")


def test_too_large_from_the_header(read, members):
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    members["00002.png"] = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
    assert_one_rejected(read(members), "00002", "too_large")


def test_a_name_that_is_not_utf8(read, members):
    members["\udcff.png"], members["\udcff.txt"] = members["00001.png"], members["00001.txt"]
    samples, rejected = read(members)
    assert len(samples) == 8
    assert [rejection.reason for rejection in rejected] == ["bad_encoding"]
    json.dumps(rejected[0].key).encode()


def test_other_members_and_folders_are_passed_over(read, members):
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    samples, rejected = read([(folder, b""), *members.items(), ("README", b"x"), ("a.cls", b"3")])
    assert len(samples) == 8
    assert rejected == []


def test_nothing_is_written_beside_the_shards(tmp_path, read, members):
    members["../evil.png"], members["../evil.txt"] = members["00001.png"], b"x"
    read(members)
    assert {path.name for path in tmp_path.rglob("*")} == {"raw", "00000.tar"}


def assert_one_rejected(result, key: str, reason: str) -> None:
    samples, rejected = result
    assert rejected == [Rejected(key, "00000.tar", reason)]
    assert list(samples) == [other for other in KEYS if other != key]


def test_an_unknown_layout_names_what_was_there(tmp_path):
    (tmp_path / "data.xyz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"must hold \*\.tar, .* or .*, but has \['data.xyz'\]"):
        open_raw(tmp_path)
