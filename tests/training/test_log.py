"""metrics.jsonl is valid whatever happens, and continues where the run continues."""

import errno
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganvae.errors import CheckpointError
from ganvae.training.log import RunLog, read


def lines(folder) -> list[dict]:
    def refuse(text):
        raise ValueError(text)

    with open(folder / "metrics.jsonl", encoding="utf-8") as file:
        return [json.loads(line, parse_constant=refuse) for line in file]


def write(folder, upto: int, **kwargs) -> RunLog:
    log = RunLog(folder, tensorboard=False, **kwargs)
    for step in range(10, upto + 1, 10):
        log.scalars(step, {"loss/encoder": 1.0 / step}, images=step * 4, seconds=step / 10)
    return log


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path):
    log = RunLog(tmp_path / "run", tensorboard=False)
    log.scalars(3, {"loss": torch.tensor(0.5), "n": 2}, images=12, seconds=0.25)
    log.event("skipped: é\n<b>")
    assert lines(tmp_path / "run") == [
        {"step": 3, "images": 12, "seconds": 0.25, "loss": 0.5, "n": 2},
        {"step": 3, "event": "skipped: é\n<b>"},
    ]


scalars = st.one_of(st.floats(), st.integers(-(2**60), 2**60), st.text(), st.none(), st.booleans())


@given(st.dictionaries(st.text(), scalars | st.dictionaries(st.text(), scalars), max_size=5))
@settings(max_examples=50, deadline=None)
def test_any_values_make_valid_lines(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("log")
    log = RunLog(folder, tensorboard=False)
    log.scalars(1, values, images=1, seconds=1.0)
    log.close()
    assert len(lines(folder)) == 1


def test_numbers_that_are_not_finite_become_null(tmp_path):
    log = RunLog(tmp_path, tensorboard=False)
    values = {"a": float("nan"), "b": torch.tensor(float("inf")), "c": {"d": -float("inf")}}
    log.scalars(1, values, images=1, seconds=1.0)
    line = lines(tmp_path)[0]
    assert line["a"] is None and line["b"] is None and line["c"] == {"d": None}


def test_a_resumed_run_drops_what_was_lost(tmp_path):
    log = write(tmp_path, 50)
    log.event("at 50")
    log.event("at 30", step=30)
    del log  # killed
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 60, "loss/enc')
    log = RunLog(tmp_path, tensorboard=False, resume=30)
    log.event("continuing")
    log.scalars(40, {}, images=1, seconds=1.0)
    assert [line["step"] for line in lines(tmp_path)] == [10, 20, 30, 30, 30, 40]
    assert lines(tmp_path)[-2] == {"step": 30, "event": "continuing"}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_half_written_last_line_is_dropped(tmp_path, cut):
    write(tmp_path, 50).close()
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    RunLog(tmp_path, tensorboard=False, resume=50).scalars(60, {}, images=1, seconds=1.0)
    found = [line["step"] for line in lines(tmp_path)]
    assert found in ([10, 20, 30, 40, 60], [10, 20, 30, 40, 50, 60])


def test_a_damaged_line_in_the_middle_is_left_out(tmp_path):
    write(tmp_path, 20).close()
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b'\x00\xff\n[1]\n{"no": "step"}\n\n{"step": 15}\n')
    assert [line["step"] for line in read(tmp_path / "metrics.jsonl")] == [10, 20, 15]
    assert list(read(tmp_path / "absent")) == []


def test_a_run_that_goes_back_rewinds(tmp_path):
    log = write(tmp_path, 50)
    log.rewind(20)
    log.event("back to step 20")
    log.scalars(30, {}, images=1, seconds=1.0)
    log.close()
    assert [line["step"] for line in lines(tmp_path)] == [10, 20, 20, 30]


def test_a_new_run_begins_a_new_log(tmp_path):
    write(tmp_path, 50).close()
    write(tmp_path, 20).close()
    assert [line["step"] for line in lines(tmp_path)] == [10, 20]


def test_a_full_disk_is_explained(tmp_path):
    log = write(tmp_path, 10)

    class Full:
        def write(self, _text):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):  # tries once more
            self.write("")

    log._file = Full()
    for told in (lambda: log.event("x"), log.close):
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl needs more bytes and [\d,]+ a"):
            told()


def test_tensorboard_gets_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, tensorboard=True)
    for step in (1, 2, 3):
        values = {"loss/g": step / 2, "score": {"kid": 0.5}, "stage": "x"}
        log.scalars(step, values, images=step, seconds=1.0)
    log.event("told")
    log.rewind(2)
    log.scalars(3, {"loss/g": 9.0}, images=3, seconds=1.0)
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss/g", "score/kid"]
    assert [(e.step, e.value) for e in events.Scalars("loss/g")] == [(1, 0.5), (2, 1.0), (3, 9.0)]


def test_without_tensorboard_there_is_no_folder(tmp_path):
    write(tmp_path, 10).close()
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]
