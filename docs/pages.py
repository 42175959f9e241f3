"""The pages that nobody writes: one an operator and one a recipe, made when the site is built.

A hook of mkdocs. Both lists come from the registry and the recipe folder, so a new operator or
recipe has its page by existing. Three fences are special on every page: ``math`` becomes MathML,
``dist`` a table of distributions with their quantile functions, and ``include`` the text of a file
of the repository.
"""

from __future__ import annotations

import functools
import html
import importlib
import inspect
import io
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
import yaml
from markup import field_notes, markdown, mathml, plain
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from numpy.typing import NDArray
from PIL import Image

import degrade.ops as ops
from degrade.base import REGISTRY, Draw, Operator
from degrade.canvas import Canvas
from degrade.distributions import Const, Dist, Uniform
from degrade.fields import Range, Variable
from degrade.images.files import read_image
from degrade.images.pixels import as_pixels
from degrade.images.samples import sample_images
from degrade.inspection.gallery import show_recipe
from degrade.inspection.listing import field_rows
from degrade.loading.search_path import locate, names
from degrade.nodes import Node, Step
from degrade.ops.adapters import Adaptor
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.shorthand import dump, parse

ROOT = Path(__file__).parent.parent
CROP = 128
EYE = (60, 120)
"""Top left of the crop of Chelsea the cat that shows operators: an eye, fur and whiskers."""

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "blur": [
        {"sigma": 1},
        {"sigma": 2},
        {"kernel": "aniso", "sigma": 4, "sigma_y": 1, "angle": 0.8},
    ],
    "sinc": [{"cutoff": 0.6}, {"cutoff": "1/3"}, {"cutoff": "1/5"}],
    "motion": [
        {"length": 5, "angle": 30},
        {"length": 11, "angle": 30},
        {"length": 21, "angle": 30},
    ],
    "lens": [{"radius": 1}, {"radius": 2.5}, {"radius": 5}],
    "resize": [
        {"factor": 0.5, "filter": "area"},
        {"factor": 0.25, "filter": "area"},
        {"factor": 0.25, "filter": "nearest"},
    ],
    "decimate": [{}],
    "unsharp": [{"amount": 0.5}, {"amount": 1.5}, {"amount": 3}],
    "gaussian_noise": [{"sigma": 5}, {"sigma": 15}, {"sigma": 30, "gray": 1}],
    "speckle_noise": [{"sigma": 15}, {"sigma": 40}, {"sigma": 80, "gray": 1}],
    "poisson_noise": [{"scale": 0.5}, {"scale": 1.5}, {"peak": 20}],
    "salt_pepper": [{"amount": 0.01}, {"amount": 0.05}, {"amount": 0.2, "gray": 0}],
    "jpeg": [{"quality": 80}, {"quality": 30}, {"quality": 10}],
    "webp": [{"quality": 80}, {"quality": 30}, {"quality": 5}],
    "quantize": [{"bits": 4}, {"bits": 3}, {"bits": 2}],
    "albumentations": [
        {"Defocus": {"radius": [4, 4]}},
        {"ISONoise": {"intensity": [0.6, 0.6]}},
        {"Downscale": {"scale_range": [0.3, 0.3]}},
    ],
    "kornia": [
        {"RandomMotionBlur": {"kernel_size": 9, "angle": 35.0, "direction": 0.5}},
        {"RandomPosterize": {"bits": 2.0}},
        {"RandomBoxBlur": {"kernel_size": [5, 5]}},
    ],
}
"""What to show of each operator, mild to severe. One that is not here shows three levels of its
first graded field.
"""


# --- hooks of mkdocs -----------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills in the two lists of the navigation."""
    ops.discover()
    for section in config.nav or []:
        for title, pages in section.items():
            if title == "Operators":
                pages += [{name: f"operators/{name}.md"} for name in sorted(REGISTRY)]
            if title == "Recipes":
                pages += [{name: f"recipes/{name}.md"} for name in names()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages and their pictures."""
    made: dict[str, str | bytes] = {
        "operators/index.md": operator_index(),
        "recipes/index.md": recipe_index(),
    }
    for name in sorted(REGISTRY):
        made |= operator_page(name)
    for name in names():
        made |= recipe_page(name)
    made["commands.md"] = command_page()
    made |= borrowed("benchmarks/RESULTS.md", "results.md", "Benchmarks")
    if files.get_file_from_path("training.md") is None:
        made |= borrowed("docs/training.md", "training.md", "Trained models")
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replaces the special fences."""
    return re.sub(r"^```(math|dist|include)\n(.*?)^```$", _fence, markdown, flags=re.M | re.S)


def _fence(match: re.Match[str]) -> str:
    kind, body = match[1], match[2]
    if kind == "math":
        return mathml(body)
    if kind == "dist":
        return distributions(line for line in body.splitlines() if line.strip())
    return (ROOT / body.strip()).read_text(encoding="utf-8")


# --- operators -----------------------------------------------------------------------------------


def operator_index() -> str:
    rows = [
        (
            f"![]({name}-{min(2, len(examples_of(name)))}.webp){{ .thumb }}",
            f"[{name}]({name}.md)",
            plain(REGISTRY[name].summary()),
            gradients(REGISTRY[name]),
        )
        for name in sorted(REGISTRY)
    ]
    note = (
        "What a recipe's steps can name. Pixels are RGB in [0, 1]; every field marked "
        "random takes a "
        "[distribution](../writing/distributions.md). The pictures are made by the "
        "code when this site is built.\n\n"
    )
    return f"# Operators\n\n{note}{table(('', 'operator', 'what it does', 'gradients'), rows)}"


def operator_page(name: str) -> dict[str, str | bytes]:
    """The page of an operator and its pictures."""
    operator = REGISTRY[name]
    examples = examples_of(name)
    pictures, figures = panels(name, examples)
    snippet = "\n".join(
        f"- {name}: {{{written(body)}}}" if body else f"- {name}" for body in examples
    )
    doc = inspect.getdoc(operator) or ""
    doc = re.sub(r"^Args:\n((?:    .*\n?|\n)+)", "", doc, flags=re.M)
    notes = field_notes(operator)
    rows = [
        (f"`{field}`", notes.get(field, ""), admits, f"`{default}`")
        for field, admits, default in field_rows(operator)
    ]
    summary, _, rest = doc.partition("\n\n")
    text = (
        f"# {name}\n\n{markdown(summary)}\n\n{figures}\n\n{markdown(rest)}\n\n```yaml\n"
        f"{snippet}\n```\n\n"
    )
    if issubclass(operator, Adaptor):
        classes = ", ".join(f"`{kind}`" for kind in sorted(operator.classes()))
        text += (
            "## Transforms\n\nTheir arguments are the library's; `p` is 1 unless given.\n\n"
            f"{classes}\n\n"
        )
    elif rows:
        text += f"## Fields\n\n{table(('field', 'what it is', 'values', 'default'), rows)}\n\n"
        text += (
            'Unless marked "fixed", a field takes a '
            "[distribution](../writing/distributions.md).\n\n"
        )
    else:
        text += "It has no fields.\n\n"
    text += f"Gradients reach the pixels: {gradients(operator)}.\n\n"
    for function in mentioned(doc, operator.__module__):
        text += (
            f"## How it is computed: `{function.__name__}`\n\n"
            f"{markdown(inspect.getdoc(function) or '')}\n\n"
        )
    text += (
        f"## The family\n\n{markdown(inspect.getdoc(sys.modules[operator.__module__]) or '')}\n\n"
    )
    users = [f"[{recipe}](../recipes/{recipe}.md)" for recipe in names() if name in used(recipe)]
    text += (
        "## Recipes that use it\n\n"
        f"{', '.join(users) or 'None of those that come with degrade.'}\n"
    )
    return {f"operators/{name}.md": text, **pictures}


def examples_of(name: str) -> list[dict[str, Any]]:
    return EXAMPLES.get(name) or graded(REGISTRY[name])


def mentioned(doc: str, home: str) -> Iterator[Any]:
    """The functions that a docstring refers to, by their path or by their name in the module
    ``home``.
    """
    for path in dict.fromkeys(re.findall(r":func:`~?([\w.]+)`", doc)):
        module, _, function = path.rpartition(".")
        if not module or module.startswith("degrade."):
            yield getattr(sys.modules[module or home], function)


def graded(operator: type[Operator]) -> list[dict[str, Any]]:
    """Three severities of the first field that has a worse end; else the defaults."""
    for name, variable in operator.variables().items():
        if (
            isinstance(variable, Range)
            and variable.worse
            and np.isfinite([variable.low, variable.high]).all()
        ):
            span = Uniform(variable.low, variable.high)
            levels = [variable.level(span, severity) for severity in (0.1, 0.3, 0.6)]
            values = [float(value) for value in span.quantile(np.array(levels))]
            if variable.odd:
                values = [2 * (value // 2) + 1 for value in values]
            return [{name: round(value) if variable.whole else value} for value in values]
    return [{}]


def panels(name: str, examples: list[dict[str, Any]]) -> tuple[dict[str, str | bytes], str]:
    """Pictures of the HR crop and of the operator alone upon it, and the HTML that shows them."""
    hr = sample()
    shown = [("HR", hr)]
    for body in examples:
        operator = REGISTRY[name].model_validate(body)
        canvas = Canvas.of(
            torch.from_numpy(hr.copy()).permute(2, 0, 1)[None].float() / 255, scale=4
        )
        left = operator.apply(canvas, Draw(operator, {}, Key.of(0, 0).fold("docs"), canvas))
        shown.append((written(body) or name, as_pixels(left.image(0)[None])[0]))
    pictures: dict[str, str | bytes] = {}
    cells = ""
    for i, (caption, pixels) in enumerate(shown):
        path = f"operators/{name}-{i}.webp"
        pictures[path] = webp(pixels, lossless=True)
        size = f" ({pixels.shape[1]} x {pixels.shape[0]})" if pixels.shape != hr.shape else ""
        alt = html.escape(caption)
        picture = f"![{alt}]({path.rpartition('/')[2]})"
        cells += f"<figure markdown>{picture}<figcaption>{alt}{size}</figcaption></figure>\n"
    return pictures, f'<div class="panels" markdown>\n{cells}</div>'


def written(body: dict[str, Any]) -> str:
    """Fields and values as in a recipe."""
    return yaml.safe_dump(body, default_flow_style=True, sort_keys=False, width=1000).strip()[1:-1]


@functools.cache
def sample() -> NDArray[np.uint8]:
    y, x = EYE
    return read_image(sample_images()[1]).pixels[y : y + CROP, x : x + CROP].astype(np.uint8)


def gradients(operator: type[Operator]) -> str:
    """Whether they reach the pixels."""
    if operator.differentiable:
        return "yes"
    return "with `straight_through`" if "straight_through" in operator.model_fields else "no"


# --- recipes -------------------------------------------------------------------------------------


def recipe_index() -> str:
    rows = []
    for name in names():
        recipe = load(name)
        rows.append(
            (
                f"![]({name}-small.webp){{ .thumb }}",
                f"[{name}]({name}.md)",
                f"x{recipe.scale}",
                recipe.description,
                str(len(recipe.columns)),
            )
        )
    note = (
        "Degradations of the literature, each with its source and every known deviation from it. "
        "`--scale` changes the scale of any of them.\n\n"
    )
    return f"# Recipes\n\n{note}{table(('', 'recipe', 'scale', 'what', 'random variables'), rows)}"


def recipe_page(name: str) -> dict[str, str | bytes]:
    """The page of a recipe and its contact sheet."""
    recipe = load(name)
    text = locate(name).read_text(encoding="utf-8")
    sheet = f"recipes/{name}.webp"
    rows = [
        (
            f"`{c.address}`",
            f"`{flow(c.dist)}`" if len(flow(c.dist)) < 200 else "(see the file)",
            quantiles(c.dist, c.variable),
        )
        for c in recipe.columns
    ]
    page = f"# {name}\n\n{recipe.description}; x{recipe.scale}, {len(rows)} random variables.\n\n"
    page += (
        "[![The same crop at rising severity, and at random draws, with what was "
        f"drawn]({name}.webp)]({name}.webp)\n\n"
    )
    page += f"{header(text)}\n\n"
    page += (
        f"```sh\ndegrade show {name}\ndegrade synth --recipe {name} --count 1 --patch 128\n```\n\n"
    )
    if rows:
        page += "## Random variables\n\nOne column of a plan and of the manifest each. "
        page += (
            "The quantiles are in the order of the distribution, which is that of severity "
            "where it has one.\n\n"
        )
        page += f"{table(('address', 'distribution', '5, 50 and 95 %'), rows)}\n\n"
    page += f"## The file\n\n```yaml\n{text.strip()}\n```\n\n"
    page += f"Its hash, which covers all but name and description: `{recipe.hash}`.\n"
    return {
        f"recipes/{name}.md": page,
        sheet: sheet_of(name),
        f"recipes/{name}-small.webp": webp(thumbnail(recipe), lossless=True),
    }


def thumbnail(recipe: Recipe) -> NDArray[np.uint8]:
    """The crop that shows operators, as LR of medium severity."""
    hr = torch.from_numpy(sample().copy()).permute(2, 0, 1)[None]
    plan = recipe.severity(0.6, Key.of(0, 0))
    return as_pixels(recipe.apply(hr, plan).lr)[0]


@functools.cache
def load(name: str) -> Recipe:
    return Recipe.load(name)


@functools.cache
def sheet_of(name: str) -> bytes:
    return webp(show_recipe(load(name), read_image(sample_images()[1]), draws=6, crop=256, seed=0))


@functools.cache
def used(name: str) -> frozenset[str]:
    """The operators of a recipe."""
    recipe = load(name)
    return frozenset(kind for stage in (recipe.hr, *recipe.stages) for kind in _kinds(stage))


def _kinds(node: Node) -> Iterator[str]:
    if isinstance(node, Step):
        yield node.kind
    for child in node.children:
        yield from _kinds(child)


def header(text: str) -> str:
    """The comment at the top of a recipe as Markdown."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        line = re.sub(r"^# ?", "", line)
        if line.startswith("  - "):
            lines += ["", line.strip()]
        elif line.startswith("    "):
            lines.append("  " + line.strip())
        elif lines and lines[-1].startswith((" ", "-")) and not line.startswith(" "):
            lines += ["", *_labelled(line)]
        else:
            lines += _labelled(line.strip())
    return "\n".join(lines)


def _labelled(line: str) -> list[str]:
    """``Source:`` and its like in bold, each a paragraph."""
    bold = re.sub(r"^((?:Source|Deviations|Units)\b.*?:)(?= |$)", r"**\1**", line)
    return ["", bold] if bold != line else [line]


# --- distributions -------------------------------------------------------------------------------


def distributions(lines: Iterable[str]) -> str:
    """A table: each distribution as written, its quantile function, what it comes to."""
    rows = []
    for line in lines:
        text, _, what = line.partition("  # ")
        dist = parse(yaml.safe_load(text))
        rows.append((f"`{text.strip()}`", what.strip(), curve(dist), quantiles(dist, Range())))
    return table(("written", "drawn", "quantile function", "5, 50 and 95 %"), rows)


def curve(dist: Dist) -> str:
    """The quantile function as a small drawing in the colour of the text."""
    u = (np.arange(200) + 0.5) / 200
    values = dist.quantile(u)
    low, high = values.min(), values.max()
    y = 38 - 34 * (values - low) / (high - low) if high > low else np.full(len(u), 21.0)
    points = " ".join(f"{2 + 116 * a:.1f},{b:.1f}" for a, b in zip(u, y, strict=True))
    axes = '<path d="M2 2V39H118" fill="none" stroke="currentColor" stroke-opacity=".35"/>'
    line = f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.6"/>'
    size = 'viewBox="0 0 120 41" width="120" height="41"'
    return f'<svg {size} role="img" aria-label="quantile function">{axes}{line}</svg>'


def quantiles(dist: Dist, variable: Variable) -> str:
    values = variable.encode(dist, dist.quantile(np.array([0.05, 0.5, 0.95])))
    labels = [
        f"{value:.3g}" if isinstance(variable, Range) else variable.label(value)
        for value in values
    ]
    return labels[0] if len(set(labels)) == 1 and isinstance(dist, Const) else ", ".join(labels)


def flow(dist: Dist) -> str:
    """A distribution on one line of YAML."""
    data = rounded(dump(dist))
    return (
        yaml.safe_dump(data, default_flow_style=True, width=10_000)
        .strip()
        .removesuffix("...")
        .strip()
    )


def rounded(data: Any) -> Any:
    if isinstance(data, float):
        return float(f"{data:.4g}")
    if isinstance(data, dict):
        return {key: rounded(value) for key, value in data.items()}
    return [rounded(value) for value in data] if isinstance(data, list) else data


# --- commands ------------------------------------------------------------------------------------


def command_page() -> str:
    """Every command with its arguments and options, as the programs themselves describe them."""
    text = (
        "# Commands\n\n"
        "Options come after the command's name. `--help` says the same in the terminal.\n"
    )
    for program in ("degrade", "sr"):
        root: Any = typer.main.get_command(importlib.import_module(f"{program}.cli").app)
        text += f"\n## {program}\n\n{root.help}\n"
        for name, command in root.commands.items():
            text += f"\n### {program} {name}\n\n{command.help}\n\n"
            rows = [_option(option) for option in command.params]
            text += table(("", "what it is", "default"), rows) + "\n" if rows else ""
    return text


def _option(option: Any) -> tuple[str, str, str]:
    name = (
        ", ".join(f"`{opt}`" for opt in option.opts)
        if option.param_type_name == "option"
        else f"`{option.name.upper()}`"
    )
    default = (
        ""
        if option.default in (None, "", [], ()) or callable(option.default)
        else f"`{option.default}`"
    )
    return (
        name,
        re.sub(r"\[/?b\]", "**", option.help or ""),
        "required" if option.required else default,
    )


def borrowed(source: str, page: str, title: str) -> dict[str, str | bytes]:
    """A report that is kept beside what it reports on, with its pictures; links to other files
    become plain text.
    """
    file = ROOT / source
    if not file.is_file():
        return {page: f"# {title}\n\nNothing was measured yet.\n"}
    text = file.read_text(encoding="utf-8")
    made: dict[str, str | bytes] = {}
    for picture in re.findall(r"!\[[^\]]*\]\((?!https?:)([^)]+)\)", text):
        made[picture] = (file.parent / picture).read_bytes()
    return {page: re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", text), **made}


# --- parts ---------------------------------------------------------------------------------------


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
        for row in lines
    )


def webp(pixels: NDArray[np.uint8], lossless: bool = False) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(
        out, "WEBP", lossless=lossless, quality=82
    )
    return out.getvalue()
