from pathlib import Path

import numpy as np
import pytest

from sdkit.runtime.element import Array, Element
from sdkit.runtime.storage.sequences import SequenceFile, SequenceMeta, SequenceWriter
from sdkit.training.statistics import feature_statistics

ELEMENT = Element("series", (4, 3), "float32")


def write(path: Path, x: Array) -> SequenceFile:
    with SequenceWriter(path, SequenceMeta(ELEMENT)) as writer:
        writer.write(x.astype(np.float32))
    return SequenceFile(path)


def test_equals_numpy_over_the_observed_values_of_the_chosen_sequences(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal((100.0, 1.0, -5.0), (20.0, 0.1, 3.0), (600, 2, 4, 3))
    x[rng.random(x.shape) < 0.3] = np.nan
    file, index = write(tmp_path / "x.h5", x), np.arange(0, 600, 2)
    mean, std = feature_statistics(file, index)
    values = x.astype(np.float32)[index].reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean, np.nanmean(values, 0), rtol=1e-10)
    np.testing.assert_allclose(std, np.nanstd(values, 0, ddof=1), rtol=1e-10)


def test_a_large_offset_costs_no_precision(tmp_path: Path) -> None:
    x = 1e4 + np.random.default_rng(0).standard_normal((300, 2, 4, 3))
    file = write(tmp_path / "x.h5", x)
    _, std = feature_statistics(file, file.select(None))
    values = x.astype(np.float32).astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(std, values.std(0, ddof=1), rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, 7.0], ids=["never observed", "never changes"])
def test_a_feature_without_spread_has_a_std_of_one(tmp_path: Path, value: float) -> None:
    x = np.random.default_rng(0).standard_normal((5, 2, 4, 3))
    x[..., 1] = value
    file = write(tmp_path / "x.h5", x)
    mean, std = feature_statistics(file, file.select(None))
    assert std[1] == 1.0
    assert mean[1] == (0.0 if np.isnan(value) else 7.0)
