"""An operator of one's own goes everywhere that a recipe goes, if the user names its module; a
recipe or a dataset only says that it needs it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from degrade import Recipe, RecipeError
from degrade.base import REGISTRY
from degrade.cli import main
from degrade.images.files import read_image
from degrade.images.pixels import encode_png
from degrade.images.samples import sample_images

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
FADE = re.search(r"```python\n(from typing.*?class Fade.*?)```", README, re.DOTALL)
MINE = """\
name: mine
scale: 2
import: plug_in_of_readme
only:
  - fade: {gain: [0.5, 1]}
  - resize: {of: target}
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the README's operator, a recipe and photographs; then a dataset, a run."""
    folder = tmp_path_factory.mktemp("work")
    assert FADE is not None
    (folder / "plug_in_of_readme.py").write_text(FADE[1])
    (folder / "mine.yaml").write_text(MINE)
    (folder / "hr").mkdir()
    for i, path in enumerate(sample_images()[:2]):
        (folder / "hr" / f"{i}.png").write_bytes(encode_png(read_image(path).pixels[:60, :64]))
    return folder


@pytest.fixture
def run(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs ``degrade`` or ``sr`` as in a new process: the module is not imported."""
    monkeypatch.chdir(work)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "dumb")

    def forget() -> None:
        REGISTRY.pop("fade", None)
        sys.modules.pop("plug_in_of_readme", None)

    def run(program: str, *args: str) -> tuple[int, str, str]:
        forget()
        monkeypatch.setattr(sys, "argv", [program, *args])
        try:
            if program == "sr":
                from sr.cli import main as sr

                sr()
            else:
                main()
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return code, said.out, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.err)

    yield run
    forget()


TRAIN = ("train", "srcnn", "--data", "hr", "--steps", "1", "--set", "batch=1", "--set", "patch=48")
SMALL = ("--set", "model.filters=[4,3]", "--set", "tensorboard=false")
COMPARE = (
    *("compare", "--models", "bicubic,srcnn", "--train", "mine.yaml", "--test", "mine.yaml"),
    *(
        "--data",
        "hr/0.png",
        "--val",
        "hr/1.png",
        "--scale",
        "2",
        "--steps",
        "1",
        "--out",
        "matrix",
    ),
    *("--set", "srcnn.batch=1", "--set", "srcnn.patch=48", "--set", "srcnn.tensorboard=false"),
)
COMMANDS = [
    ("degrade", "check", "mine.yaml"),
    ("degrade", "synth", "-r", "mine.yaml", "-i", "hr", "-o", "made", "--workers", "1"),
    ("degrade", "replay", "made"),
    ("sr", *TRAIN, *SMALL, "--recipe", "mine.yaml", "--val", "hr", "--out", "run"),
    ("sr", "eval", "--model", "run", "--data", "hr", "--recipe", "made/recipe.yaml"),
    ("sr", *COMPARE),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_every_command(run: Run, command: tuple[str, ...]) -> None:
    """In this order: later ones use what earlier ones wrote."""
    code, *said = run(*command)
    assert code == 2
    assert "no such operator; the recipe says it needs plug_in_of_readme" in "".join(said)
    assert "add --import plug_in_of_readme" in "".join(said)
    assert "plug_in_of_readme" not in sys.modules, "code runs only where the user names it"
    code, out, err = run(*command, "--import", "plug_in_of_readme")
    assert code == 0, out + err


def test_datasets_record_what_they_need(work: Path) -> None:
    record = json.loads((work / "made/synth.json").read_text())
    assert record["import"] == ["plug_in_of_readme"]
    for recipe in ("made/recipe.yaml", "run/recipe.yaml"):
        data = yaml.safe_load((work / recipe).read_text())
        assert data["import"] == ["plug_in_of_readme"]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("no_such_module", "No module named 'no_such_module'"),
        ("plug_in.py", "should be the name of a module, such as plug_in, not a file"),
        ("folder/plug-in", "should be the name of a module, such as my_module, not a file"),
        ("broken_plug_in", r"ZeroDivisionError: .*broken_plug_in\.py:2"),
        ("misspelt_plug_in", r"SyntaxError: .*misspelt_plug_in\.py, line 1"),
    ],
)
def test_modules_that_cannot_be_imported(run: Run, work: Path, module: str, message: str) -> None:
    (work / "broken_plug_in.py").write_text("x = 1\nx / 0\n")
    (work / "misspelt_plug_in.py").write_text("def\n")
    code, _, err = run("degrade", "list", "--import", module)
    assert code == 2
    assert re.search(f"--import {module}: {message}", err), err


@pytest.mark.parametrize(
    "given", [3, "os; rm", ["fade", 1], {"a": 1}, "a b", "..", "a.", "\x1b[1m"]
)
def test_only_names_of_modules(given: object) -> None:
    recipe = {"name": "a", "scale": 2, "import": given, "only": [{"resize": {"of": "target"}}]}
    with pytest.raises(RecipeError, match=r"import: .* should be the name of a module"):
        Recipe.load(recipe)


def test_a_recipe_imports_nothing() -> None:
    recipe = {
        "name": "a",
        "scale": 2,
        "import": ["this_module_is_not_there", "antigravity"],
        "only": [{"resize": {"of": "target"}}],
    }
    loaded = Recipe.load(recipe)
    assert "antigravity" not in sys.modules
    assert loaded.imports == (), "its operators come with degrade"
    assert loaded == Recipe.load(loaded.dump())
