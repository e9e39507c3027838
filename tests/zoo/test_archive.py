"""Archives: one member comes out, and every archive that could do harm is refused."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kdzoo.errors import UserError
from kdzoo.zoo.archive import extract

WEIGHTS = np.random.default_rng(0).bytes(10_000)


def tar_of(members, mode="w"):
    with tarfile.open("a.tar", mode) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if name == "a" and content:
                info.type, info.linkname = content, "/etc/passwd"
                file.addfile(info)
            else:
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return Path("a.tar")


def zip_of(members):
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if content is None:
                info.external_attr, content = (stat.S_IFLNK | 0o777) << 16, b"/etc/passwd"
            file.writestr(info, content)
    return Path("a.zip")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_member_of_a_tar(mode):
    archive = tar_of({"teachers/one.pth": b"other", "teachers/two.pth": WEIGHTS}, mode)
    extract(archive, "teachers/two.pth", Path("out/net.pth"))
    assert Path("out/net.pth").read_bytes() == WEIGHTS and len(list(Path("out").iterdir())) == 1


def test_a_member_of_a_zip():
    extract(zip_of({"models/net.pth": WEIGHTS}), "models/net.pth", Path("net.pth"))
    assert Path("net.pth").read_bytes() == WEIGHTS


BOMB = b"\0" * 30_000_000


@pytest.mark.parametrize(
    ("archive", "told"),
    [
        (lambda: tar_of({"net": WEIGHTS, "a": tarfile.SYMTYPE}), "holds a link, a"),
        (lambda: tar_of({"net": WEIGHTS, "a": tarfile.LNKTYPE}), "holds a link, a"),
        (lambda: tar_of({"net": WEIGHTS, "a": tarfile.CHRTYPE}), "holds a device, a"),
        (lambda: tar_of({"net": WEIGHTS, "../a": b""}), "no plain path"),
        (lambda: tar_of({"net": WEIGHTS, "/a": b""}), "no plain path"),
        (lambda: tar_of({"net": BOMB}, "w:gz"), "unpacks to"),
        (lambda: zip_of({"net": WEIGHTS, "a": None}), "holds a link, a"),
        (lambda: zip_of({"net": WEIGHTS, "../a": b""}), "no plain path"),
        (lambda: zip_of({"net": BOMB}), "unpacks to"),
        (lambda: tar_of({"other": WEIGHTS}), "has no file 'net'; it holds other"),
        (lambda: (Path("a.tar").write_bytes(WEIGHTS), Path("a.tar"))[1], "damaged or no archive"),
        (lambda: (Path("a.zip").write_bytes(zip_of({"net": WEIGHTS}).read_bytes()[:-40]), Path("a.zip"))[1], "damaged"),
    ],
)
def test_refused(archive, told):
    with pytest.raises(UserError, match=told) as refused:
        extract(archive(), "net", Path("out"))
    assert not Path("out").exists() and "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip"])
def test_damaged_within(kind):
    """Where the error is the decompressor's own, not the archive reader's."""
    content = b"".join(b"%d" % number for number in range(50_000))
    archive = zip_of({"net": content}) if kind == "zip" else tar_of({"net": content}, f"w:{kind}")
    whole = archive.read_bytes()
    for place in (len(whole) // 3, len(whole) * 19 // 20):
        spoilt = bytearray(whole)
        spoilt[place : place + 8] = bytes(x ^ 255 for x in spoilt[place : place + 8])
        archive.write_bytes(spoilt)
        try:  # gzip's sum at the end is not looked at: the member's own hash is what counts
            extract(archive, "net", Path("out"))
            assert kind == "gz" and Path("out").stat().st_size == len(content)
            Path("out").unlink()
        except UserError as error:
            assert "damaged or no archive" in str(error) and "\n" not in str(error)
        assert not Path("out").exists()


def test_a_bomb_that_lies_about_its_size_is_stopped():
    body = bytearray(zip_of({"net": BOMB}).read_bytes())
    # The central directory and the local header state 100 bytes.
    for signature, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        place = body.index(signature) + offset
        body[place : place + 4] = (100).to_bytes(4, "little")
    Path("a.zip").write_bytes(body)
    try:
        extract(Path("a.zip"), "net", Path("out"))
    except UserError:
        assert not Path("out").exists()
    else:
        assert Path("out").stat().st_size <= 100
