"""Matrices of 8 bits: an integer for every weight, and a scale for every output."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

LARGEST = 127
# A matrix by the last word of its name → the axes that it sums over, from the last.
INPUTS: Mapping[str, tuple[int, ...]] = {
  'kernel': (-2,), 'up': (-2,), 'down': (-2,), 'gate': (-2,), 'query': (-3,), 'key': (-3,),
  'value': (-3,), 'out': (-3, -2),
}  # fmt: skip


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int8:
  """A matrix w ≈ values · scale; wherever it is used, it becomes one of the type of activations.

  Attributes:
    values: int8, of the shape of w.
    scale: float32, of the same shape but for the axes that w sums over, which have size 1.
  """

  values: jax.Array
  scale: jax.Array

  def __getitem__(self, index: Any) -> 'Int8':
    assert index is Ellipsis, 'a matrix of 8 bits has no parts'
    return self

  @property
  def shape(self) -> tuple[int, ...]:
    return self.values.shape

  def astype(self, dtype: Any) -> jax.Array:
    """w in a type of floats."""
    return self.values.astype(dtype) * self.scale.astype(dtype)


def rounded(w: jax.Array, inputs: tuple[int, ...]) -> Int8:
  """w with every output's largest weight at ±127, rounded to whole numbers."""
  largest = jnp.abs(w).max(axis=inputs, keepdims=True).astype(jnp.float32)
  scale = jnp.where(largest > 0, largest, 1) / LARGEST
  values = jnp.round(w.astype(jnp.float32) / scale).astype(jnp.int8)
  return Int8(values, scale)


def inputs_of(path: tuple, ndim: int) -> tuple[int, ...]:
  """The axes that a parameter sums over where it is a matrix of layers; () where it is none."""
  inputs = INPUTS.get(path[-1].key, ())
  return inputs if inputs and ndim >= 1 - min(inputs) else ()


def blank(shape: tuple[int, ...], inputs: tuple[int, ...], layout: jax.NamedSharding) -> Int8:
  """Matrices of nothing, laid over a mesh as one of floats would be."""
  axes = [*layout.spec, *[None] * (len(shape) - len(layout.spec))]
  sizes = list(shape)
  for axis in inputs:
    axes[axis], sizes[axis] = None, 1
  layouts: Any = layout, jax.NamedSharding(layout.mesh, jax.P(*axes))
  make = lambda: Int8(jnp.zeros(shape, jnp.int8), jnp.zeros(sizes, jnp.float32))
  return jax.jit(make, out_shardings=Int8(*layouts))()


@functools.partial(jax.jit, donate_argnums=0, static_argnums=3)
def with_layer(whole: Int8, layer: jax.Array, i: int, inputs: tuple[int, ...]) -> Int8:
  """Matrices of which the i-th is a layer's, rounded."""
  put = lambda whole, part: jax.lax.dynamic_update_index_in_dim(whole, part, i, 0)
  return jax.tree.map(put, whole, rounded(layer, inputs))


def tree(params: Any, known: dict[int, Int8] | None = None) -> Any:
  """Nested dicts of parameters with all matrices of layers rounded that are not yet.

  Args:
    params: whose layers are stacked along a first axis.
    known: what was rounded before, by the `id` of an array that still is; added to.
  """
  known = {} if known is None else known
  run = jax.jit(rounded, static_argnames='inputs')

  def one(path: tuple, leaf: Any) -> Any:
    inputs = () if isinstance(leaf, Int8) else inputs_of(path, leaf.ndim)
    if not inputs:
      return leaf
    if id(leaf) not in known:
      known[id(leaf)] = run(leaf, inputs=inputs)
    return known[id(leaf)]

  return jax.tree_util.tree_map_with_path(one, params, is_leaf=lambda x: isinstance(x, Int8))
