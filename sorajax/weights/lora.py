"""Low-rank changes of LTX-2's transformer ↔ a file of safetensors as diffusers has them."""

import importlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sorajax.errors import UserError, one_line
from sorajax.media.atomic import replacing
from sorajax.model.config import TransformerConfig
from sorajax.model.lora import Sides, sides
from sorajax.weights import ltx2_transformer, tensors
from sorajax.weights.stored import Stored
from sorajax.weights.tensors import Tensor

Tree = dict[str, Any]
WRITTEN = 'transformer.'  # before every name of diffusers'
PREFIXES = (WRITTEN, 'diffusion_model.', '')  # that others write
DOWN, UP = ('lora_A', 'lora_down'), ('lora_B', 'lora_up')


def saved_of(config: TransformerConfig, changes: Tree, scale: float) -> dict[str, np.ndarray]:
  """Changes → matrices A [r, in] and B [out, r] of every layer by name, `scale` within B.

  Raises:
    UserError: a change of a matrix that lies in another order there.
  """
  where = ltx2_transformer.places(config)
  made: dict[str, np.ndarray] = {}
  for path, place in where.items():
    change = _at(changes, path)
    if change is None:
      continue
    if place.tensors[0].swapped is not None:
      raise UserError(f'a change of {place.tensors[0].name} has no place in such a file; leave it')
    down, up = (np.asarray(change[part], np.float32) for part in ('down', 'up'))
    rank = down.shape[-1]
    for i, tensor in enumerate(place.tensors):
      a, b = (x[i] if place.stacked else x for x in (down, up))
      name = WRITTEN + tensor.name.removesuffix('.weight')
      made[f'{name}.lora_A.weight'] = np.ascontiguousarray(a.reshape(-1, rank).T)
      made[f'{name}.lora_B.weight'] = np.ascontiguousarray(scale * b.reshape(rank, -1).T)
  return made


def changes_of(config: TransformerConfig, saved: Mapping[str, np.ndarray]) -> Tree:
  """The inverse of `saved_of`, with a scale of 1; layers that are not named change by nothing.

  Raises:
    UserError: matrices of another transformer, or that lack one another.
  """
  rest = _renamed(saved)
  made: Tree = {}
  shapes = jax.tree_util.tree_leaves_with_path(ltx2_transformer.shapes(config))
  where = ltx2_transformer.places(config)
  for path, leaf in shapes:
    place, its = where[path], sides(_name(path), leaf.shape)
    names = [tensor.name.removesuffix('.weight') for tensor in place.tensors]
    found = [name for name in names if f'{name}.A' in rest]
    if its is None or not found or place.tensors[0].swapped is not None:
      continue
    pairs = {name: _pair(rest, name) for name in found}
    rank = max(a.shape[0] for a, _ in pairs.values())
    parts = [
      _part(its, tensor, pairs.get(name), rank) for tensor, name in zip(place.tensors, names)
    ]
    stack = np.stack if place.stacked else lambda values: values[0]
    down, up = (stack([part[i] for part in parts]) for i in range(2))
    tree = made
    for key in path[:-1]:
      tree = tree.setdefault(key.key, {})
    tree[path[-1].key] = {'down': down, 'up': up}
  if rest:
    raise UserError(
      f'{len(rest)} matrices of the changes have no place in this transformer '
      f'({tensors.listed(sorted(rest))}); give changes of this release'
    )
  return made


def merged(
  config: TransformerConfig, stored: Sequence[Stored], changes: Tree, scale: float
) -> list[Stored]:
  """Tensors of the transformer with `scale` times their changes added, in the types they have.

  They are added in float32 and rounded once.
  """
  made: dict[str, Any] = {}
  for path, place in ltx2_transformer.places(config).items():
    change = _at(changes, path)
    if change is not None:
      down, up = (np.asarray(change[part], np.float32) for part in ('down', 'up'))
      layers = zip(down, up) if place.stacked else [(down, up)]
      made |= {tensor.name: (tensor, *own) for tensor, own in zip(place.tensors, layers)}

  def changed(saved: Stored, tensor: Tensor, down: np.ndarray, up: np.ndarray) -> Stored:
    def exact() -> np.ndarray:
      before = tensor.here(saved.read()).astype(np.float32)
      return tensor.there(before + scale * np.tensordot(down, up, 1))

    return saved.rounding(exact)

  return [changed(s, *made[s.name]) if s.name in made else s for s in stored]


def write(path: str | os.PathLike[str], matrices: Mapping[str, np.ndarray]) -> None:
  """Writes what `saved_of` made."""
  with replacing(Path(path)) as temporary:
    _library('safetensors.numpy').save_file(dict(matrices), temporary, {'format': 'pt'})


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """The matrices of a file by name; `UserError` where it cannot be read."""
  library = _library('safetensors')
  try:
    with library.safe_open(path, 'numpy') as file:
      return {name: np.asarray(file.get_tensor(name), np.float32) for name in file.keys()}  # noqa: SIM118
  except (OSError, library.SafetensorError) as error:
    raise UserError(f'cannot read {path}: {one_line(error)}; download it again') from error


def _renamed(saved: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """By names below the transformer that end in A, B or alpha."""
  out = {}
  for name, value in saved.items():
    own = next(name.removeprefix(p) for p in PREFIXES if name.startswith(p))
    own = own.removesuffix('.weight')
    for ours, theirs in (('A', DOWN), ('B', UP)):
      for word in theirs:
        own = own.replace(f'.{word}', f'.{ours}')
    out[own] = value
  return out


def _pair(rest: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
  """A and B of a matrix, taken out of the rest; B with its scale."""
  a, b = rest.pop(f'{name}.A'), rest.pop(f'{name}.B', None)
  if b is None or a.ndim != 2 or b.ndim != 2 or b.shape[1] != a.shape[0]:
    raise UserError(f'the change of {name} lacks a matrix that fits its A; save it again')
  alpha = rest.pop(f'{name}.alpha', None)
  return a, b if alpha is None else b * (float(alpha) / a.shape[0])


def _part(its: Sides, tensor: Tensor, pair, rank: int) -> tuple[np.ndarray, np.ndarray]:
  """down and up of one layer, filled up with zeros to a rank."""
  down = np.zeros((*its.inputs, rank), np.float32)
  up = np.zeros((rank, *its.outputs), np.float32)
  if pair is None:
    return down, up
  a, b = pair
  if (b.shape[0], a.shape[1]) != (math.prod(its.outputs), math.prod(its.inputs)):
    raise UserError(
      f'the change of {tensor.name} is of {(b.shape[0], a.shape[1])} and the matrix '
      f'{tensor.shape}; give changes of this release'
    )
  own = a.shape[0]
  down[..., :own] = a.T.reshape(*its.inputs, own)
  up[:own] = b.T.reshape(own, *its.outputs)
  return down, up


def _at(tree: Tree, path: tuple) -> Tree | None:
  for key in path:
    tree = tree.get(key.key, {})
  return tree or None


def _name(path: tuple) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _library(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise UserError("files of safetensors need pip install 'sorajax[ltx2]'") from error
