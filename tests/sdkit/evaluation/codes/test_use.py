from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdkit.evaluation.codes.use import CodeUseProtocol, code_use
from sdkit.methods import graphs
from sdkit.methods.parts.gaussian import kl_to_standard
from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.contract import STATIC_PRIOR, Ports
from sdkit.runtime.element import Array
from sdkit.runtime.errors import CapabilityError, ConfigError
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from tests.sdkit.evaluation.made import ELEMENT, PORTS, STD, Collapsed, Splitter, verbs
from tests.sdkit.training.files import write as write_images
from tests.tiny import sequences, tiny_model


def test_use_of_the_codes(file: SequenceFile) -> None:
    found = code_use(verbs(), file)
    # Static (10 who, 1): its second unit never varies. Dynamic (10 what, t): both do.
    assert (found.sequences, found.active_static, found.static_size) == (9, 1, 2)
    assert (found.active_dynamic, found.dynamic_size) == (2, 2)
    squares = (100 * np.array([0, 1, 4])).mean() + 1
    assert found.static_divergence == pytest.approx(0.5 * (squares + 2 * (STD**2 - 1)) - 2 * np.log(STD))
    collapsed = code_use(verbs(Collapsed()), file)
    assert (collapsed.active_static, collapsed.active_dynamic) == (0, 0)


def test_the_divergence_of_the_training_model(tmp_path: Path) -> None:
    x = sequences(5, 4)
    with SequenceFile(write_images(tmp_path / "x.h5", x, splits={"test": range(5)})) as file:
        model: Any = tiny_model()
        found = code_use(graphs.verbs(model), file)
        static, _ = model.posterior(torch.from_numpy(x))
        assert found.static_divergence == pytest.approx(kl_to_standard(static).mean().item(), rel=1e-5)


class Deterministic(Splitter):
    """Gives its static code without a spread."""

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        found = super().run(graph, inputs)
        return {name: 0 * value if name == "static_std" else value for name, value in found.items()}


class OtherPrior(Splitter):
    """Draws static codes from a prior of its own."""

    ports = PORTS | {STATIC_PRIOR: Ports(("noise",), ("static",))}


@pytest.mark.parametrize("splitter", [Deterministic(), OtherPrior()], ids=lambda splitter: type(splitter).__name__)
def test_a_divergence_that_makes_no_sense_is_none(file: SequenceFile, splitter: Splitter) -> None:
    found = code_use(verbs(splitter), file)
    assert found.static_divergence is None
    assert (found.active_static, found.static_size, found.active_dynamic) == (1, 2, 2)


def test_a_method_without_a_static_code_has_no_static_units(file: SequenceFile) -> None:
    model = Verbs(Collapsed(), ELEMENT, Widths(2, 2), abilities=Abilities("one", {"swap": "it has no static code"}))
    found = code_use(model, file)
    assert (found.active_static, found.static_size, found.static_divergence) == (None, None, None)
    assert found.dynamic_size == 2
    kept = {name: value for name, value in vars(found).items() if value is not None}
    assert [line.figure for line in CodeUseProtocol().lines(kept)] == ["active dynamic units"]


def test_at_most_so_many(file: SequenceFile) -> None:
    assert code_use(verbs(), file, limit=4).sequences == 4
    few = [code_use(verbs(), file, limit=2, seed=s).static_divergence for s in (0, 0, 1)]
    assert few[0] == few[1] != few[2]


def test_what_cannot_be_measured(file: SequenceFile) -> None:
    with pytest.raises(ConfigError, match="limit = 1"):
        code_use(verbs(), file, limit=1)
    mute = Verbs(Splitter(), ELEMENT, Widths(2, 2), abilities=Abilities("one", {"encode": "it only generates"}))
    with pytest.raises(CapabilityError, match="cannot encode: it only generates"):
        code_use(mute, file)
