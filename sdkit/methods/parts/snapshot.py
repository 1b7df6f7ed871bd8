"""Copies of modules as they were at one time, which do not learn."""

import copy

import torch
from torch import Tensor, nn


class Snapshot(nn.Module):
    """Copies of modules. All their weights are buffers, so that no optimiser sees them and every state holds them.

    The copies are always in evaluation mode, whatever the mode of the model that they belong to.

    Args:
        modules: modules to copy, in the order in which `copies` has them.
    """

    taken: Tensor
    """Whether `take` has been called, bool, a scalar."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.register_buffer("taken", torch.zeros((), dtype=torch.bool))
        self.copies = nn.ModuleList(copy.deepcopy(module) for module in modules)
        for part in self.copies.modules():
            for name, value in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, value.detach().clone())
        self.copies.float()  # recurrent layers keep a list of their weights, which a change of type renews
        self.train(False)

    def train(self, mode: bool = True) -> "Snapshot":
        """Stay in evaluation mode."""
        return super().train(False)

    def take(self, *modules: nn.Module) -> None:
        """Copy the weights that modules have now, the same modules in the same order."""
        for copied, module in zip(self.copies, modules, strict=True):
            copied.load_state_dict(module.state_dict())
        self.taken.fill_(True)
