"""LTX-2.5's duration head as diffusers saves it → `text.duration`, and ↔ as its release has it.

In the one file of a release the maps of queries, keys and values are one tensor.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from sorajax.codec import plain
from sorajax.errors import UserError
from sorajax.text.duration import Duration, DurationConfig
from sorajax.weights import options, stored, tensors
from sorajax.weights.stored import Part, Stored

DEFAULTS: Mapping[str, int] = {  # what diffusers takes where a config.json lacks it
  'audio_cross_attention_dim': 2048, 'video_cross_attention_dim': 4096, 'pooler_hidden_dim': 256,
  'num_queries': 1, 'num_pooler_heads': 4, 'mlp_hidden_dim': 256,
}  # fmt: skip
WORDS: Mapping[str, str] = {
  'query': 'attention_pooler.to_q', 'key': 'attention_pooler.to_k',
  'value': 'attention_pooler.to_v', 'out': 'attention_pooler.to_out', 'hidden': 'mlp_hidden',
  'last': 'mlp_out', **tensors.LEAVES,
}  # fmt: skip
CLASS, INSIDE = 'LTX2DurationHead', 'duration_head.'
POOLER, PACKED = 'attention_pooler.', 'attention_pooler.cross_attn.'


@options.read_for('the duration head')
def config_of(saved: Mapping[str, Any]) -> DurationConfig:
  """The config.json of `LTX2DurationHead` → the same here; `UserError` where it does not fit."""
  s = {**DEFAULTS, **saved}
  return DurationConfig(*(s[name] for name in DEFAULTS))


def params_of(config: DurationConfig, saved: Mapping[str, np.ndarray]) -> plain.Params:
  """The tensors of `LTX2DurationHead` by name → parameters, float32.

  Raises:
    UserError: tensors that are missing, have another shape, or are left over.
  """
  tensors.check_shapes(_shapes(config), {name: value.shape for name, value in saved.items()})

  def take(path, leaf):
    value = np.asarray(saved[_name(path)], np.float32)
    return np.ascontiguousarray(value.T) if _turned(path) else value

  return jax.tree_util.tree_map_with_path(take, plain.shapes(Duration, config))


def _shapes(config: DurationConfig) -> dict[str, tuple[int, ...]]:
  leaves = jax.tree_util.tree_leaves_with_path(plain.shapes(Duration, config))
  return {_name(path): leaf.shape[:: -1 if _turned(path) else 1] for path, leaf in leaves}


def _turned(path: tuple) -> bool:
  return path[-1].key == 'kernel'


def _name(path: tuple) -> str:
  first, *rest = (key.key for key in path)
  if first == 'queries':
    return 'attention_pooler.query_tokens'
  if first == 'marks':
    return f'{rest[0]}_modality_emb'
  if first == 'inputs':
    return f'{rest[0]}_input_proj.{WORDS[rest[1]]}'
  return f'{WORDS[first]}.{WORDS[rest[0]]}'


def part_of(rest: Sequence[Stored]) -> Part | None:
  """The head among tensors of a release's one file, as diffusers has it; None where there is none.

  Raises:
    UserError: tensors that are missing, misshaped or unknown.
  """
  given = {t.name.removeprefix(INSIDE): t for t in rest if t.name.startswith(INSIDE)}
  if not given:
    return None
  sizes = {
    'audio_cross_attention_dim': ('audio_input_proj.weight', 1),
    'video_cross_attention_dim': ('video_input_proj.weight', 1),
    'pooler_hidden_dim': ('attention_pooler.query_tokens', 1),
    'num_queries': ('attention_pooler.query_tokens', 0), 'mlp_hidden_dim': ('mlp_hidden.weight', 0),
  }  # fmt: skip
  try:
    told = {name: given[tensor].shape[axis] for name, (tensor, axis) in sizes.items()}
    made = [part for name, tensor in given.items() for part in _apart(tensor.named(name))]
  except (KeyError, IndexError) as error:
    raise UserError(f'the duration head lacks {error}; give that of its release') from error
  odd = tensors.difference(_shapes(config_of(told)), {t.name: t.shape for t in made})
  if odd:
    raise UserError(f'the duration head is not that of a release: {odd}; download it again')
  return Part({'_class_name': CLASS, **DEFAULTS, **told}, made)


def _apart(tensor: Stored) -> Iterator[Stored]:
  """As a release has it → as diffusers has it."""
  name = tensor.name.removeprefix(PACKED)
  if not name.startswith('in_proj_'):
    yield tensor.named(tensor.name.replace(f'{PACKED}out_proj.', f'{POOLER}to_out.'))
    return
  kind = name.removeprefix('in_proj_')
  for letter, part in zip('qkv', stored.thirds(tensor)):
    yield part.named(f'{POOLER}to_{letter}.{kind}')


def rest_of(part: Part) -> list[Stored]:
  """The inverse of `part_of`; `UserError` where tensors are not those of its config."""
  given = {tensor.name: tensor for tensor in part.tensors}
  odd = tensors.difference(_shapes(config_of(part.config)), {n: t.shape for n, t in given.items()})
  if odd:
    raise UserError(f'duration_head is not as its config.json says: {odd}; download it again')
  made = []
  for kind in ('weight', 'bias'):
    maps = [given.pop(f'{POOLER}to_{letter}.{kind}') for letter in 'qkv']
    read = functools.partial(lambda maps: np.concatenate([one.read() for one in maps]), maps)
    shape = (3 * maps[0].shape[0], *maps[0].shape[1:])
    made.append(Stored(f'{PACKED}in_proj_{kind}', maps[0].kind, shape, read))
  made += [t.named(n.replace(f'{POOLER}to_out.', f'{PACKED}out_proj.')) for n, t in given.items()]
  return [tensor.named(INSIDE + tensor.name) for tensor in made]
