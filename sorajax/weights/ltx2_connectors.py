"""LTX-2's connectors as diffusers saves them ↔ those of `text`."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from sorajax.errors import UserError
from sorajax.text.connectors import ConnectorConfig, Connectors, ConnectorsConfig, Mixers
from sorajax.weights import options, tensors
from sorajax.weights.shards import Shards
from sorajax.weights.tensors import Params, Place, Tensor

CONNECTORS: Mapping[str, Any] = {  # what diffusers takes where a config.json lacks it
  'caption_channels': 3840, 'text_proj_in_factor': 49, 'rope_theta': 10_000.0,
  'connector_rope_base_seq_len': 4096, 'rope_type': 'interleaved', 'proj_bias': False,
  'per_modality_projections': False, 'rope_double_precision': True,
}  # fmt: skip
MIXING: Mapping[str, Any] = {
  'num_attention_heads': 30, 'attention_head_dim': 128, 'num_layers': 2,
  'num_learnable_registers': 128,
}  # fmt: skip


@options.read_for('the connectors')
def config_of(saved: Mapping[str, Any]) -> ConnectorsConfig:
  """The config.json of `LTX2TextConnectors` → the same here.

  Raises:
    UserError: an option that this project does not have.
  """
  s = {**CONNECTORS, **saved}
  if not s['rope_double_precision']:
    raise UserError('the connectors have rope_double_precision=False; only True is known')
  streams = {m: _mixing(s, m) for m in ('audio', 'video')}
  apart = s['per_modality_projections']
  for m, wanted in (('audio', 2048), ('video', 4096)):
    if apart and streams[m].width != s.get(f'{m}_hidden_dim', wanted):
      raise UserError(f'the connectors have a {m}_hidden_dim that is not their heads together')
  if not apart and {stream.width for stream in streams.values()} != {s['caption_channels']}:
    raise UserError('the connectors share a projection and are not as wide as caption_channels')
  return ConnectorsConfig(
    **streams,
    width=s['caption_channels'],
    states=s['text_proj_in_factor'],
    norm='token' if apart else 'prompt',
    shared=not apart,
    bias=s['proj_bias'],
    longest=float(s['connector_rope_base_seq_len']),
    theta=float(s['rope_theta']),
    rope_pairs=s['rope_type'],
  )


def _mixing(s: Mapping[str, Any], m: str) -> ConnectorConfig:
  own = {name: s.get(f'{m}_connector_{name}', value) for name, value in MIXING.items()}
  if own['num_learnable_registers'] is None:
    raise UserError(f'the {m} connector has no registers; only those with some are known')
  return ConnectorConfig(
    heads=own['num_attention_heads'],
    head_dim=own['attention_head_dim'],
    layers=own['num_layers'],
    gated=s.get(f'{m}_gated_attn', False),
    registers=own['num_learnable_registers'],
  )


def shapes(config: ConnectorsConfig) -> Params:
  """The parameters' tree, with a shape in every place."""
  return tensors.shapes(_connectors(config))


def places(config: ConnectorsConfig) -> tensors.Places:
  """Path in our tree → the tensors of `LTX2TextConnectors` that it is made of."""
  made = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(shapes(config)):
    part, m, *rest = (key.key for key in path)
    name = 'text_proj_in' if m == 'all' else f'{m}_text_proj_in'
    if part == 'projections':
      D, S, K = leaf.shape
      made[path] = Place([Tensor(f'{name}.weight', (K, D * S), leaf.shape, turned=True)], False)
    elif part == 'biases':
      made[path] = Place([Tensor(f'{name}.bias', leaf.shape, leaf.shape)], stacked=False)
    elif rest == ['registers']:
      name = f'{m}_connector.learnable_registers'
      made[path] = Place([Tensor(name, leaf.shape, leaf.shape)], stacked=False)
    else:
      layers = range(config.streams[m].layers)
      parts = [_of_connector(f'{m}_connector.transformer_blocks.{i}', rest[1:], leaf.shape[1:])
               for i in layers]  # fmt: skip
      made[path] = Place(parts, stacked=True)
  return made


def _connectors(config: ConnectorsConfig) -> tensors.Make:
  return lambda: Connectors(config, rngs=nnx.Rngs(0))


def _of_connector(prefix: str, keys: list[str], ours: tuple[int, ...]) -> Tensor:
  part, first, *rest = keys
  whole = {'attention': ('attn1', tensors.ATTENTION), 'mlp': ('ff', tensors.MLP)}
  theirs, words = whole[part]
  words = {**words, **tensors.LEAVES}
  name = '.'.join([prefix, theirs, *(words[key] for key in (first, *rest))])
  if first.endswith(('bias', 'norm')) or rest == ['bias']:
    return Tensor(name, (math.prod(ours),), ours)
  ins = math.prod(ours[:-1]) if first == 'out' else ours[0]
  return Tensor(name, (math.prod(ours) // ins, ins), ours, turned=True)


def params_of(config: ConnectorsConfig, saved: Mapping[str, np.ndarray]) -> Params:
  """The tensors of `LTX2TextConnectors` by name → parameters; `UserError` unless they fit."""
  return tensors.params_of(_connectors(config), places(config), saved)


def load(
  config: ConnectorsConfig, saved: Shards, mesh: jax.sharding.Mesh, dtype: Any = np.float32
) -> Params:
  """The tensors of a folder → parameters in `dtype`, laid over a mesh; as `tensors.load`."""
  return tensors.load(_connectors(config), places(config), saved, mesh, dtype)


def load_mixers(
  config: ConnectorsConfig, saved: Shards, mesh: jax.sharding.Mesh, dtype: Any = np.float32
) -> Params:
  """As `load`, and reads no projections, which are the larger part."""
  whole = places(config)
  where = {path: place for path, place in whole.items() if path[0].key == 'streams'}
  left = {t.name for t in tensors.tensors_of(whole)} - {t.name for t in tensors.tensors_of(where)}
  make = lambda: Mixers(config, rngs=nnx.Rngs(0))
  return tensors.load(make, where, tensors.Without(saved, left), mesh, dtype)
