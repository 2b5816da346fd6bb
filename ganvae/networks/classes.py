"""Conditioning networks on classes: one-hot vectors, and projection."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot


def check(label: Tensor | None, classes: int) -> None:
    """Raises ValueError where a class is missing, or given to a network of none."""
    if (label is None) != (classes == 0):
        kind = f"of {classes} classes: give each sample's label" if classes else "of no classes"
        raise ValueError(f"this network is {kind}")


class AppendClass(nn.Module):
    """Features (B, F) to (B, F + classes): the class is appended as a one-hot vector."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes

    def forward(self, h: Tensor, label: Tensor | None) -> Tensor:
        """The features as they are where there are no classes."""
        check(label, self.classes)
        return h if label is None else torch.cat([h, one_hot(label, self.classes).to(h)], 1)


class Projection(nn.Module):
    """Features (B, F) to ⟨v_y, h⟩, shape (B,), with a vector v_y for each class y."""

    def __init__(self, classes: int, features: int):
        super().__init__()
        self.classes = classes
        if classes:
            self.vectors = nn.Parameter(torch.zeros(classes, features))

    def forward(self, h: Tensor, label: Tensor | None) -> Tensor | float:
        """Zero where there are no classes."""
        check(label, self.classes)
        return 0.0 if label is None else (self.vectors[label] * h).sum(1)
