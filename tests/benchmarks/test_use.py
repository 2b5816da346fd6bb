"""What using a model costs: how times become shares, and shares a verdict."""

import pytest

from benchmarks import use
from benchmarks.race import missed
from benchmarks.timing import Watch, share, turns
from benchmarks.use import rates


def test_turns_are_taken_in_order_and_the_first_round_does_not_count():
    order = []
    taken = turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == list("ababab")
    assert {name: len(found) for name, found in taken.items()} == {"a": 2, "b": 2}
    assert all(one.wall >= 0 and one.cpu >= 0 for found in taken.values() for one in found)


def test_shares_are_medians_of_pairs():
    a, b = [Watch(1, 6), Watch(2, 2), Watch(9, 2)], [Watch(2, 2), Watch(2, 2), Watch(3, 2)]
    assert share(a, b) == 1.0  # of .5, 1 and 3: a disturbed round does not count
    assert share(a, b, "cpu") == 1.0
    assert rates({"a": a}, 10) == {"a": 5.0}


@pytest.mark.parametrize(
    ("measured", "better", "expected"),
    [(0.9, "higher", False), (0.89, "higher", True), (2.0, "lower", False), (2.1, "lower", True),
     (None, "lower", True)],
)  # fmt: skip
def test_a_goal_is_missed_on_one_side(measured, better, expected):
    goal = 0.9 if better == "higher" else 2.0
    assert missed({"measured": measured, "goal": goal, "better": better}) is expected


def test_the_result_says_what_was_asked():
    found = {
        "generate": {"share": 0.95, "label": "x", "settings": {}},
        "photographs": {"share": 0.91},
        "evaluate": {"times": 3.0, "samples": 10_000},
    }
    result = use.summary(found)
    assert (result["ratio"], result["goal"]) == (0.95, 0.9)
    assert [missed(goal) for goal in result["goals"]] == [False, False, True]
    assert "settings" not in result["cells"]["generate"]


def test_files_to_encode_are_what_they_are_called(tmp_path):
    from PIL import Image

    use.write_files(tmp_path, 35, 32, "JPEG")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 35 and names[0] == "000000.jpeg"
    with Image.open(tmp_path / names[-1]) as image:
        assert (image.format, image.size) == ("JPEG", (32, 32))


def test_quick_cells_ask_for_less():
    quick, full = use.cells(True, 2), use.cells(False, 2)
    assert set(quick) < set(full)
    assert all(quick[name].settings["n"] < full[name].settings["n"] for name in quick)
    assert full["evaluate"].settings["n"] == 10_000
