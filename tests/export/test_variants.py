"""Exported graphs equal the model whatever switches it is made of, at sizes unlike those of the traced example."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from sdkit.export.graphs.signatures import Signature, signatures
from sdkit.export.graphs.writers import EXAMPLE, OPSETS, check_opset, compiled, write_onnx, write_torchscript
from sdkit.methods.base import Method
from sdkit.methods.graphs import TorchBackend
from sdkit.runtime.contract import STEP
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError
from tests.export.runs import lively_model
from tests.tiny import IMAGE, sequences

SIZES = ((1, 2), (2, 3), (1, 9), (5, 4), (3, 7), (7, 3))
SWITCHED = ("static", "dynamic", "prior")
"""Graphs that the switches change; encoder and decoder know nothing of them."""
FLOATS = Element("image", (3, 16, 16), "float32")
WIDE = Element("image", (1, 8, 24), "uint8")


class Exported:
    """Graphs of a model in both formats, run as a host does that knows no more than names."""

    def __init__(self, model: Method, folder: Path, names: tuple[str, ...], opset: int = 18) -> None:
        self.torch = TorchBackend(model)
        contract = signatures(self.torch.graphs, model.facts.element, model.widths)
        self.onnx, self.scripts = dict[str, Any](), dict[str, Any]()
        self.contract: dict[str, Signature] = contract
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        for name in names:
            module = compiled(self.torch.graphs[name].eval())
            graph, script = folder / f"{name}.onnx", folder / f"{name}.ts.pt"
            write_onnx(module, contract[name], graph, opset=opset, metadata={})
            write_torchscript(module, contract[name], script, metadata={})
            self.onnx[name] = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
            self.scripts[name] = torch.jit.load(str(script))  # type: ignore[no-untyped-call]

    def check(self, name: str, inputs: dict[str, Array], atol: float = 1e-5) -> dict[str, Array]:
        """Check that all three agree, and return the model's results."""
        expected = self.torch.run(name, inputs)
        given, wanted = ([t.name for t in side] for side in self.contract[name][:2])
        assert list(expected) == wanted
        session = self.onnx[name]
        assert [value.name for value in session.get_inputs()] == given
        by_onnx = session.run(wanted, inputs)
        with torch.inference_mode():
            by_script = self.scripts[name](*(torch.from_numpy(inputs[key]) for key in given))
        by_script = [r.numpy() for r in (by_script if isinstance(by_script, tuple) else (by_script,))]
        for want, a, b in zip(expected.values(), by_onnx, by_script, strict=True):
            assert a.shape == b.shape == want.shape
            assert a.dtype == b.dtype == want.dtype == np.float32
            np.testing.assert_allclose(a, want, atol=atol, rtol=1e-4)
            np.testing.assert_allclose(b, want, atol=atol, rtol=1e-4)
        return expected


def check_paths(exported: Exported, settings: Any, width: int) -> None:
    """Check static, dynamic and prior at every size, and what the contract says of the anchor."""
    rng = np.random.default_rng(0)
    for batch, steps in SIZES:
        features = rng.standard_normal((batch, steps, width), np.float32)
        static = exported.check("static", {"features": features})
        inputs = {"features": features, "context": static["context"]}
        dynamic = exported.check("dynamic", inputs)
        noise = rng.standard_normal((batch, steps, settings.dynamic_size), np.float32)
        prior = exported.check("prior", {"noise": noise})
        anchor = {"first": 0, "middle": steps // 2, "last": steps - 1}[settings.anchor]
        zero = settings.anchor_dynamic == "zero"
        for value in (*dynamic.values(), *prior.values()):
            assert value.shape == (batch, steps, settings.dynamic_size)
            assert (value[:, anchor] == 0).all() == zero
            assert (np.delete(value, anchor, 1) != 0).all()
        # The static code comes from the anchor alone, and not from any other place.
        other = features.copy()
        other[:, [t for t in range(steps) if t != anchor]] += 1
        changed = exported.check("static", {"features": other})
        np.testing.assert_allclose(changed["static_mean"], static["static_mean"], atol=1e-6)
        other = features.copy()
        other[:, anchor] += 1
        changed = exported.check("static", {"features": other})
        assert np.abs(changed["static_mean"] - static["static_mean"]).max() > 1e-2


@pytest.mark.parametrize(("bidirectional", "layers"), [(False, 1), (True, 2)], ids=["causal", "bidirectional-2"])
@pytest.mark.parametrize(
    ("anchor", "subtract", "anchor_dynamic"),
    list(product(("first", "middle", "last"), ("hidden", "features", "none"), ("zero", "inferred"))),
)
def test_every_point_of_the_switches(
    tmp_path: Path, anchor: str, subtract: str, anchor_dynamic: str, bidirectional: bool, layers: int
) -> None:
    model = lively_model(
        anchor=anchor, subtract=subtract, anchor_dynamic=anchor_dynamic, bidirectional=bidirectional, layers=layers
    )
    check_paths(Exported(model, tmp_path, SWITCHED), model.settings, model.features)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("variant", ["paper", "release", "filter"])
def test_named_variants_in_every_opset(tmp_path: Path, variant: str, opset: int) -> None:
    model = lively_model(variant)
    check_paths(Exported(model, tmp_path, SWITCHED, opset), model.settings, model.features)


def check_step(exported: Exported, model: Method) -> None:
    """Check the step graph at every size, and that its codes are the dynamic graph's, step by step."""
    rng = np.random.default_rng(0)
    width, size = model.features, model.widths.state
    for batch, steps in SIZES:
        features = rng.standard_normal((batch, steps, width), np.float32)
        static = exported.torch.run("static", {"features": features})
        whole = exported.torch.run("dynamic", {"features": features, "context": static["context"]})
        state = np.zeros((batch, size), np.float32)
        for t in range(steps):
            element = np.ascontiguousarray(features[:, t : t + 1])
            step = exported.check(STEP, {"element_features": element, "state": state})
            state = step["next_state"]
            np.testing.assert_allclose(step["static_mean"], static["static_mean"], atol=1e-5)
            for name in ("dynamic_mean", "dynamic_std"):
                np.testing.assert_allclose(step[name], whole[name][:, t : t + 1], atol=1e-5)


ONLINE: list[dict[str, Any]] = [
    *({"subtract": s, "anchor_dynamic": a} for s in ("hidden", "features", "none") for a in ("zero", "inferred")),
    *({"filter": True, "bidirectional": b, "anchor_dynamic": a} for b in (False, True) for a in ("zero", "inferred")),
]
"""Every point of the switches, the depth apart, that can run online."""


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("changes", ONLINE, ids=str)
def test_steps_of_every_causal_point_of_the_switches(tmp_path: Path, changes: dict[str, Any], layers: int) -> None:
    model = lively_model(**changes, layers=layers)
    check_step(Exported(model, tmp_path, (STEP,)), model)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("variant", ["paper", "filter"])
def test_steps_in_every_opset(tmp_path: Path, variant: str, opset: int) -> None:
    model = lively_model(variant)
    check_step(Exported(model, tmp_path, (STEP,), opset), model)


@pytest.mark.parametrize(
    "changes", [{"bidirectional": True}, {"anchor": "middle"}, {"anchor": "last", "filter": True}], ids=str
)
def test_other_points_have_no_step(changes: dict[str, Any]) -> None:
    model = lively_model(**changes)
    assert model.widths.state == 0
    assert STEP not in model.graphs()
    assert STEP not in signatures(model.graphs(), model.facts.element, model.widths)


@pytest.mark.parametrize("changes", [{"prior_layers": 1}, {"prior_layers": 3, "layers": 3}, {"hidden_size": 1}])
def test_other_depths(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = lively_model(**changes)
    check_paths(Exported(model, tmp_path, SWITCHED), model.settings, model.features)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("element", [IMAGE, FLOATS, WIDE], ids=lambda element: element.describe())
def test_data_go_in_and_come_out_in_their_own_units(tmp_path: Path, element: Element, opset: int) -> None:
    depth: dict[str, Any] = {} if element is not WIDE else {"encoder_widths": (4, 8), "decoder_widths": (8, 4)}
    model = lively_model(element=element, **depth)
    exported = Exported(model, tmp_path, ("encoder", "decoder"), opset)
    rng = np.random.default_rng(1)
    for batch, steps in SIZES:
        x = sequences(batch, steps, element)
        assert x.dtype == np.dtype(element.dtype)
        features = exported.check("encoder", {"x": x})["features"]
        assert features.shape == (batch, steps, model.features)
        codes = {
            "static": rng.standard_normal((batch, 5), np.float32),
            "dynamic": rng.standard_normal((batch, steps, 4), np.float32),
        }
        decoded = exported.check("decoder", codes, atol=1e-5 * element.high)["x"]
        assert decoded.shape == x.shape
        assert 0 <= decoded.min() < 0.4 * element.high
        assert 0.6 * element.high < decoded.max() <= element.high


def test_grey_levels_and_unit_pixels_of_one_picture_have_the_same_features(tmp_path: Path) -> None:
    x = sequences(2, 3)
    features = []
    for element, given in ((IMAGE, x), (FLOATS, (x / 255).astype(np.float32))):
        folder = tmp_path / element.dtype
        folder.mkdir()
        features.append(Exported(lively_model(element=element), folder, ("encoder",)).check("encoder", {"x": given}))
    np.testing.assert_allclose(features[0]["features"], features[1]["features"], atol=1e-4)
    assert np.ptp(features[0]["features"]) > 1


def test_the_pixel_scale_of_the_sprites_is_in_the_graph(tmp_path: Path) -> None:
    model = lively_model(pixel_scale=256.0)
    exported = Exported(model, tmp_path, ("encoder", "decoder"))
    x = sequences(2, 3)
    found = exported.check("encoder", {"x": x})["features"]
    other = TorchBackend(lively_model()).run("encoder", {"x": x})["features"]
    assert np.abs(found - other).max() > 1e-3


def test_example_sizes_are_none_of_an_edge_and_differ() -> None:
    """An axis of 1, or two equal axes, could be frozen into a graph and pass unseen."""
    assert min(EXAMPLE.values()) > 2
    assert len(set(EXAMPLE.values())) == len(EXAMPLE)


@pytest.mark.parametrize("opset", [0, 16, 21])
def test_opsets_that_cannot_be_written(opset: int) -> None:
    with pytest.raises(ConfigError, match=f"opset {opset} cannot be written; choose one of 17, 18, 19, 20"):
        check_opset(opset)
