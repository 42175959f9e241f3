"""The preview page: its data against the recipe, the page in a browser, the server that follows
a file.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from degrade.cli import app
from degrade.errors import UserError
from degrade.images.pixels import as_pixels
from degrade.images.samples import sample_images
from degrade.inspection import preview_server
from degrade.inspection.html import Album
from degrade.inspection.metrics import psnr
from degrade.inspection.preview import LEVELS, PreviewSettings, preview, preview_data, render
from degrade.inspection.preview_server import LivePreview, make_server
from degrade.inspection.story import acting_values
from degrade.loading.search_path import names
from degrade.recipe import Recipe
from degrade.rng import Key

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
QUICK = PreviewSettings(draws=4, measured=6, plans=200, size=64)
HOSTILE = (
    "</script><script>document.title='owned'</script>"
    "<img src=x onerror=document.title='owned'> \u2028 &amp; @DATA@"
)


def recipe(**more: Any) -> Recipe:
    steps = [
        {"gaussian_noise": {"sigma": [1, 30]}},
        {"p": 0.5, "jpeg": {"quality": [30, 90]}},
        {"resize": {"of": "target", "filter": ["bilinear", "bicubic"]}},
        "quantize",
    ]
    return Recipe.load({"name": "test", "scale": 2, "first": steps, **more})


def decoded(uri: str) -> np.ndarray:
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    )


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return preview_data(recipe(), sample_images()[:2], QUICK)


# --- data ----------------------------------------------------------------------------------------


def test_draws_are_the_recipes_own_and_sorted(described: dict[str, Any]):
    draws = described["draws"]
    found = [draw["psnr"] for draw in draws]
    assert found == sorted(found, reverse=True)
    assert sorted(draw["index"] for draw in draws) == [0, 1, 2, 3]
    crops = {
        view["file"]: decoded(described["pictures"][view["hr"]]) for view in described["views"]
    }
    for draw in draws:
        pair = recipe()(crops[draw["file"]], seed=0, index=draw["index"])
        assert np.array_equal(decoded(described["pictures"][draw["lr"]]), as_pixels(pair.lr)[0])


def test_steps_are_in_order_and_end_at_the_lr(described: dict[str, Any]):
    loaded = recipe()
    for view in described["views"]:
        for level, one in zip(LEVELS, view["levels"], strict=True):
            addresses = [step["address"] for step in one["steps"]]
            expected = [
                "first.gaussian_noise",
                *(["first.jpeg"] if level > 0.5 else []),
                "first.resize",
                "first.quantize",
            ]
            assert addresses == expected
            plan = loaded.severity(level, Key.of(0, 0))
            told = dict(one["steps"][0]["drawn"])
            assert float(told["sigma"]) == pytest.approx(
                plan["first.gaussian_noise.sigma"][0], rel=1e-3
            )
            lr = decoded(described["pictures"][one["lr"]])
            assert (one["steps"][-1]["height"], one["steps"][-1]["width"]) == lr.shape[:2]
            # Pictures between the steps are compressed, but not beyond recognition.
            assert psnr(decoded(described["pictures"][one["steps"][-1]["picture"]]), lr) > 25


def test_no_picture_is_kept_for_nothing(described: dict[str, Any]):
    found = preview_data(
        recipe(), sample_images()[:2], replace(QUICK, views=1, draws=1, measured=1)
    )
    text = json.dumps({name: value for name, value in found.items() if name != "pictures"})
    used = {int(number) for number in re.findall(r'"(?:picture|lr|hr)": (\d+)', text)}
    assert used == set(range(len(found["pictures"])))
    assert (len(found["views"]), len(described["views"])) == (1, 2)


def test_psnr_falls_with_severity(described: dict[str, Any]):
    for view in described["views"]:
        found = [one["psnr"] for one in view["levels"]]
        assert found[0] > found[4] > found[-1]


def test_histograms_count_what_was_drawn(described: dict[str, Any]):
    charts = {chart["address"]: chart for chart in described["histograms"]}
    assert set(charts) == {column.address for column in recipe().columns}
    sigma = charts["first.gaussian_noise.sigma"]
    assert (sigma["low"], sigma["high"], sum(sigma["counts"]), sigma["share"]) == (1, 30, 200, 1)
    quality = charts["first.jpeg.quality"]
    plan = recipe().plan(Key.of(0, np.arange(200)))
    assert sum(quality["counts"]) == int((~np.isnan(plan["first.jpeg.quality"])).sum())
    assert [mark is None for mark in quality["marks"]] == [level < 0.5 for level in LEVELS]
    bars = dict(charts["first.resize.filter"]["bars"])
    assert set(bars) == {"bilinear", "bicubic"}
    assert sum(bars.values()) == pytest.approx(1)
    assert sum(described["psnr"]["counts"]) == 6


def test_branches_that_share_an_address_share_a_histogram():
    branches = [
        {"p": 0.5, "sinc": {"size": 7, "cutoff": [0.8, 1]}},
        {"p": 0.5, "sinc": {"size": 9, "cutoff": [0.2, 0.3]}},
    ]
    loaded = Recipe.load(
        {
            "name": "two",
            "scale": 2,
            "lr": [{"as": "kernel", "one_of": branches}, {"resize": {"of": "target"}}],
        }
    )
    found = preview_data(loaded, sample_images()[:1], QUICK)["histograms"]
    [cutoff] = [chart for chart in found if chart["address"] == "lr.sinc.cutoff"]
    assert sum(cutoff["counts"]) == 200
    assert 0.2 <= cutoff["low"] < 0.21


def test_album_keeps_exact_pictures_and_the_budget():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
    album = Album()
    first, again = album.add(pixels, True), album.add(pixels.copy(), True)
    assert first == again
    others = [album.add(rng.integers(0, 256, (64, 64, 3), np.uint8), False) for _ in range(10)]
    assert len({first, *others}) == 11
    large = album.encode(10**9)
    assert album.quality == 90
    small = album.encode(sum(map(len, large)) // 2)
    assert album.quality < 90
    assert sum(map(len, small)) < sum(map(len, large))
    assert np.array_equal(decoded(small[first]), pixels)


# --- page ----------------------------------------------------------------------------------------


class Addresses(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.found += [
            str(value)
            for name, value in attrs
            if name in ("src", "href", "srcset", "action", "data")
        ]


def test_page_is_self_contained(described: dict[str, Any]):
    html = render(described)
    reader = Addresses()
    reader.feed(html)
    assert reader.found == []
    assert reader.scripts == 2
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert "connect-src 'none'" in html


def test_hostile_recipe_stays_text():
    loaded = recipe(description=HOSTILE)
    html = preview(
        loaded, sample_images()[:1], PreviewSettings(draws=1, measured=1, plans=5, size=32)
    )
    reader = Addresses()
    reader.feed(html)
    assert reader.scripts == 2
    [text] = re.findall(r'id="data">(.*?)</script>', html, re.DOTALL)
    assert json.loads(text)["description"] == HOSTILE


def test_realesrgan_is_below_five_megabytes():
    html = preview(
        Recipe.load("realesrgan"),
        sample_images()[:1],
        PreviewSettings(draws=4, measured=4, plans=50),
    )
    assert len(html) < 5_000_000


@pytest.mark.parametrize("name", ["bicubic", "clean"])
def test_recipe_without_variables(name: str):
    found = preview_data(
        Recipe.load(name),
        sample_images()[:1],
        PreviewSettings(draws=2, measured=2, plans=5, size=32),
    )
    assert found["histograms"] == []
    render(found)


def test_broken_images_are_left_out(tmp_path: Path):
    files = [*sample_images()[:1], tmp_path / "a.png", tmp_path / "b.png"]
    for file in files[1:]:
        file.write_bytes(b"no image")
    found = preview_data(Recipe.load("bicubic"), files, PreviewSettings(2, 2, 10, 64, 2))
    assert [view["file"] for view in found["views"]] == [files[0].name]
    assert [
        str(file) in reason for file, reason in zip(files[1:], found["skipped"], strict=True)
    ] == [True] * 2
    with pytest.raises(UserError, match=r"a\.png: .*; 2 images cannot be read"):
        preview_data(Recipe.load("bicubic"), files[1:], PreviewSettings(2, 2, 10, 64, 2))


@pytest.mark.parametrize("name", [name for name in names() if "_x2" not in name])
def test_values_that_are_left_out_do_not_act(name: str):
    """Whatever else stands in their place: the same image."""
    recipe = Recipe.load(name)
    hr = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for i in range(6):
        plan = recipe.plan(Key.of(0, [i]))
        shown = acting_values(recipe, plan, 0)
        other = recipe.plan(Key.of(0, [i]))
        for column in plan.columns:
            if column.address in plan.row(0) and column.address not in shown:
                other.values[0, other.place(column.address)] = column.dist.support[1]
        assert torch.equal(recipe.apply(hr, plan).lr, recipe.apply(hr, other).lr)
        assert not any(re.fullmatch(r"[\d-]+", shown[a]) for a in shown if a.endswith("shuffle"))


def test_an_isotropic_kernel_has_one_width():
    recipe = Recipe.load("realesrgan")
    seen = set()
    for i in range(40):
        shown = acting_values(recipe, recipe.plan(Key.of(0, [i])), 0)
        kernel = shown.get("first.blur.kernel", "none")
        seen.add(kernel)
        assert ("first.blur.sigma_y" in shown) == ("aniso" in kernel)
        assert ("first.blur.beta_plateau" in shown) == ("plateau" in kernel)
    assert len(seen) > 4


def test_command_writes_the_page(tmp_path: Path):
    target = tmp_path / "out.html"
    arguments = [
        "preview",
        "bicubic",
        str(sample_images()[0]),
        "--html",
        str(target),
        "--draws",
        "2",
        "--crop",
        "32",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


# --- browser -------------------------------------------------------------------------------------

browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


def dom(url: str, profile: Path, *more: str) -> str:
    """The page after its script ran."""
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking "
        "--disable-component-update --disable-sync --hide-scrollbars"
    )
    command = [
        str(CHROMIUM),
        *flags.split(),
        f"--user-data-dir={profile}",
        *more,
        "--dump-dom",
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def tag(html: str, identity: str) -> str:
    """The text inside the element of an id."""
    match = re.search(rf'<(\w+)[^>]*\bid="{identity}"[^>]*>(.*?)</\1>', html, re.DOTALL)
    assert match, identity
    return re.sub(r"<[^>]+>", "", match[2])


@browser
def test_page_in_a_browser(described: dict[str, Any], tmp_path: Path):
    file = tmp_path / "page.html"
    file.write_text(render(described), encoding="utf-8")
    html = dom(f"{file.as_uri()}#level=8&flicker=1&view=1", tmp_path / "profile")
    assert tag(html, "name") == "test"
    assert tag(html, "percent") == "85 %"
    assert "HR target, 64 \N{MULTIPLICATION SIGN} 64" in tag(html, "caption")
    assert re.search(r'<button[^>]*id="flicker"[^>]*aria-pressed="true"', html)
    shown = described["views"][1]["levels"][8]
    source = re.search(r'<img[^>]*\bid="big"[^>]*>', html)
    assert source
    assert f'src="{described["pictures"][shown["hr"]]}"' in source[0]
    assert html.count("drawn values</summary>") == 4
    assert len(re.findall(r'<button[^>]*data-step="', html)) == len(shown["steps"]) + 1
    assert len(re.findall(r"<svg [^>]*role", html)) == 1 + sum(
        "counts" in chart for chart in described["histograms"]
    )
    html = dom(f"{file.as_uri()}#level=0&step=1", tmp_path / "profile")
    assert tag(html, "percent") == "5.0 %"
    assert "After first.resize, 32 \N{MULTIPLICATION SIGN} 32" in tag(html, "caption")


@browser
def test_clicks_and_keys(described: dict[str, Any], tmp_path: Path):
    """What people do, done by a script of the test's own before the page is dumped."""
    html = re.sub(r"'sha256-[^']*'", "'unsafe-inline'", render(described))
    actions = """<script>
      const press = (key) =>
        document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
      const log = [];
      const note = () => log.push([location.hash, document.getElementById("caption").textContent]);
      press("ArrowRight"); press("ArrowRight"); note();
      document.querySelector('[data-step="0"]').click(); note();
      press("j"); note();
      press("k"); press("k"); note();
      document.getElementById("flicker").click(); note();
      press("f"); note();
      const slider = document.getElementById("level");
      slider.value = 2; slider.dispatchEvent(new Event("input")); note();
      const view = document.getElementById("view");
      view.value = 1; view.dispatchEvent(new Event("change")); note();
      document.body.setAttribute("data-log", JSON.stringify(log));
    </script></body>"""
    file = tmp_path / "page.html"
    file.write_text(html.replace("</body>", actions), encoding="utf-8")
    result = dom(file.as_uri(), tmp_path / "profile")
    match = re.search(r'data-log="([^"]*)"', result)
    assert match
    log = json.loads(unescape(match[1]))
    assert [entry[0] for entry in log] == [
        *("#level=6", "#level=6&step=0", "#level=6&step=1", "#level=6"),
        *("#level=6&flicker=1", "#level=6", "#level=2", "#level=2&view=1"),
    ]
    starts = [
        "LR, 32",
        "After first.gaussian_noise, 64",
        "After first.jpeg, 64",
        "LR",
        "HR target, 64",
        "LR",
        "LR",
        "LR",
    ]
    for (_, caption), start in zip(log, starts, strict=True):
        assert caption.startswith(start)


@browser
def test_hostile_recipe_in_a_browser(tmp_path: Path):
    loaded = recipe(description=HOSTILE)
    file = tmp_path / "page.html"
    small = PreviewSettings(draws=1, measured=1, plans=5, size=32)
    file.write_text(preview(loaded, sample_images()[:1], small), encoding="utf-8")
    html = dom(file.as_uri(), tmp_path / "profile")
    assert "owned</title>" not in html
    assert "onerror" not in re.sub(
        r"&lt;.*?&gt;", "", re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    )
    assert tag(html, "description").startswith("&lt;/script&gt;")


# --- live ----------------------------------------------------------------------------------------

BODY = "name: mine\nscale: 2\nlr:\n  - gaussian_noise: {sigma: SIGMA}\n  - resize: {of: target}\n"


@contextmanager
def serving(file: Path) -> Iterator[tuple[LivePreview, int]]:
    def build() -> dict[str, Any]:
        return preview_data(
            Recipe.load(file),
            sample_images()[:1],
            PreviewSettings(draws=1, measured=1, plans=5, size=32),
        )

    live = LivePreview(str(file), build)
    http_server = make_server(live)
    thread = threading.Thread(target=http_server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield live, http_server.server_port
    finally:
        http_server.shutdown()
        http_server.server_close()
        thread.join()


def get(port: int, path: str, host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def save(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    # Saved in the same tick of a coarse clock, a file of the same size would look unchanged.
    later = time.time_ns() + 10**9 * save.calls  # type: ignore[attr-defined]
    save.calls += 1  # type: ignore[attr-defined]
    os.utime(file, ns=(later, later))


save.calls = 1  # type: ignore[attr-defined]


def test_live_follows_the_file(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    save(file, BODY.replace("SIGMA", "[1, 9]"))
    with serving(file) as (_, port):
        status, html = get(port, "/")
        assert status == 200
        assert "connect-src 'self'" in html
        assert json.loads(get(port, "/state")[1]) == {"version": 1, "error": None}
        save(file, BODY.replace("SIGMA", "[9, 1]"))
        state = json.loads(get(port, "/state")[1])
        assert state["version"] == 1
        assert f"{file}:4" in state["error"]
        save(file, BODY.replace("SIGMA", "[2, 8]"))
        assert json.loads(get(port, "/state")[1]) == {"version": 2, "error": None}
        assert json.loads(get(port, "/state")[1])["version"] == 2, "nothing changed, nothing built"
        assert "[2, 8]" in get(port, "/")[1]
        file.unlink()
        assert "no such file" in json.loads(get(port, "/state")[1])["error"]
        save(file, BODY.replace("SIGMA", "5"))
        assert json.loads(get(port, "/state")[1]) == {"version": 3, "error": None}


def test_live_follows_what_the_recipe_extends(tmp_path: Path):
    base, file = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    save(base, BODY.replace("SIGMA", "5"))
    save(file, "extends: base.yaml\nname: mine\n")
    with serving(file) as (live, port):
        get(port, "/")
        save(base, "name: [")
        assert "base.yaml" in str(json.loads(get(port, "/state")[1])["error"])
        save(base, BODY.replace("SIGMA", "6"))
        get(port, "/state")
        assert (live.version, live.error) == (2, None)


def test_live_answers_this_machine_only(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    save(file, BODY.replace("SIGMA", "5"))
    with serving(file) as (live, port):
        for host in (
            "evil.example",
            f"evil.example:{port}",
            "127.0.0.1",
            "localhost:1",
            f"127.0.0.1.evil.example:{port}",
        ):
            assert get(port, "/", host)[0] == 403
            assert get(port, "/state", host)[0] == 403
        assert live.version == 0, "nothing was built for them"
        assert get(port, "/state", f"localhost:{port}")[0] == 200
        assert get(port, "/../secret")[0] == 404


@browser
def test_live_refuses_frames_and_endless_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(preview_server, "DEADLINE", 1.0)
    before = threading.active_count()
    live = LivePreview("bicubic", lambda: {"name": "x"})
    with make_server(live) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        clients = [socket.create_connection(server.server_address[:2]) for _ in range(100)]
        for client in clients:
            with suppress(OSError):
                client.send(b"GET / HT")
        assert threading.active_count() < before + 2 * preview_server.MOST_CONNECTIONS + 5
        begun = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - begun < 20:  # a byte now and then
                clients[0].send(b"T")
                time.sleep(0.1)
        assert time.monotonic() - begun < 15
        for client in clients:
            client.close()
        time.sleep(1.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/state") as answer:
            assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
            assert answer.headers["X-Frame-Options"] == "DENY"
        server.shutdown()
    assert "Traceback" not in capfd.readouterr().err


def test_live_page_in_a_browser(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    save(file, BODY.replace("SIGMA", "[9, 1]").replace("name: mine", "name: mine # <b>"))
    with serving(file) as (_, port):
        html = dom(f"http://127.0.0.1:{port}/", tmp_path / "profile")
        assert "[9, 1]" in tag(html, "error")
        assert re.search(r'<div id="error" role="alert">', html), "the error is shown"
        save(file, BODY.replace("SIGMA", "3"))
        html = dom(f"http://127.0.0.1:{port}/", tmp_path / "profile", "--virtual-time-budget=1500")
        assert tag(html, "name") == "mine"
        assert "Live" in tag(html, "state")
        assert re.search(r'<div id="error" role="alert" hidden="">', html)
