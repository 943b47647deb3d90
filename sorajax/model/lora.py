"""Low-rank changes of a network's matrices: W + (α ÷ r) · down · up (Hu et al. 2021, section 4.1).

A change has the layers, inputs and outputs of its matrix as dimensions of its own, and lies where
that does in the tree of parameters.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sorajax import sharding
from sorajax.errors import UserError
from sorajax.nn.changed import Changed

Tree = dict[str, Any]
STACKED = ('blocks',)  # below these, parameters have layers along their first axis
INPUTS, OUTPUTS = 'abc', 'xyz'  # letters of an einsum


@dataclasses.dataclass(frozen=True)
class LoraConfig:
  """What is changed, and how much.

  Attributes:
    rank: r; 0 for no such changes.
    alpha: α; 0 for that of the rank.
    targets: regular expression, found in the names of matrices, of which one is
      `blocks/streams/video/self_attention/query`.
  """

  rank: int = 0
  alpha: float = 0.0
  targets: str = r'attention/(query|key|value|out)$'

  def __post_init__(self) -> None:
    if self.rank < 0 or self.alpha < 0:
      raise ValueError(f'rank is {self.rank} and alpha {self.alpha}; neither may be negative')
    try:
      re.compile(self.targets)
    except re.error as error:
      raise ValueError(f'targets {self.targets!r} is no regular expression: {error}') from error

  @property
  def scale(self) -> float:
    return (self.alpha or self.rank) / self.rank


@dataclasses.dataclass(frozen=True)
class Sides:
  """The dimensions of a matrix.

  Attributes:
    layers: () or the number of layers.
    inputs: what it sums over.
    outputs: what it makes.
  """

  layers: tuple[int, ...]
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]


def sides(name: str, shape: tuple[int, ...]) -> Sides | None:
  """The dimensions of the parameter of that name; None where it is no matrix."""
  first, last = name.split('/')[0], name.split('/')[-1]
  cut = 1 if first in STACKED else 0
  layers, rest = shape[:cut], shape[cut:]
  if last == 'kernel' and len(rest) == 2:
    return Sides(layers, rest[:1], rest[1:])
  if last in ('query', 'key', 'value') and len(rest) == 3:
    return Sides(layers, rest[:1], rest[1:])
  if last == 'out' and len(rest) == 3:
    return Sides(layers, rest[:2], rest[2:])
  return None


def init(config: LoraConfig, shapes: Tree, key: jax.Array) -> Tree:
  """Changes that change nothing yet, in the tree of the parameters that they are of.

  Args:
    config: what is changed.
    shapes: the parameters, or their `jax.ShapeDtypeStruct`s.
    key: of the first matrices of all changes; the second ones are 0.

  Raises:
    UserError: the targets name no matrix.
  """
  leaves = jax.tree_util.tree_leaves_with_path(shapes)
  named = {_name(path): leaf.shape for path, leaf in leaves}
  chosen = {n: sides(n, shape) for n, shape in named.items() if re.search(config.targets, n)}
  made: Tree = {}
  for i, (name, its) in enumerate(sorted(chosen.items())):
    if its is None:
      continue
    shape = (*its.layers, *its.inputs, config.rank)
    down = math.prod(its.inputs) ** -0.5 * jax.random.normal(jax.random.fold_in(key, i), shape)
    up = jnp.zeros((*its.layers, config.rank, *its.outputs))
    whole = lambda x: sharding.reshard(x, *(None,) * x.ndim)
    _put(made, name, {'down': whole(down), 'up': whole(up)})
  if not made:
    raise UserError(f'config.lora.targets {config.targets!r} is found in no matrix of the network')
  return made


def beside(params: Tree, changes: Tree, scale: float) -> Tree:
  """The parameters with `scale` times their changes beside them."""
  return _changed(params, changes, lambda w, c: Changed(w, c['down'], scale * c['up']))


def merged(params: Tree, changes: Tree, scale: float) -> Tree:
  """The parameters with `scale` times their changes added; -scale takes them out again."""
  return _changed(params, changes, lambda w, c: w + (scale * product(c, w)).astype(w.dtype))


def merged_in_turn(params: Tree, changes: Tree, kept: bool = True) -> Tree:
  """As `merged` with a scale of 1, one parameter after another.

  Args:
    params: laid over the current mesh.
    changes: of which every process has all, in its own memory.
    kept: whether `params` are needed further; else those that change give up their memory.
  """
  add = lambda w, c: w + product(c, w).astype(w.dtype)
  added = jax.jit(add, donate_argnums=() if kept else 0)
  return _changed(params, changes, lambda w, c: added(w, sharding.everywhere(c)))


def _changed(params: Tree, changes: Tree, make: Callable[[jax.Array, Tree], Any]) -> Tree:
  """The parameters, of which those that have a change are made anew."""
  made = {}
  for name, value in params.items():
    change = changes.get(name)
    if change is None:
      made[name] = value
    elif isinstance(value, dict):
      made[name] = _changed(value, change, make)
    else:
      made[name] = make(value, change)
  return made


def product(change: Tree, like: jax.Array) -> jax.Array:
  """down · up in the shape of the matrix that it is of, laid over the mesh as that one is."""
  down, up = change['down'], change['up']
  layers = 'l' if down.ndim + up.ndim - 2 > like.ndim else ''
  ins = INPUTS[: down.ndim - 1 - len(layers)]
  outs = OUTPUTS[: up.ndim - 1 - len(layers)]
  equation = f'{layers}{ins}r,{layers}r{outs}->{layers}{ins}{outs}'
  layout = jax.typeof(like).sharding.spec if sharding.is_laid() else None
  return jnp.einsum(equation, down, up, out_sharding=layout)


def _put(tree: Tree, name: str, value: Any) -> None:
  *above, last = name.split('/')
  for key in above:
    tree = tree.setdefault(key, {})
  tree[last] = value


def _name(path: tuple) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')
