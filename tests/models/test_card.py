import re
from dataclasses import asdict, replace

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from ganvae.metrics.figures import Figure
from ganvae.models import Model, ModelInfo, card, load


def body(text: str) -> str:
    return text.split("---\n", 2)[2]


def test_the_front_matter_is_valid(model: Model):
    text = model.card()
    parsed = ModelCard(text)
    assert parsed.data.library_name == "ganvae"
    assert parsed.data.pipeline_tag == "unconditional-image-generation"
    assert "gan" in parsed.data.tags and parsed.data.license is None
    chosen = text.replace("# license: choose one (for example mit), and remove the hash",
                          "license: mit")  # fmt: skip
    assert ModelCard(chosen).data.license == "mit"
    assert yaml.safe_load(text.split("---")[1])["library_name"] == "ganvae"


def test_the_card_says_what_it_is_and_how_it_was_trained(make):
    model = make(classes=["cat", "dog"], steps=1234, seconds=56.7, train_images=4500)
    scores = {"KID": {"mean": 0.00251, "judge": "EffLite0@64"}, "psnr": 21.4567, "n": 5000,
              "flag": True, "absent": None, "nan": float("nan")}  # fmt: skip
    text = model.card(scores)
    for part in ("gan\\_vae", "8×8", "grey", "cat, dog", "1,234", "57 s", "4,500", "| KID mean |",
                 "0.00251", "EffLite0\\@64", "21.46", "5,000", "not finite", "ganvae.load", "3m",
                 "## Limitations", f"{model.parameters:,} parameters", "encodes"):  # fmt: skip
        assert part in text, part
    assert "flag" not in text and "absent" not in text
    assert "Not evaluated yet" in model.card() and "Not evaluated yet" not in text


def test_an_evaluation_is_a_row_a_figure(model: Model):
    measured = {"better": "lower", "split": "held-out", "judge": "EffLite0@64"}
    figures = {
        "kid": Figure(
            name="KID-EffLite0", value=0.251, error=0.0123, note="all pairs", **measured
        ),
        "fid": Figure(name="FID-EffLite0", value=None, note="needs more", **measured),
        "psnr": Figure(name="PSNR", value=21.4567, better="higher", split="held-out"),
    }
    scores = {"judge": "EffLite0@64", "resize": "bilinear", "split": "held-out", "seed": 3,
              "n_generated": 5000, "n_heldout": 400, "seconds": 1.5,
              "figures": {key: asdict(figure) for key, figure in figures.items()},
              "environment": {"python": "3.11"}}  # fmt: skip
    found = model.card(scores).split("## Scores")[1].split("## Use")[0]
    rows = [line for line in found.splitlines() if line.startswith("| ")]
    assert rows == [
        "| score | value | better | |",
        "| KID\\-EffLite0 | 0.251 ± 0.012 | lower | all pairs |",
        "| PSNR | 21.5 | higher |  |",
    ]
    assert "EffLite0\\@64, bilinear; 5,000 images against 400 held-out ones; seed 3." in found
    assert "python" not in found


@pytest.mark.parametrize(
    ("task", "paired", "source", "says", "asks"),
    [
        ("complete", True, 2, "fills in what is missing", "model.complete(images, masks"),
        ("translate", True, 3, "makes images from source images", "# sources (B, 3, H, W)"),
    ],
)
def test_the_card_of_another_task_says_that(model: Model, task, paired, source, says, asks):
    shape = replace(model.info.shape, source=source)
    text = card.text(replace(model.info, task=task, paired=paired, shape=shape))
    assert says in text and asks in text and "generate" not in text
    assert ModelCard(text).data.pipeline_tag == "image-to-image"


def test_a_gan_is_not_said_to_encode(make):
    assert "encodes" not in make(roles=("generator", "prior")).card()


EVIL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "https://evil.example",
    "`code` **bold** | cell",
    "\x1b[31mred\x1b[0m\x07\x9b2J",
    "\u202etxt.exe\u2066",
    "a\n---\nlicense: mit\n---\n# Title",
    "&lt;script&gt;",
    "\ud800",
    "x" * 10_000,
]


@pytest.mark.parametrize("evil", EVIL)
def test_foreign_text_is_harmless(make, tmp_path, evil: str):
    options = {"name": evil[:4000]}
    model = make(classes=[evil[:4000]])
    info = ModelInfo(**{**vars(model.info), "options": options, "background": evil[:4000]})
    model = Model(model.networks, info)
    text = model.card({evil: evil})
    assert_harmless(text)
    model.save(tmp_path / "m", scores={evil: evil})
    assert_harmless((tmp_path / "m" / "README.md").read_text(encoding="utf-8"))
    assert load(tmp_path / "m").info.classes == (evil[:4000],)


def assert_harmless(text: str) -> None:
    assert "license" not in yaml.safe_load(text.split("---\n")[1])
    rest = body(text)
    assert "<" not in rest
    assert all(c.isprintable() or c == "\n" for c in text)
    assert not re.search(r"(?<!\\)\]\(", rest) and not re.search(r"(?<!\\)!\[", rest)
    assert "https://evil" not in rest and "javascript:" not in rest
    assert len(text) < 10_000 and rest.count("\n# ") == 1


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_words_stay_on_one_line_without_markup(value: str):
    made = card.word(value)
    assert "\n" not in made and "<" not in made and len(made) <= 2000
    for mark in "`*_[]|":
        assert not re.search(rf"(?<!\\){re.escape(mark)}", made.replace("\\\\", ""))
    assert card.word("plain words 123") == "plain words 123"
