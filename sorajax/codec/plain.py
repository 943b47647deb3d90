"""Modules as plain functions of plain dicts of arrays, and those dicts as flat ones to save."""

import functools
from typing import Any

import jax
import numpy as np
from flax import nnx

from sorajax import sharding
from sorajax.errors import UserError

Params = dict[str, Any]


def initial(module: type[nnx.Module], config: Any, key: jax.Array) -> Params:
  """The first parameters of `module(config)`."""
  made = module(config, rngs=nnx.Rngs(key))  # type: ignore[call-arg]
  return nnx.to_pure_dict(nnx.state(made, nnx.Param))


def joined(module: type[nnx.Module], config: Any, params: Params) -> Any:
  """`module(config)` that holds `params`; the config must be hashable."""
  return nnx.merge(_parts(module, config)[0], params)


def shapes(module: type[nnx.Module], config: Any) -> Params:
  """The parameters of `module(config)` as `jax.ShapeDtypeStruct`s; computes nothing."""
  return _parts(module, config)[1]


def flat(params: Params) -> dict[str, np.ndarray]:
  """Nested dicts → one dict, keys joined by '/'."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def unflat(arrays: dict[str, np.ndarray], like: Params) -> Params:
  """The inverse of `flat`; `UserError` where an array is missing, left over or of another shape."""
  leaves, structure = jax.tree_util.tree_flatten_with_path(like)
  wanted = {_name(path): leaf for path, leaf in leaves}
  odd = sorted(set(wanted) ^ set(arrays))
  if odd:
    raise UserError(
      f'{len(arrays)} arrays for {len(wanted)} parameters, the first that differs is {odd[0]}; '
      'give the config that they were saved with'
    )
  for name, leaf in wanted.items():
    if arrays[name].shape != leaf.shape:
      raise UserError(
        f'{name} has shape {arrays[name].shape} and the config asks for {leaf.shape}; '
        'give the config that it was saved with'
      )
  return jax.tree.unflatten(structure, [np.asarray(arrays[name]) for name in wanted])


def parted(params: Params, names: tuple[str, ...]) -> tuple[Params, Params]:
  """Nested dicts → what is left of them without the arrays of these names, and those alone."""
  rest: Params = {}
  taken: Params = {}
  for name, value in params.items():
    if isinstance(value, dict):
      rest[name], inner = parted(value, names)
      taken |= {name: inner} if inner else {}
    else:
      (taken if name in names else rest)[name] = value
  return rest, taken


def whole(rest: Params, taken: Params) -> Params:
  """The inverse of `parted`."""
  inner = {n: whole(rest[n], v) if n in rest else v for n, v in taken.items()}
  return {**rest, **inner}


@functools.cache
def _parts(module: type[nnx.Module], config: Any) -> tuple[nnx.GraphDef, Params]:
  with sharding.no_mesh():
    made = nnx.eval_shape(lambda: module(config, rngs=nnx.Rngs(0)))  # type: ignore[call-arg]
  return nnx.graphdef(made), nnx.to_pure_dict(nnx.state(made, nnx.Param))


def _name(path: tuple) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')
