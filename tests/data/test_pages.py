"""Parquet files by their pages: found as they are, whatever a writer was told."""

from __future__ import annotations

import io

import numpy as np
import pytest

from ganvae.data.parquet import Checked, unpacked_size

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
def test_columns_are_read_once_and_pages_are_what_the_file_says(codec: str, version: str) -> None:
    import pyarrow

    random = np.random.default_rng(0)
    images = [{"bytes": random.bytes(900 + n % 7), "path": f"{n}"} for n in range(300)]
    table = pyarrow.table({"image": images, "label": [1] * 300, "other": [[1, 2]] * 300})
    file = io.BytesIO()
    parquet.write_table(
        table, file, compression=codec, data_page_version=version, row_group_size=100,
        data_page_size=4096, write_batch_size=8,
    )  # fmt: skip
    asked: list[int] = []

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(self.tell())
            return super().read(size)

    checked = Checked(Counting(file.getvalue()), "x")
    rows = parquet.ParquetFile(checked, pre_buffer=False)
    for number in range(3):
        group = rows.metadata.row_group(number)
        asked.clear()
        packed, unpacked = checked.load(group, ["image", "label"])
        columns = [group.column(n) for n in range(3)]
        assert packed == sum(column.total_compressed_size for column in columns)
        said = sum(column.total_uncompressed_size for column in columns)
        assert unpacked == said
        pages = sum(map(unpacked_size, checked._loaded.values()))
        assert 0.7 * said < pages <= said  # headers are not counted
        found = rows.iter_batches(7, row_groups=[number], columns=["image", "label"])
        assert sum(batch.num_rows for batch in found) == 100
        assert len(asked) == 3  # a column each


def test_any_bytes_have_a_size() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        assert unpacked_size(random.bytes(200)) >= 0
