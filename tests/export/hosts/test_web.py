"""The page's folder: what is written, what is refused, and how it is served. No node, no browser, no network."""

import http.client
import io
import json
import re
import shutil
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.export.hosts import web
from sdkit.export.hosts.serve import HEADERS, page_server
from sdkit.export.hosts.web import ENGINE_FILES, FILES, PAGE, choose_rows, ready_bundle, training_data, write_page
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.errors import (
    BundleError,
    ConfigError,
    DataError,
    MissingExtraError,
    MissingFileError,
    OutputExistsError,
)
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.sequences import Factor, SequenceFile, SequenceMeta, SequenceWriter
from sdkit.training.run import Run
from tests.export.runs import lively_model, quick_export, write_run
from tests.tiny import IMAGE, sequences

FACTORS = (Factor("colour", "static", ("red", "green", "blue")), Factor("motion", "dynamic", ("walk", "wave")))
COUNT, STEPS = 20, 5


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """Return a folder that looks like the npm package onnxruntime-web."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name in ENGINE_FILES:
        (folder / "dist" / name).write_text(f"contents of {name}")
    return folder


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Return labelled sequences of several lengths with a test split."""
    rng = np.random.default_rng(0)
    meta = SequenceMeta(IMAGE, "blocks", FACTORS, rate=12.0, source="made up", licence="CC0-1.0")
    labels = np.stack([rng.integers(0, 3, COUNT), rng.integers(0, 2, COUNT)], 1)
    with SequenceWriter(tmp_path / "samples.h5", meta) as writer:
        writer.write(sequences(COUNT, STEPS), labels=labels, lengths=2 + np.arange(COUNT) % (STEPS - 1))
        writer.splits({"train": np.arange(8), "test": np.arange(8, COUNT)})
    return tmp_path / "samples.h5"


@pytest.fixture
def page(mini: Bundle, samples: Path, engine: Path, tmp_path: Path) -> Path:
    """Return a written page."""
    return write_page(mini, tmp_path / "page", samples=samples, engine=engine, count=6)


def test_folder_holds_all_that_the_page_asks_for(page: Path) -> None:
    text = "".join((page / name).read_text("utf-8") for name in FILES)
    asked = set(re.findall(r'(?:src|href|from)[= ]*"(?:\./)?([\w./-]+\.\w+)"', text))
    assert {"page.mjs", "style.css", "view.mjs", "sdkit.mjs", "noise.mjs", "bundle/MODEL_CARD.md"} <= asked
    assert [name for name in asked if not (page / name).is_file()] == []
    assert sorted(path.name for path in (page / "onnxruntime-web").iterdir()) == sorted(ENGINE_FILES)
    assert f'"./onnxruntime-web/{ENGINE_FILES[0]}"' in (page / "page.mjs").read_text("utf-8")
    for name in FILES:
        assert (page / name).read_bytes() == (PAGE / name).read_bytes()


def test_bundle_of_the_page_is_the_bundle_as_onnx(page: Path, mini: Bundle) -> None:
    copied = Bundle.open(page / "bundle")
    assert copied.manifest.formats == ("onnx",)
    assert copied.manifest.provenance == mini.manifest.provenance
    names = {spec.path for spec in copied.specs()} | {"manifest.json"}
    assert {path.name for path in (page / "bundle").iterdir()} == names
    assert "golden.npz" not in names
    x = sequences(2, 4)
    np.testing.assert_array_equal(
        Runtime.open(page / "bundle", device="cpu", threads=1).reconstruct(x),
        Runtime.open(mini.path, device="cpu", threads=1).reconstruct(x),
    )


def test_samples_are_rows_of_the_test_split_cut_to_their_lengths(page: Path, samples: Path) -> None:
    about = json.loads((page / "samples" / "samples.json").read_text("utf-8"))
    assert (about["name"], about["source"], about["licence"], about["rate"]) == ("blocks", "made up", "CC0-1.0", 12.0)
    assert len(about["sequences"]) == 6
    with SequenceFile(samples) as file:
        lengths, labels = file.lengths(), file.labels()
        assert lengths is not None
        assert labels is not None
        for entry in about["sequences"]:
            row = int(entry["file"].removesuffix(".npy"))
            assert row >= 8
            assert entry["name"] == f"{FACTORS[1].values[labels[row, 1]]}, row {row}"
            expected = file.read([row])[0, : lengths[row]]
            np.testing.assert_array_equal(np.load(page / "samples" / entry["file"], allow_pickle=False), expected)


def test_samples_differ_in_their_labels(samples: Path) -> None:
    with SequenceFile(samples) as file:
        labels = file.labels()
        rows = choose_rows(file, 6)
        assert labels is not None
        assert len({tuple(labels[row]) for row in rows}) == len({tuple(label) for label in labels[8:]})
        assert (labels[rows[0]] != labels[rows[1]]).all()
        assert sorted(choose_rows(file, 99)) == list(range(8, COUNT))
        np.testing.assert_array_equal(choose_rows(file, 6), rows)


def test_without_samples_the_page_has_none(mini: Bundle, engine: Path, tmp_path: Path) -> None:
    page = write_page(mini, tmp_path / "page", engine=engine / "dist")
    assert not (page / "samples").exists()


def test_samples_without_labels_and_splits(mini: Bundle, engine: Path, tmp_path: Path) -> None:
    with SequenceWriter(tmp_path / "bare.h5", SequenceMeta(IMAGE)) as writer:
        writer.write(sequences(3, 4))
    page = write_page(mini, tmp_path / "page", samples=tmp_path / "bare.h5", engine=engine)
    about = json.loads((page / "samples" / "samples.json").read_text("utf-8"))
    assert sorted(entry["name"] for entry in about["sequences"]) == ["row 0", "row 1", "row 2"]


def test_a_page_is_replaced_only_when_asked_and_nothing_else_is(
    page: Path, mini: Bundle, engine: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputExistsError, match="page exists already"):
        write_page(mini, page, engine=engine)
    write_page(mini, page, engine=engine, force=True)
    assert not (page / "samples").exists()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("Dear")
    with pytest.raises(ConfigError, match="letters exists and is not a page of sdkit"):
        write_page(mini, tmp_path / "letters", engine=engine, force=True)
    assert (tmp_path / "letters" / "to-mother.txt").read_text() == "Dear"


def test_what_does_not_fit_is_refused_and_leaves_nothing(
    mini: Bundle, engine: Path, samples: Path, tmp_path: Path
) -> None:
    scripts = quick_export(write_run(tmp_path / "scripts", lively_model()), format="torchscript")
    with pytest.raises(BundleError, match="holds no onnx graphs, which the page runs"):
        write_page(scripts, tmp_path / "page", engine=engine)
    with SequenceWriter(tmp_path / "wide.h5", SequenceMeta(IMAGE.__class__("image", (3, 16, 32), "uint8"))) as writer:
        writer.write(np.zeros((2, 3, 3, 16, 32), np.uint8))
    with pytest.raises(
        DataError, match=r"wide\.h5 holds image \(3, 16, 32\) uint8; the bundle takes image \(3, 16, 16\)"
    ):
        write_page(mini, tmp_path / "page", samples=tmp_path / "wide.h5", engine=engine)
    (engine / "dist" / ENGINE_FILES[1]).unlink()
    with pytest.raises(MissingFileError, match=r"is not the npm package onnxruntime-web: it holds no ort-wasm"):
        write_page(mini, tmp_path / "page", samples=samples, engine=engine)
    assert not [path for path in tmp_path.iterdir() if "page" in path.name]


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program named npm before all others."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_npm_fetches_the_pinned_version(mini: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = json.loads((PAGE / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", pinned)
    with tarfile.open(tmp_path / "packed.tgz", "w:gz") as archive:
        for name in (*ENGINE_FILES, "ort.webgl.min.mjs"):
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    fake_npm(tmp_path / "bin", monkeypatch, f'echo "$@" > {tmp_path}/asked\ncp {tmp_path}/packed.tgz "$4/x.tgz"')
    page = write_page(mini, tmp_path / "page")
    assert (tmp_path / "asked").read_text().startswith(f"pack onnxruntime-web@{pinned} --pack-destination ")
    assert {path.name: path.read_text() for path in (page / "onnxruntime-web").iterdir()} == {
        n: n for n in ENGINE_FILES
    }


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "echo 'npm error network' >&2; exit 1",
            "npm could not fetch onnxruntime-web@.* \\(npm error network\\); `npm",
        ),
        ("exit 0", "npm could not fetch"),
        (None, "there is no npm that would fetch it; `npm install onnxruntime-web@[\\d.]+` anywhere, then pass --onnx"),
    ],
)
def test_no_engine_is_one_clear_line(
    mini: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, words: str
) -> None:
    if script is None:
        monkeypatch.setattr(shutil, "which", lambda name: None)
    else:
        fake_npm(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(MissingExtraError, match=words) as caught:
        write_page(mini, tmp_path / "page")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "page").exists()


def test_a_slow_npm_is_given_up(mini: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path / "bin", monkeypatch, "exec sleep 60")
    monkeypatch.setattr(web, "NPM_SECONDS", 0.2)
    with pytest.raises(MissingExtraError, match="npm did not fetch"):
        write_page(mini, tmp_path / "page")


def test_a_bundle_is_ready_if_it_is_of_these_weights(run: Run) -> None:
    assert ready_bundle(run.path) is None
    bundle = quick_export(run)
    assert ready_bundle(run.path) == bundle
    assert ready_bundle(run.path, bundle.path) == bundle
    assert ready_bundle(run.path, run.path / "elsewhere") is None
    best = run.path / "best.safetensors"
    best.write_bytes(best.read_bytes() + b" ")
    assert ready_bundle(run.path) is None


def test_training_data_only_where_they_still_are(run: Run) -> None:
    assert training_data(run.path) is None
    (run.path / "none.h5").touch()
    config = json.loads((run.path / "config.json").read_text())
    config["data"]["path"] = str(run.path / "none.h5")
    (run.path / "config.json").write_text(json.dumps(config))
    assert training_data(run.path) == run.path / "none.h5"


def test_export_command(run: Run, samples: Path, engine: Path, tmp_path: Path) -> None:
    bundle = quick_export(run)
    before = (bundle.path / "manifest.json").read_bytes()
    line = ["export", str(run.path), "--web", str(tmp_path / "page"), "--onnxruntime-web", str(engine)]
    result = CliRunner().invoke(app, [*line, "--samples", str(samples), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["bundle"] == str(bundle.path)
    assert f"next: sdkit serve {tmp_path / 'page'}" in result.stderr
    assert (bundle.path / "manifest.json").read_bytes() == before
    assert (tmp_path / "page" / "samples" / "samples.json").is_file()
    again = CliRunner().invoke(app, line)
    assert again.exit_code == 2
    assert "page exists already" in again.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--samples", "x.h5"], "--samples and --onnxruntime-web belong to --web"),
        (["--web", "page", "--format", "torchscript"], "the page of --web runs ONNX graphs"),
    ],
)
def test_export_command_refuses(run: Run, options: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["export", str(run.path), *options])
    assert result.exit_code == 2
    assert words in result.stderr
    assert not run.bundle.exists()


@pytest.fixture
def port(page: Path) -> Iterator[int]:
    """Return the port of a page that is being served."""
    with page_server(page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page.mjs", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        (f"/onnxruntime-web/{ENGINE_FILES[0]}", "text/javascript; charset=utf-8"),
        (f"/onnxruntime-web/{ENGINE_FILES[1]}", "application/wasm"),
        ("/bundle/manifest.json", "application/json; charset=utf-8"),
        ("/bundle/decoder.onnx", "application/octet-stream"),
        ("/bundle/MODEL_CARD.md", "text/plain; charset=utf-8"),
    ],
)
def test_files_are_served_with_their_types_and_threads(port: int, page: Path, path: str, kind: str) -> None:
    status, headers, body = get(port, path)
    assert status == 200
    assert headers["Content-type"] == kind
    assert headers.items() >= HEADERS.items()
    assert body == (page / (path.strip("/") or "index.html")).read_bytes()


@pytest.mark.parametrize("path", ["/bundle/", "/nothing", "/../samples.h5", "/%2e%2e/samples.h5", "//samples.h5"])
def test_nothing_else_is_served(port: int, page: Path, path: str) -> None:
    assert (page.parent / "samples.h5").is_file()
    assert get(port, path)[0] == 404


def test_server_is_for_this_machine_alone(page: Path, tmp_path: Path) -> None:
    with page_server(page) as server:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        with pytest.raises(ConfigError, match=f"port {port} cannot be had .*choose another --port, or 0 for any"):
            page_server(page, int(port))
    with pytest.raises(MissingFileError, match="is not a page of sdkit; `sdkit export --web"):
        page_server(tmp_path / "nowhere")


@pytest.mark.parametrize("opens", [True, False])
def test_serve_command(page: Path, monkeypatch: pytest.MonkeyPatch, opens: bool) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)

    def interrupt(server: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", interrupt)
    result = CliRunner().invoke(app, ["serve", str(page), "--port", "0", *([] if opens else ["--no-open"])])
    assert result.exit_code == 130, result.stderr
    (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", result.stderr)
    assert opened == [address] * opens
