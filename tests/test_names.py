"""Names that others gave to files, folders and classes are shown, and never obeyed."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.table import Table

from ganvae import cli
from ganvae.cli.console import Console
from ganvae.telling import quoted

CLASSES = [
    "a\x1b]0;PWNED\x07\x9b31m", "b\u202e\u2066gnp", "c\nPWNED", "d\udce9", "e[/b][link=x]",
    "<script>f<img src=x>", "# g *h* `i` | ![j](k)",
]  # fmt: skip
TINY = [
    "--size=8", "--networks.family=mlp", "--networks.latent=2", "--networks.components=1",
    "--training.batch=8", "--training.previews=1", "--training.evaluations=0",
    "--evaluation.samples=8", "--evaluation.importance=2", "--evaluation.priors=false",
    "--budget=2steps", "--objective=vae", "--objective.fit=16", "--data.labels",
    "--data.max-bad=0.5",
]  # fmt: skip


def said(monkeypatch: pytest.MonkeyPatch, encoding: str, *arguments: str) -> tuple[int, str]:
    """The exit code of a command, and what both its streams got, as bytes of ``encoding``."""
    files = io.BytesIO(), io.BytesIO()
    with monkeypatch.context() as patch:
        for name, file in zip(("stdout", "stderr"), files, strict=True):
            patch.setattr(sys, name, io.TextIOWrapper(file, encoding=encoding, errors="strict"))
        code = cli.run(list(arguments))
        for name in ("stdout", "stderr"):
            getattr(sys, name).flush()
        text = "".join(file.getvalue().decode(encoding) for file in files)
        assert not harmful(text), harmful(text)
    return code, text


def harmful(text: str) -> list[str]:
    """Lines that a terminal would obey, or that a name begins."""
    return [
        line for line in text.split("\n") if not line.isprintable() or line.startswith("PWNED")
    ]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in folders of hostile names, some of them under such names, too."""
    folder = tmp_path_factory.mktemp("p") / "photos\x1b[2J\udce9[/b]\nPWNED"
    random = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}\x1b[31m\udce9.png")
    (folder / CLASSES[0] / "broken\x1b[2J\nPWNED.png").write_bytes(b"nothing")
    (folder / "x.\x1b]0;PWNED\x07txt").write_text("")
    (folder / "y.\udce9").write_text("")
    return folder


def test_hostile_names_are_shown_and_not_obeyed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out\x1b]0;PWNED\x07\udce9\n[/b]t"
    code, text = said(monkeypatch, "latin-1", "check", str(photos), "--size=8", "--data.labels")
    assert "[/b]" in text and code == 65
    run = out / "vae"
    code, text = said(monkeypatch, "ascii", "train", str(photos), f"--out={run}", *TINY)
    assert code == 0 and "next:" in text, text
    following = [line for line in text.split("\n") if line.startswith("  ganvae generate")]
    pasted = bash(following[0].replace("ganvae", "printf '%s\\0'", 1)).split(b"\0")
    assert pasted[1] == os.fsencode(run) and pasted[3] in map(os.fsencode, CLASSES)
    for number, name in enumerate(CLASSES[2:4]):
        made = ["generate", str(run), f"--class={name}", "--n=2", f"--out={out / str(number)}.png"]
        assert said(monkeypatch, ("cp1252", "utf-8")[number], *made)[0] == 0
    code, text = said(monkeypatch, "ascii", "generate", str(run), "--class=\x1b[31m\udce9")
    assert code == 78
    shutil.copytree(run, out / "gan [/b]")
    page = ["compare", str(run), str(out / "gan [/b]"), f"--out={out}/\x1b[1m\udce9.html"]
    code, text = said(monkeypatch, "utf-8", *page, "--json")
    assert code == 0 and Path(json.loads(text[text.index("{") :])["files"][0]).exists()

    files = [path for path in out.rglob("*") if path.suffix in (".html", ".md", ".jsonl", ".yaml")]
    assert len(files) >= 7 and any(path.name == "report.html" for path in files)
    for path in files:
        whole = path.read_text("utf-8")
        assert not harmful(whole), path
        assert "<script>f" not in whole or path.suffix not in (".html", ".md"), path
        if path.suffix == ".jsonl":
            events = [json.loads(line).get("event", "") for line in whole.split("\n") if line]
            assert not [event for event in events if not event.replace("\n", "").isprintable()]


def test_a_table_shows_markup_as_it_is() -> None:
    file = io.StringIO()
    table = Table("run")
    for name in CLASSES:
        table.add_row(name)
    where = Console(file, 100)
    where.print(table)
    where.print("[/b][red]:smile: \x1b[31m")
    text = file.getvalue()
    assert "e[/b][link=x]" in text and "[/b][red]:smile: " in text and "\x1b" not in text


def bash(command: str) -> bytes:
    return subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", [*CLASSES, "plain", "two words", "it's", "\\n$'", "é", "-x", ""])
def test_a_quoted_word_is_the_same_word_when_pasted(name: str) -> None:
    word = quoted(name)
    assert word.isprintable()
    assert bash(f"printf %s {word}") == os.fsencode(name)


def test_words_that_a_shell_knows_stay_as_they_are() -> None:
    assert [quoted(name) for name in ("runs/photos-1", "mein lauf")] == [
        "runs/photos-1",
        "'mein lauf'",
    ]
    assert quoted("a'b") == shlex.quote("a'b")


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "cp1252:strict"},
    ],
)
def test_any_encoding_of_a_terminal_will_do(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ganvae", "objectives"],
        capture_output=True, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr and b"gan_vae" in done.stdout


@pytest.mark.parametrize("columns", ["abc", "-1", "0", "99999999999"])
def test_a_width_that_is_no_number_is_none(
    columns: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert said(monkeypatch, "utf-8", "--help")[0] == 0
    assert said(monkeypatch, "utf-8", "check", str(tmp_path / "none"))[0] == 65


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
def test_an_environment_of_other_values_is_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(name, "abc\x1b[1m")
    code, text = said(
        monkeypatch, "utf-8", "train", "digits", f"--out={tmp_path / 'x'}", "--budget=1steps"
    )
    assert code == 78 and f"{name} in the environment must be a whole number" in text


def test_more_threads_than_there_can_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["generate", "x", "--threads=100000"], ["train", "--threads=100000"]):
        code, text = said(monkeypatch, "utf-8", *command)
        assert code == 78 and "1024" in text
