"""Data sets of the Hub: what their rows may name, and what of them is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ganvae import config
from ganvae.data import open_data
from ganvae.data.decode import Bad
from ganvae.data.find import find
from ganvae.data.workers import IMAGE_BYTES
from ganvae.errors import DataError

from .conftest import encoded

Setting = Callable[..., config.Data]
Publish = Callable[[Any], None]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Makes rows the only split of every data set of the Hub."""
    datasets = pytest.importorskip("datasets")
    import huggingface_hub

    def put(rows: Any) -> None:
        table = datasets.IterableDataset.from_generator(rows)
        monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: {"train": table})
        info = SimpleNamespace(sha="abc")
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **given: info)

    return put


def test_s7_rows_of_the_hub_name_no_files(
    publish: Publish, tmp_path: Path, setting: Setting
) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(1))

    def rows() -> Iterator[dict[str, Any]]:
        yield {"image": {"bytes": encoded(2), "path": "2.png"}, "text": "", "mask": b""}
        yield {"image": {"bytes": None, "path": str(tmp_path / "secret.png")}}
        yield {"image": str(tmp_path / "secret.png")}
        yield {"image": bytes(IMAGE_BYTES + 1)}

    publish(rows)
    source = find("owner/name")
    good, *others = [item.image for item in source.items(source.index())]
    assert good == encoded(2)
    for image, why in zip(others, ["a path", "a path", "more than 25,165,824"], strict=True):
        assert isinstance(image, Bad) and why in str(image)
    assert source.unused() == {"cells of text": 4, "cells of mask": 4}
    with pytest.raises(DataError, match=r"3 of 4 images .* cannot be read"):
        open_data(setting("owner/name", size=8))


def test_whatever_rows_break_with_is_a_sentence(publish: Publish, setting: Setting) -> None:
    for error in (KeyError("x"), MemoryError(), RecursionError(), ConnectionError("gone")):

        def rows(error: Exception = error) -> Iterator[dict[str, Any]]:
            yield {"image": encoded(2)}
            raise error

        publish(rows)
        with pytest.raises(DataError, match="cannot read owner/name"):
            open_data(setting("owner/name", size=8))
    publish(lambda: iter([{"text": "no image"}]))
    with pytest.raises(DataError, match="no column of images"):
        open_data(setting("owner/name", size=8))
