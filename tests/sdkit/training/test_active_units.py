import torch

from sdkit.training.active_units import ACTIVE_VARIANCE, active_units


def test_units_that_vary_are_counted() -> None:
    n = torch.arange(8.0)
    means = torch.stack([torch.zeros(8), n, 5 + 0.01 * n, n % 2], 1)
    assert active_units(means) == 2


def test_the_threshold_is_on_the_variance_over_the_data() -> None:
    sign = torch.tensor([1.0, -1.0]).repeat(50)
    root = ACTIVE_VARIANCE**0.5
    assert active_units(torch.stack([0.99 * root * sign, 1.01 * root * sign], 1)) == 1


def test_one_sequence_has_no_active_unit() -> None:
    assert active_units(torch.ones(1, 4)) == 0


def test_half_precision_means_are_counted_in_float32() -> None:
    means = torch.tensor([[400.0], [400.5]], dtype=torch.float16)
    assert active_units(means) == 1
