from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ganvae import config
from ganvae.data import Data, arrays, hub_dataset, open_data
from ganvae.data.find import find
from ganvae.data.packing import pack
from ganvae.errors import ConfigError, DataError

from .conftest import photo

assert (
    arrays and hub_dataset and codecs.lookup("ascii")
)  # loaded before a process gives up its rights

Make = Callable[..., Path]
Setting = Callable[..., config.Data]


def every(data: Data) -> np.ndarray:
    """All pixels in the source's order."""
    return data.store.read(np.arange(len(data.store)))


# ----------------------------------------------------------------------------------- folders


def test_a_folder_of_any_depth_and_kind(make: Make, setting: Setting) -> None:
    root = make(3)
    deep = root / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for kind in ("jpg", "JPEG", "webp", "bmp", "tiff", "tif", "gif"):
        photo(hash(kind) % 99, 20, 20).save(deep / f"x.{kind}")
    (root / "notes.txt").write_text("hello")
    (root / ".DS_Store").write_text("hello")
    (deep / "._x.jpg").write_bytes(b"resource fork")
    data = open_data(setting(root, size=None))
    assert len(data.train) + len(data.test) == 10
    assert data.shape == (3, 64, 64)
    assert data.report["ignored"] == {"hidden": 2, ".txt": 1}
    assert data.report["policies"] == {
        "enlarged (smaller than the size asked for)": 10,
        "of palette or 1-bit colours": 1,
    }
    assert json.loads(json.dumps(data.report)) is not None
    assert data.classes == [] and data.train.labels is None


def test_grey_folders_have_one_channel(tmp_path: Path, setting: Setting) -> None:
    for number in range(40):
        photo(number, 16, 16, "L").convert("RGB").save(tmp_path / f"{number}.png")
    grey = open_data(setting(tmp_path))
    assert grey.shape == (1, 16, 16)
    assert open_data(setting(tmp_path, channels=3)).shape == (3, 16, 16)
    photo(40, 16, 16).save(tmp_path / "x.png")
    mixed = open_data(setting(tmp_path))
    assert mixed.shape == (3, 16, 16)
    np.testing.assert_array_equal(every(mixed)[:40], np.repeat(every(grey), 3, axis=3))
    held_out = set(grey.test.names())
    assert held_out <= set(mixed.test.names())  # a colour image moves nobody
    np.testing.assert_array_equal(
        every(open_data(setting(tmp_path, channels=1)))[:40], every(grey)
    )


def test_labels_are_the_first_sub_folders(make: Make, setting: Setting) -> None:
    root = make(4, "pets/cats")
    make(4, "pets/dogs/deep/deeper", first=4)
    data = open_data(setting(root.parent), labels=True)
    assert data.classes == ["cats", "dogs"]
    for part in (data.train, data.test):
        assert part.labels is not None
        assert part.labels.tolist() == [int(name.startswith("dogs")) for name in part.names()]
    plain = open_data(setting(root.parent))
    assert plain.train.labels is None and plain.fingerprint != data.fingerprint
    photo(9, 16, 16).save(root.parent / "stray.png")
    with pytest.raises(DataError, match=r"1 of 9 images .* have none; put each"):
        open_data(setting(root.parent, labels=True))


def test_train_beside_test_is_the_sources_own_split(make: Make, setting: Setting) -> None:
    make(4, "set/train/a")
    make(3, "set/val/a", first=4)
    root = make(3, "set/val/b", first=7).parent.parent
    data = open_data(setting(root), labels=True)
    assert data.report["split"] == "the source's own"
    assert data.train.names() == [f"train/a/{n}.png" for n in range(4)]
    assert all(name.startswith("val/") for name in data.test.names())
    assert data.classes == ["a", "b"]
    make(1, "set/extra", first=20)
    assert "by content" in open_data(setting(root)).report["split"]


# --------------------------------------------------------------------------- D10, D13, D14, D1


def test_d10_no_images(tmp_path: Path, setting: Setting) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(DataError, match=r"found nothing.*give a place that holds png"):
        open_data(setting(folder))
    (folder / "a.txt").touch()
    (folder / "b.psd").touch()
    with pytest.raises(DataError, match=r"1 \.psd.*; \.psd: export them as PNG"):
        open_data(setting(folder))
    with pytest.raises(DataError, match="does not exist; give a folder"):
        open_data(setting(tmp_path / "missing"))
    assert DataError.exit_code == 65


def test_d10_one_image_and_copies_of_one(make: Make, setting: Setting) -> None:
    root = make(1)
    with pytest.raises(DataError, match="only one image; at least 2"):
        open_data(setting(root))
    for number in range(4):
        shutil.copy(root / "0.png", root / f"copy{number}.png")
    with pytest.raises(DataError, match="5 copies of one image"):
        open_data(setting(root))
    make(2)
    data = open_data(setting(root))
    assert {len(data.train), len(data.test)} == {1, 5}


def test_d13_names_of_every_kind(make: Make, setting: Setting) -> None:
    root = make(2)
    odd = [
        "ünï-日本語-🙂",
        "line\nbreak",
        "tab\t\x1b[31mred",
        "q\"uo'te",
        "n" * 251,
        "a  b",
        "\\back",
    ]
    for number, name in enumerate(odd, 10):
        photo(number, 16, 16).save(root / f"{name}.png")
    raw = os.fsencode(root) + b"/\xff\xfe.png"  # no valid UTF-8 at all
    Path(os.fsdecode(raw)).write_bytes((root / "0.png").read_bytes()[:40])
    photo(30, 16, 16).save(os.fsdecode(os.fsencode(root) + b"/\xe9.png"))
    data = open_data(setting(root, max_bad=0.5))
    names = data.train.names() + data.test.names()
    assert {f"{name}.png" for name in odd} <= set(names)
    assert len(names) == 10 and "\udce9.png" in names
    assert data.report["skipped"]["count"] == 1
    assert json.loads(json.dumps(data.report))["skipped"]["examples"][0][0] == "\udcff\udcfe.png"
    assert all("\n" not in note and "\x1b" not in note for note in data.notes)
    with pytest.raises(DataError) as refused:
        open_data(setting(root))
    str(refused.value).encode()  # printable anywhere


def test_d14_links_and_pipes(make: Make, setting: Setting, tmp_path: Path) -> None:
    root = make(5)
    outside = make(3, "outside", first=50)
    (root / "loop").symlink_to(root)
    (root / "self.png").symlink_to(root / "self.png")
    (root / "folder").symlink_to(outside)
    (root / "file.png").symlink_to(outside / "50.png")
    (root / "nowhere.png").symlink_to(tmp_path / "nowhere")
    (root / "inside.png").symlink_to(root / "0.png")
    os.mkfifo(root / "pipe.png")
    data = open_data(setting(root))
    assert len(data.train) + len(data.test) == 7
    assert data.report["duplicates"] == 1
    listed = dict(data.report["listed"]["examples"])
    assert set(listed) == {"loop", "self.png", "folder", "file.png", "nowhere.png", "pipe.png"}
    assert "not followed" in listed["loop"] and "leads out" in listed["folder"]
    assert listed["pipe.png"] == "not a regular file"
    assert "outside the folder, followed" in listed["file.png"]


def as_nobody(chosen: config.Data, answer: Path) -> str:
    """What a process without root's rights finds."""
    answer.touch()
    answer.chmod(0o666)
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            one = pack(chosen, workers=0)
            bad, listed = one.store.meta["bad"], one.index.listed
            answer.write_text(json.dumps([len(one.store), bad, listed]))
        except BaseException as error:
            answer.write_text(repr(error))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return answer.read_text()


def test_d14_unreadable_files_and_folders(make: Make, setting: Setting, tmp_path: Path) -> None:
    root = make(30)
    (root / "locked").mkdir()
    shutil.copy(root / "0.png", root / "locked" / "x.png")
    (root / "1.png").chmod(0)
    (root / "locked").chmod(0)
    cache = tmp_path / "theirs"
    cache.mkdir()
    cache.chmod(0o777)
    temporary = Path(tempfile.gettempdir()).resolve()
    open_up = [p for p in (tmp_path, *tmp_path.parents) if temporary in p.parents]
    before = [folder.stat().st_mode for folder in open_up]
    for folder in open_up:
        folder.chmod(0o755)
    try:
        said = as_nobody(setting(root, cache=str(cache)), tmp_path / "said")
    finally:
        for folder, mode in zip(open_up, before, strict=True):
            folder.chmod(mode)
        (root / "locked").chmod(0o755)
    images, defects, listed = json.loads(said)
    assert images == 29
    assert defects == [["1.png", "cannot be read: Permission denied"]]
    assert listed == [["locked", "folder cannot be listed: Permission denied"]]


def test_d1_bad_files_are_skipped_under_the_cap(make: Make, setting: Setting) -> None:
    root = make(120)
    (root / "page.jpg").write_text("<html>not found</html>")
    data = open_data(setting(root))
    assert len(data.train) + len(data.test) == 120
    assert data.report["skipped"]["examples"] == [
        ["page.jpg", "not an image but a web page or other markup"]
    ]
    assert any("1 images skipped" in note for note in data.notes)
    (root / "zero.png").touch()
    with pytest.raises(DataError, match=r"2 of 122 images .* page.jpg \(not.*zero.png \(empty"):
        open_data(setting(root))
    assert len(open_data(setting(root, max_bad=0.02)).train) > 90


# ------------------------------------------------------------------------------------- arrays


RGB = np.stack([np.asarray(photo(number, 8, 8)) for number in range(12)])


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    head = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.tobytes()


@pytest.mark.parametrize(
    "stored",
    [
        RGB,
        RGB.transpose(0, 3, 1, 2),
        RGB.astype(np.int64),
        RGB.astype(np.float32),
        RGB / 255,
        RGB / 127.5 - 1,
        RGB.astype(np.uint16) * 257,
        RGB.astype(">u2") * np.uint16(257),
    ],
    ids=["u8", "nchw", "i64", "f255", "f01", "f11", "u16", "big-endian"],
)
@pytest.mark.parametrize("kind", ["npy", "npy.gz", "npz", "npz-compressed"])
def test_arrays_give_their_images(
    stored: np.ndarray, kind: str, tmp_path: Path, setting: Setting
) -> None:
    path = tmp_path / f"images.{kind.removesuffix('-compressed')}"
    if kind == "npy":
        np.save(path, stored)
    elif kind == "npy.gz":
        with gzip.open(path, "wb") as file:
            np.save(file, stored)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(path, stored)
    data = open_data(setting(path, size=None))
    assert data.shape == (3, 8, 8)
    np.testing.assert_array_equal(every(data), RGB)


def test_an_npz_with_splits_and_labels(tmp_path: Path, setting: Setting) -> None:
    path = tmp_path / "mnist.npz"
    labels = np.arange(12)[:, None] % 3
    np.savez(path, x_train=RGB[:8], y_train=labels[:8], x_test=RGB[8:], y_test=labels[8:])
    data = open_data(setting(path, size=None), labels=True)
    assert (len(data.train), len(data.test)) == (8, 4)
    assert data.train.labels is not None and data.test.labels is not None
    assert [*data.train.labels, *data.test.labels] == labels[:, 0].tolist()
    assert data.train.names()[0] == "train/0"
    np.savez(path, train_images=RGB[:8], val_images=RGB[8:10], test_images=RGB[10:])
    data = open_data(setting(path, size=None))
    assert (len(data.train), len(data.test)) == (8, 4)


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_idx_files(packed: bool, tmp_path: Path, setting: Setting) -> None:
    grey = RGB[..., 0]
    files = {
        "train-images-idx3-ubyte": idx(grey[:9]),
        "train-labels-idx1-ubyte": idx(np.arange(9, dtype=np.uint8) % 3),
        "t10k-images-idx3-ubyte": idx(grey[9:]),
        "t10k-labels-idx1-ubyte": idx(np.arange(3, dtype=np.uint8)),
    }
    for name, content in files.items():
        if packed:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (tmp_path / name).write_bytes(content)
    data = open_data(setting(tmp_path, size=None, labels=True))
    assert data.shape == (1, 8, 8) and (len(data.train), len(data.test)) == (9, 3)
    np.testing.assert_array_equal(data.train.take(range(9))[..., 0], grey[:9])
    assert data.test.labels is not None and data.test.labels.tolist() == [0, 1, 2]
    one = tmp_path / f"train-images-idx3-ubyte{'.gz' if packed else ''}"
    single = open_data(setting(one, size=None, labels=True))
    assert len(single.train) + len(single.test) == 9 and len(single.classes) == 3


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npy", b"nonsense", "no .npy array"),
        ("a.npz", b"nonsense", "cannot read"),
        ("x-idx3-ubyte", b"nonsense", "no idx file"),
        ("x-idx3-ubyte", idx(RGB[..., 0])[:200], "cut off: 12 rows"),
        ("a.npy", np.zeros(()), "single number"),
        ("a.npy", np.zeros((4, 784), np.uint8), r"shape \(4, 784\); images must be"),
        ("a.npy", np.zeros((4, 8, 8, 2), np.uint8), "1, 3 or 4 channels"),
        ("a.npy", np.full((4, 8, 8), 1e4), "from 10000 to 10000; scale it"),
        ("a.npy", np.full((4, 8, 8), np.nan), "NaN"),
        ("a.npy", np.full((4, 8, 8), np.inf), "not finite"),
        ("a.npy", np.asfortranarray(np.zeros((4, 8, 8))), "Fortran order"),
        ("a.npy", np.array([{}]), "Python objects"),
        ("a.npy", np.full((4, 8, 8), 1j), "complex128"),
        ("a.npz", {"weights": np.zeros(3), "bias": np.zeros(3)}, "among weights, bias"),
        ("a.npz", {"images": RGB, "labels": np.zeros(5)}, r"shape \(5,\) for 12 images"),
        ("a.npz", {"x_train": RGB, "x_test": RGB[:, :4]}, "2 sizes; choose one with data.size"),
        ("a.zip", b"PK", "unpack archives first"),
        ("a.png", b"", "single file; give the folder"),
    ],
)
def test_arrays_that_cannot_be_used_are_told(
    name: str, content: object, said: str, tmp_path: Path, setting: Setting
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, np.asanyarray(content))
    with pytest.raises(DataError, match=said):
        open_data(setting(path, size=None))


def test_pickled_arrays_are_never_loaded(tmp_path: Path, setting: Setting) -> None:
    class Run:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    np.save(tmp_path / "a.npy", np.array([Run()]), allow_pickle=True)
    np.savez(tmp_path / "b.npz", images=np.array([Run()]))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(DataError, match="never loaded"):
            open_data(setting(tmp_path / name))
    assert not (tmp_path / "ran").exists()


def test_digits(setting: Setting) -> None:
    data = open_data(setting("digits", size=None), labels=True)
    assert data.shape == (1, 28, 28) and len(data.train) + len(data.test) == 5000
    assert data.classes == [*"0123456789"]
    assert data.train.labels is not None and data.test.labels is not None
    assert (np.bincount(np.concatenate([data.train.labels, data.test.labels])) == 500).all()
    means = [
        data.train.take(np.flatnonzero(data.train.labels == k)).float().mean() for k in (0, 1)
    ]
    assert means[0] > 1.5 * means[1]  # noughts have more ink than ones


# -------------------------------------------------------------------------------- hub, shards


def as_bytes(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def rows(images: np.ndarray) -> dict[str, list[object]]:
    return {
        "image": [{"bytes": as_bytes(image), "path": None} for image in images],
        "label": [number % 2 for number in range(len(images))],
    }


@pytest.mark.parametrize("typed", [True, False])
def test_parquet(typed: bool, tmp_path: Path, setting: Setting) -> None:
    datasets = pytest.importorskip("datasets")
    features = None
    if typed:
        names = datasets.ClassLabel(names=["zebra", "ape"])
        features = datasets.Features({"label": names, "image": datasets.Image()})
    for name, part in (("train-0", RGB[:9]), ("test-0", RGB[9:])):
        table = datasets.Dataset.from_dict(rows(part), features=features)
        table.to_parquet(tmp_path / "set" / f"{name}.parquet")
    data = open_data(setting(tmp_path / "set", size=8), labels=True)
    assert (len(data.train), len(data.test)) == (9, 3)
    np.testing.assert_array_equal(every(data), RGB)
    assert data.classes == (["zebra", "ape"] if typed else ["0", "1"])
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [number % 2 for number in range(9)]
    one = open_data(setting(tmp_path / "set" / "train-0.parquet", size=8))
    assert len(one.train) + len(one.test) == 9


def test_untold_classes_and_others_than_the_first_files(tmp_path: Path, setting: Setting) -> None:
    datasets = pytest.importorskip("datasets")
    (tmp_path / ".git").mkdir()  # hides nothing
    for name, names, labels in (("a", ["cat", "dog"], [0, 1, -1]), ("b", ["bird", "cat"], [0, 1])):
        kinds = datasets.Features({"label": datasets.ClassLabel(names=names)})
        table = datasets.Dataset.from_dict({"label": labels}, features=kinds)
        images = [{"bytes": as_bytes(image), "path": None} for image in RGB[: len(labels)]]
        table = table.add_column("image", images).cast_column("image", datasets.Image())
        table.to_parquet(tmp_path / f"{name}.parquet")
    data = open_data(setting(tmp_path, size=8))
    store = data.train._store
    assert store.classes == ["cat", "dog", "bird"]
    assert store.labels.tolist() == [0, 1, -1, 2, 0]


def test_a_third_split_is_trained_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: Setting
) -> None:
    datasets = pytest.importorskip("datasets")
    import huggingface_hub

    parts = {"train": RGB[:4], "test": RGB[4:6], "extra": RGB[6:9]}
    tables = {
        name: datasets.Dataset.from_dict(rows(part)).to_iterable_dataset()
        for name, part in parts.items()
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: tables)
    info = SimpleNamespace(sha="abc")
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **options: info)
    data = open_data(setting("owner/three", size=8))
    assert (len(data.train), len(data.test)) == (7, 2)


def test_a_pattern_at_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: Setting
) -> None:
    datasets = pytest.importorskip("datasets")
    for name, part in (("s-0", RGB[:6]), ("s-1", RGB[6:])):
        datasets.Dataset.from_dict(rows(part)).to_parquet(tmp_path / f"{name}.parquet")
    monkeypatch.setenv("HOME", str(tmp_path))
    data = open_data(setting("~/s-{0..1}.parquet", size=8))
    assert len(data.train) + len(data.test) == len(RGB)


def test_a_hub_data_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: Setting) -> None:
    datasets = pytest.importorskip("datasets")
    import huggingface_hub

    asked = []

    def load(name: str, subset: str | None, **options: object) -> dict[str, object]:
        asked.append((name, subset, options["revision"]))
        table = datasets.Dataset.from_dict(rows(RGB))
        return {"train": table.to_iterable_dataset()}

    def info(self: object, name: str, revision: str | None = None) -> SimpleNamespace:
        if offline:
            raise OSError("no network")
        return SimpleNamespace(sha="abc")

    offline = True
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    chosen = setting("owner/name@v1:small", size=8)
    with pytest.raises(DataError, match=r"cannot be reached \(OSError\); check the name"):
        open_data(chosen)
    offline = False
    data = open_data(chosen)
    np.testing.assert_array_equal(every(data), RGB)
    offline = True
    again = open_data(chosen)
    assert again.fingerprint == data.fingerprint
    assert any("taken as packed before" in note for note in again.notes)
    assert asked == [("owner/name", "small", "v1")]


def test_without_the_extra_the_mend_is_named(
    monkeypatch: pytest.MonkeyPatch, setting: Setting
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    for path in ("owner/name", "shards-{0..1}.tar"):
        with pytest.raises(DataError, match=r"pip install 'ganvae\[hub\]'"):
            open_data(setting(path))


def test_tar_shards(tmp_path: Path, setting: Setting) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(3):
        with tarfile.open(folder / f"s-{shard}.tar", "w") as archive:
            for number in range(4 * shard, 4 * shard + 4):
                files = {"png": as_bytes(RGB[number]), "cls": str(number % 2).encode()}
                for kind, content in files.items():
                    member = tarfile.TarInfo(f"{number:03d}.{kind}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    fingerprints = set()
    for path in (folder, folder / "s-{0..2}.tar", folder / "s-*.tar"):
        data = open_data(setting(path, size=8), labels=True)
        np.testing.assert_array_equal(every(data), RGB)
        assert data.classes == ["0", "1"]
        fingerprints.add(data.fingerprint)
    assert len(fingerprints) == 1
    whole = (folder / "s-1.tar").read_bytes()
    (folder / "s-1.tar").write_bytes(whole[:700])
    with pytest.raises(DataError, match="cannot read"):
        open_data(setting(folder, size=8))
    with pytest.raises(DataError, match="run shell commands"):
        open_data(setting("pipe:cat x.tar"))


# ----------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"background": "whitish"}, "whitish"),
        ({"size": 0}, "between 1 and 4096"),
        ({"max_bad": 2.0}, "max_bad"),
        ({"test_share": 0.0}, "test_share"),
        ({"test_share": 1.1}, "test_share"),
    ],
)
def test_settings_that_cannot_be(
    options: dict[str, object], said: str, make: Make, setting: Setting
) -> None:
    with pytest.raises(ConfigError, match=said):
        open_data(setting(make(3), **options))


def test_odd_paths(setting: Setting) -> None:
    for path in ("", "a\0b", "/nowhere/at/all"):
        with pytest.raises(DataError):
            find(path)
