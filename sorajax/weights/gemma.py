"""Gemma 3 and 4 as transformers saves them ↔ those of `text`."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from sorajax.errors import UserError
from sorajax.text.gemma import Gemma, GemmaConfig
from sorajax.text.gemma4 import Gemma4, Gemma4Config, HeadsConfig
from sorajax.weights import options, tensors
from sorajax.weights.shards import Shards
from sorajax.weights.tensors import Params, Place, Tensor

AnyConfig = GemmaConfig | Gemma4Config
# What else lies beside a language model that was saved with its eyes, its ears and its head.
UNREAD = ('lm_head.', *(f'{above}{part}.' for above in ('', 'model.') for part in (
  'vision_tower', 'multi_modal_projector', 'vision_embedder', 'embed_vision', 'embed_audio',
)))  # fmt: skip
SLIDING, FULL = 'sliding_attention', 'full_attention'
# What transformers takes where a config.json lacks it, as those that Google released do.
DEFAULTS: Mapping[str, Any] = {
  'hidden_size': 2304, 'intermediate_size': 9216, 'num_attention_heads': 8,
  'num_key_value_heads': 4, 'head_dim': 256,
}  # fmt: skip
DEFAULTS_3: Mapping[str, Any] = {
  **DEFAULTS, 'vocab_size': 262_208, 'num_hidden_layers': 26, 'sliding_window': 4096,
}  # fmt: skip
DEFAULTS_4: Mapping[str, Any] = {
  **DEFAULTS, 'vocab_size': 262_144, 'num_hidden_layers': 30, 'sliding_window': 1024,
}  # fmt: skip
Allowed = Mapping[str, tuple[Any, ...]]  # option → what it may be, first what a lack of it means
BOTH: Allowed = {
  'hidden_activation': ('gelu_pytorch_tanh',), 'attention_bias': (False,), 'rms_norm_eps': (1e-6,),
  'attn_logit_softcapping': (None,),
}  # fmt: skip
ONLY_3: Allowed = {**BOTH, 'use_bidirectional_attention': (False, None)}
ONLY_4: Allowed = {
  **BOTH, 'use_bidirectional_attention': ('vision', None), 'num_kv_shared_layers': (0, None),
  'hidden_size_per_layer_input': (0, None), 'enable_moe_block': (False, None),
}  # fmt: skip
HOLES: Mapping[str, int] = {
  'image_token_id': 258_880, 'audio_token_id': 258_881, 'video_token_id': 258_884,
}  # fmt: skip
WORDS: Mapping[str, str] = {
  'query': 'self_attn.q_proj.weight', 'key': 'self_attn.k_proj.weight',
  'value': 'self_attn.v_proj.weight', 'out': 'self_attn.o_proj.weight',
  'query_norm': 'self_attn.q_norm.weight', 'key_norm': 'self_attn.k_norm.weight',
  'gate': 'mlp.gate_proj.weight', 'up': 'mlp.up_proj.weight', 'down': 'mlp.down_proj.weight',
  'attention_norm': 'input_layernorm.weight', 'attended_norm': 'post_attention_layernorm.weight',
  'mlp_norm': 'pre_feedforward_layernorm.weight', 'fed_norm': 'post_feedforward_layernorm.weight',
  'size': 'layer_scalar',
}  # fmt: skip


@options.read_for('the text encoder')
def config_of(saved: Mapping[str, Any]) -> AnyConfig:
  """The config.json of a Gemma 3 or 4, with or without its eyes and ears → the same here.

  Raises:
    UserError: another model, or an option that this project does not have or that does not fit.
  """
  text = saved.get('text_config', saved)
  kind = text['model_type'] if 'model_type' in text else f'{saved["model_type"]}_text'
  if kind == 'gemma3_text':
    return _of_3({**DEFAULTS_3, **text})
  if kind == 'gemma4_unified_text':
    return _of_4({**DEFAULTS_4, **text}, () if text is saved else _holes(saved))
  raise UserError(
    f'the text encoder is a {kind}; only gemma3_text and gemma4_unified_text are known'
  )


def _of_3(s: Mapping[str, Any]) -> GemmaConfig:
  _check_options(s, ONLY_3)
  every = _every(s, s.get('sliding_window_pattern', 6))
  rotary = s.get('rope_parameters') or {}
  far, near = rotary.get(FULL, {}), rotary.get(SLIDING, {})
  scaling = {**(s.get('rope_scaling') or {}), **far}
  if scaling.get('rope_type', 'default') not in ('default', 'linear'):
    raise UserError(f'the text encoder has rope_type={scaling["rope_type"]}; only linear is known')
  return GemmaConfig(
    vocabulary=s['vocab_size'],
    width=s['hidden_size'],
    layers=s['num_hidden_layers'],
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


def _of_4(s: Mapping[str, Any], holes: tuple[int, ...]) -> Gemma4Config:
  _check_options(s, ONLY_4)
  every = _every(s, 6)
  far = _far_sizes(s, every)
  return Gemma4Config(
    vocabulary=s['vocab_size'],
    width=s['hidden_size'],
    layers=s['num_hidden_layers'],
    heads=s['num_attention_heads'],
    hidden=s['intermediate_size'],
    window=s['sliding_window'],
    every=every,
    near=_heads(s, SLIDING, {'rope_theta': 1e4}, s['num_key_value_heads'], s['head_dim']),
    far=_heads(s, FULL, {'rope_theta': 1e6, 'rope_type': 'proportional',
                         'partial_rotary_factor': 0.25},
               far['num_key_value_heads'], far['head_dim'], s.get('attention_k_eq_v', False)),
    holes=holes,
    padding=s.get('pad_token_id', 0),
  )  # fmt: skip


def _holes(saved: Mapping[str, Any]) -> tuple[int, ...]:
  told = (saved.get(name, usual) for name, usual in HOLES.items())
  return tuple(token for token in told if token is not None)


def _check_options(s: Mapping[str, Any], allowed: Allowed) -> None:
  odd = [f'{n}={s[n]}' for n, values in allowed.items() if s.get(n, values[0]) not in values]
  if odd:
    raise UserError(f'the text encoder has {", ".join(odd)}, which this project does not have')


def _every(s: Mapping[str, Any], usual: int) -> int:
  """How many layers there are to a global one; one more than all where none is."""
  layers = s['num_hidden_layers']
  kinds = s.get('layer_types') or [SLIDING if (i + 1) % usual else FULL for i in range(layers)]
  every = kinds.index(FULL) + 1 if FULL in kinds else layers + 1
  if kinds != [SLIDING if (i + 1) % every else FULL for i in range(layers)]:
    raise UserError('the text encoder has layer_types that do not come in turns of equal length')
  return every


def _far_sizes(s: Mapping[str, Any], every: int) -> dict[str, int]:
  """Keys and K of the global layers, which are told in one of two ways."""
  usual = {'num_key_value_heads': s['num_key_value_heads'], 'head_dim': s['head_dim']}
  if 'per_layer_config' not in s:
    keys = s.get('num_global_key_value_heads') if s.get('attention_k_eq_v') else None
    made = {'head_dim': s.get('global_head_dim', 512)}
    return {**usual, **made, **({'num_key_value_heads': keys} if keys is not None else {})}
  told = {int(i): own for i, own in (s['per_layer_config'] or {}).items()}
  far = told.get(every - 1, {})
  wanted = dict.fromkeys(range(every - 1, s['num_hidden_layers'], every), far)
  if far.keys() - usual or {i: own for i, own in told.items() if own} != (wanted if far else {}):
    raise UserError('the text encoder has a per_layer_config that is not one for all global layers')
  return {**usual, **far}


def _heads(
  s: Mapping[str, Any], kind: str, usual: Mapping[str, Any], key_heads: int, head_dim: int,
  shared: bool = False,
) -> HeadsConfig:  # fmt: skip
  rotary = (s.get('rope_parameters') or {kind: usual})[kind]
  name = rotary.get('rope_type', 'default')
  if name not in ('default', 'proportional'):
    raise UserError(f'the text encoder has rope_type={name}; only default, proportional are known')
  part = rotary if name == 'proportional' else {}
  return HeadsConfig(
    key_heads=key_heads,
    head_dim=head_dim,
    theta=float(rotary['rope_theta']),
    turned=float(part.get('partial_rotary_factor', 1.0)),
    stretch=float(part.get('factor', 1.0)),
    shared=shared,
  )


def maker_of(config: AnyConfig) -> Callable[[], Gemma | Gemma4]:
  """What makes the module that a config is of."""
  if isinstance(config, GemmaConfig):
    return lambda: Gemma(config, rngs=nnx.Rngs(0))
  return lambda: Gemma4(config, rngs=nnx.Rngs(0))


def places(config: AnyConfig) -> tensors.Places:
  """Path in our tree → the tensors that it is made of, named as below the language model."""
  far = range(config.every - 1, config.layers, config.every)
  near = [i for i in range(config.layers) if i not in far]
  stacks = {'layers': range(config.layers), 'near': near, 'far': far}
  whole = {'table': 'embed_tokens.weight', 'norm': 'norm.weight'}
  made = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(tensors.shapes(maker_of(config))):
    part, *rest = (key.key for key in path)
    if part in whole:
      made[path] = Place([Tensor(whole[part], leaf.shape, leaf.shape)], stacked=False)
    else:
      parts = [_of_layer(f'layers.{i}.{WORDS[rest[0]]}', leaf.shape[1:]) for i in stacks[part]]
      made[path] = Place(parts, stacked=True)
  return made


def _of_layer(name: str, ours: tuple[int, ...]) -> Tensor:
  if len(ours) == 1:
    return Tensor(name, ours, ours)
  ins = ours[:-1] if name.endswith('o_proj.weight') else ours[:1]
  shape = math.prod(ours) // math.prod(ins), math.prod(ins)
  return Tensor(name, shape, ours, turned=True)


class LanguageModel(Mapping[str, np.ndarray]):
  """The tensors of a Gemma alone, by their names below it, wherever in a file it lies.

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


def params_of(config: AnyConfig, saved: Mapping[str, np.ndarray]) -> Params:
  """Tensors by their names below the language model → parameters; `UserError` unless they fit."""
  return tensors.params_of(maker_of(config), places(config), saved)


def load(
  config: AnyConfig, saved: Shards, mesh: jax.sharding.Mesh, dtype: Any = np.float32,
  eight_bits: bool = False,
) -> Params:  # fmt: skip
  """The tensors of a folder → parameters in `dtype`, laid over a mesh; as `tensors.load`."""
  return tensors.load(
    maker_of(config), places(config), LanguageModel(saved), mesh, dtype, eight_bits
  )
