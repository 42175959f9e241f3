"""Imports point one way, from the top of ``LAYERS`` to its ground, and the command line starts
without the heavy libraries.

An import counts wherever it stands: at the top, in a function, under ``TYPE_CHECKING`` (who names
a type knows its module). Only ``importlib.import_module`` does not, since it takes plug-ins.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    "degrade.errors degrade.console degrade.extras degrade.versions degrade.rng",
    "degrade.distributions degrade.canvas degrade.execution.threads",
    "degrade.limits degrade.shorthand degrade.quantiles degrade.storage degrade.kernels.native",
    "degrade.fields degrade.kernels degrade.images",
    "degrade.plan degrade.order degrade.program",
    "degrade.execution degrade.pair",
    "degrade.base",
    "degrade.lowering",
    "degrade.ops degrade.extent",
    "degrade.nodes",
    "degrade.control",
    "degrade.loading",
    "degrade.recipe degrade.doctor degrade.importers",
    "degrade.data",
    "degrade.synthesis",
    "degrade.synthesis.worker",
    "degrade.synthesis.engines degrade.synthesis.ray_engine degrade.synthesis.run",
    "degrade.synthesis.replay",
    "degrade.inspection",
    "degrade.cli",
    "degrade degrade.__main__",
    "sr.registry sr.color sr.pypi sr.png sr.text_table",
    "sr.pretrained",
    "sr.models sr.losses sr.metrics",
    "sr.examples sr.foreign sr.tiles sr.alignment",
    "sr.checkpoint sr.upscale sr.figures",
    "sr.evaluation sr.export",
    "sr.training",
    "sr.comparison.config sr.comparison.bootstrap sr.comparison.seal sr.comparison.workers",
    "sr.comparison.columns sr.comparison.runs",
    "sr.comparison.rows sr.comparison.cells",
    "sr.comparison.matrix",
    "sr.comparison.statistics sr.comparison.compare",
    "sr.comparison",
    "sr.cli",
    "sr sr.__main__",
)
"""From the ground up. A name stands for a module, or for all of a package but what is named
alone. ``degrade`` is the module of the public names, which nothing in the package imports.
"""
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer.split()}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {
    module_name(path): path.read_text("utf-8")
    for package in ("degrade", "sr")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(source: str) -> Iterator[str]:
    """Full names of all that a module imports, at any depth: modules, and names in modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, (
                f"a relative import, which says no full name: {ast.unparse(node)}"
            )
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def import_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """For every module the modules of ``sources`` that it imports."""

    def target(name: str) -> str:
        return name if name in sources else name.rpartition(".")[0]

    return {
        module: {
            target(name)
            for name in imports(source)
            if target(name) in sources and name != "degrade.__version__"
        }
        for module, source in sources.items()
    }


def rank(module: str) -> int:
    """Layer of a module, or of the nearest package above it that has one."""
    name = module
    while name not in RANK:
        name = name.rpartition(".")[0]
        assert "." in name, f"{module} has no layer; give it one in LAYERS"
    return RANK[name]


def upward(graph: Mapping[str, set[str]]) -> list[str]:
    """The imports of a module of a higher layer."""
    return [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in sorted(others)
        if rank(other) > rank(module)
    ]


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules along one circle of imports, or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_arrows_point_one_way() -> None:
    assert upward(import_graph(SOURCES)) == []


def test_no_circles() -> None:
    assert circle(import_graph(SOURCES)) == []


def test_every_layer_is_in_use() -> None:
    modules = {name for module in SOURCES for name in (module, module.rpartition(".")[0])}
    assert RANK.keys() <= modules


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("degrade.rng", "def f():\n    from degrade.recipe import Recipe"),
        ("degrade.kernels.jpeg", "if TYPE_CHECKING:\n    import degrade.ops.jpeg"),
        ("degrade.synthesis.worker", "def f():\n    from degrade.synthesis import engines"),
        ("degrade.nodes", "from degrade import Recipe"),
        ("degrade.recipe", "def f():\n    import sr.models"),
        (
            "sr.models.base",
            "class C:\n    def f(self):\n        from sr.training.loop import train",
        ),
    ],
)
def test_an_upward_arrow_is_found(module: str, line: str) -> None:
    graph = import_graph({**SOURCES, module: f"{SOURCES[module]}\n{line}\n"})
    assert [arrow.split()[0] for arrow in upward(graph)] == [module]


def test_a_circle_within_a_layer_is_found() -> None:
    added = {
        "degrade.storage.one": "from degrade.storage.two import f",
        "degrade.storage.two": "def f():\n    from degrade.storage import one",
    }
    graph = import_graph(added)
    assert upward(graph) == []
    assert set(circle(graph)) == set(added)


def test_a_module_without_a_layer_is_found() -> None:
    with pytest.raises(AssertionError, match=r"degrade\.novelty has no layer"):
        upward(import_graph({**SOURCES, "degrade.novelty": "import degrade.rng"}))


@pytest.mark.parametrize("module", [name for name in SOURCES if name.startswith("degrade")])
def test_the_toolkit_knows_no_models(module: str) -> None:
    roots = {name.partition(".")[0] for name in imports(SOURCES[module])}
    assert not roots & {"sr", "torchvision", "lightning", "torchmetrics"}


@pytest.mark.parametrize(
    "code",
    [
        "import degrade",
        "import degrade.cli",
        "import sys; sys.argv[1:] = ['--help']\nfrom degrade.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
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
    waiting = "('kornia', 'albumentations', 'cv2', 'skimage')"
    asked = f"import sys, {module}\nprint([m for m in {waiting} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("program", ["degrade", "sr"])
def test_start_up_is_fast(program: str) -> None:
    """``--help`` takes 0.5 s on an idle core; here CPU time, with slack, since a test's machine
    is not idle.
    """
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    code = f"import sys; sys.argv = ['x', '--help']; from {program}.cli import main; main()"
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
