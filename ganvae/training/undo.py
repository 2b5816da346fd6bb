"""Tensors put back to what they held before a step."""

from __future__ import annotations

import torch
from torch import Tensor


class Undo:
    """Copies of tensors, to restore them; only those that changed since are copied again."""

    def __init__(self) -> None:
        self._live: list[Tensor] = []
        self._places: list[int] = []
        self._copies: list[Tensor] = []
        self._versions: list[int] = []

    @torch.no_grad()
    def remember(self, tensors: list[Tensor]) -> None:
        """Copies the present values of these tensors."""
        places = [tensor.data_ptr() for tensor in tensors]
        versions = [tensor._version for tensor in tensors]
        if places != self._places:
            self._copies = [tensor.clone() for tensor in tensors]
        else:
            changed = [i for i, v in enumerate(versions) if v != self._versions[i]]
            if changed:
                torch._foreach_copy_(
                    [self._copies[i] for i in changed], [tensors[i] for i in changed]
                )
        self._live, self._places, self._versions = tensors, places, versions

    @torch.no_grad()
    def restore(self) -> None:
        """Gives the tensors the values that were remembered."""
        if self._live:
            torch._foreach_copy_(self._live, self._copies)
        self._versions = [tensor._version for tensor in self._live]
