"""The file verbs do what the array verbs do, whatever the size of the file, and leave all or nothing."""

import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError, MissingFileError, OutputExistsError
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage import hdf5
from sdkit.runtime.storage.code_file import CodeFile
from sdkit.runtime.storage.pipeline import ALIVE
from sdkit.runtime.storage.sequences import SPLITS, SequenceFile, SequenceMeta, SequenceWriter
from sdkit.runtime.verbs import files
from sdkit.runtime.verbs.files import choose_batch_size
from tests.export.runs import lively_model, quick_export, write_run
from tests.runtime.conftest import FACTORS, Log, WriteSequences
from tests.tiny import IMAGE, sequences

N, T = 11, 5
EXACT: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}
"""Codes of other batches differ in the last bits."""

Call = Callable[[Runtime, Path, Path], Any]
VERBS: dict[str, Call] = {
    "encode": lambda rt, a, out, **o: rt.encode_file(a, out, **o),
    "reconstruct": lambda rt, a, out, **o: rt.reconstruct_file(a, out, **o),
    "resample static": lambda rt, a, out, **o: rt.resample_file(a, out, keep="dynamic", **o),
    "resample dynamic": lambda rt, a, out, **o: rt.resample_file(a, out, keep="static", **o),
    "swap": lambda rt, a, out, **o: rt.swap_file(a, a, out, **o),
    "generate": lambda rt, a, out, **o: rt.generate_file(out, count=9, steps=4, **o),
}
SOURCED = [name for name in VERBS if name != "generate"]


def arrays(path: Path) -> dict[str, Array]:
    with h5py.File(path) as file:
        return {name: file[name][:] for name in file}


def same_pixels(a: Array, b: Array) -> None:
    """Grey levels may round to the one beside where batches differ."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    assert np.abs(a.astype(int) - b.astype(int)).max(initial=0) <= 1
    assert np.ptp(b) > 50


def test_encode_file(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    source = write_sequences()
    assert rt.encode_file(source, tmp_path / "codes.h5") == tmp_path / "codes.h5"
    codes = rt.encode(sequences(N, T))
    found, given = arrays(tmp_path / "codes.h5"), arrays(source)
    np.testing.assert_allclose(found["static"], codes.static, **EXACT)
    np.testing.assert_allclose(found["dynamic"], codes.dynamic, **EXACT)
    assert found["static"].dtype == found["dynamic"].dtype == np.float32
    for name in ("labels", "targets", *(f"{split}_indices" for split in SPLITS)):
        np.testing.assert_array_equal(found[name], given[name])
    assert set(found) == (set(given) - {"data"}) | {"static", "dynamic"}
    with h5py.File(tmp_path / "codes.h5") as file, h5py.File(source) as inputs:
        assert file.attrs["classes"] == inputs.attrs["classes"]
        assert (file.attrs["format"], file.attrs["version"], file.attrs["source"]) == ("sdkit-codes", 1, "in.h5")
        assert file.attrs["model"] == rt.manifest.provenance.weights_sha256


def test_encode_file_with_a_seed(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    source = write_sequences()
    rt.encode_file(source, tmp_path / "codes.h5", seed=3)
    rt.encode_file(source, tmp_path / "means.h5")
    codes, found = rt.encode(sequences(N, T), seed=3), arrays(tmp_path / "codes.h5")
    np.testing.assert_allclose(found["static"], codes.static, **EXACT)
    np.testing.assert_allclose(found["dynamic"], codes.dynamic, **EXACT)
    assert np.abs(found["static"] - arrays(tmp_path / "means.h5")["static"]).max() > 0.1


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_alone(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, split: str) -> None:
    source = write_sequences()
    given = arrays(source)
    index = np.sort(given[f"{split}_indices"])
    rt.encode_file(source, tmp_path / "codes.h5", split=split)
    rt.reconstruct_file(source, tmp_path / "out.h5", split=split)
    codes = rt.encode(given["data"][index])
    for found in (arrays(tmp_path / "codes.h5"), arrays(tmp_path / "out.h5")):
        np.testing.assert_array_equal(found["source_indices"], index)
        np.testing.assert_array_equal(found["labels"], given["labels"][index])
        np.testing.assert_array_equal(found["targets"], given["targets"][index])
        assert not [name for name in found if name.endswith("_indices") and name != "source_indices"]
    np.testing.assert_allclose(arrays(tmp_path / "codes.h5")["dynamic"], codes.dynamic, **EXACT)
    same_pixels(arrays(tmp_path / "out.h5")["data"], rt.element.cast(rt.decode(codes)))


def test_all_is_no_split(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    rt.encode_file(write_sequences(), tmp_path / "codes.h5", split="all")
    found = arrays(tmp_path / "codes.h5")
    assert len(found["static"]) == N
    assert "source_indices" not in found
    assert "train_indices" in found


def test_decode_file(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    rt.encode_file(write_sequences(), tmp_path / "codes.h5")
    rt.decode_file(tmp_path / "codes.h5", tmp_path / "out.h5")
    with SequenceFile(tmp_path / "out.h5") as file:
        assert file.element == rt.element
        assert file.meta.source == "decoded from codes.h5"
        same_pixels(file.read(slice(None)), rt.element.cast(rt.reconstruct(sequences(N, T))))


def test_reconstruct_file(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    source = write_sequences()
    rt.reconstruct_file(source, tmp_path / "out.h5")
    found, given = arrays(tmp_path / "out.h5"), arrays(source)
    same_pixels(found["data"], rt.element.cast(rt.reconstruct(given["data"])))
    for name in set(given) - {"data"}:
        np.testing.assert_array_equal(found[name], given[name])
    with SequenceFile(tmp_path / "out.h5") as file:
        assert (file.factors, file.meta.rate, file.meta.name) == (FACTORS, 8.0, "blocks")
        assert (file.meta.source, file.meta.licence) == ("made up", "CC0-1.0")


@pytest.mark.parametrize("keep", ["static", "dynamic"])
def test_resample_file(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, keep: Any) -> None:
    source = write_sequences()
    x = arrays(source)["data"]
    verb = rt.resample_dynamic if keep == "static" else rt.resample_static
    rt.resample_file(source, tmp_path / "out.h5", keep=keep, seed=5)
    same_pixels(arrays(tmp_path / "out.h5")["data"], rt.element.cast(verb(x, seed=5)))
    rt.resample_file(source, tmp_path / "some.h5", keep=keep, seed=5, count=6)
    some = arrays(tmp_path / "some.h5")
    same_pixels(some["data"], rt.element.cast(verb(x[:6], seed=5)))
    assert some["source_indices"].tolist() == [0, 1, 2, 3, 4, 5]
    rt.resample_file(source, tmp_path / "other.h5", keep=keep, seed=6)
    assert (arrays(tmp_path / "other.h5")["data"] != arrays(tmp_path / "out.h5")["data"]).mean() > 0.1


def test_swap_file(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    a, b = write_sequences("a.h5"), write_sequences("b.h5", steps=7, seed=1)
    rt.swap_file(a, b, tmp_path / "swap.h5")
    ab, ba = rt.swap(arrays(a)["data"], arrays(b)["data"])
    found = arrays(tmp_path / "swap.h5")
    assert set(found) == {"static_a_dynamic_b", "static_b_dynamic_a"}
    same_pixels(found["static_a_dynamic_b"], rt.element.cast(ab))
    same_pixels(found["static_b_dynamic_a"], rt.element.cast(ba))
    assert (found["static_a_dynamic_b"].shape[1], found["static_b_dynamic_a"].shape[1]) == (7, 5)
    with h5py.File(tmp_path / "swap.h5") as file:
        assert file.attrs["format"] == "sdkit-swap"
        assert file.attrs["source"] == "swapped: a = a.h5, b = b.h5"
        assert (file.attrs["element"], file.attrs["units"], file.attrs["rate"]) == ("image", '["grey level"]', 8.0)


def test_swap_files_tell_lengths_of_the_dynamic_codes(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path
) -> None:
    a, b = write_sequences("a.h5", ragged=True), write_sequences("b.h5", steps=7, seed=1)
    rt.swap_file(a, b, tmp_path / "swap.h5", count=3)
    found = arrays(tmp_path / "swap.h5")
    assert "static_a_dynamic_b_lengths" not in found
    assert found["static_b_dynamic_a_lengths"].tolist() == [2, 3, 4]


def test_what_is_decoded_keeps_its_scales(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    source = write_sequences()
    with h5py.File(source, "r+") as file:
        file.attrs.update({"step": "1 hour", "note": "of this file alone"})
    rt.reconstruct_file(source, tmp_path / "reconstructed.h5")
    rt.swap_file(source, source, tmp_path / "swap.h5")
    for name in ("reconstructed.h5", "swap.h5"):
        with h5py.File(tmp_path / name) as file:
            assert file.attrs["step"] == "1 hour"
            assert "note" not in file.attrs


def test_metadata_survive_every_verb(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    source = write_sequences()
    said: dict[str, Any] = {
        "step": "1 hour",
        "bin_spacing": "40 Hz",
        "target_names": '["rain"]',
        "target_units": '["mm"]',
    }
    said |= {"licence": "CC0-1.0", "rate": 2.5}
    with h5py.File(source, "a") as file:
        file.attrs.update(said)
    for name, call in VERBS.items():
        call(rt, source, tmp_path / f"{name}.h5")
    rt.decode_file(tmp_path / "encode.h5", tmp_path / "decode.h5")
    for name in ("encode", "decode", "reconstruct", "resample static", "resample dynamic"):
        with h5py.File(tmp_path / f"{name}.h5") as file:
            assert {key: file.attrs.get(key) for key in said} == said, name
    with h5py.File(tmp_path / "swap.h5") as file:  # which has no targets
        assert {key: file.attrs.get(key) for key in said} == {**said, "target_names": None, "target_units": None}


def test_what_is_generated_has_the_licence_of_the_training_data(mini: Bundle, tmp_path: Path) -> None:
    rt = Runtime.open(mini.path, device="cpu")
    rt.generate_file(tmp_path / "a.h5", count=2, steps=3)
    assert SequenceFile(tmp_path / "a.h5").meta.licence == mini.manifest.provenance.data_licence
    rt.data_licence = "CC0-1.0"
    rt.generate_file(tmp_path / "b.h5", count=2, steps=3)
    assert SequenceFile(tmp_path / "b.h5").meta.licence == "CC0-1.0"


def test_generate_file(rt: Runtime, tmp_path: Path) -> None:
    rt.generate_file(tmp_path / "out.h5", count=9, steps=4, seed=3)
    with SequenceFile(tmp_path / "out.h5") as file:
        assert (file.count, file.steps, file.meta.source) == (9, 4, "generated with seed 3")
        same_pixels(file.read(slice(None)), rt.element.cast(rt.generate(9, 4, seed=3)))
    for count, steps in ((0, 4), (3, 1)):
        with pytest.raises(ConfigError, match=f"cannot generate {count} sequences of {steps} steps"):
            rt.generate_file(tmp_path / "no.h5", count=count, steps=steps)


def test_float_images(tmp_path: Path) -> None:
    element = Element("image", (3, 16, 16), "float32")
    run = write_run(tmp_path / "run", lively_model(element=element))
    rt = Runtime.open(quick_export(run).path, device="cpu", batch_size=4)
    x = sequences(6, 4, element)
    with SequenceWriter(tmp_path / "in.h5", SequenceMeta(element)) as writer:
        writer.write(x)
    rt.reconstruct_file(tmp_path / "in.h5", tmp_path / "out.h5")
    with SequenceFile(tmp_path / "out.h5") as file:
        assert file.element == element
        np.testing.assert_allclose(file.read(slice(None)), rt.reconstruct(x), atol=1e-5)


@pytest.mark.parametrize("compression", ["gzip", "lz4", "none"])
@pytest.mark.parametrize("name", VERBS)
def test_compression_changes_no_value(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, name: str, compression: str
) -> None:
    import hdf5plugin  # noqa: F401  h5py needs it to read LZ4

    source = write_sequences()
    VERBS[name](rt, source, tmp_path / "a.h5")
    VERBS[name](rt, source, tmp_path / "b.h5", compression=compression)  # type: ignore[call-arg]
    a, b = arrays(tmp_path / "a.h5"), arrays(tmp_path / "b.h5")
    assert set(a) == set(b)
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


# Sequences of different lengths.


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runtime]:
    """Return a runtime of each named variant; the codes of `release` depend on later elements too."""
    folder = tmp_path_factory.mktemp("variants")
    bundles = {name: quick_export(write_run(folder / name, lively_model(name))) for name in ("paper", "release")}
    return {name: Runtime.open(bundle.path, device="cpu", threads=1, batch_size=4) for name, bundle in bundles.items()}


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_ragged_sequences_are_encoded_at_their_own_length(
    variants: dict[str, Runtime], write_sequences: WriteSequences, tmp_path: Path, variant: str
) -> None:
    rt = variants[variant]
    source = write_sequences(ragged=True)
    given = arrays(source)
    assert sorted(set(given["lengths"])) == [2, 3, 4, 5]
    for seed in (None, 3):
        rt.encode_file(source, tmp_path / "codes.h5", seed=seed, force=True)
        found = arrays(tmp_path / "codes.h5")
        np.testing.assert_array_equal(found["lengths"], given["lengths"])
        for i, length in enumerate(given["lengths"]):
            alone = rt.encode(given["data"][i : i + 1, :length], seed=seed, first=i)
            np.testing.assert_allclose(found["static"][i], alone.static[0], **EXACT)
            np.testing.assert_allclose(found["dynamic"][i, :length], alone.dynamic[0], **EXACT)
            assert (found["dynamic"][i, length:] == 0).all()
    # Row 0 has two steps; its padding would change nothing only where codes know no later element.
    apart = np.abs(rt.encode(given["data"][:1], seed=3).dynamic[0, :2] - found["dynamic"][0, :2]).max()
    assert given["lengths"][0] == 2
    assert apart < 1e-5 if variant == "paper" else apart > 1e-3


@pytest.fixture(scope="module")
def last_anchor(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Return the runtime of a model whose codes depend on where a sequence ends."""
    model = lively_model(anchor="last", bidirectional=True)
    run = write_run(tmp_path_factory.mktemp("last") / "run", model)
    return Runtime.open(quick_export(run).path, device="cpu", threads=1, batch_size=4)


def test_ragged_files_in_every_verb(last_anchor: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    rt = last_anchor
    source, other = write_sequences(ragged=True), write_sequences("b.h5", steps=6, seed=1)
    given, against = arrays(source), arrays(other)["data"]
    rt.reconstruct_file(source, tmp_path / "reconstructed.h5")
    rt.resample_file(source, tmp_path / "static.h5", keep="dynamic", seed=2)
    rt.resample_file(source, tmp_path / "dynamic.h5", keep="static", seed=2)
    rt.swap_file(source, other, tmp_path / "swap.h5")
    rt.encode_file(source, tmp_path / "codes.h5")
    rt.decode_file(tmp_path / "codes.h5", tmp_path / "decoded.h5")
    for i, length in enumerate(given["lengths"]):
        x = given["data"][i : i + 1, :length]
        ab, ba = rt.swap(x, against[i : i + 1])
        for name, key, expected in (
            ("reconstructed", "data", rt.reconstruct(x)),
            ("decoded", "data", rt.reconstruct(x)),
            ("static", "data", rt.resample_static(x, seed=2, first=i)),
            ("dynamic", "data", rt.resample_dynamic(x, seed=2, first=i)),
            ("swap", "static_b_dynamic_a", ba),
        ):
            with h5py.File(tmp_path / f"{name}.h5") as file:
                row = file[key][i]
            same_pixels(row[:length], rt.element.cast(expected[0]))
            assert (row[length:] == 0).all()
        same_pixels(arrays(tmp_path / "swap.h5")["static_a_dynamic_b"][i], rt.element.cast(ab[0]))
    for name in ("reconstructed", "static", "dynamic", "decoded"):
        np.testing.assert_array_equal(arrays(tmp_path / f"{name}.h5")["lengths"], given["lengths"])


# What is refused, before anything is written.


@pytest.mark.parametrize("name", VERBS)
def test_outputs_that_exist(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, name: str) -> None:
    source, out = write_sequences(), tmp_path / "out.h5"
    out.write_text("mine")
    with pytest.raises(OutputExistsError, match=r"out\.h5 exists already"):
        VERBS[name](rt, source, out)
    assert out.read_text() == "mine"
    VERBS[name](rt, source, out, force=True)  # type: ignore[call-arg]
    assert h5py.is_hdf5(out)
    with pytest.raises(MissingFileError, match="nowhere does not exist"):
        VERBS[name](rt, source, tmp_path / "nowhere" / "out.h5")


@pytest.mark.parametrize("name", SOURCED)
def test_an_input_is_never_the_output(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, name: str) -> None:
    source = write_sequences()
    before = source.read_bytes()
    (tmp_path / "link.h5").symlink_to(source)
    for target in (source, tmp_path / "link.h5"):
        with pytest.raises(ConfigError, match="is both input and output; choose another output"):
            VERBS[name](rt, source, target, force=True)  # type: ignore[call-arg]
    assert source.read_bytes() == before


def test_codes_are_never_the_output_and_b_neither(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    a, b, codes = write_sequences("a.h5"), write_sequences("b.h5"), tmp_path / "codes.h5"
    rt.encode_file(a, codes)
    with pytest.raises(ConfigError, match="both input and output"):
        rt.decode_file(codes, codes, force=True)
    with pytest.raises(ConfigError, match="both input and output"):
        rt.swap_file(a, b, b, force=True)
    assert "static" in arrays(codes)


@pytest.mark.parametrize("name", SOURCED)
def test_sequences_of_another_element(rt: Runtime, tmp_path: Path, name: str) -> None:
    for element in (
        Element("image", (3, 8, 8), "uint8"),
        Element("image", (3, 16, 16), "float32"),
        Element("series", (6, 2), "float32"),
    ):
        with SequenceWriter(tmp_path / "in.h5", SequenceMeta(element), force=True) as writer:
            writer.write(sequences(3, 4, element))
        with pytest.raises(DataError) as caught:
            VERBS[name](rt, tmp_path / "in.h5", tmp_path / "out.h5")
        assert f"in.h5 holds {element.describe()}; the model takes {IMAGE.describe()}" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5"]


def test_swap_pairs_one_to_one(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    a, b = write_sequences("a.h5", 11), write_sequences("b.h5", 9, seed=1)
    with pytest.raises(DataError, match=r"a\.h5 has 11, .*b\.h5 has 9; --count 9 takes the first of each"):
        rt.swap_file(a, b, tmp_path / "swap.h5")
    for count in (0, 10):
        with pytest.raises(ConfigError, match=rf"--count {count}: .*a\.h5 and .*b\.h5 holds 9 to take from"):
            rt.swap_file(a, b, tmp_path / "swap.h5", count=count)
    rt.swap_file(a, b, tmp_path / "swap.h5", count=6)
    ab, _ = rt.swap(arrays(a)["data"][:6], arrays(b)["data"][:6])
    same_pixels(arrays(tmp_path / "swap.h5")["static_a_dynamic_b"], rt.element.cast(ab))


def test_options_that_cannot_be(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    source, out = write_sequences(), tmp_path / "out.h5"
    with h5py.File(source, "r+") as file:
        del file["val_indices"]
        file["val_indices"] = np.empty(0, np.int64)
        del file["test_indices"]
    for call, words in (
        (lambda: rt.encode_file(source, out, split="test"), "has no split 'test'; it has: train, val"),
        (lambda: rt.encode_file(source, out, split="val"), "split 'val' is empty"),
        (lambda: rt.encode_file(source, out, compression="zip"), "unknown compression 'zip'"),
        (lambda: rt.encode_file(source, out, seed=-1), "seed = -1"),
        (lambda: rt.resample_file(source, out, keep="both"), "unknown keep 'both'"),  # type: ignore[arg-type]
        (lambda: rt.resample_file(source, out, keep="static", count=12), "--count 12: .* holds 11"),
        (lambda: Runtime.open(rt.bundle.path, batch_size=0), "batch_size = 0"),
    ):
        with pytest.raises((ConfigError, DataError), match=words):
            call()
        assert [path.name for path in tmp_path.iterdir()] == ["in.h5"]


def test_codes_of_another_model(rt: Runtime, mini: Bundle, write_sequences: WriteSequences, tmp_path: Path) -> None:
    codes = tmp_path / "codes.h5"
    rt.encode_file(write_sequences(), codes)
    provenance = msgspec.structs.replace(mini.manifest.provenance, weights_sha256="0" * 64)
    other = Bundle(mini.path, msgspec.structs.replace(mini.manifest, provenance=provenance))
    with pytest.raises(DataError, match=r"codes\.h5 holds codes of another model"):
        Runtime(other, rt.backend).decode_file(codes, tmp_path / "out.h5")
    widths = msgspec.structs.replace(mini.manifest.widths, static_size=6)
    wider = Bundle(mini.path, msgspec.structs.replace(mini.manifest, widths=widths))
    with pytest.raises(DataError, match=r"codes with S = 5, D = 4; this model has S = 6, D = 4"):
        Runtime(wider, rt.backend).decode_file(codes, tmp_path / "out.h5")
    with h5py.File(codes, "r+") as file:
        del file.attrs["model"]
    assert rt.decode_file(codes, tmp_path / "out.h5").exists()


@pytest.mark.parametrize(
    ("static", "dynamic", "words"),
    [
        (np.zeros((3, 5), "f4"), None, r"has no data set 'dynamic' \(expected \(N, T, D\)\)"),
        (None, np.zeros((3, 5, 4), "f4"), r"has no data set 'static' \(expected \(N, S\)\)"),
        (np.zeros((3, 5), "f4"), np.zeros((2, 5, 4), "f4"), r"static has shape \(3, 5\) and dynamic \(2, 5, 4\)"),
        (np.zeros((3, 5, 4), "f4"), np.zeros((3, 5, 4), "f4"), r"expected \(N, S\) and \(N, T, D\), N > 0"),
        (np.zeros((0, 5), "f4"), np.zeros((0, 5, 4), "f4"), "N > 0"),
        (np.zeros((3, 5), "f8"), np.zeros((3, 5, 4), "f8"), "static is float64 and dynamic float64; expected float32"),
    ],
)
def test_code_files_that_are_none(tmp_path: Path, static: Array | None, dynamic: Array | None, words: str) -> None:
    with h5py.File(tmp_path / "codes.h5", "w") as file:
        for name, value in (("static", static), ("dynamic", dynamic)):
            if value is not None:
                file[name] = value
    with pytest.raises(FileFormatError, match=r"codes\.h5.*" + words):
        CodeFile(tmp_path / "codes.h5")


def test_code_file(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    rt.encode_file(write_sequences(ragged=True), tmp_path / "codes.h5")
    with CodeFile(tmp_path / "codes.h5") as file:
        assert (file.count, file.steps, file.model) == (N, T, rt.model_id)
        assert (file.widths.static_size, file.widths.dynamic_size) == (5, 4)
        lengths = file.lengths()
        assert lengths is not None
        assert lengths.tolist() == [2 + i % 4 for i in range(N)]
        part = file.read(slice(2, 5))
        assert isinstance(part, Codes)
        np.testing.assert_array_equal(part.dynamic, arrays(tmp_path / "codes.h5")["dynamic"][2:5])


# How it goes, and how it ends.


@pytest.mark.parametrize("name", VERBS)
def test_reporters_hear_of_every_sequence(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, name: str
) -> None:
    log = Log()
    VERBS[name](rt, write_sequences(), tmp_path / "out.h5", reporter=log)  # type: ignore[call-arg]
    assert len(log.stages) == log.finished == 1
    assert log.total == log.done == (9 if name == "generate" else N)


@pytest.mark.parametrize("name", VERBS)
def test_interrupted_work_leaves_nothing(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, name: str
) -> None:
    source, log = write_sequences(), Log(interrupt=True)
    with pytest.raises(KeyboardInterrupt):
        VERBS[name](rt, source, tmp_path / "out.h5", reporter=log)  # type: ignore[call-arg]
    assert log.finished == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5"]


def test_an_error_in_the_last_batch_leaves_nothing(
    tmp_path: Path, write_sequences: WriteSequences, rt: Runtime
) -> None:
    out = tmp_path / "out.h5"
    source = write_sequences()
    out.write_text("mine")
    calls = []
    run = rt.backend.run

    def failing(graph: str, inputs: Any) -> Any:
        calls.append(graph)
        if calls.count("decoder") == 3:
            raise RuntimeError("out of memory")
        return run(graph, inputs)

    rt.backend.run = failing  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="out of memory"):
        rt.reconstruct_file(source, out, force=True)
    assert out.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "out.h5"]


@pytest.mark.parametrize("name", SOURCED)
def test_memory_does_not_grow_with_the_file(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "CHUNK_BYTES", 1 << 15)
    rt.batch_size = 16
    row = T * 3 * 16 * 16
    peaks = []
    for count in (256, 1280):
        source = write_sequences(f"{count}.h5", count)
        VERBS[name](rt, source, tmp_path / f"warm-{count}.h5")  # what is loaded once does not count
        tracemalloc.start()
        VERBS[name](rt, source, tmp_path / f"out-{count}.h5")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # How many batches wait differs from run to run, within the bound; a file in memory would add 1024 rows, or twice.
    assert peaks[1] - peaks[0] < 1024 * row / 4
    assert max(peaks) < 1280 * row


def test_no_more_than_three_batches_of_each_kind_are_alive(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, most = [0], [0]
    cast = Element.cast

    def died() -> None:
        alive[0] -= 1

    def counted(element: Element, x: Array) -> Array:
        out = cast(element, x)
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        weakref.finalize(out, died)
        return out

    monkeypatch.setattr(Element, "cast", counted)
    rt.reconstruct_file(write_sequences(count=120), tmp_path / "out.h5")
    assert 1 <= most[0] <= ALIVE
    assert alive == [0]


@pytest.mark.parametrize("name", VERBS)
def test_a_folder_is_refused_before_anything_is_computed(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, name: str
) -> None:
    source, log = write_sequences(), Log()
    (tmp_path / "out").mkdir()
    for force in (False, True):
        with pytest.raises(OutputExistsError, match="out is a folder, which no file replaces; choose another output"):
            VERBS[name](rt, source, tmp_path / "out", force=force, reporter=log)  # type: ignore[call-arg]
    assert log.stages == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "out"]


@pytest.mark.parametrize("split", ["all", "test"])
def test_what_is_decoded_keeps_labels_and_splits(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, split: str
) -> None:
    source = write_sequences(ragged=True)
    rt.encode_file(source, tmp_path / "codes.h5", split=split)
    rt.decode_file(tmp_path / "codes.h5", tmp_path / "out.h5")
    found, codes = arrays(tmp_path / "out.h5"), arrays(tmp_path / "codes.h5")
    assert set(found) == set(codes) - {"static", "dynamic"} | {"data"}
    for name in set(found) - {"data"}:
        np.testing.assert_array_equal(found[name], codes[name])
    assert ("source_indices" in found) == (split == "test")
    with SequenceFile(tmp_path / "out.h5") as file:
        assert file.factors == FACTORS
        assert file.labels() is not None


def test_sequences_are_no_codes(rt: Runtime, write_sequences: WriteSequences, tmp_path: Path) -> None:
    source, log = write_sequences(), Log()
    with pytest.raises(DataError, match=r"in\.h5 holds sequences, not codes; first `sdkit encode .*in\.h5 -o codes"):
        rt.decode_file(source, tmp_path / "out.h5", reporter=log)
    with h5py.File(tmp_path / "codes.h5", "w") as file:
        file["static"], file["dynamic"] = np.zeros((2, 5), np.float32), np.zeros((2, 5, 4), np.float32)
        file["labels"] = np.zeros((3, 1), np.int64)
    with pytest.raises(FileFormatError, match=r"codes\.h5: data set 'labels' has shape \(3, 1\); expected N = 2 rows"):
        rt.decode_file(tmp_path / "codes.h5", tmp_path / "out.h5", reporter=log)
    assert log.stages == []
    assert not (tmp_path / "out.h5").exists()


HOSTILE_CODES: dict[str, tuple[Any, str]] = {
    "static": (np.full((11, 5), np.nan, np.float32), "'static' holds NaN or infinite codes"),
    "dynamic": (np.full((11, 5, 4), np.inf, np.float32), "'dynamic' holds NaN or infinite codes"),
    "labels": (np.full((11, 2), 1e300), "'labels' holds 1e"),
    "lengths": (np.full(11, 9), "'lengths' must lie in 2"),
    "targets": (np.zeros((11, 3, 1)), r"'targets' has shape \(11, 3, 1\)"),
    "train_indices": (np.array([99]), "'train_indices' leaves 0"),
    "calibration_indices": (h5py.SoftLink("/static"), "'calibration_indices' is a link"),
    "test_indices": (h5py.ExternalLink("other.h5", "/a"), "'test_indices' is a link into another file"),
}


@pytest.mark.parametrize("name", HOSTILE_CODES)
def test_codes_that_encode_never_wrote_are_not_decoded(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, name: str
) -> None:
    codes = rt.encode_file(write_sequences(), tmp_path / "codes.h5")
    value, words = HOSTILE_CODES[name]
    with h5py.File(codes, "r+") as file:
        if name in file:
            del file[name]
        file[name] = value
    with pytest.raises(DataError, match=words):
        rt.decode_file(codes, tmp_path / "out.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes.h5", "in.h5"]


@pytest.mark.parametrize(
    ("shape", "features", "steps", "device", "size"),
    [
        ((3, 64, 64), 128, 8, "cpu", 8),
        ((3, 64, 64), 128, 8, "cuda:1", 256),
        ((3, 64, 64), 128, 16, "cpu", 4),
        ((3, 64, 64), 16384, 8, "cpu", 4),
        ((1, 8, 8), 16, 4, "cpu", 1024),
        ((3, 1024, 1024), 128, 8, "cpu", 1),
    ],
)
def test_batch_sizes_that_are_chosen(shape: tuple[int, ...], features: int, steps: int, device: str, size: int) -> None:
    widths = Widths(8, 4, features=features, context=32)
    assert choose_batch_size(Element("image", shape, "uint8"), widths, steps, device) == size


def test_batches_of_long_sequences_are_smaller(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Runtime.open(rt.bundle.path, device="cpu").batch_size == 256
    sizes: list[int] = []
    run = rt.backend.run

    def counting(graph: str, inputs: Any) -> Any:
        sizes.append(len(next(iter(inputs.values()))))
        return run(graph, inputs)

    monkeypatch.setitem(files.BATCH_BYTES, "cpu", 8 * 4 * 50 * 768)
    chosen = Runtime(rt.bundle, rt.backend)
    monkeypatch.setattr(rt.backend, "run", counting)
    for steps, runtime, size in ((50, chosen, 8), (100, chosen, 4), (90, rt, 4)):
        sizes.clear()
        source = write_sequences(f"{steps}.h5", count=9, steps=steps)
        runtime.encode_file(source, tmp_path / "codes.h5", force=True)
        assert max(sizes) == size
    assert chosen.batch_size > 8


def test_interrupted_work_is_kept_with_resume(
    rt: Runtime, write_sequences: WriteSequences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "CHUNK_BYTES", 4 * T * 3 * 16 * 16)
    source = write_sequences(count=40)
    rt.reconstruct_file(source, tmp_path / "whole.h5")
    monkeypatch.setenv("SDKIT_BUNDLE", str(rt.bundle.path))
    command = ["reconstruct", str(source), "-o", str(tmp_path / "out.h5"), "--device=cpu", "--batch-size=4"]
    with monkeypatch.context() as patch:
        patch.setattr("sdkit.cli.reconstruct.reporter", lambda: Log(interrupt_at=30))
        assert CliRunner().invoke(app, [*command, "--resume"]).exit_code != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.h5.part", "in.h5", "whole.h5"]
    result = CliRunner().invoke(app, [*command, "--resume"])
    assert result.exit_code == 0
    assert "goes on at sequence" in result.stderr
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
