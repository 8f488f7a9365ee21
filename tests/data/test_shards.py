"""What is written into shards is what is read back, by us and by webdataset."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stored import decode_stored, read_shards, write_shards

from ladder.data.shards import Packed, Sample, header, write_shard

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@pytest.fixture
def samples(picture) -> list[Sample]:
    return [
        Sample("a.b.00001", ("a caption", "ein Bild, schön"), picture(0)),
        Sample("folder/2", ("edit",), picture(1), (picture(2), picture(3, (48, 40)))),
        Sample("3", ("x",), picture(4), truth={"things": [1, {"shape": "star"}], "none": None}),
    ]


def test_round_trip(tmp_path, samples):
    assert write_shards(samples, tmp_path, 2) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.tar", "00001.tar"]
    assert list(read_shards(tmp_path)) == samples


@given(st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=3)), max_size=5))
@settings(max_examples=50, deadline=None)
def test_any_key_and_caption_survives(picture, texts):
    samples = [
        Sample(f"{key}{number}", tuple(captions), picture(number))
        for number, (key, captions) in enumerate(texts)
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_shards(samples, Path(folder), 3)
        assert list(read_shards(Path(folder))) == samples


def test_same_samples_give_same_bytes(tmp_path, samples):
    for name in ("one", "two"):
        write_shards(samples, tmp_path / name, 2)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@given(
    st.one_of(st.text("ab%/.", max_size=101), st.text(st.characters(codec="utf-8"), max_size=110)),
    st.one_of(st.integers(0, 2**20), st.sampled_from([0, 8**11 - 1, 8**11])),
)
def test_headers_are_those_of_tarfile(name: str, size: int):
    member = tarfile.TarInfo(name)
    member.size = size
    assert header(name, size) == member.tobuf(tarfile.PAX_FORMAT)


@pytest.mark.parametrize("size", [0, 1, 512, 9000, 10_240])
def test_a_shard_is_the_tar_that_tarfile_would_write(tmp_path, size):
    write_shard([Packed("k", ("x",), ("png", b"x" * size))], tmp_path / "ours.tar")
    with (
        tarfile.open(tmp_path / "ours.tar") as ours,
        tarfile.open(tmp_path / "theirs.tar", "w", format=tarfile.PAX_FORMAT) as theirs,
    ):
        for member in ours:
            data = ours.extractfile(member).read()
            plain = tarfile.TarInfo(member.name)
            plain.size = len(data)
            theirs.addfile(plain, io.BytesIO(data))
    assert (tmp_path / "ours.tar").read_bytes() == (tmp_path / "theirs.tar").read_bytes()


def test_webdataset_reads_our_shards(tmp_path, samples):
    """Dotted keys would fall apart in webdataset, which ends a key at its first dot."""
    write_shards(samples, tmp_path, 10)
    rows = list(webdataset.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False))
    assert [json.loads(row["json"])["key"] for row in rows] == [sample.key for sample in samples]
    for row, sample in zip(rows, samples, strict=True):
        assert decode_stored(row["target.png"]) == sample.target
        sources = [row[name] for name in sorted(row) if name.startswith("source")]
        assert [decode_stored(source) for source in sources] == list(sample.sources)


def test_a_cut_shard_is_an_error(tmp_path, samples):
    write_shards(samples, tmp_path, 2)
    path = tmp_path / "00000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"00000.tar must be a whole shard, but is trunc"):
        list(read_shards(tmp_path))


def test_a_sample_needs_a_caption(tmp_path, picture):
    with pytest.raises(ValueError, match="sample k needs at least one caption"):
        write_shards([Sample("k", (), picture(0))], tmp_path, 2)
