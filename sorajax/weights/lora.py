"""Low-rank changes of LTX-2's transformer ↔ a file of safetensors as diffusers has them.

Such a file may change the connectors too, which prompts go through, and have a release's names.
"""

import importlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sorajax.errors import UserError, one_line
from sorajax.media.atomic import replacing
from sorajax.model.config import TransformerConfig
from sorajax.text.connectors import ConnectorsConfig
from sorajax.weights import ltx2_connectors, ltx2_single_file, ltx2_transformer, tensors
from sorajax.weights.shards import File, parsed
from sorajax.weights.stored import Stored
from sorajax.weights.tensors import Tensor

Tree = dict[str, Any]
TRANSFORMER, CONNECTORS = 'transformer', 'connectors'  # parts that are changed, as diffusers names
RELEASED = ('diffusion_model.', 'text_embedding_projection.')  # before names as in a release's file
DOWN, UP = ('lora_A', 'lora_down'), ('lora_B', 'lora_up')
SETTINGS = 'lora_adapter_metadata'  # in the head of a file that diffusers wrote


def saved_of(config: TransformerConfig, changes: Tree, scale: float) -> dict[str, np.ndarray]:
  """Changes → matrices A [r, in] and B [out, r] of every layer by name, `scale` within B."""
  where = ltx2_transformer.places(config)
  made: dict[str, np.ndarray] = {}
  for path, place in where.items():
    change = _at(changes, path)
    if change is None:
      continue
    down, up = (np.asarray(change[part], np.float32) for part in ('down', 'up'))
    rank = down.shape[-1]
    for i, tensor in enumerate(place.tensors):
      a, b = (x[i] if place.stacked else x for x in (down, up))
      name = f'{TRANSFORMER}.{tensor.name.removesuffix(".weight")}'
      made[f'{name}.lora_A.weight'] = np.ascontiguousarray(a.reshape(-1, rank).T)
      outputs = scale * tensor.traded(b).reshape(rank, -1).T
      made[f'{name}.lora_B.weight'] = np.ascontiguousarray(outputs)
  return made


def changes_of(
  config: TransformerConfig, saved: Mapping[str, np.ndarray],
  connectors: ConnectorsConfig | None = None,
) -> dict[str, Tree]:  # fmt: skip
  """The inverse of `saved_of`, with a scale of 1; layers that are not named change by nothing.

  Args:
    config: the transformer.
    saved: as `read` gives them.
    connectors: what prompts go through, which such a file may change too; None for none.

  Returns:
    part → its changes.

  Raises:
    UserError: matrices of another transformer, or that lack one another.
  """
  rest = _renamed(saved)
  parts = {TRANSFORMER: (ltx2_transformer.shapes(config), ltx2_transformer.places(config))}
  if connectors is not None:
    parts[CONNECTORS] = (ltx2_connectors.shapes(connectors), ltx2_connectors.places(connectors))
  made = {part: _taken(rest, f'{part}.', *of) for part, of in parts.items()}
  if rest:
    raise UserError(
      f'{len(rest)} matrices of the changes have no place in this transformer '
      f'({tensors.listed(sorted(rest))}); give changes of this release'
    )
  return made


def _taken(rest: dict[str, np.ndarray], part: str, shapes: Tree, where: tensors.Places) -> Tree:
  """The changes of a part, whose matrices are taken out of the rest."""
  made: Tree = {}
  for path, _ in jax.tree_util.tree_leaves_with_path(shapes):
    place = where[path]
    names = [part + tensor.name.removesuffix('.weight') for tensor in place.tensors]
    found = [name for name in names if f'{name}.A' in rest]
    if not place.tensors[0].turned or not found:
      continue
    pairs = {name: _pair(rest, name) for name in found}
    rank = max(a.shape[0] for a, _ in pairs.values())
    layers = [_layer(tensor, pairs.get(name), rank) for tensor, name in zip(place.tensors, names)]
    stack = np.stack if place.stacked else lambda values: values[0]
    down, up = (stack([layer[i] for layer in layers]) for i in range(2))
    tree = made
    for key in path[:-1]:
      tree = tree.setdefault(key.key, {})
    tree[path[-1].key] = {'down': down, 'up': up}
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
  """The matrices of a file by name, in float32; `UserError` where it cannot be read.

  What the file's head says of their scales stands behind them as an alpha each.
  """
  if not Path(path).is_file():
    raise UserError(f'there is no file {path}; give one of low-rank changes')
  file = File(path)
  found = {name: np.asarray(value, np.float32) for name, value in file.items()}
  try:
    settings = parsed(file.metadata.get(SETTINGS) or '{}')
    return {**_alphas(settings, _renamed(found)), **found}
  except (ArithmeticError, TypeError, ValueError, re.error) as error:
    raise UserError(f'{path}: {SETTINGS} is damaged: {one_line(error)}; save it again') from error


def _alphas(settings: Mapping[str, Any], matrices: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """The alpha of every A, by the settings of PEFT's `LoraConfig` that a file's head holds."""
  made = {}
  for name in (name for name in matrices if name.endswith('.A')):
    part, _, own = name.removesuffix('.A').partition('.')
    here = {key.removeprefix(f'{part}.'): value for key, value in settings.items()}
    if 'lora_alpha' not in here:
      continue
    if here.get('use_dora'):
      raise ValueError('use_dora is not known here')
    patterns = here.get('alpha_pattern') or {}
    fits = (alpha for key, alpha in patterns.items() if re.match(rf'(.*\.)?({key})$', own))
    alpha, rank = float(next(fits, here['lora_alpha'])), matrices[name].shape[0]
    root = rank**0.5 if here.get('use_rslora') else 1.0
    made[f'{part}.{own}.alpha'] = np.array(alpha * root, np.float32)
  return made


def _renamed(saved: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """By part and by names below it as diffusers has them, that end in A, B or alpha."""
  out = {}
  for name, value in saved.items():
    if name.startswith(RELEASED):
      own = '.'.join(ltx2_single_file.part_and_name(name.removeprefix(RELEASED[0])))
    else:
      own = (
        name if name.startswith((f'{TRANSFORMER}.', f'{CONNECTORS}.')) else f'{TRANSFORMER}.{name}'
      )
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
  if alpha is None:
    return a, b
  if alpha.size != 1:
    raise UserError(f'the change of {name} has an alpha of {alpha.size} numbers; save it again')
  return a, b * (alpha.item() / a.shape[0])


def _layer(tensor: Tensor, pair, rank: int) -> tuple[np.ndarray, np.ndarray]:
  """down and up of one layer, filled up with zeros to a rank."""
  count = tensor.inputs
  down = np.zeros((*tensor.ours[:count], rank), np.float32)
  up = np.zeros((rank, *tensor.ours[count:]), np.float32)
  if pair is None:
    return down, up
  a, b = pair
  if (b.shape[0], a.shape[1]) != tensor.shape:
    raise UserError(
      f'the change of {tensor.name} is of {(b.shape[0], a.shape[1])} and the matrix '
      f'{tensor.shape}; give changes of this release'
    )
  own = a.shape[0]
  down[..., :own] = a.T.reshape(*down.shape[:-1], own)
  up[:own] = tensor.traded(b.T.reshape(own, *up.shape[1:]))
  return down, up


def _at(tree: Tree, path: tuple) -> Tree | None:
  for key in path:
    tree = tree.get(key.key, {})
  return tree or None


def _library(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise UserError("files of safetensors need pip install 'sorajax[ltx2]'") from error
