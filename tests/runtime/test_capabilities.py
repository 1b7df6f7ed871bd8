"""Verbs that a model has not are refused, on arrays, on files and by the command line, in one line that says why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.codes import Codes
from sdkit.runtime.contract import STEP, VERBS
from sdkit.runtime.errors import CapabilityError, ConfigError, ManifestError
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.runtime.verbs.files import FileVerbs
from tests.conftest import Registered
from tests.export.runs import copy, lively_model, quick_export, reseal, write_run
from tests.rival import NO_PRIOR, REFUSED, Rival
from tests.runtime.conftest import WriteSequences
from tests.runtime.plain import SERIES, plain_verbs, write_plain
from tests.tiny import sequences

X = np.zeros((2, 3, *SERIES.shape), np.float32)
CODES = Codes(np.zeros((2, 3), np.float32), np.zeros((2, 3, 2), np.float32))
ARRAY_VERBS: dict[str, Callable[[Verbs], Any]] = {
    "encode": lambda v: v.encode(X),
    "decode": lambda v: v.decode(CODES),
    "reconstruct": lambda v: v.reconstruct(X),
    "swap": lambda v: v.swap(X, X),
    "generate": lambda v: v.generate(2, 3),
    "resample_static": lambda v: v.resample_static(X),
    "resample_dynamic": lambda v: v.resample_dynamic(X),
    "stream": lambda v: v.stream(2),
}
FILE_VERBS: dict[str, Callable[[FileVerbs, Path, Path], Any]] = {
    "encode": lambda v, a, out: v.encode_file(a, out),
    "decode": lambda v, a, out: v.decode_file(a, out),
    "reconstruct": lambda v, a, out: v.reconstruct_file(a, out),
    "swap": lambda v, a, out: v.swap_file(a, a, out),
    "generate": lambda v, a, out: v.generate_file(out, count=2, steps=3),
    "resample_static": lambda v, a, out: v.resample_file(a, out, keep="dynamic"),
    "resample_dynamic": lambda v, a, out: v.resample_file(a, out, keep="static"),
}


def test_abilities() -> None:
    everything, some = Abilities(), Abilities("vae", {"swap": "it has no static code", "stream": "it waits"})
    assert everything.verbs == tuple(VERBS)
    assert set(some.verbs) == set(VERBS) - {"swap", "stream"}
    for verb in some.verbs:
        some.require(verb)
    with pytest.raises(CapabilityError, match=r"^this model cannot swap: it has no static code$"):
        some.require("swap")


def test_steps() -> None:
    Abilities().require_steps(10**6)
    limited = Abilities("gpvae", {}, 12)
    limited.require_steps(12)
    with pytest.raises(
        ConfigError, match=r"^the prior of this model draws at most 12 steps, not 13; its method \(gpvae\) "
    ):
        limited.require_steps(13)


def test_every_verb_is_tried_here() -> None:
    assert list(ARRAY_VERBS) == list(VERBS)
    assert list(FILE_VERBS) == [verb for verb in VERBS if verb != "stream"]


@pytest.mark.parametrize("verb", ARRAY_VERBS)
def test_verbs_on_arrays(verb: str) -> None:
    v = plain_verbs()
    ran: list[str] = []
    v.backend.before = ran.append  # type: ignore[attr-defined]
    ARRAY_VERBS[verb](v)  # it has them all
    ran.clear()
    v.abilities = Abilities("made up", {verb: "it is made up"})
    with pytest.raises(CapabilityError, match=f"^this model cannot {verb}: it is made up$"):
        ARRAY_VERBS[verb](v)
    assert ran == []


@pytest.mark.parametrize("verb", FILE_VERBS)
def test_verbs_on_files(tmp_path: Path, verb: str) -> None:
    source, out = write_plain(tmp_path / "a.h5", 5), tmp_path / "out.h5"
    v = plain_verbs()
    v.abilities = Abilities("made up", {verb: "it is made up"})
    with pytest.raises(CapabilityError, match=f"^this model cannot {verb}: it is made up$"):
        FILE_VERBS[verb](v, source, out)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_what_the_decoder_says_is_refused_with_decode() -> None:
    v = plain_verbs()
    v.abilities = Abilities("made up", {"decode": "it is made up"})
    with pytest.raises(CapabilityError, match="cannot decode"):
        v.decode_outputs(CODES)


def test_a_prior_of_so_many_steps(tmp_path: Path) -> None:
    v, out = plain_verbs(), tmp_path / "out.h5"
    v.abilities = Abilities("gpvae", {}, 3)
    assert v.generate(2, 3).shape == (2, 3, *SERIES.shape)
    assert v.resample_dynamic(X).shape == X.shape
    longer = np.zeros((2, 4, *SERIES.shape), np.float32)
    source = write_plain(tmp_path / "a.h5", 6)  # of five steps
    ran: list[str] = []
    v.backend.before = ran.append  # type: ignore[attr-defined]
    for call in (
        lambda: v.generate(2, 4),
        lambda: v.draw_dynamic(2, 4, 0),
        lambda: v.resample_dynamic(longer),
        lambda: v.generate_file(out, count=2, steps=4),
        lambda: v.resample_file(source, out, keep="static"),
    ):
        with pytest.raises(ConfigError, match=r"draws at most 3 steps, not [45]"):
            call()
    assert ran == []
    # What draws no dynamic code has no such limit.
    assert v.resample_static(longer).shape == longer.shape
    v.resample_file(source, out, keep="dynamic")


def test_lengths_count_not_the_padding(tmp_path: Path) -> None:
    source = write_plain(tmp_path / "a.h5", 3, ragged=True)  # of 2, 3 and 4 steps, padded to 5
    v = plain_verbs()
    v.abilities = Abilities("gpvae", {}, 4)
    v.resample_file(source, tmp_path / "out.h5", keep="static")
    v.abilities = Abilities("gpvae", {}, 3)
    v.resample_file(source, tmp_path / "two.h5", keep="static", count=2)
    with pytest.raises(ConfigError, match="at most 3 steps, not 4"):
        v.resample_file(source, tmp_path / "no.h5", keep="static")


# A bundle that refuses verbs: of a method without a prior.


@pytest.fixture(scope="module")
def priorless(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdkit.methods._registered", lambda: iter([Registered("rival", Rival)]))
        run = write_run(tmp_path_factory.mktemp("rival") / "run", lively_model(method="rival"))
        return quick_export(run, format="all")


def test_a_bundle_holds_the_graphs_that_its_verbs_need(priorless: Bundle) -> None:
    manifest = priorless.manifest
    assert list(manifest.graphs) == ["encoder", "static", "dynamic", "decoder"]
    assert manifest.ports["dynamic"].inputs == ("features", "static")
    assert manifest.capabilities == tuple(verb for verb in VERBS if verb not in REFUSED)
    assert manifest.refusals == {**dict.fromkeys(REFUSED, NO_PRIOR), "stream": manifest.refusals["stream"]}
    assert (manifest.method, manifest.variant, manifest.settings["strength"]) == ("rival", "", 0.5)
    assert (manifest.widths.context, manifest.widths.state) == (0, 0)


@pytest.mark.parametrize("backend", ["onnx", "torchscript"])
def test_its_runtime_refuses_them_and_does_the_others(priorless: Bundle, backend: Any) -> None:
    rt = Runtime.open(priorless.path, device="cpu", threads=1, backend=backend)
    x = sequences(3, 4)
    for swapped in rt.swap(x, x):
        np.testing.assert_allclose(swapped, rt.reconstruct(x), atol=1e-3)
    sampled = rt.encode(x, seed=3)
    assert np.abs(sampled.static - rt.encode(x).static).max() > 0.05
    for verb in ("generate", "resample_static", "resample_dynamic"):
        with pytest.raises(CapabilityError, match=f"^this model cannot {verb}: {NO_PRIOR}$"):
            {
                "generate": lambda: rt.generate(2, 3),
                "resample_static": lambda: rt.resample_static(x),
                "resample_dynamic": lambda: rt.resample_dynamic(x),
            }[verb]()
    with pytest.raises(
        CapabilityError, match=r"^this model cannot stream: its method does not run element by element$"
    ):
        rt.stream()


@pytest.mark.parametrize(
    ("command", "verb"),
    [
        (["generate", "-o", "out.h5", "--count", "2", "--steps", "3"], "generate"),
        (["generate", "-o", "out.h5", "--keep", "static", "--like", "in.h5"], "resample_dynamic"),
    ],
    ids=["generate", "resample"],
)
def test_the_command_line_refuses_them(
    priorless: Bundle,
    write_sequences: WriteSequences,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    verb: str,
) -> None:
    write_sequences()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*command, "--bundle", str(priorless.path), "--device", "cpu"])
    assert result.exit_code == 2
    assert f"this model cannot {verb}: {NO_PRIOR}" in " ".join(result.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5"]


def test_a_manifest_cannot_promise_a_verb_whose_graphs_are_not_there(priorless: Bundle, tmp_path: Path) -> None:
    bundle = copy(priorless, tmp_path / "bundle")
    reseal(bundle, capabilities=tuple(verb for verb in VERBS if verb != "stream"), refusals={"stream": "it waits"})
    with pytest.raises(
        ManifestError, match="expected encoder, static, dynamic, decoder, prior, and any of static_prior"
    ):
        Runtime.open(bundle.path)


def test_a_graph_that_no_verb_needs_may_be_there(mini: Bundle, tmp_path: Path) -> None:
    bundle = copy(mini, tmp_path / "bundle")
    reseal(
        bundle,
        capabilities=tuple(verb for verb in VERBS if verb != "stream"),
        refusals={"stream": "it must not"},
    )
    assert STEP in bundle.manifest.graphs
    with pytest.raises(CapabilityError, match="cannot stream: it must not"):
        Runtime.open(bundle.path, device="cpu").stream()
