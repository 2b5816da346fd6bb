"""Shards here and in an object store: what is listed, what is read, and what is told of errors."""

from __future__ import annotations

import errno
import functools
import gzip
import http.server
import io
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ganvae import config
from ganvae.data import Data, difference, open_data, remote, shard_files, shards
from ganvae.data.check import check
from ganvae.data.decode import Bad
from ganvae.data.find import find
from ganvae.data.shard_files import Shard
from ganvae.errors import DataError

from .conftest import Bucket, encoded, parquet, tar

Setting = Callable[..., config.Data]


def pictures(data: Data) -> set[bytes]:
    """The pixels of all images."""
    parts = [part.take(range(len(part))).numpy() for part in (data.train, data.test)]
    return {image.tobytes() for image in np.concatenate(parts)}


def made(numbers: range) -> set[bytes]:
    from PIL import Image

    return {np.asarray(Image.open(io.BytesIO(encoded(number)))).tobytes() for number in numbers}


def test_shards_far_away_are_packed_without_a_copy(
    bucket: Bucket, setting: Setting, tmp_path: Path
) -> None:
    for shard in range(3):
        bucket.write(f"tars/a-{shard}.tar", tar(range(10 * shard, 10 * shard + 10)))
        bucket.write(f"rows/a-{shard}.parquet", parquet(range(10 * shard, 10 * shard + 10)))
    bucket.write("tars/README", b"hello")
    for name in ("tars/a-{0..2}.tar", "tars/*.tar", "tars", "rows/*.parquet", "rows/"):
        data = open_data(setting(f"s3://{bucket.name}/{name}", size=8), labels=True)
        assert pictures(data) == made(range(30))
        rows = name.startswith("rows")
        assert data.classes == (["zebra", "ape", "bee"] if rows else ["0", "1", "2"])
    packed = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert not any(name.endswith((".tar", ".parquet")) for name in packed)


def test_a_changed_object_is_noticed(bucket: Bucket, setting: Setting) -> None:
    bucket.write("a-0.tar", tar(range(10)))
    before = open_data(setting(f"s3://{bucket.name}/*.tar", size=8))
    bucket.write("a-0.tar", tar(range(10, 20)))
    after = open_data(setting(f"s3://{bucket.name}/*.tar", size=8))
    assert pictures(after) == made(range(10, 20))
    assert str(difference(before.manifest(), after.manifest())) == "images: 10 added, 10 removed"


def test_shards_named_test_are_held_out(bucket: Bucket, setting: Setting) -> None:
    bucket.write("train-0.tar", tar(range(20)))
    bucket.write("val-0.tar", tar(range(20, 25)))
    data = open_data(setting(f"s3://{bucket.name}/*.tar", size=8))
    assert (len(data.train), len(data.test)) == (20, 5)
    assert data.report["split"] == "the source's own"


def test_packed_images_are_found_when_nobody_answers(
    bucket: Bucket, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    bucket.write("a.tar", tar(range(10)))
    chosen = setting(f"s3://{bucket.name}/a.tar", size=8)
    data = open_data(chosen)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    again = open_data(chosen)
    assert again.fingerprint == data.fingerprint
    assert any("taken as packed before" in note for note in again.notes)
    with pytest.raises(DataError, match="cannot be reached"):
        open_data(setting(f"s3://{bucket.name}/b.tar", size=8))


def test_shards_on_the_web(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    for shard in range(2):
        (tmp_path / f"a-{shard}.tar").write_bytes(tar(range(10 * shard, 10 * shard + 10)))
    (tmp_path / "a.parquet").write_bytes(parquet(range(20)))
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        site = f"http://127.0.0.1:{web.server_port}"
        for name in ("a-{0..1}.tar", "a-*.tar", "a.parquet", "a.parquet?signature=a*b[c"):
            found = shards.listed(f"{site}/{name}")
            images = [item.image for shard in found for item in shard_files.read(shard)]
            assert images == [encoded(number) for number in range(20)]
        with pytest.raises(DataError, match=r"b\.tar does not exist") as refused:
            shards.listed(f"{site}/b.tar?signature=secret")
        assert "secret" not in str(refused.value)
        web.shutdown()


# -------------------------------------------------------------------------------------- errors


def test_a_bucket_or_shard_that_is_not_there(bucket: Bucket, setting: Setting) -> None:
    for path in ("s3://no-such-bucket-here/a.tar", f"s3://{bucket.name}/a-{{0..3}}.tar"):
        with pytest.raises(DataError, match="does not exist; check the bucket and the name"):
            open_data(setting(path))
    for path in (f"s3://{bucket.name}/*.tar", f"s3://{bucket.name}/photos/"):
        with pytest.raises(DataError, match="does not exist"):
            open_data(setting(path))


def test_no_credentials(
    bucket: Bucket, setting: Setting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match=r"no credentials to read s3://.*AWS_ACCESS_KEY_ID"):
        open_data(setting(f"s3://{bucket.name}/a.tar"))


def test_a_scheme_that_needs_another_package(setting: Setting) -> None:
    with pytest.raises(DataError, match="pip install gcsfs"):
        open_data(setting("gs://photos/a.tar"))
    with pytest.raises(DataError, match="nosuch"):
        open_data(setting("nosuch://photos/a.tar"))


@pytest.mark.parametrize("cut", [700, 512 * 3, 512 * 4, -1024, -5000])
def test_a_truncated_tar_shard(cut: int, bucket: Bucket, setting: Setting) -> None:
    whole = tar(range(10)).rstrip(b"\0")
    whole += bytes(-len(whole) % 512 + 1024)
    bucket.write("a.tar", whole[:cut])
    said = r"cannot read s3://.*/a\.tar: it is truncated or damaged \(ReadError: unexpected end"
    with pytest.raises(DataError, match=said):
        open_data(setting(f"s3://{bucket.name}/a.tar"))


def test_other_damaged_shards(tmp_path: Path, setting: Setting) -> None:
    whole = bytearray(tar(range(10)))
    for at in range(512 * 8, 512 * 12):  # headers in the middle
        whole[at] ^= 0x55
    (tmp_path / "a.tar").write_bytes(whole)
    (tmp_path / "b.tgz").write_bytes(gzip.compress(tar(range(10)))[:-3000])
    (tmp_path / "c.parquet").write_bytes(parquet(range(10))[:-20])
    (tmp_path / "d.tar").write_bytes(b"")
    for name in ("a.tar", "b.tgz", "c.parquet", "d.tar"):
        with pytest.raises(DataError, match=f"{name}: it is truncated or damaged"):
            open_data(setting(tmp_path / name))


def test_paths_in_a_parquet_file_far_away_are_not_followed(
    bucket: Bucket, setting: Setting, tmp_path: Path
) -> None:
    import pyarrow
    from pyarrow import parquet as files

    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(1))
    table = io.BytesIO()
    files.write_table(pyarrow.table({"image": [str(secret), str(secret)]}), table)
    bucket.write("a.parquet", table.getvalue())
    with pytest.raises(DataError, match="a path, not the bytes of an image"):
        open_data(setting(f"s3://{bucket.name}/a.parquet"))


# ------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.parquet"])
def test_reading_begins_anywhere(name: str, tmp_path: Path) -> None:
    whole = parquet(range(25)) if name.endswith("parquet") else tar(range(25))
    (tmp_path / name).write_bytes(gzip.compress(whole) if name.endswith("gz") else whole)
    shard = Shard(str(tmp_path / name), "")
    images = [item.image for item in shard_files.read(shard)]
    assert images == [encoded(number) for number in range(25)]
    for start in (0, 1, 10, 13, 24, 25):
        assert [item.image for item in shard_files.read(shard, start)] == images[start:]


def test_rows_before_the_start_are_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet(range(100), size=48))
    fetched = 0

    class Counting(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            nonlocal fetched
            found = super().read(size)
            fetched += len(found)
            return found

    monkeypatch.setattr(shard_files, "opened", lambda path: Counting(path))
    shard = Shard(str(tmp_path / "a.parquet"), "")
    list(shard_files.read(shard))
    whole, fetched = fetched, 0
    list(shard_files.read(shard, 90))
    assert fetched < whole / 3


@pytest.mark.parametrize("name", ["a.tar", "a.parquet"])
def test_a_lost_connection_is_made_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(
        tar(range(300), size=32) if name == "a.tar" else parquet(range(300))
    )
    reads = iter([0, 3, 3, 1000])  # that each connection lasts for

    class Failing(io.FileIO):
        left = 0

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise ConnectionResetError("the line is dead")
            return super().read(size)

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            data = self.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)

    def opened(path: str) -> Failing:
        file = Failing(path)
        file.left = next(reads)
        return file

    monkeypatch.setattr(shard_files, "opened", opened)
    monkeypatch.setattr(shard_files.time, "sleep", lambda seconds: None)
    found = [item.image for item in shard_files.read(Shard(str(tmp_path / name), ""))]
    size = 32 if name == "a.tar" else 8
    assert found == [encoded(number, size) for number in range(300)]
    assert next(reads, None) is None

    def dead(path: str) -> Failing:
        raise ConnectionResetError("the line is dead")

    monkeypatch.setattr(shard_files, "opened", dead)
    with pytest.raises(DataError, match="cannot be reached any more"):
        list(shard_files.read(Shard(str(tmp_path / name), "")))


def test_which_errors_may_pass() -> None:
    class FileExpired(OSError):
        pass

    def answered(status: int) -> OSError:
        cause = OSError()
        cause.response = {"ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
        error = OSError(errno.EIO, "")
        error.__cause__ = cause
        return error

    passing = [ConnectionResetError(), TimeoutError(), OSError(errno.EBUSY, "slow down")]
    passing += [OSError(121, "InternalError"), answered(502)]
    lasting = [FileExpired(errno.EBUSY, "replaced"), FileNotFoundError(), OSError(errno.EIO, "")]
    lasting += [answered(400)]
    assert all(map(remote.is_passing, passing))
    assert not any(map(remote.is_passing, lasting))


def test_several_shards_take_turns(tmp_path: Path) -> None:
    counts = (3, 1, 2)
    for shard, count in enumerate(counts):
        numbers = range(10 * shard, 10 * shard + count)
        (tmp_path / f"{shard}.tar").write_bytes(tar(numbers))
    some = [Shard(str(tmp_path / f"{shard}.tar"), "") for shard in range(3)]
    turns = [(place, number) for place, number, _ in shards.together(some)]
    assert turns == [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2)]


def test_what_reads_ahead_ends_when_nobody_takes(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(range(100)))
    before = set(threading.enumerate())
    images = shards.together([Shard(str(tmp_path / "a.tar"), "")] * 2)
    next(images)
    assert len(set(threading.enumerate()) - before) == 2
    images.close()  # type: ignore[attr-defined]
    started = set(threading.enumerate()) - before
    for thread in started:
        thread.join(10)
    assert not any(thread.is_alive() for thread in started)


def write_tar(path: Path, files: dict[str, bytes | None]) -> Shard:
    """A tar file; pictures are made where no content is given."""
    with tarfile.open(path, "w") as archive:
        for number, (name, content) in enumerate(files.items()):
            content = encoded(number) if content is None else content
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return Shard(str(path), "")


def taken(path: Path, names: list[str], **options: bytes) -> tuple[dict[str, str], dict[str, int]]:
    """The pictures that are read off a tar file with their classes, and what is not used of it."""
    unused = Counter[str]()
    files = dict.fromkeys(names) | {name: b"cat\n" for name in names if name.endswith(".cls")}
    shard = write_tar(path / "a.tar", files)
    items = list(shard_files.read(shard, unused=unused))
    for item in items:
        assert item.image == encoded(names.index(item.name.removeprefix("a.tar/")))
    return {item.name.removeprefix("a.tar/"): item.label or "" for item in items}, dict(unused)


BESIDE = "beside a sample's own picture (KEY.WORD.png)"
AGAIN = "of a name that was there before"


@pytest.mark.parametrize(
    ("names", "pictures", "unused"),
    [
        ([f"Screenshot 2024-03-01 at 09.1{n}.05.png" for n in range(6)], None, {}),
        ([f"2024.03.{n:02d}.png" for n in range(1, 31)], None, {}),
        (["2024.03/a.b/1.png", "2024.03/a.b/2.png", "with\na line/1.png", "./3.PNG"], None, {}),
        ([f"frame.{n:06d}.jpg" for n in range(12)] + ["v1.0 final. really.png"], None, {}),
        (["img.000.png", "img.000.cls", "img.001.cls", "img.001.png"],
         {"img.000.png": "cat", "img.001.png": "cat"}, {}),
        (["01.seg.png", "01.jpg.png", "02.seg.png"], None, {}),
        (["01.cls", "01.left.png", "01.right.png"],
         {"01.left.png": "cat", "01.right.png": "cat"}, {}),
        (["01.cls", "01.depth.png", "01.jpg", "01.json", "01.seg.png", "02.jpg", "02.seg_map.png"],
         {"01.jpg": "cat", "02.jpg": ""}, {BESIDE: 3, ".json": 1}),
        (["x.jpg", "x.1.jpg", "x.2.jpg"], None, {}),
        (["01.jpg", "01.png", "02.png"], {"01.jpg": "", "02.png": ""}, {AGAIN: 1}),
        ([f"x.{letter}.png" for letter in "abcdefghijklmnop"], None, {}),
        (["1.cls", "2.png"], {"2.png": ""}, {"classes without a picture": 1}),
        (["1.png", "._1.png", "__MACOSX/2.png", ".git/3.png", "__meta__.json", "README", "a.zip",
          "b.tar", "c.this is a name.", "d.JSON"],
         {"1.png": ""},
         {"hidden": 3, ".json": 2, "no extension": 2, ".zip": 1, ".tar": 1}),
    ],
)  # fmt: skip
def test_an_ending_leaves_the_key_and_what_is_not_taken_is_counted(
    names: list[str],
    pictures: dict[str, str] | None,
    unused: dict[str, int],
    tmp_path: Path,
) -> None:
    found, counted = taken(tmp_path, names)
    assert found == (dict.fromkeys(names, "") if pictures is None else pictures)
    assert counted == unused


def test_links_and_folders_are_no_pictures(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo("a.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    unused = Counter[str]()
    assert not list(shard_files.read(Shard(str(tmp_path / "a.tar"), ""), unused=unused))
    assert unused == {"links": 2, "no regular files": 1}


def test_kinds_of_what_is_not_taken_are_few(tmp_path: Path) -> None:
    unused = Counter[str]()
    shard = write_tar(tmp_path / "a.tar", {f"x.a{n}": b"" for n in range(500)})
    assert not list(shard_files.read(shard, unused=unused))
    assert unused.total() == 500 and len(unused) <= 31


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_used_is_told_of_a_training(
    stream: bool, tmp_path: Path, setting: Setting
) -> None:
    (tmp_path / "set").mkdir()
    for shard in range(2):
        files: dict[str, bytes | None] = {f"{shard} at {n}.{n}.png": None for n in range(10)}
        files |= {f"{shard}.{n}.txt": b"a caption" for n in range(10)}
        write_tar(tmp_path / "set" / f"{shard}.tar", files | {"old.zip": b""})
    for _ in range(2):  # packed, and found packed
        data = open_data(setting(tmp_path / "set", size=8, stream=stream))
        assert len(data.train) + len(data.test) == 20
        assert data.report["ignored"] == {".txt": 20, ".zip": 2}
        (told,) = [note for note in data.notes if "not used" in note]
        assert "20 .txt" in told and "2 .zip" in told
    report = check(setting(tmp_path / "set", size=8))
    assert report.ignored == {".txt": 20, ".zip": 2}
    write_tar(tmp_path / "b.tar", {"a.zip": b"", "b.zip": b""})
    with pytest.raises(DataError, match=r"no images .*found 2 \.zip"):
        open_data(setting(tmp_path / "b.tar"))


def test_other_columns_are_told(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet as files

    columns = {"image": [encoded(n) for n in range(9)], "mask": [b""] * 9, "text": ["x"] * 9}
    files.write_table(pyarrow.table(columns), tmp_path / "a.parquet", row_group_size=4)
    for start in (0, 5):
        unused = Counter[str]()
        items = shard_files.read(Shard(str(tmp_path / "a.parquet"), ""), start, unused)
        assert len(list(items)) == 9 - start
        assert unused == {"cells of mask": 9, "cells of text": 9}


def test_s7_rows_name_no_file_outside_their_folder(tmp_path: Path, setting: Setting) -> None:
    import pyarrow
    from pyarrow import parquet as files

    (tmp_path / "set" / "deep").mkdir(parents=True)
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(1))
    (tmp_path / "set" / "deep" / "2.png").write_bytes(encoded(2))
    (tmp_path / "set" / "3.png").write_bytes(encoded(3))
    (tmp_path / "set" / "link.png").symlink_to(secret)
    (tmp_path / "set" / "up").symlink_to(tmp_path)
    own = ["deep/2.png", str(tmp_path / "set" / "3.png"), "deep/../3.png"]
    others = [str(secret), "../secret.png", "link.png", "up/secret.png", "a\0b"]
    rows = [{"bytes": None, "path": path} for path in own + others]
    files.write_table(pyarrow.table({"image": rows}), tmp_path / "set" / "a.parquet")
    items = list(shard_files.read(Shard(str(tmp_path / "set" / "a.parquet"), "")))
    assert [Path(str(item.image)).name for item in items[:3]] == ["2.png", "3.png", "3.png"]
    for item in items[3:]:
        assert isinstance(item.image, Bad) and "path" in str(item.image)
    data = open_data(setting(tmp_path / "set" / "a.parquet", size=8, max_bad=0.9))
    assert pictures(data) == made(range(2, 4))


@pytest.mark.parametrize(
    "path",
    [
        "{a,b}" * 40 + ".tar",
        "s3://bucket/" + "{a,b}" * 40 + ".tar",
        "x{1..1000000000000}.tar",
        "{x,{a,b}{1..100000}}.tar",
        "{" * 3000 + ".tar",
        "{a" * 300 + "}" * 300 + ".tar",
        "{a,b.tar",
        "~nosuchuser/photos",
        "a" * 5000,
        "reference://x.tar",
        "github://a.tar",
        "zip://a.tar::file:///nowhere.zip",
        "zip://",
        "tar://x",
        "jlab:///*.tar",
        "data:,hello.tar",
        "memory://nothing.tar",
        "http://[::1",
        "://a.tar",
        "\ud800.tar",
    ],
)
def test_odd_addresses_are_refused_in_a_sentence(path: str, setting: Setting) -> None:
    began = time.monotonic()
    with pytest.raises(DataError) as refused:
        open_data(setting(path))
    assert time.monotonic() - began < 5 and "\n" not in str(refused.value)


def test_addresses_are_shards() -> None:
    for path in ("s3://bucket/photos/", "https://host/a.tar?key=b.png", "hf://datasets/a/b/*"):
        assert find(path).kind == "shards"
    assert Shard("https://host/a.parquet?key=b.tar", "").is_parquet
