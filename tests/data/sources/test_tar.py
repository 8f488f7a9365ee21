"""A tar is indexed as far as it can be read, wherever it breaks off."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.making import with_sums_of_tar

from ladder.data.sources import tar as module
from ladder.data.sources.tar import index_tar, safe_name

FILES = {f"{number}.txt": f"text {number}".encode() * 90 for number in range(4)}


def tar_bytes() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.fixture(scope="module")
def whole() -> bytes:
    return tar_bytes()


def test_members_lie_where_the_index_says(tmp_path, whole):
    path = tmp_path / "a.tar"
    path.write_bytes(whole)
    index = index_tar(path)
    assert index.fault is None
    assert {member.name: member.extent.read() for member in index.members} == FILES


def test_every_prefix_keeps_what_is_complete(tmp_path, whole):
    """Cut anywhere before the end mark, a tar is truncated and yields its first whole members."""
    path = tmp_path / "a.tar"
    ends = [member.extent.offset + member.extent.size for member in _index(path, whole).members]
    for size in range(0, 512 * 13, 61):
        index = _index(path, whole[:size])
        complete = sum(end <= size for end in ends)
        if size < 512:
            assert index.fault == "not_a_tar"
        else:
            assert [member.name for member in index.members] == list(FILES)[:complete], size
            assert index.fault == ("truncated_shard" if size < 512 * 13 else None), size


@pytest.mark.parametrize("place", [0, 2])
def test_a_header_whose_size_is_no_number_is_the_end(tmp_path, place):
    """tarfile raises ValueError for an extended header with a sparse size that is empty."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(place + 1):
            info = tarfile.TarInfo(f"{number}.txt")
            info.pax_headers = {"GNU.sparse.size": ""} if number == place else {}
            tar.addfile(info)
    index = _index(tmp_path / "a.tar", file.getvalue())
    assert [member.name for member in index.members] == [f"{n}.txt" for n in range(place)]
    assert index.fault == ("truncated_shard" if place else "not_a_tar")


def test_garbage_instead_of_a_header_is_no_end(tmp_path, whole):
    broken = whole[: 512 * 6] + b"x" * 512 + whole[512 * 7 :]
    index = _index(tmp_path / "a.tar", broken)
    assert [member.name for member in index.members] == list(FILES)[:2]
    assert index.fault == "truncated_shard"


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"<html>" + b"x" * 5000])
def test_other_files_are_no_tars(tmp_path, data):
    assert _index(tmp_path / "a.tar", data).fault == "not_a_tar"


def test_negative_size_ends_the_reading(tmp_path, whole):
    """A member of negative size sends tarfile back to itself, for ever."""
    header = bytearray(whole[:512])
    header[124:136] = (-1024 % 256**12).to_bytes(12, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\x00 " % sum(header)
    index = _index(tmp_path / "a.tar", bytes(header) + whole)
    assert index.fault in ("not_a_tar", "truncated_shard")
    assert index.members == ()


def test_tars_one_after_the_other_are_one(tmp_path, whole):
    index = _index(tmp_path / "a.tar", whole + whole)
    assert index.fault is None
    assert [member.name for member in index.members] == [*FILES, *FILES]
    assert [member.extent.read() for member in index.members] == [*FILES.values(), *FILES.values()]
    garbage = _index(tmp_path / "a.tar", whole + b"x" * 5000)
    assert (len(garbage.members), garbage.fault) == (4, "truncated_shard")


def test_zeros_in_place_of_members_are_no_end(tmp_path):
    """A file whose second half never came is as long as it should be."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number in range(18):
            info = tarfile.TarInfo(f"{number}.txt")
            info.size = 1500
            tar.addfile(info, io.BytesIO(b"x" * 1500))
    data = file.getvalue()
    half = len(data) // 2
    index = _index(tmp_path / "a.tar", data[:half] + bytes(len(data) - half))
    assert len(index.members) == half // 2048
    assert index.fault == "truncated_shard"
    back = _index(tmp_path / "a.tar", data[:4096] + bytes(16384) + data[20480:])
    assert len(back.members) == 10
    assert back.fault == "truncated_shard"


def test_headers_that_lead_on_and_on(tmp_path, whole):
    """Each says that the next has its name; tarfile follows them with a call in a call."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    chained = (info.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")) * 3000
    assert _index(tmp_path / "a.tar", chained + whole).fault == "not_a_tar"
    index = _index(tmp_path / "a.tar", whole[: 512 * 3] + chained)
    assert ([member.name for member in index.members], index.fault) == (
        ["0.txt"], "truncated_shard",
    )  # fmt: skip


@pytest.mark.parametrize("cut", [0, 40])
def test_gzip(tmp_path, whole, cut):
    path = tmp_path / "a.tar.gz"
    data = gzip.compress(whole)
    path.write_bytes(data[: len(data) - cut])
    index = index_tar(path)
    assert index.fault == ("truncated_shard" if cut and index.members else None) or cut
    for member in index.members:
        assert member.extent.read() == FILES[member.name]
    assert cut or len(index.members) == 4


@given(st.lists(st.tuples(st.integers(0, 512 * 14), st.binary(max_size=20)), max_size=4))
@settings(max_examples=200, deadline=None)
def test_damage_is_never_an_exception(tmp_path_factory, changes):
    data = bytearray(tar_bytes())
    for place, patch in changes:
        data[place : place + len(patch)] = patch
    index = _index(tmp_path_factory.mktemp("tar") / "a.tar", bytes(data))
    for member in index.members:
        if member.extent is not None:
            assert len(member.extent.read()) == member.extent.size


FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
NAMES = ["a.png", "ä.txt", "x" * 99, "y" * 100, "z" * 60 + "/" + "z" * 60, "d/e.txt", "../up",
         "/root", "f/", "."]  # fmt: skip


@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 1200)), min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=12)), max_size=3),
    st.booleans(),
)
@settings(max_examples=300)
def test_plain_headers_are_read_as_tarfile_reads_them(form, files, changes, sums):
    """Whole and damaged ones, with checksums that are right and that aren't."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for number, (name, size) in enumerate(files):
            info = tarfile.TarInfo(name)
            info.size = size
            info.type = tarfile.DIRTYPE if name == "." else info.type
            tar.addfile(info, io.BytesIO(bytes([number + 1]) * size))
    data = bytearray(file.getvalue())
    for place, patch in changes:
        at = int(place * len(data))
        data[at : at + len(patch)] = patch
    data = with_sums_of_tar(bytes(data)) if sums else bytes(data)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "a.tar"
        found = _index(path, data)
        patch.setattr(module, "_read_plain", lambda file, start, *_: start)
        assert found == _index(path, data)


def test_a_second_tar_that_begins_with_a_broken_header_leaves_the_first(tmp_path, whole):
    """A header that leads on to another one, which isn't there."""
    head = tarfile.TarInfo("long")
    head.type, head.size = tarfile.GNUTYPE_LONGNAME, 600
    index = _index(tmp_path / "a.tar", whole + head.tobuf(tarfile.GNU_FORMAT) + bytes(512))
    assert [member.name for member in index.members] == list(FILES)
    assert index.fault == "truncated_shard"


def test_links_and_devices_have_no_extent(tmp_path):
    path = tmp_path / "a.tar"
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    with tarfile.open(path, "w") as tar:
        for number, kind in enumerate(kinds):
            info = tarfile.TarInfo(f"{number}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert [member.extent for member in index_tar(path).members] == [None] * len(kinds)


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a/../../b.png", ".."])
def test_names_that_lead_out_are_unsafe(name):
    assert not safe_name(name)


@pytest.mark.parametrize("name", ["a.png", "./a.png", "a/b..c/d.png", "..a.png"])
def test_names_that_stay_are_safe(name):
    assert safe_name(name)


def _index(path: Path, data: bytes):
    path.write_bytes(data)
    return index_tar(path)
