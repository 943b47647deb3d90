"""Gemma 3 as transformers saves it, and LTX-2's connectors as diffusers does ↔ those of `text`."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from sorajax.errors import UserError
from sorajax.text.connectors import ConnectorConfig, Connectors, ConnectorsConfig, Mixers
from sorajax.text.gemma import Gemma, GemmaConfig
from sorajax.weights import tensors
from sorajax.weights.shards import Shards
from sorajax.weights.tensors import Params, Place, Tensor

# What else lies beside a language model that was saved with its eyes and its head.
UNREAD = ('vision_tower.', 'model.vision_tower.', 'multi_modal_projector.',
          'model.multi_modal_projector.', 'lm_head.')  # fmt: skip
SLIDING, FULL = 'sliding_attention', 'full_attention'
FIXED: Mapping[str, Any] = {
  'hidden_activation': 'gelu_pytorch_tanh', 'attention_bias': False, 'rms_norm_eps': 1e-6,
  'attn_logit_softcapping': None, 'use_bidirectional_attention': False,
}  # fmt: skip
GEMMA: Mapping[str, str] = {
  'query': 'self_attn.q_proj', 'key': 'self_attn.k_proj', 'value': 'self_attn.v_proj',
  'out': 'self_attn.o_proj', 'query_norm': 'self_attn.q_norm', 'key_norm': 'self_attn.k_norm',
  'gate': 'mlp.gate_proj', 'up': 'mlp.up_proj', 'down': 'mlp.down_proj',
  'attention_norm': 'input_layernorm', 'attended_norm': 'post_attention_layernorm',
  'mlp_norm': 'pre_feedforward_layernorm', 'fed_norm': 'post_feedforward_layernorm',
}  # fmt: skip
CONNECTORS: Mapping[str, Any] = {  # what diffusers takes where a config.json lacks it
  'caption_channels': 3840, 'text_proj_in_factor': 49, 'rope_theta': 10_000.0,
  'connector_rope_base_seq_len': 4096, 'rope_type': 'interleaved', 'proj_bias': False,
  'per_modality_projections': False, 'rope_double_precision': True,
}  # fmt: skip
MIXING: Mapping[str, Any] = {
  'num_attention_heads': 30, 'attention_head_dim': 128, 'num_layers': 2,
  'num_learnable_registers': 128,
}  # fmt: skip


def gemma_config_of(saved: Mapping[str, Any]) -> GemmaConfig:
  """The config.json of a Gemma 3, with or without its eyes → the same here.

  Raises:
    UserError: another model, or an option that this project does not have.
  """
  s = saved.get('text_config', saved)
  if s.get('model_type') != 'gemma3_text':
    raise UserError(f'the text encoder is a {s.get("model_type")}; only a gemma3_text is known')
  odd = [f'{name}={s[name]}' for name, value in FIXED.items() if s.get(name, value) != value]
  if odd:
    raise UserError(f'the text encoder has {", ".join(odd)}, which this project does not have')
  layers, every = s['num_hidden_layers'], s.get('sliding_window_pattern', 6)
  kinds = s.get('layer_types') or [SLIDING if (i + 1) % every else FULL for i in range(layers)]
  every = kinds.index(FULL) + 1 if FULL in kinds else layers + 1
  if [kind == FULL for kind in kinds] != [(i + 1) % every == 0 for i in range(layers)]:
    raise UserError('the text encoder has layer_types that do not come in turns of equal length')
  rotary = s.get('rope_parameters') or {}
  far, near = rotary.get(FULL, {}), rotary.get(SLIDING, {})
  scaling = {**(s.get('rope_scaling') or {}), **far}
  if scaling.get('rope_type', 'default') not in ('default', 'linear'):
    raise UserError(f'the text encoder has rope_type={scaling["rope_type"]}; only linear is known')
  return GemmaConfig(
    vocabulary=s['vocab_size'],
    width=s['hidden_size'],
    layers=layers,
    heads=s['num_attention_heads'],
    key_heads=s['num_key_value_heads'],
    head_dim=s['head_dim'],
    hidden=s['intermediate_size'],
    window=s['sliding_window'],
    every=every,
    theta=float(far.get('rope_theta', s.get('rope_theta', 1e6))),
    stretch=float(scaling.get('factor', 1.0)),
    local_theta=float(near.get('rope_theta', s.get('rope_local_base_freq', 1e4))),
    query_scale=float(s.get('query_pre_attn_scalar', 256)),
  )


def gemma_places(config: GemmaConfig) -> tensors.Places:
  """Path in our tree → the tensors that it is made of, named as below the language model."""
  made = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(tensors.shapes(_gemma(config))):
    part, *rest = (key.key for key in path)
    if part == 'layers':
      layers = range(config.layers)
      parts = [_of_gemma(f'layers.{i}.{GEMMA[rest[0]]}.weight', leaf.shape[1:]) for i in layers]
      made[path] = Place(parts, stacked=True)
    elif part == 'table':
      made[path] = Place([Tensor('embed_tokens.weight', leaf.shape, leaf.shape)], stacked=False)
    else:
      made[path] = Place([Tensor('norm.weight', leaf.shape, leaf.shape)], stacked=False)
  return made


def _gemma(config: GemmaConfig) -> tensors.Make:
  return lambda: Gemma(config, rngs=nnx.Rngs(0))


def _of_gemma(name: str, ours: tuple[int, ...]) -> Tensor:
  if len(ours) == 1:
    return Tensor(name, ours, ours)
  ins = ours[:-1] if name.endswith('o_proj.weight') else ours[:1]
  shape = math.prod(ours) // math.prod(ins), math.prod(ins)
  return Tensor(name, shape, ours, turned=True)


class LanguageModel(Mapping[str, np.ndarray]):
  """The tensors of a Gemma 3 alone, by their names below it, wherever in a file it lies.

  Raises:
    UserError: a file that holds no language model, or tensors that nothing here knows.
  """

  def __init__(self, saved: Shards):
    self._saved = saved
    last = 'embed_tokens.weight'
    tables = [name for name in saved if name.endswith(last)]
    if len(tables) != 1:
      raise UserError(f'the text encoder has {len(tables)} tensors called …{last}; one is needed')
    self._prefix = tables[0][: -len(last)]
    odd = [n for n in saved if not n.startswith((self._prefix or 'layers.', *UNREAD))]
    odd = [n for n in odd if n not in (last, 'norm.weight')]
    if odd:
      raise UserError(f'the text encoder holds {tensors.listed(sorted(odd))}, which is not known')

  def __getitem__(self, name: str) -> np.ndarray:
    return self._saved[self._prefix + name]

  def __iter__(self) -> Iterator[str]:
    inside = (n for n in self._saved if n.startswith(self._prefix) and not n.startswith(UNREAD))
    return (name[len(self._prefix) :] for name in inside)

  def __len__(self) -> int:
    return sum(1 for _ in self)

  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor."""
    shapes = self._saved.shapes()
    return {name: shapes[self._prefix + name] for name in self}


def gemma_params_of(config: GemmaConfig, saved: Mapping[str, np.ndarray]) -> Params:
  """Tensors by their names below the language model → parameters; `UserError` unless they fit."""
  return tensors.params_of(_gemma(config), gemma_places(config), saved)


def load_gemma(
  config: GemmaConfig, saved: Shards, mesh: jax.sharding.Mesh, dtype: Any = np.float32
) -> Params:
  """The tensors of a folder → parameters in `dtype`, laid over a mesh; as `tensors.load`."""
  return tensors.load(_gemma(config), gemma_places(config), LanguageModel(saved), mesh, dtype)


def connectors_config_of(saved: Mapping[str, Any]) -> ConnectorsConfig:
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


def connectors_places(config: ConnectorsConfig) -> tensors.Places:
  """Path in our tree → the tensors of `LTX2TextConnectors` that it is made of."""
  made = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(tensors.shapes(_connectors(config))):
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


def connectors_params_of(config: ConnectorsConfig, saved: Mapping[str, np.ndarray]) -> Params:
  """The tensors of `LTX2TextConnectors` by name → parameters; `UserError` unless they fit."""
  return tensors.params_of(_connectors(config), connectors_places(config), saved)


def load_connectors(
  config: ConnectorsConfig, saved: Shards, mesh: jax.sharding.Mesh, dtype: Any = np.float32
) -> Params:
  """The tensors of a folder → parameters in `dtype`, laid over a mesh; as `tensors.load`."""
  return tensors.load(_connectors(config), connectors_places(config), saved, mesh, dtype)


def load_mixers(
  config: ConnectorsConfig, saved: Shards, mesh: jax.sharding.Mesh, dtype: Any = np.float32
) -> Params:
  """As `load_connectors`, and reads no projections, which are the larger part."""
  whole = connectors_places(config)
  where = {path: place for path, place in whole.items() if path[0].key == 'streams'}
  left = {t.name for t in tensors.tensors_of(whole)} - {t.name for t in tensors.tensors_of(where)}
  make = lambda: Mixers(config, rngs=nnx.Rngs(0))
  return tensors.load(make, where, tensors.Without(saved, left), mesh, dtype)
