"""Arrows point one way, and the command line starts without the heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    ("errors", "limit", "native", "rng", "dist", "canvas", "threads", "progress", "doubles"),
    ("base", "primitives", "library", "marked", "remote"),
    ("ops", "plan", "decode", "health"),
    ("steps", "images", "window", "sheet", "catalogue"),
    ("overlay", "patches", "samples", "schema", "stores", "doctor"),
    ("load",),
    ("recipe", "dialects"),
    ("data", "manifest", "budget"),
    ("formats",),
    ("job",),
    ("synth",),
    ("engine", "cluster", "replay", "measure"),
    ("gallery", "preview", "diff", "bench"),
    ("live",),
    ("cli",),
]
"""From the ground up: a module may import those of lower layers, and of its own."""
RANK = {name: i for i, layer in enumerate(LAYERS) for name in layer}


def imports(path: Path, package: str) -> set[str]:
    """The modules of ``package`` that a file imports when it is itself imported or run, at any
    depth, types aside.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == package:
                found |= {alias.name for alias in node.names}
            elif node.module.startswith(f"{package}."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith(f"{package}.")
            }
    return found


@pytest.mark.parametrize(
    "path", sorted((ROOT / "degrade").rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_arrows_point_one_way(path: Path) -> None:
    own = path.relative_to(ROOT / "degrade").parts[0].removesuffix(".py")
    if own.startswith("__"):
        return
    assert own in RANK, f"{own} has no layer yet; give it one in LAYERS"
    above = {name for name in imports(path, "degrade") if RANK.get(name, 0) > RANK[own]}
    assert not above, f"{own} may not import {', '.join(above)}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "degrade").rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_the_toolkit_knows_no_models(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    roots = {
        (node.module or "").split(".")[0]
        if isinstance(node, ast.ImportFrom)
        else alias.name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not roots & {"sr", "torchvision", "lightning", "torchmetrics"}


def test_no_cycles() -> None:
    """No way leads from a module back to itself, those outside the layers too, imports in
    functions aside.
    """
    graph: dict[str, set[str]] = {}
    for path in (ROOT / "degrade").rglob("*.py"):
        own = path.relative_to(ROOT / "degrade").parts[0].removesuffix(".py")
        top = ast.parse(path.read_text(encoding="utf-8")).body
        named = {
            node.module.split(".")[1]
            for node in top
            if isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("degrade.")
        }
        graph.setdefault(own, set()).update(named - {own})
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    "code",
    [
        "import degrade",
        "import degrade.cli",
        "import sys; sys.argv[1:] = ['--help']\nfrom degrade.cli import main\ntry: main()\nexcept SystemExit: pass",
    ],
    ids=["degrade", "degrade.cli", "--help"],
)
def test_light_imports(code: str) -> None:
    heavy = "['torch', 'cv2', 'kornia', 'albumentations', 'scipy', 'skimage', 'numpy', 'pydantic']"
    asked = f"{code}\nimport sys\nprint('HEAVY', [m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize(
    "module",
    [
        "degrade.recipe",
        "degrade.data.pairs",
        "degrade.synthesis.run",
        "degrade.synthesis.engines",
        "degrade.synthesis.replay",
        "degrade.inspection.gallery",
    ],
)
def test_adapted_libraries_wait_until_they_are_used(module: str) -> None:
    asked = f"import sys, {module}\nprint([m for m in ('kornia', 'albumentations', 'cv2', 'skimage') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_start_up_is_fast() -> None:
    """``--help`` takes 0.5 s on an idle core; here CPU time, with slack, since a test's machine
    is not idle.
    """
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    code = "import sys; sys.argv = ['degrade', '--help']; from degrade.cli import main; main()"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 1.0, f"{spent:.2f} s of CPU, {time.perf_counter() - begin:.2f} s"


def test_public_names_are_there() -> None:
    import degrade

    for name in degrade.__all__:
        assert getattr(degrade, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = degrade.nothing
