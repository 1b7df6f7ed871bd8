"""The page in a real browser: what it draws is what the Python runtime computes, pixel for pixel."""

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sdkit.export.hosts.serve import page_server
from sdkit.export.hosts.web import write_page
from sdkit.export.proof.cases import sample, scale_of
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array, Element
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.sequences import Factor, SequenceMeta, SequenceWriter
from tests.hosts.bad import edit
from tests.hosts.every_method import clips, exported
from tests.hosts.web import browser, engine

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")

COUNT, STEPS = 6, 5
PATIENCE = 120_000
"""Milliseconds: a busy machine may take a minute to compile WebAssembly."""
GREY = 1
"""Grey levels by which two runtimes may round apart."""
PIXELS = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
  return [canvas.width, canvas.height, btoa(text)];
}"""
"""Size and values of a canvas; base64, since a list of a million numbers takes seconds to pass."""


class Served:
    """A page that is being served, its bundle in Python, and its sequences."""

    def __init__(self, folder: Path, bundle: Bundle, address: str) -> None:
        self.folder, self.address = folder, address
        self.rt = Runtime.open(bundle.path, device="cpu", threads=1)
        files = sorted((folder / "samples").glob("*.npy"))
        self.samples = {int(file.stem): np.load(file, allow_pickle=False)[None] for file in files}


def serve(golden: Path, folder: Path, name: str) -> Iterator[Served]:
    """Write the page of a conformance bundle, with sequences of a seed and odd lengths, and serve it."""
    with served(Bundle.open(golden / name), folder) as page:
        yield page


@contextmanager
def served(bundle: Bundle, folder: Path, change: Callable[[Path], object] | None = None) -> Iterator[Served]:
    """Write the page of a bundle, with sequences of a seed and odd lengths, and serve it.

    Args:
        bundle: of the page.
        folder: where the page is written.
        change: is given the page's own bundle, to change it.
    """
    element = bundle.manifest.element
    factor = Factor("motion", "dynamic", tuple(f"motion {i}" for i in range(COUNT)))
    folder.mkdir(parents=True, exist_ok=True)
    with SequenceWriter(folder / "x.h5", SequenceMeta(element, "made up", (factor,), rate=16.0)) as writer:
        x = sample(element, COUNT, STEPS, 3, scale_of(bundle.manifest))
        lengths = STEPS - np.arange(COUNT) % 2
        writer.write(x, labels=np.arange(COUNT)[:, None], lengths=lengths)
    page = write_page(bundle, folder / "page", samples=folder / "x.h5", engine=engine())
    if change is not None:
        change(page / "bundle")
    with page_server(page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Served(page, bundle, f"http://127.0.0.1:{server.server_address[1]}/")
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> Path:
    """Return the folder of the conformance bundles."""
    browser(), engine()
    return request.getfixturevalue("conformance_set")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def images(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return the served page of a bundle of images."""
    yield from serve(golden, tmp_path_factory.mktemp("images"), "image")


@pytest.fixture(scope="module")
def series(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return the served page of a bundle of series."""
    yield from serve(golden, tmp_path_factory.mktemp("series"), "series")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Return a headless browser."""
    with playwright.sync_playwright() as driver:
        # Containers seldom allow the browser's own sandbox.
        program = driver.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        yield program
        program.close()


class Visit:
    """A visitor of a page, who notes every error and every address that is asked for."""

    def __init__(self, chromium: Any, address: str, **options: Any) -> None:
        self.page = chromium.new_page(**options)
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.wait()

    def wait(self, state: str = "ready") -> None:
        """Wait until all is drawn."""
        self.page.wait_for_selector(f"html[data-state={state}]", timeout=PATIENCE)

    def choose(self, side: str, name: str) -> None:
        """Choose a sequence by its name."""
        self.page.locator(f"[data-side={side}] .picker label[title='{name}']").first.click()
        self.wait()

    def fill(self, name: str, value: object) -> None:
        """Set a slider or a number."""
        change = "(e, value) => { e.value = value; e.dispatchEvent(new Event('input', { bubbles: true })); }"
        self.page.locator(f"#{name}").evaluate(change, str(value))
        self.wait()

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """Return what a canvas shows, (H, W, 4)."""
        width, height, values = self.page.locator(f"#{name}").evaluate(PIXELS)
        return np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 4)

    def check(self, name: str, clip: Array) -> None:
        """Compare every frame of a canvas with a sequence (1, T, C, H, W) of grey levels."""
        for step in range(clip.shape[1]):
            self.fill("frame", step)
            found = self.pixels(name)
            expected = clip[0, step].transpose(1, 2, 0)
            assert found.shape == (*expected.shape[:2], 4)
            assert (found[..., 3] == 255).all()
            assert np.abs(found[..., :3].astype(int) - expected).max() <= GREY, (name, step)


def names_and_rows(visit: Visit) -> dict[str, int]:
    """Return the rows of the offered sequences by name."""
    labels = visit.page.locator("[data-side=a] .picker label").all()
    titles = [label.get_attribute("title") for label in labels]
    return {title: int(title.rpartition("row ")[2]) for title in titles}


@pytest.fixture(scope="module")
def visit(chromium: Any, images: Served) -> Iterator[Visit]:
    """Return a visitor who has chosen a sequence of five and one of four elements."""
    visitor = Visit(chromium, images.address)
    offered = names_and_rows(visitor)
    assert sorted(offered.values()) == sorted(images.samples) == list(range(COUNT))
    visitor.choose("a", "motion 2, row 2")
    visitor.choose("b", "motion 5, row 5")
    yield visitor
    assert visitor.errors == []
    # Blobs are the workers that onnxruntime-web starts; no byte comes from or goes to another place.
    assert {url for url in visitor.asked if not url.startswith((images.address, "blob:", "data:"))} == set()
    visitor.page.close()


@pytest.fixture(scope="module")
def pair(images: Served) -> tuple[Array, Array]:
    """Return the two chosen sequences."""
    a, b = images.samples[2], images.samples[5]
    assert (a.shape[1], b.shape[1]) == (STEPS, STEPS - 1)
    return a, b


def test_given_and_reconstructed_sequences(visit: Visit, images: Served, pair: tuple[Array, Array]) -> None:
    cast = images.rt.element.cast
    for side, x in zip("ab", pair, strict=True):
        visit.check(f"source-{side}", x)
        visit.check(f"reconstruction-{side}", cast(images.rt.reconstruct(x)))


def test_swap_shows_what_python_computes(visit: Visit, images: Served, pair: tuple[Array, Array]) -> None:
    cast = images.rt.element.cast
    for name, clip in zip(("a-with-b", "b-with-a"), images.rt.swap(*pair), strict=True):
        visit.check(name, cast(clip))


def test_another_choice_changes_the_picture_and_back(visit: Visit, images: Served, pair: tuple[Array, Array]) -> None:
    before = visit.pixels("a-with-b")
    visit.choose("a", "motion 0, row 0")
    assert np.abs(visit.pixels("a-with-b").astype(int) - before).max() > 20
    visit.check("a-with-b", images.rt.element.cast(images.rt.swap(images.samples[0], pair[1])[0]))
    visit.choose("a", "motion 2, row 2")
    visit.check("a-with-b", images.rt.element.cast(images.rt.swap(*pair)[0]))


def test_keyboard_chooses_too(visit: Visit, images: Served) -> None:
    visit.page.locator("[data-side=a] .picker input:checked").focus()
    visit.page.keyboard.press("ArrowRight")
    visit.wait()
    chosen = visit.page.locator("[data-side=a] .picker label:has(:checked)").get_attribute("title")
    visit.check("source-a", images.samples[names_and_rows(visit)[chosen]])
    visit.choose("a", "motion 2, row 2")


def test_slider_blends_static_codes(visit: Visit, images: Served, pair: tuple[Array, Array]) -> None:
    a, b = (images.rt.encode(x) for x in pair)
    for share, motion in ((0.0, "a"), (0.25, "a"), (1.0, "b"), (0.5, "b")):
        visit.page.locator(f"[name=motion][value={motion}]").check()
        visit.fill("mix", share)
        static = ((1 - share) * a.static + share * b.static).astype(np.float32)
        decoded = images.rt.decode(Codes(static, (a if motion == "a" else b).dynamic))
        visit.check("blended", images.rt.element.cast(decoded))
        assert visit.page.locator("#mix-text").text_content() == f"{share:.2f}"


def test_seeds_draw_what_python_draws(visit: Visit, images: Served, pair: tuple[Array, Array]) -> None:
    rt, cast = images.rt, images.rt.element.cast
    for button in ("draw-static", "draw-dynamic"):
        visit.page.locator(f"#{button}").click()
        visit.wait()
    for seed in (1, 2**53 - 1):
        if seed != 1:
            visit.fill("seed-static", seed)
            visit.fill("seed-dynamic", seed)
        visit.check("new-static", cast(rt.resample_static(pair[0], seed=seed)))
        visit.check("new-dynamic", cast(rt.resample_dynamic(pair[0], seed=seed)))
        visit.check("new-both", cast(rt.generate(1, STEPS, seed=seed)))
    assert visit.page.locator("#python-static").text_content() == str(2**53 - 1)


def test_play_pause_and_frames(visit: Visit) -> None:
    visit.fill("frame", 3)
    assert visit.page.locator("#frame-text").text_content() == f"4 / {STEPS}"
    assert visit.page.locator("#play").get_attribute("aria-label") == "Play"
    visit.page.locator("#play").click()
    visit.page.wait_for_selector("#frame-text:not(:text-is('4 / 5'))")
    visit.page.locator("#play").click()
    before = visit.page.locator("#frame-text").text_content()
    visit.page.wait_for_timeout(300)
    assert visit.page.locator("#frame-text").text_content() == before
    assert visit.page.locator("#speed").input_value() == "16"


def test_files_are_opened(visit: Visit, images: Served, pair: tuple[Array, Array], tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.concatenate([images.samples[4], images.samples[0]])[:, ::-1].copy())
    strip = images.samples[0][0].transpose(2, 0, 3, 1).reshape(16, -1, 3)
    Image.fromarray(strip).save(tmp_path / "strip.png")
    opener = visit.page.locator("[data-side=b] input[type=file]")
    opener.set_input_files(tmp_path / "two.npy")
    visit.page.wait_for_selector("[data-side=b] h3:text-is('B: two.npy, 0')")
    visit.wait()
    visit.check("source-b", images.samples[4][:, ::-1])
    opener.set_input_files(tmp_path / "strip.png")
    visit.page.wait_for_selector("[data-side=b] h3:text-is('B: strip.png')")
    visit.wait()
    visit.check("source-b", images.samples[0])
    visit.check("a-with-b", images.rt.element.cast(images.rt.swap(pair[0], images.samples[0])[0]))
    assert visit.page.locator("[data-side=a] .picker label").count() == COUNT + 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("long.npy", "long.npy has shape (1, 5, 3, 16, 8); expected (B, T, 3, 16, 16) uint8"),
        ("float.npy", "float.npy holds <f4; expected uint8 in C order"),
        ("text.npy", "text.npy is not a .npy file"),
        ("high.png", "high.png is 32 x 20 pixels; a strip is 16 high and T times 16 wide"),
        ("text.png", "text.png is not a picture that this browser reads"),
        ("note.txt", "note.txt is not a .npy array or a .png strip"),
    ],
)
def test_files_that_do_not_fit_are_refused(visit: Visit, tmp_path: Path, name: str, words: str) -> None:
    path = tmp_path / name
    if name == "long.npy":
        np.save(path, np.zeros((5, 3, 16, 8), np.uint8))
    elif name == "float.npy":
        np.save(path, np.zeros((5, 3, 16, 16), np.float32))
    elif name == "high.png":
        Image.new("RGB", (32, 20)).save(path)
    else:
        path.write_text("no sequence at all")
    before = visit.page.locator("[data-side=b] h3").text_content()
    visit.page.locator("[data-side=b] input[type=file]").set_input_files(path)
    visit.page.wait_for_selector("#error:not([hidden])")
    assert words in visit.page.locator("#error").text_content()
    assert visit.page.locator("[data-side=b] h3").text_content() == before
    visit.choose("a", "motion 3, row 3")
    assert visit.page.locator("#error").is_hidden()
    visit.choose("a", "motion 2, row 2")


def test_card_tells_where_the_model_comes_from(visit: Visit, images: Served) -> None:
    text = visit.page.locator("#card").text_content()
    assert images.rt.manifest.provenance.weights_sha256 in text
    manifest = images.rt.manifest
    of_method = f"{manifest.method}, variant {manifest.variant}"
    for words in (
        of_method,
        "blocks, 5 elements a sequence, 1 epochs",
        "made up: source not stated",
        "image (3, 16, 16) uint8",
        "5 numbers stay, 4 a step move",
    ):
        assert words in text
    assert visit.page.locator("#model").text_content() == f"Method {of_method}."
    assert visit.page.locator("#cannot").is_hidden()


def test_every_control_has_a_name(visit: Visit) -> None:
    unnamed = visit.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas[role=img]")].filter(
          (e) => !e.ariaLabel && !e.labels?.length && !e.textContent.trim()).map((e) => e.outerHTML)"""
    )
    assert unnamed == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bundle/decoder.onnx", "decoder.onnx is not the file that was exported (its bytes changed)"),
        ("bundle/manifest.json", "was changed after it was written: its digest does not fit"),
        ("bundle/prior.onnx", "prior.onnx is missing, though the manifest names it"),
        ("onnxruntime-web/ort.wasm.bundle.min.mjs", "'sdkit export --web DIR' writes it beside this page"),
    ],
)
def test_a_bad_bundle_is_refused(chromium: Any, images: Served, name: str, words: str) -> None:
    path = images.folder / name
    content = path.read_bytes()
    try:
        if "missing" in words or "writes" in words:
            path.unlink()
        else:
            path.write_bytes(
                content.replace(b'"steps": 5', b'"steps": 6') if "manifest" in name else content[:-1] + b"?"
            )
        page = chromium.new_page()
        page.goto(images.address)
        page.wait_for_selector("html[data-state=failed]", timeout=PATIENCE)
        assert words in page.locator("#error").text_content()
        assert page.locator("#main").is_hidden()
        page.close()
    finally:
        path.write_bytes(content)


def test_without_samples_two_sequences_are_drawn(chromium: Any, images: Served) -> None:
    samples = images.folder / "samples"
    samples.rename(images.folder / "away")
    try:
        visit = Visit(chromium, images.address, color_scheme="dark", reduced_motion="reduce")
        drawn = images.rt.element.cast(images.rt.generate(2, images.rt.manifest.steps, seed=0))
        assert visit.page.locator("#play").get_attribute("aria-label") == "Play"
        visit.check("source-a", drawn[:1])
        visit.check("source-b", drawn[1:])
        visit.page.close()
    finally:
        (images.folder / "away").rename(samples)


def test_series_are_charts(chromium: Any, series: Served) -> None:
    visit = Visit(chromium, series.address)
    visit.page.locator("#play").click()
    visit.fill("frame", 1)
    for name in ("source-a", "reconstruction-b", "a-with-b", "b-with-a", "blended", "new-static", "new-both"):
        drawn = visit.pixels(name)
        assert drawn.shape[1] > 100
        assert len(np.unique(drawn.reshape(-1, 4), axis=0)) > 3, name
    before = visit.pixels("a-with-b")
    visit.choose("b", "motion 4, row 4")
    assert (visit.pixels("a-with-b") != before).any()
    np.save(series.folder.parent / "x.npy", series.samples[1])
    visit.page.locator("[data-side=a] input[type=file]").set_input_files(series.folder.parent / "x.npy")
    visit.page.wait_for_selector("[data-side=a] h3:text-is('A: x.npy')")
    visit.wait()
    assert visit.errors == []
    visit.page.close()


Every = Callable[..., AbstractContextManager[tuple[Visit, Served]]]


@pytest.fixture(scope="module")
def every(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Every:
    """Return what serves and visits the page of a method's bundle, and looks for errors at the end."""

    @contextmanager
    def visited(
        name: str, samples: bool = True, change: Callable[[Path], object] | None = None
    ) -> Iterator[tuple[Visit, Served]]:
        place = tmp_path_factory.mktemp(name)
        with served(exported(place / "bundle", name), place, change) as page:
            if not samples:
                (page.folder / "samples").rename(place / "away")
            visit = Visit(chromium, page.address, reduced_motion="reduce")
            yield visit, page
            assert [words for words in visit.errors if samples or "404" not in words] == []
            visit.page.close()

    return visited


def offered(visit: Visit) -> set[str]:
    """Return the ids of the canvases, headings and controls that are to be seen."""
    found = visit.page.evaluate(
        """() => [...document.querySelectorAll("main [id]")].filter((e) => e.checkVisibility()).map((e) => e.id)"""
    )
    return set(found)


def lines(visit: Visit) -> list[str]:
    return list(visit.page.locator("#cannot li").all_text_contents())


def test_a_method_with_priors_of_its_own_shows_what_python_computes(every: Every) -> None:
    with every("skd") as (visit, page):
        rt, cast = page.rt, page.rt.element.cast
        visit.choose("a", "motion 2, row 2")
        visit.choose("b", "motion 5, row 5")
        a, b = page.samples[2], page.samples[5]
        visit.check("reconstruction-a", cast(rt.reconstruct(a)))
        for name, clip in zip(("a-with-b", "b-with-a"), rt.swap(a, b), strict=True):
            visit.check(name, cast(clip))
        visit.fill("seed-static", 5)
        visit.fill("seed-dynamic", 5)
        visit.check("new-static", cast(rt.resample_static(a, seed=5)))
        visit.check("new-dynamic", cast(rt.resample_dynamic(a, seed=5)))
        visit.check("new-both", cast(rt.generate(1, STEPS, seed=5)))
        assert visit.page.locator("#model").text_content() == "Method skd, variant skd."
        assert lines(visit) == []
        assert f"stream: {rt.manifest.refusals['stream']}" in visit.page.locator("#card").text_content()


def test_a_sequence_longer_than_the_prior_draws_is_not_drawn_anew(every: Every, tmp_path: Path) -> None:
    with every("patchwork") as (visit, page):
        assert {"new-dynamic", "python-dynamic"} <= offered(visit)
        most = page.rt.manifest.max_steps
        assert most is not None
        x = clips(page.rt, most + 1)[:1]
        np.save(tmp_path / "long.npy", x)
        visit.page.locator("[data-side=a] input[type=file]").set_input_files(tmp_path / "long.npy")
        visit.page.wait_for_selector("[data-side=a] h3:text-is('A: long.npy')")
        visit.wait()
        assert not {"new-dynamic", "python-dynamic"} & offered(visit)
        assert visit.page.locator("#limit").text_content() == (
            f"The prior of this model draws at most {most} steps, and A has {most + 1}: "
            f"its motion is not drawn anew, and new sequences have {most}."
        )
        visit.check("new-static", page.rt.element.cast(page.rt.resample_static(x, seed=0)))
        visit.check("new-both", page.rt.element.cast(page.rt.generate(1, most, seed=0)))
        visit.choose("a", "motion 2, row 2")
        assert "new-dynamic" in offered(visit)
        assert visit.page.locator("#limit").is_hidden()


def test_a_model_without_a_static_code_offers_no_swap_and_says_why(every: Every) -> None:
    with every("gpvae") as (visit, page):
        seen = offered(visit)
        assert {"choose", "source-a", "reconstruction-a", "new-dynamic", "new-both", "draw-dynamic"} <= seen
        hidden = {"swap", "a-with-b", "blend", "blended", "mix", "source-b", "new-static", "draw-static", "seed-static"}
        assert not hidden & seen
        assert lines(visit) == ["This model cannot swap, resample_static: its method has no static code."]
        assert visit.page.locator("#choose").inner_text() == "Choose a sequence"
        assert "static" not in visit.page.locator(".lede").inner_text()
        assert "static" not in visit.page.locator("#codes-a").inner_text()
        rt, cast = page.rt, page.rt.element.cast
        visit.choose("a", "motion 2, row 2")
        visit.check("reconstruction-a", cast(rt.reconstruct(page.samples[2])))
        visit.fill("seed-dynamic", 4)
        visit.check("new-dynamic", cast(rt.resample_dynamic(page.samples[2], seed=4)))


def test_a_model_without_an_encoder_draws_sequences(every: Every) -> None:
    with every("generator") as (visit, page):
        assert not {"choose", "swap", "blend", "new-static", "new-dynamic"} & offered(visit)
        assert {"draw", "new-both", "draw-static", "draw-dynamic"} <= offered(visit)
        verbs = "encode, reconstruct, swap, resample_static, resample_dynamic"
        assert lines(visit) == [f"This model cannot {verbs}: it has no encoder."]
        for seed in (0, 9):
            visit.fill("seed-static", seed)
            visit.fill("seed-dynamic", seed)
            visit.check("new-both", page.rt.element.cast(page.rt.generate(1, page.rt.manifest.steps, seed=seed)))
        shown = visit.page.locator("[data-needs=generate] > code").inner_text()
        assert shown == f"rt.generate(1, {page.rt.manifest.steps}, seed=9)"


def test_without_samples_and_without_a_prior_a_file_is_asked_for(every: Every, tmp_path: Path) -> None:
    def refuse(manifest: dict[str, Any]) -> None:
        manifest["capabilities"].remove("generate")
        manifest["refusals"]["generate"] = "it has no prior"

    with every("skd", samples=False, change=edit(refuse)) as (visit, page):
        assert "No sequences lie beside this page" in visit.page.locator("#none").inner_text()
        assert lines(visit) == ["This model cannot generate: it has no prior."]
        assert "new-both" not in offered(visit)
        np.save(tmp_path / "x.npy", page.samples[0][0])
        for side in "ab":
            visit.page.locator(f"[data-side={side}] input[type=file]").set_input_files(tmp_path / "x.npy")
            visit.page.wait_for_selector(f"[data-side={side}] h3:text-is('{side.upper()}: x.npy')")
            visit.wait()
        visit.check("a-with-b", page.rt.element.cast(page.rt.reconstruct(page.samples[0])))


def test_vectors_are_lines_of_each_feature(chromium: Any, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"feature_mean": (0.0, 5.0, 9.0), "feature_std": (1.0, 1.0, 1.0)}
    widths: dict[str, Any] = {"encoder_widths": (8, 6), "decoder_widths": (6, 8)}
    drawn = {}
    for kind in ("spectrum", "vector"):
        element = Element(kind, (3,), "float32", ("mV",), ("left", "middle", "right"))
        bundle = exported(tmp_path / f"{kind}-bundle", "dsvae", element=element, **widths, **facts)
        with served(bundle, tmp_path / kind) as page:
            visit = Visit(chromium, page.address, reduced_motion="reduce")
            assert f"{kind} (3) float32" in visit.page.locator("#card").text_content()
            for canvas in ("source-a", "reconstruction-b", "a-with-b", "new-both"):
                assert len(np.unique(visit.pixels(canvas).reshape(-1, 4), axis=0)) > 3, canvas
            drawn[kind] = visit.pixels("source-a")
            assert visit.errors == []
            visit.page.close()
    assert drawn["vector"].shape[0] == 3 * ROW
    assert strokes(drawn["vector"]) == 3
    assert drawn["spectrum"].shape[0] != 3 * ROW


ROW = 58
"""Height of a feature's line, in pixels."""


def strokes(pixels: NDArray[np.uint8]) -> int:
    """Return how many rows of features hold a line of the sequence's colour over most of their width."""
    count = 0
    for top in range(0, pixels.shape[0], ROW):
        row = pixels[top : top + ROW].astype(int)
        purple = ((row[..., 2] - row[..., 1] > 60) & (row[..., 3] > 100)).any(0)
        count += bool(purple.mean() > 0.2)
    return count
