"""Matrices with a low-rank change beside them, which is never added up (Hu et al. 2021)."""

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Changed:
  """W + down · up; what is multiplied by it goes through W and, beside it, through the rank.

  So no array as large as W comes of the change, nor of its gradient where W itself is not trained.

  Attributes:
    base: W, [..., inputs..., outputs...].
    down: [..., inputs..., r].
    up: [..., r, outputs...].
  """

  base: jax.Array
  down: jax.Array
  up: jax.Array

  def __getitem__(self, index: Any) -> 'Changed':
    assert index is Ellipsis, 'a matrix with its change has no parts'
    return self

  @property
  def shape(self) -> tuple[int, ...]:
    return self.base.shape
