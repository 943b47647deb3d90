"""A checkpoint's tensors ↔ the parameters of a module, by a table of names.

The two keep the same numbers in another order: here layers are stacked along a first axis, a linear
map is [in, out] and heads have a dimension of their own.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Set
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax import sharding
from sorajax.errors import UserError
from sorajax.nn import int8
from sorajax.weights.stored import NAMES, Stored


class Saved(Protocol):
  """Tensors by name that tell their shapes before they are read."""

  def shapes(self) -> dict[str, tuple[int, ...]]: ...
  def __getitem__(self, name: str, /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Without:
  """Tensors less some that are not read."""

  saved: Saved
  left: Set[str]

  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor."""
    return {name: shape for name, shape in self.saved.shapes().items() if name not in self.left}

  def __getitem__(self, name: str) -> np.ndarray:
    return self.saved[name]


Params = dict[str, Any]
Make = Callable[[], nnx.Module]
SHOWN = 8  # names of a kind in an error
# Words of parameters that are linear maps, attention and MLPs, here and in diffusers.
LEAVES: Mapping[str, str] = {'kernel': 'weight', 'bias': 'bias'}
ATTENTION: Mapping[str, str] = {
  'query': 'to_q.weight', 'key': 'to_k.weight', 'value': 'to_v.weight', 'out': 'to_out.0.weight',
  'query_bias': 'to_q.bias', 'key_bias': 'to_k.bias', 'value_bias': 'to_v.bias',
  'out_bias': 'to_out.0.bias', 'query_norm': 'norm_q.weight', 'key_norm': 'norm_k.weight',
  'gate': 'to_gate_logits',
}  # fmt: skip
MLP: Mapping[str, str] = {'up': 'net.0.proj', 'down': 'net.2'}


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor of a checkpoint, and how it becomes a parameter of one layer, or of none.

  Attributes:
    name: in the checkpoint.
    shape: in the checkpoint.
    ours: shape of the parameter, without layers.
    turned: whether it is a matrix [out, in] there.
    swapped: the axis along which audio ← video and video ← audio trade places; None for none.
  """

  name: str
  shape: tuple[int, ...]
  ours: tuple[int, ...]
  turned: bool = False
  swapped: int | None = None

  def here(self, value: np.ndarray) -> np.ndarray:
    """As saved → as a parameter, in the same type."""
    return self.traded((value.T if self.turned else value).reshape(self.ours))

  def there(self, value: np.ndarray) -> np.ndarray:
    """As a parameter → as saved, in the same type."""
    value = self.traded(value)
    value = value.reshape(self.shape[::-1]).T if self.turned else value.reshape(self.shape)
    return np.ascontiguousarray(value)

  def traded(self, value: np.ndarray) -> np.ndarray:
    """The first two of four rows and the last two change places; a fifth, the gate's, stays.

    `value` is the parameter, or has its outputs as its last axes.
    """
    if self.swapped is None:
      return value
    axis = self.swapped - len(self.ours)
    rows = value.shape[axis] // 4 * 4
    first, second, gate = np.split(value, [rows // 2, rows], axis=axis)
    return np.concatenate([second, first, gate], axis=axis)

  @property
  def inputs(self) -> int:
    """Of a matrix, how many of the parameter's axes it sums over; the others are its outputs."""
    return next(n for n in range(1, len(self.ours)) if math.prod(self.ours[:n]) == self.shape[1])


@dataclasses.dataclass(frozen=True)
class Place:
  """What a parameter is made of.

  Attributes:
    tensors: one, or one of each layer.
    stacked: whether the parameter has layers along its first axis.
  """

  tensors: list[Tensor]
  stacked: bool


Places = Mapping[Any, Place]  # path in our tree → what lies there


def tensors_of(where: Places) -> list[Tensor]:
  """All tensors of a checkpoint."""
  return [tensor for place in where.values() for tensor in place.tensors]


def shapes(make: Make) -> Params:
  """The parameters' tree of a module, with a shape in every place."""
  with sharding.no_mesh():
    return _abstract(make)


def _abstract(make: Make) -> Params:
  return nnx.to_pure_dict(nnx.state(nnx.eval_shape(make), nnx.Param))


def params_of(make: Make, where: Places, saved: Mapping[str, np.ndarray]) -> Params:
  """Tensors by name → parameters, in the types they have.

  Raises:
    UserError: tensors that are missing, have another shape, or are left over.
  """
  check(where, {name: tuple(value.shape) for name, value in saved.items()})

  def take(path, leaf):
    parts = [tensor.here(saved[tensor.name]) for tensor in where[path].tensors]
    return np.stack(parts) if where[path].stacked else parts[0]

  return jax.tree_util.tree_map_with_path(take, shapes(make))


def saved_of(where: Places, params: Params) -> dict[str, np.ndarray]:
  """Parameters → tensors by name, in the types they have."""
  made = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    leaf, place = np.asarray(leaf), where[path]
    parts = leaf if place.stacked else leaf[None]
    made.update({tensor.name: tensor.there(part) for tensor, part in zip(place.tensors, parts)})
  return made


def stored_of(where: Places, params: Params) -> list[Stored]:
  """Parameters → tensors that are made when they are asked for, in the types they have.

  Args:
    where: of the module.
    params: arrays, or what tells its `dtype` and becomes one by `np.asarray`; this is done for all
      layers of a kind at once, and again where their tensors are not asked for in turn.
  """
  leaves = dict(jax.tree_util.tree_leaves_with_path(params))

  @functools.lru_cache(maxsize=1)
  def layers_of(path) -> np.ndarray:
    leaf = np.asarray(leaves[path])
    return leaf if where[path].stacked else leaf[None]

  def stored(path, i: int, tensor: Tensor) -> Stored:
    kind = NAMES[np.dtype(leaves[path].dtype)]
    return Stored(tensor.name, kind, tensor.shape, lambda: tensor.there(layers_of(path)[i]))

  return [stored(path, i, t) for path, place in where.items() for i, t in enumerate(place.tensors)]


def load(
  make: Make, where: Places, saved: Saved, mesh: jax.sharding.Mesh, dtype: Any = np.float32,
  eight_bits: bool = False,
) -> Params:  # fmt: skip
  """The tensors of a folder → parameters in `dtype`, laid over the devices of a mesh.

  The host holds one tensor at a time, and a device its part of the parameters and of that tensor.

  Args:
    make: the module.
    where: what its parameters are made of.
    saved: the tensors.
    mesh: of the devices.
    dtype: of the parameters.
    eight_bits: whether matrices of layers are rounded to 8 bits, each as it comes.

  Raises:
    UserError: tensors that are missing, have another shape, or are left over.
  """
  check(where, saved.shapes())

  def read(tensor: Tensor, layout: jax.NamedSharding) -> jax.Array:
    value = tensor.here(saved[tensor.name])
    return jax.make_array_from_callback(
      value.shape, layout, lambda index: np.asarray(value[index], dtype)
    )

  def take(path, leaf, layout):
    place = where[path]
    if not place.stacked:
      return read(place.tensors[0], layout)
    of_layer = jax.NamedSharding(mesh, sharding.P(*layout.spec[1:]))
    inputs = int8.inputs_of(path, leaf.ndim) if eight_bits else ()
    if inputs:
      rounded = int8.blank(leaf.shape, inputs, layout)
      for i, tensor in enumerate(place.tensors):
        rounded = int8.with_layer(rounded, read(tensor, of_layer), i, inputs)
      return rounded
    whole = jax.jit(lambda: jnp.zeros(leaf.shape, dtype), out_shardings=layout)()
    for i, tensor in enumerate(place.tensors):
      whole = _with_layer(whole, read(tensor, of_layer), i)
    return whole

  with jax.set_mesh(mesh):
    abstract = _abstract(make)
    layouts = sharding.shardings(mesh, abstract)
    return jax.tree_util.tree_map_with_path(take, abstract, layouts)


@functools.partial(jax.jit, donate_argnums=0)
def _with_layer(whole: jax.Array, part: jax.Array, i: int) -> jax.Array:
  return jax.lax.dynamic_update_index_in_dim(whole, part, i, 0)


def check(where: Places, given: Mapping[str, tuple[int, ...]]) -> None:
  """Raises unless `given`, name → shape, are the very tensors that parameters are made of."""
  check_shapes({tensor.name: tensor.shape for tensor in tensors_of(where)}, given)


def check_shapes(
  wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> None:
  """Raises unless the tensors `given`, name → shape, are those that are wanted."""
  odd = difference(wanted, given)
  if odd:
    raise UserError(
      f'the tensors are not those that the config describes: {odd}; give the config they were '
      'saved with'
    )


def difference(
  wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> str:  # fmt: skip
  """What is missing, unknown or misshaped among `given`, name → shape; '' for nothing."""
  wrong = [f'{n} of {given[n]} instead of {s}' for n, s in wanted.items() if given.get(n, s) != s]
  found = {
    'missing': sorted(set(wanted) - set(given)),
    'unknown': sorted(set(given) - set(wanted)),
    'misshaped': wrong,
  }
  lists = [f'{len(names)} {kind} ({listed(names)})' for kind, names in found.items() if names]
  return '; '.join(lists)


def listed(names: list[str]) -> str:
  """The first names of many, and how many more there are."""
  more = len(names) - SHOWN
  return ', '.join(names[:SHOWN]) + (f' and {more} more' if more > 0 else '')
