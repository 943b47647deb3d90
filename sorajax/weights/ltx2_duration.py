"""LTX-2.5's duration head as diffusers saves it → `text.duration`."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from sorajax.codec import plain
from sorajax.errors import UserError
from sorajax.text.duration import Duration, DurationConfig
from sorajax.weights import tensors

DEFAULTS: Mapping[str, int] = {  # what diffusers takes where a config.json lacks it
  'audio_cross_attention_dim': 2048, 'video_cross_attention_dim': 4096, 'pooler_hidden_dim': 256,
  'num_queries': 1, 'num_pooler_heads': 4, 'mlp_hidden_dim': 256,
}  # fmt: skip
WORDS: Mapping[str, str] = {
  'query': 'attention_pooler.to_q', 'key': 'attention_pooler.to_k',
  'value': 'attention_pooler.to_v', 'out': 'attention_pooler.to_out', 'hidden': 'mlp_hidden',
  'last': 'mlp_out', **tensors.LEAVES,
}  # fmt: skip


def config_of(saved: Mapping[str, Any]) -> DurationConfig:
  """The config.json of `LTX2DurationHead` → the same here; `UserError` where it does not fit."""
  s = {**DEFAULTS, **saved}
  try:
    return DurationConfig(*(s[name] for name in DEFAULTS))
  except ValueError as error:
    raise UserError(f'the duration head cannot be built here: {error}') from error


def params_of(config: DurationConfig, saved: Mapping[str, np.ndarray]) -> plain.Params:
  """The tensors of `LTX2DurationHead` by name → parameters, float32.

  Raises:
    UserError: tensors that are missing, have another shape, or are left over.
  """
  wanted = plain.shapes(Duration, config)
  turned = lambda path: path[-1].key == 'kernel'
  leaves = jax.tree_util.tree_leaves_with_path(wanted)
  tensors.check_shapes(
    {_name(path): leaf.shape[::-1] if turned(path) else leaf.shape for path, leaf in leaves},
    {name: tuple(value.shape) for name, value in saved.items()},
  )

  def take(path, leaf):
    value = np.asarray(saved[_name(path)], np.float32)
    return np.ascontiguousarray(value.T) if turned(path) else value

  return jax.tree_util.tree_map_with_path(take, wanted)


def _name(path: tuple) -> str:
  first, *rest = (key.key for key in path)
  if first == 'queries':
    return 'attention_pooler.query_tokens'
  if first == 'marks':
    return f'{rest[0]}_modality_emb'
  if first == 'inputs':
    return f'{rest[0]}_input_proj.{WORDS[rest[1]]}'
  return f'{WORDS[first]}.{WORDS[rest[0]]}'
