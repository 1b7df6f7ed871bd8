"""The posterior of a code that sees its own element alone: known answers."""

import torch

from sdkit.methods.parts.element_path import ElementPath


def test_is_a_layer_and_two_heads() -> None:
    torch.manual_seed(0)
    path = ElementPath(3, 4, 2)
    features = torch.randn(2, 5, 3)
    mean, log_variance = path(features)
    hidden = torch.tanh(features @ path.hidden.weight.T + path.hidden.bias)
    torch.testing.assert_close(mean, hidden @ path.head.mean.weight.T + path.head.mean.bias)
    torch.testing.assert_close(log_variance, hidden @ path.head.log_variance.weight.T + path.head.log_variance.bias)


def test_steps_do_not_see_each_other() -> None:
    path = ElementPath(3, 4, 2)
    features = torch.randn(2, 5, 3)
    features.requires_grad_()
    path(features)[0][:, 2].sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum((0, 2)).ne(0).tolist() == [False, False, True, False, False]
