"""Completion: what is read and kept exactly, what counts as a hole, which regions are shown."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganvae import tasks
from ganvae.errors import ConfigError, DataError
from ganvae.tasks import exact
from ganvae.tasks.holes import find_hole
from ganvae.tasks.regions import common, enlarge, regions, shrink


def noise(height: int, width: int, channels: int, dtype=np.uint8) -> np.ndarray:
    random = np.random.default_rng(height * width + channels)
    shape = (height, width, channels) if channels > 1 else (height, width)
    return random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def box(height: int, width: int, *sides: int) -> np.ndarray:
    top, left, bottom, right = sides
    hole = np.zeros((height, width), bool)
    hole[top:bottom, left:right] = True
    return hole


def save_mask(hole: np.ndarray, path: Path) -> Path:
    Image.fromarray((hole * 255).astype(np.uint8)).save(path)
    return path


# -- known pixels are kept -------------------------------------------------------------------

SIZES = {"smaller": (11, 9), "equal": (16, 16), "larger": (50, 37)}
MODES = {"L": (1, np.uint8), "LA": (2, np.uint8), "RGB": (3, np.uint8), "RGBA": (4, np.uint8),
         "I;16": (1, np.uint16)}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_known_pixels_size_and_mode_are_kept_to_the_last_bit(completion, tmp_path, mode, size):
    height, width = SIZES[size]
    before = noise(height, width, *MODES[mode])
    Image.fromarray(before).save(tmp_path / "in.png")
    hole = box(height, width, 2, 3, 8, 7)
    *paths, sheet, index = tasks.complete(
        completion, tmp_path / "in.png", tmp_path / "out", variants=3,
        mask=save_mask(hole, tmp_path / "mask.png"),
    )  # fmt: skip
    assert [p.name for p in paths] == ["00.png", "01.png", "02.png"] and sheet.name == "sheet.png"
    made = []
    for path in paths:
        with Image.open(path) as image:
            assert image.mode == mode and image.size == (width, height)
            made.append(np.asarray(image))
    for after in made:
        assert np.array_equal(after[~hole], before[~hole])
        assert (after[hole] != before[hole]).any()
        if mode in ("LA", "RGBA"):
            assert (after[hole, -1] == 255).all()
    assert (made[0] != made[1]).any() and (made[1] != made[2]).any()
    assert json.loads(index.read_text())["complete"]["filled"] == 24


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_models_pixels_fill_the_hole(make_translation, tmp_path, channels, mode):
    model = make_translation("completion", channels)
    before = noise(16, 16, MODES[mode][0])
    before = before // 3 * 0 + before[..., :1] if mode == "RGB" and channels == 1 else before
    Image.fromarray(before).save(tmp_path / "in.png")
    hole = box(16, 16, 2, 3, 8, 7)
    (path,) = tasks.complete(model, tmp_path / "in.png", tmp_path / "one.png", variants=1,
                             mask=hole, seed=5)  # fmt: skip
    x = exact.read(tmp_path / "in.png").tensor(channels, (255, 255, 255))[None]
    direct = model.complete(x, torch.from_numpy(hole)[None, None], seed=5)[0, 0]
    wanted = exact.as_channels(direct, MODES[mode][0]).add(1).mul(127.5).round()
    after = np.asarray(Image.open(path)).reshape(16, 16, -1).astype(int)
    assert np.abs(after - wanted.permute(1, 2, 0).numpy())[hole].max() <= 1


def test_a_grey_model_warns_of_known_colours_alone(make_translation, tmp_path):
    model = make_translation("completion", 1)
    pixels = np.repeat(noise(16, 16, 1)[:, :, None], 3, 2)
    pixels[2:8, 3:7] = (255, 0, 255)
    picture = exact.Picture(pixels, "RGB")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tasks.complete(model, picture, tmp_path / "out", mask_colour="magenta")
    pixels[0, 0] = (255, 0, 0)
    with pytest.warns(UserWarning, match="filled in grey"):
        tasks.complete(model, picture, tmp_path / "out", mask_colour="magenta")


def test_a_variant_does_not_depend_on_how_many(completion, tmp_path):
    Image.fromarray(noise(40, 40, 3)).save(tmp_path / "in.png")
    hole = box(40, 40, 2, 2, 8, 8) | box(40, 40, 30, 30, 36, 39)
    for name, variants in (("a", 2), ("b", 5)):
        tasks.complete(completion, tmp_path / "in.png", tmp_path / name, mask=hole,
                       variants=variants, batch=3)  # fmt: skip
    for v in range(2):
        a, b = (np.asarray(Image.open(tmp_path / n / f"{v:02d}.png")).astype(int) for n in "ab")
        assert np.abs(a - b).max() <= 1


def test_the_colour_profile_and_the_resolution_stay(completion, tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise(16, 16, 3)).save(
        tmp_path / "in.png", icc_profile=profile, dpi=(300, 300)
    )
    (path,) = tasks.complete(completion, tmp_path / "in.png", tmp_path / "o.png",
                             mask=box(16, 16, 0, 0, 3, 3), variants=1)  # fmt: skip
    with Image.open(path) as image:
        assert image.info["icc_profile"] == profile
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_a_resolution_that_says_nothing_is_left_out(completion, tmp_path):
    from PIL import TiffImagePlugin

    nothing = dict.fromkeys((282, 283), TiffImagePlugin.IFDRational(0, 0))
    Image.fromarray(noise(16, 16, 3)).save(tmp_path / "in.tif", tiffinfo=nothing)
    (path,) = tasks.complete(completion, tmp_path / "in.tif", tmp_path / "o.png",
                             mask=box(16, 16, 0, 0, 3, 3), variants=1)  # fmt: skip
    with Image.open(path) as image:
        assert "dpi" not in image.info


def test_a_turned_photo_is_upright_and_its_mask_is_as_it_is_seen(completion, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(12, 20, 3)).save(tmp_path / "in.jpg", exif=exif, quality=95)
    seen = np.asarray(exact.read(tmp_path / "in.jpg").pixels)
    assert seen.shape == (20, 12, 3)
    (path,) = tasks.complete(completion, tmp_path / "in.jpg", tmp_path / "o.png",
                             mask=box(20, 12, 0, 0, 3, 3), variants=1)  # fmt: skip
    with Image.open(path) as image:
        assert image.size == (12, 20) and not image.getexif().get(0x0112)


@pytest.mark.parametrize(("mode", "result"), [("P", "RGB"), ("1", "L"), ("CMYK", "RGB")])
def test_other_modes_are_converted_and_told(tmp_path, mode, result):
    image = Image.fromarray(noise(9, 9, 3)).convert(mode)
    image.save(tmp_path / "in.tif")
    with pytest.warns(UserWarning, match=f"of mode {mode}, the result of {result}"):
        found = exact.read(tmp_path / "in.tif")
    assert found.mode == result
    assert np.array_equal(np.squeeze(found.pixels), np.asarray(image.convert(result)))


def test_a_profile_of_inks_is_not_said_of_the_colours(tmp_path):
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"CMYK"  # says inks in its header: no transform can be made of it
    inks = Image.fromarray(noise(9, 9, 3)).convert("CMYK")
    inks.save(tmp_path / "in.tif", icc_profile=bytes(profile), dpi=(300, 300))
    with pytest.warns(UserWarning, match="of mode CMYK, the result of RGB"):
        found = exact.read(tmp_path / "in.tif")
    assert "icc_profile" not in found.metadata and "dpi" in found.metadata
    assert np.array_equal(found.pixels, np.asarray(inks.convert("RGB")))


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(DataError, match="is no file; give an image file"):
        exact.read(tmp_path)


def test_transparent_colours_become_alpha(tmp_path):
    Image.fromarray(noise(9, 9, 3) // 2 * 2).save(tmp_path / "rgb.png", transparency=(1, 2, 3))
    palette = Image.fromarray(noise(9, 9, 3)).quantize(8)
    palette.save(tmp_path / "p.png", transparency=0)
    for name in ("rgb", "p"):
        with pytest.warns(UserWarning, match="the result of RGBA"):
            assert exact.read(tmp_path / f"{name}.png").mode == "RGBA"


def test_what_cannot_be_kept_is_refused(tmp_path):
    _deep_png(tmp_path / "deep.png")
    with pytest.raises(DataError, match="16 bits a colour, which would become 8"):
        exact.read(tmp_path / "deep.png")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match="of mode F: save it as 8-bit"):
        exact.read(tmp_path / "float.tif")
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(DataError, match="not an image but a web page"):
        exact.read(tmp_path / "page.png")
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"cut\.png cannot be read"):
        exact.read(tmp_path / "cut.png")
    with pytest.raises(DataError, match="does not exist"):
        exact.read(tmp_path / "absent.png")


def _deep_png(path: Path) -> None:
    """An RGB PNG of 16 bits, which Pillow reads but does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(4)))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


# -- what counts as a hole -------------------------------------------------------------------


def test_a_mask_is_white_where_to_fill_in(tmp_path):
    picture = exact.Picture(noise(9, 7, 3), "RGB")
    hole = box(9, 7, 1, 2, 5, 6)
    grey = (hole * 200 + 20).astype(np.uint8)
    strokes = np.zeros((9, 7, 4), np.uint8)
    strokes[hole] = 255
    for name, mask in {
        "grey": Image.fromarray(grey),
        "colour": Image.fromarray(np.repeat(grey[:, :, None], 3, 2)),
        "bit": Image.fromarray(hole),
        "palette": Image.fromarray(grey).convert("P"),
        "deep": Image.fromarray(grey.astype(np.uint16) * 257),
        "strokes": Image.fromarray(strokes),
    }.items():
        mask.save(tmp_path / f"{name}.png")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(find_hole(picture, tmp_path / f"{name}.png"), hole), name
    assert np.array_equal(find_hole(picture, hole), hole)


def test_a_colour_is_a_hole():
    pixels = noise(9, 7, 3) // 2
    hole = box(9, 7, 1, 2, 5, 6)
    pixels[hole] = (255, 0, 255)
    for picture in (
        exact.Picture(pixels, "RGB"),
        exact.Picture(np.dstack([pixels, noise(9, 7, 1)]), "RGBA"),
    ):
        assert np.array_equal(find_hole(picture, colour="#ff00ff"), hole)
        assert np.array_equal(find_hole(picture, colour="magenta"), hole)
    deep = (hole * 65535).astype(np.uint16)[:, :, None]
    assert np.array_equal(find_hole(exact.Picture(deep, "I;16"), colour="white"), hole)
    with pytest.raises(DataError, match=r"the colour red marks nothing to fill in$"):
        find_hole(exact.Picture(deep, "I;16"), colour="red")
    with pytest.raises(DataError, match=r"marks nothing.*JPEG does not keep"):
        find_hole(exact.Picture(deep, "I;16", exact=False), colour="red")
    with pytest.raises(ConfigError, match="'#ff00ff80' is no colour"):
        find_hole(picture, colour="#ff00ff80")
    with pytest.raises(ConfigError, match="'reddish' is no colour"):
        find_hole(picture, colour="reddish")


def test_a_colour_that_a_jpeg_blurred_is_told(tmp_path):
    pixels = np.full((32, 32, 3), 200, np.uint8)
    pixels[5:21, 5:21] = (255, 0, 255)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "exact.png")
    image.save(tmp_path / "blurred.jpg", quality=60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_hole(exact.read(tmp_path / "exact.png"), colour="#ff00ff").sum() == 256
    picture = exact.read(tmp_path / "blurred.jpg")
    assert not picture.exact
    colour = "#{:02x}{:02x}{:02x}".format(*picture.pixels[12, 12])
    with pytest.warns(UserWarning, match=r"\d+ pixels are nearly .* are kept: a JPEG"):
        assert find_hole(picture, colour=colour)[12, 12]


def test_transparency_is_a_hole():
    hole = box(9, 7, 1, 2, 5, 6)
    alpha = np.where(hole, 100, 255).astype(np.uint8)
    picture = exact.Picture(np.dstack([noise(9, 7, 3), alpha]), "RGBA")
    assert np.array_equal(find_hole(picture, alpha=True), hole)
    with pytest.raises(DataError, match="no transparency"):
        find_hole(exact.Picture(noise(9, 7, 3), "RGB"), alpha=True)


def test_masks_that_do_not_fit_are_refused(completion, tmp_path):
    Image.fromarray(noise(16, 16, 3)).save(tmp_path / "in.png")
    for name, hole, sentence in (
        ("size", box(16, 15, 0, 0, 3, 3), r"size\.png is 15x16 pixels, the picture 16x16"),
        ("empty", box(16, 16, 0, 0, 0, 0), r"empty\.png marks nothing"),
        ("full", box(16, 16, 0, 0, 16, 16), r"full\.png marks the whole picture"),
    ):
        mask = save_mask(hole, tmp_path / f"{name}.png")
        with pytest.raises(DataError, match=sentence):
            tasks.complete(completion, tmp_path / "in.png", tmp_path / "out", mask=mask)
    for given_ in ({}, {"mask_alpha": True, "mask_colour": "red"}):
        with pytest.raises(ConfigError, match="by one of"):
            tasks.complete(completion, tmp_path / "in.png", tmp_path / "out", **given_)
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_task_is_refused(model, make_translation, tmp_path):
    for other in (model, make_translation("bicycle")):
        with pytest.raises(ConfigError, match="cannot complete them: train one with --task"):
            tasks.complete(other, "absent.png", tmp_path / "out", mask_alpha=True)


def test_the_model_itself_takes_tensors(completion):
    x = torch.zeros(1, 3, 16, 16)
    for given_ in (("in.png", x[:, :1]), (x, box(16, 16, 0, 0, 3, 3)[None, None])):
        with pytest.raises(ConfigError, match="takes tensors, got"):
            completion.complete(*given_)


def test_one_file_is_for_one_variant(completion, tmp_path):
    Image.fromarray(noise(16, 16, 3)).save(tmp_path / "in.png")
    with pytest.raises(ConfigError, match="one file for 4 variants"):
        tasks.complete(completion, tmp_path / "in.png", tmp_path / "o.png", mask_alpha=True)
    for wrong in ({"variants": 0}, {"context": 1.0}, {"context": float("nan")}):
        with pytest.raises(ValueError, match="must be"):
            tasks.complete(completion, tmp_path / "in.png", tmp_path / "o", **wrong)


MARKED = box(9, 7, 1, 2, 5, 6)


def masks() -> dict[str, Image.Image]:
    """Masks as people make them, all of one hole."""
    light = MARKED.astype(np.uint8)
    black, white, red = (0, 0, 0), (255, 255, 255), (220, 30, 40)

    def painted(mark: tuple[int, ...], ground: tuple[int, ...]) -> Image.Image:
        return Image.fromarray(np.where(MARKED[..., None], mark, ground).astype(np.uint8))

    soft = np.where(MARKED, 180, 70).astype(np.uint8)
    soft[5, 2:6], soft[1, 2:6] = 120, 140  # a blurred edge: below half, and above
    framed = np.dstack([light * 255] * 3 + [np.full((9, 7), 255, np.uint8)])
    framed[0, 0, 3] = framed[8, 6, 3] = 0
    return {
        "0 and 1": Image.fromarray(light),
        "0 and 1 of 16 bits": Image.fromarray(light.astype(np.uint16)),
        "soft edges": Image.fromarray(soft),
        "black in alpha": painted((*black, 255), (*black, 0)),
        "black on clear white": painted((*black, 255), (*white, 0)),
        "soft black in alpha": painted((*black, 200), (*black, 90)),
        "grey in alpha": painted((90, 90, 90, 255), (0, 0, 0, 0)),
        "red in alpha": painted((*red, 255), (0, 0, 0, 0)),
        "black and white with clear corners": Image.fromarray(framed),
        "red on white": painted(red, white),
        "red on black": painted(red, black),
        "blue on grey": painted((20, 40, 230), (128, 128, 128)),
    }


@pytest.mark.parametrize("name", masks())
def test_what_marks_a_hole_is_found(tmp_path, name):
    picture = exact.Picture(noise(9, 7, 3), "RGB")
    masks()[name].save(tmp_path / "mask.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_hole(picture, tmp_path / "mask.png")
        rest = find_hole(picture, tmp_path / "mask.png", invert=True)
    assert np.array_equal(found, MARKED) and np.array_equal(rest, ~MARKED)


@pytest.mark.parametrize("quality", [30, 95])
def test_a_jpeg_is_a_mask_with_soft_edges(tmp_path, quality):
    hole = box(48, 64, 8, 16, 32, 40)
    save_mask(hole, tmp_path / "mask.jpg")
    Image.fromarray((hole * 255).astype(np.uint8)).save(tmp_path / "mask.jpg", quality=quality)
    assert np.array_equal(
        find_hole(exact.Picture(noise(48, 64, 3), "RGB"), tmp_path / "mask.jpg"), hole
    )


def test_arrays_mark_as_images_do():
    picture = exact.Picture(noise(9, 7, 3), "RGB")
    for mask in (
        MARKED, MARKED.astype(np.uint8), MARKED.astype(np.int64), MARKED * np.uint16(40000),
        MARKED * 0.6 + 0.2, (MARKED * 180 + 20).astype(np.uint8),
    ):  # fmt: skip
        assert np.array_equal(find_hole(picture, mask), MARKED), mask.dtype
    with pytest.raises(DataError, match=r"an array \(H, W\), got the shape \(9, 7, 1\)"):
        find_hole(picture, MARKED[..., None])


def test_a_mask_of_nothing_or_of_nearly_everything_says_why(tmp_path):
    picture = exact.Picture(noise(20, 20, 3), "RGB")
    labels = np.zeros((20, 20), np.uint8)
    labels[3:5, 3:5], labels[9:12, 9:12] = 1, 2
    with pytest.raises(DataError, match=r"marks nothing to fill in \(its values run from 0 to 2"):
        find_hole(picture, labels)
    with pytest.raises(DataError, match=r"whole picture \(its values run from 255 to 255"):
        find_hole(picture, np.full((20, 20), 255, np.uint8))
    most = save_mask(~box(20, 20, 5, 5, 10, 10), tmp_path / "most.png")
    with pytest.warns(UserWarning, match=r"marks 94% .* light marks\); .* add --invert-mask"):
        assert find_hole(picture, most).mean() > 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_hole(picture, most, invert=True).sum() == 25
    some = save_mask(box(20, 20, 5, 5, 10, 10), tmp_path / "some.png")
    with pytest.warns(UserWarning, match=r"inverted, marks 94% .*leave out --invert-mask"):
        find_hole(picture, some, invert=True)
    clear = np.dstack([np.zeros((20, 20, 3)), ~box(20, 20, 5, 5, 10, 10) * 255]).astype(np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")  # a hole that was erased
    with pytest.warns(UserWarning, match=r"some of it is transparent, and what is opaque marks"):
        find_hole(picture, tmp_path / "clear.png")


def test_a_mask_is_inverted_by_an_option(completion, tmp_path):
    Image.fromarray(noise(16, 16, 3)).save(tmp_path / "in.png")
    mask = save_mask(~box(16, 16, 2, 3, 8, 7), tmp_path / "mask.png")
    *_, index = tasks.complete(completion, tmp_path / "in.png", tmp_path / "out", variants=2,
                               mask=mask, invert_mask=True)  # fmt: skip
    assert json.loads(index.read_text())["complete"]["filled"] == 24


# -- folders ---------------------------------------------------------------------------------


def test_a_folder_of_pictures_is_completed_by_name(completion, tmp_path):
    for name, side in (("a", 16), ("deep/b", 16), ("c", 20)):
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(side, side, 3)).save(path)
    Image.fromarray(noise(16, 16, 3)).save(tmp_path / "in" / "c.bmp")
    (tmp_path / "in" / "cut.png").write_bytes(b"\x89PNG")
    mask = save_mask(box(16, 16, 2, 3, 8, 7), tmp_path / "mask.png")
    seen = []
    with pytest.warns(UserWarning, match=r"2 of 5 pictures were left out: .*20x20"):
        files = tasks.complete(completion, tmp_path / "in", tmp_path / "out", mask=mask,
                               variants=1, progress=lambda *told: seen.append(told))  # fmt: skip
    names = sorted(str(f.relative_to(tmp_path / "out")) for f in files)
    assert names == ["a.png", "c.bmp.png", "deep/b.png"]
    assert seen[-1] == ("pictures completed", 5, 5)
    (alone,) = tasks.complete(completion, tmp_path / "in" / "a.png", tmp_path / "one.png",
                              mask=mask, variants=1)  # fmt: skip
    assert (tmp_path / "out" / "a.png").read_bytes() == alone.read_bytes()


def test_a_folder_of_masks_is_taken_by_name(completion, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(2):
        Image.fromarray(noise(16, 16, 3)).save(tmp_path / "in" / f"{number}.png")
        save_mask(box(16, 16, 2, 2, 5 + number, 7), tmp_path / "masks" / f"{number}.bmp")
    files = tasks.complete(completion, tmp_path / "in", tmp_path / "out", variants=2,
                           mask=tmp_path / "masks")  # fmt: skip
    told = [json.loads(f.read_text())["complete"] for f in files if f.name == "index.json"]
    assert [one["filled"] for one in told] == [15, 20]
    (tmp_path / "masks" / "1.bmp").unlink()
    with pytest.warns(UserWarning, match="1 of 2 .* holds no mask named as 1.png"):
        tasks.complete(completion, tmp_path / "in", tmp_path / "less", mask=tmp_path / "masks")


def test_folders_that_cannot_be_completed_are_one_sentence(completion, tmp_path):
    (tmp_path / "in").mkdir()
    for out, error, sentence in (
        (tmp_path / "o.png", ConfigError, "one file for a folder of pictures"),
        (tmp_path / "in" / ".", ConfigError, "holds the pictures to complete"),
        (tmp_path / "out", DataError, "there are no images in"),
    ):
        with pytest.raises(error, match=sentence):
            tasks.complete(completion, tmp_path / "in", out, mask_colour="red", variants=1)
    Image.fromarray(noise(16, 16, 3)).save(tmp_path / "in" / "a.png")
    with pytest.raises(DataError, match="the colour red marks nothing"):
        tasks.complete(completion, tmp_path / "in", tmp_path / "out", mask_colour="red")
    with pytest.raises(ConfigError, match="by one of"):
        tasks.complete(completion, tmp_path / "in", tmp_path / "out")


# -- which regions are shown -----------------------------------------------------------------

PLACES = st.lists(
    st.tuples(st.integers(0, 59), st.integers(0, 79), st.integers(1, 60), st.integers(1, 80)),
    min_size=1,
    max_size=6,
)


@given(PLACES, st.sampled_from([1.2, 2.0, 3.0]))
def test_regions_cover_every_hole_once(places, context):
    hole = np.zeros((60, 80), bool)
    for top, left, height, width in places:
        hole[top : top + height, left : left + width] = True
    count = np.zeros(hole.shape, int)
    for part in regions(hole, (16, 16), context):
        inside = count[part.box]
        assert inside.shape == part.hole.shape
        inside += part.hole
        assert 0 < part.scale <= 1
        sides = [round(n * part.scale) for n in part.hole.shape]
        assert max(sides) <= 17
        assert min(sides) >= 16 or part.hole.shape[0] == 60 or part.hole.shape[1] == 80
    assert np.array_equal(count, hole.astype(int))


def test_small_pictures_are_one_region():
    (part,) = regions(box(16, 12, 1, 1, 3, 3) | box(16, 12, 10, 8, 16, 12), (16, 16))
    assert part.hole.shape == (16, 12) and part.scale == 1


def test_a_small_hole_is_seen_at_full_size_and_a_thick_one_smaller():
    (small,) = regions(box(100, 100, 40, 40, 48, 48), (16, 16))
    assert small.scale == 1 and small.box == (slice(36, 52), slice(36, 52))
    (thick,) = regions(box(100, 100, 30, 30, 70, 70), (16, 16))
    assert thick.hole.shape == (80, 80) and thick.scale == pytest.approx(16 / 80)
    whole = box(100, 100, 20, 20, 80, 80)  # no more is shown than there is, and none of it smaller
    (most,) = regions(whole, (16, 16), 8)
    assert most.hole.shape == (100, 100) and most.scale == pytest.approx(16 / 100)
    (corner,) = regions(box(100, 100, 0, 92, 8, 100), (16, 16))
    assert corner.box == (slice(0, 16), slice(84, 100))


def test_close_holes_share_a_region_and_distant_ones_do_not():
    near = box(100, 100, 41, 41, 43, 43) | box(100, 100, 41, 44, 42, 46)
    assert len(regions(near, (32, 32))) == 1
    assert len(regions(near | box(100, 100, 80, 80, 84, 84), (32, 32))) == 2


def test_a_scratch_is_filled_at_full_size_piece_by_piece():
    hole = np.zeros((200, 200), bool)
    for i in range(190):
        hole[i, i : i + 3] = True
    parts = regions(hole, (32, 32))
    assert len(parts) > 5 and all(part.scale == 1 for part in parts)


def test_half_a_picture_is_one_region():
    (part,) = regions(box(100, 100, 0, 50, 100, 100), (32, 32))
    assert part.hole.shape == (100, 100)


def test_many_specks_are_few_regions():
    hole = np.random.default_rng(0).random((300, 300)) < 0.02
    parts = regions(hole, (32, 32))
    assert len(parts) < 1500


def test_nothing_of_a_hole_is_mixed_into_what_is_known():
    x = torch.full((1, 3, 60, 60), 0.25)
    hole = torch.zeros(1, 1, 60, 60, dtype=torch.bool)
    hole[..., 17:40, 20:47] = True
    marked = torch.where(hole, 1.0, x)
    small, open_ = shrink(marked, hole, 16 / 60)
    assert small.shape == (1, 3, 16, 16) and open_.shape == (1, 1, 16, 16)
    assert torch.allclose(small[~open_.expand_as(small)], torch.tensor(0.25))
    assert open_.any() and not open_.all()
    assert torch.allclose(enlarge(torch.full((1, 3, 16, 16), 0.25), (60, 60)), x, atol=1e-6)


@pytest.mark.parametrize("step", [3, 7])
def test_a_smaller_hole_is_neither_empty_nor_full(step):
    hole = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    hole[..., ::step, :] = True
    _, small = shrink(torch.zeros(1, 1, 64, 64), hole, 0.25)
    assert small.any()
    _, small = shrink(torch.zeros(1, 1, 64, 64), ~hole, 0.25)
    assert small.any()


def test_a_later_region_knows_what_was_filled_in_before(completion, tmp_path, monkeypatch):
    seen = []
    complete = completion.complete

    def spy(x, mask, **given):
        seen.append((x.clone(), mask.clone()))
        return complete(x, mask, **given)

    monkeypatch.setattr(completion, "complete", spy)
    Image.fromarray(noise(80, 80, 3)).save(tmp_path / "in.png")
    hole = np.zeros((80, 80), bool)
    hole[40:43] = True
    told = []
    tasks.complete(completion, tmp_path / "in.png", tmp_path / "o", mask=hole, variants=2,
                   progress=lambda *now: told.append(now))  # fmt: skip
    assert len(seen) > 3 and told[-1] == ("completing", len(seen), len(seen))
    for _, mask in seen[1:]:  # what the last one filled in is known on the left
        assert not mask[:, :, :, 0].any() or mask[0].sum() < 3 * 16
    assert not torch.equal(seen[1][0][0], seen[1][0][1])  # each variant goes on from its own


@pytest.mark.filterwarnings("ignore:the mask marks 95%")
def test_a_region_waits_until_something_in_it_is_known(completion, tmp_path):
    Image.fromarray(noise(20, 200, 3)).save(tmp_path / "in.png")
    hole = box(20, 200, 0, 0, 20, 190)
    *_, index = tasks.complete(completion, tmp_path / "in.png", tmp_path / "o", mask=hole)
    assert len(json.loads(index.read_text())["complete"]["regions"]) > 2


def test_the_common_box():
    boxes = [(slice(2, 5), slice(7, 9)), (slice(1, 3), slice(8, 12))]
    assert common(boxes) == (slice(1, 5), slice(7, 12))
