"""LTX-2's transformer as diffusers saves it ↔ parameters of `model.transformer`.

Here the rows of audio↔video attention lie as query, as key; there audio → video, video → audio.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from sorajax.errors import UserError
from sorajax.model.config import StreamConfig, TransformerConfig
from sorajax.model.transformer import Transformer
from sorajax.weights import options, tensors
from sorajax.weights.shards import Shards
from sorajax.weights.stored import Stored
from sorajax.weights.tensors import Params, Place, Tensor

CLASS = 'LTX2VideoTransformer3DModel'
# Options that may have one value alone; where a config.json lacks an option, it has this value.
FIXED: Mapping[str, Any] = {
  'patch_size': 1, 'patch_size_t': 1, 'audio_patch_size': 1, 'audio_patch_size_t': 1,
  'activation_fn': 'gelu-approximate', 'qk_norm': 'rms_norm_across_heads',
  'norm_elementwise_affine': False, 'norm_eps': 1e-6, 'attention_bias': True,
  'attention_out_bias': True, 'rope_double_precision': True, 'causal_offset': 1,
  'timestep_scale_multiplier': 1000,
}  # fmt: skip
DEFAULTS: Mapping[str, Any] = {
  'in_channels': 128, 'out_channels': 128, 'num_attention_heads': 32, 'attention_head_dim': 128,
  'cross_attention_dim': 4096, 'pos_embed_max_pos': 20, 'base_height': 2048, 'base_width': 2048,
  'gated_attn': False, 'cross_attn_mod': False, 'ff_bias': True,
  'audio_in_channels': 128, 'audio_out_channels': 128, 'audio_num_attention_heads': 32,
  'audio_attention_head_dim': 64, 'audio_cross_attention_dim': 2048, 'audio_pos_embed_max_pos': 20,
  'audio_gated_attn': False, 'audio_cross_attn_mod': False, 'audio_ff_bias': True,
  'num_layers': 48, 'caption_channels': 3840, 'rope_theta': 10000.0, 'rope_type': 'interleaved',
  'cross_attn_timestep_scale_multiplier': 1000, 'use_prompt_embeddings': True,
  'use_prompt_adaln_single': True, 'use_keyframes_abs_pos_embedding': False,
}  # fmt: skip
# A codec's geometry says where its latents lie; nothing here depends on these.
ELSEWHERE = (
  'vae_scale_factors', 'audio_scale_factor', 'audio_sampling_rate', 'audio_hop_length',
  'perturbed_attn',
)  # fmt: skip


@options.read_for('the transformer')
def config_of(saved: Mapping[str, Any]) -> TransformerConfig:
  """The config.json of `LTX2VideoTransformer3DModel` → the same transformer here.

  It does not say whose noise level drives audio↔video attention: diffusers' pipelines give the
  other stream's to all of it, as here; Lightricks' own program gives it to the gate alone, which is
  `cross_level='own'`. Where both streams are equally noisy throughout, the two are the same.

  Raises:
    UserError: an option that this project does not have.
  """
  s = {**DEFAULTS, **FIXED, **saved}
  _check_options(s)
  streams = {
    'audio': _stream(s, 'audio_', ()),
    'video': _stream(
      s, '', (float(s['base_height']), float(s['base_width'])),
      keyframes=s['use_keyframes_abs_pos_embedding'],
    ),
  }  # fmt: skip
  return TransformerConfig(
    streams=streams,
    layers=s['num_layers'],
    text_width=sum(stream.text_width for stream in streams.values()),
    cross_heads=streams['audio'].heads,
    cross_head_dim=streams['audio'].head_dim,
    gated=s['gated_attn'],
    text_modulation=s['cross_attn_mod'],
    text_levels=s['cross_attn_mod'] and s['use_prompt_adaln_single'],
    caption_projection=s['use_prompt_embeddings'],
    cross_level='other',
    cross_gate_level='other',
    cross_gate_scale=float(s['cross_attn_timestep_scale_multiplier']),
    rope_theta=float(s['rope_theta']),
    rope_pairs=s['rope_type'],
  )


def saved_config_of(config: TransformerConfig) -> dict[str, Any]:
  """The inverse of `config_of`, which alone says nothing of how the network is computed.

  Raises:
    UserError: a transformer that is no LTX-2.
  """
  saved: dict[str, Any] = {'_class_name': CLASS, **DEFAULTS, **FIXED, 'perturbed_attn': True}
  for m, prefix in (('audio', 'audio_'), ('video', '')):
    own = config.streams[m]
    saved |= {
      f'{prefix}in_channels': own.channels, f'{prefix}out_channels': own.channels,
      f'{prefix}num_attention_heads': own.heads, f'{prefix}attention_head_dim': own.head_dim,
      f'{prefix}cross_attention_dim': own.width, f'{prefix}ff_bias': own.mlp_bias,
      f'{prefix}pos_embed_max_pos': own.rope_max[0], f'{prefix}gated_attn': config.gated,
      f'{prefix}cross_attn_mod': config.text_modulation,
    }  # fmt: skip
  video = config.streams['video']
  if config.caption_projection:
    saved['caption_channels'] = video.text_width
  saved |= {
    'base_height': video.rope_max[1], 'base_width': video.rope_max[2],
    'num_layers': config.layers, 'rope_theta': config.rope_theta, 'rope_type': config.rope_pairs,
    'cross_attn_timestep_scale_multiplier': config.cross_gate_scale,
    'use_prompt_embeddings': config.caption_projection,
    'use_prompt_adaln_single': config.text_levels or not config.text_modulation,
    'use_keyframes_abs_pos_embedding': video.keyframes,
  }  # fmt: skip
  saved = {n: int(x) if isinstance(x, float) and x == int(x) else x for n, x in saved.items()}
  _check_same(config, config_of(saved))
  return saved


def _check_same(config: TransformerConfig, again: TransformerConfig) -> None:
  """Raises unless the two are the same network.

  How it is computed, how weights begin and whose level scales tokens is told nowhere there.
  """
  free = (
    'remat', 'unroll', 'compute', 'matmul_precision', 'attention', 'cross_level', 'aligned',
  )  # fmt: skip
  one, other = (dataclasses.asdict(c) for c in (config, again))
  flat = lambda c: {**c, **{f'streams.{m}': x for m, x in c['streams'].items()}, 'streams': None}
  one, other = flat(one), flat(other)
  odd = [f'{n}={x} where LTX-2 has {other[n]}' for n, x in one.items() if other[n] != x]
  odd = [text for text in odd if not text.startswith(tuple(f'{name}=' for name in free))]
  if odd:
    raise UserError(f'the transformer is no LTX-2: it has {odd[0]}; give a run of configs/ltx2.py')


def _stream(s: Mapping[str, Any], prefix: str, sides: tuple, keyframes=False) -> StreamConfig:
  heads, head_dim = s[f'{prefix}num_attention_heads'], s[f'{prefix}attention_head_dim']
  width = heads * head_dim
  text = 'caption_channels' if s['use_prompt_embeddings'] else f'{prefix}cross_attention_dim'
  return StreamConfig(
    channels=s[f'{prefix}in_channels'],
    width=width,
    heads=heads,
    head_dim=head_dim,
    hidden=4 * width,
    rope_max=(float(s[f'{prefix}pos_embed_max_pos']), *sides),
    mlp_bias=s[f'{prefix}ff_bias'],
    text_width=s[text],
    keyframes=keyframes,
  )


def _check_options(s: Mapping[str, Any]) -> None:
  """Raises where the options are not those of a transformer that can be built here."""
  unknown = sorted(
    name for name in s
    if name not in {*FIXED, *DEFAULTS, *ELSEWHERE} and not name.startswith('_')
  )  # fmt: skip
  if unknown:
    names = tensors.listed(unknown)
    raise UserError(f'the transformer has {names}, which this project does not know')
  for name, value in FIXED.items():
    if s[name] != value:
      raise UserError(f'the transformer has {name}={s[name]}; only {value} is known')
  if s['rope_type'] not in ('split', 'interleaved'):
    raise UserError(f'the transformer has rope_type={s["rope_type"]}; split, interleaved are known')
  width = lambda prefix: s[f'{prefix}num_attention_heads'] * s[f'{prefix}attention_head_dim']
  alike = [
    ('in_channels', s['in_channels'], 'out_channels', s['out_channels']),
    ('audio_in_channels', s['audio_in_channels'], 'audio_out_channels', s['audio_out_channels']),
    ('gated_attn', s['gated_attn'], 'audio_gated_attn', s['audio_gated_attn']),
    ('cross_attn_mod', s['cross_attn_mod'], 'audio_cross_attn_mod', s['audio_cross_attn_mod']),
    ('cross_attention_dim', s['cross_attention_dim'], 'its heads together', width('')),
    (
      'audio_cross_attention_dim', s['audio_cross_attention_dim'], 'its heads together',
      width('audio_'),
    ),
  ]  # fmt: skip
  if s['rope_type'] == 'split':  # their rotation cuts both streams by the picture's heads
    heads = [f'{prefix}num_attention_heads' for prefix in ('', 'audio_')]
    alike.append((heads[0], s[heads[0]], heads[1], s[heads[1]]))
  for one, a, other, b in alike:
    if a != b and b is not None:
      raise UserError(f'the transformer has {one} {a} and {other} {b}; only equal ones are known')


def shapes(config: TransformerConfig) -> Params:
  """The parameters' tree, with a shape in every place."""
  return tensors.shapes(_make(config))


def _make(config: TransformerConfig) -> tensors.Make:
  return lambda: Transformer(config, rngs=nnx.Rngs(0))


def places(config: TransformerConfig) -> tensors.Places:
  """Path in our tree → the tensors that it is made of."""
  made = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(shapes(config)):
    part, *keys = (key.key for key in path)
    if part == 'ends':
      made[path] = Place([_tensor('', keys, leaf.shape)], stacked=False)
    else:  # blocks, then streams
      prefixes = (f'transformer_blocks.{i}.' for i in range(config.layers))
      parts = [_tensor(prefix, keys[1:], leaf.shape[1:]) for prefix in prefixes]
      made[path] = Place(parts, stacked=True)
  return made


def params_of(config: TransformerConfig, saved: Mapping[str, np.ndarray]) -> Params:
  """The tensors of `LTX2VideoTransformer3DModel` by name → parameters, in the types they have.

  Raises:
    UserError: tensors that are missing, have another shape, or are left over.
  """
  return tensors.params_of(_make(config), places(config), saved)


def saved_of(config: TransformerConfig, params: Params) -> dict[str, np.ndarray]:
  """Parameters → the tensors of `LTX2VideoTransformer3DModel` by name, in the types they have."""
  return tensors.saved_of(places(config), params)


def stored_of(config: TransformerConfig, params: Params) -> list[Stored]:
  """As `saved_of`, of tensors that are made when they are asked for; see `tensors.stored_of`."""
  return tensors.stored_of(places(config), params)


def load(
  config: TransformerConfig, saved: Shards, mesh: jax.sharding.Mesh, dtype: Any = np.float32,
  eight_bits: bool = False,
) -> Params:  # fmt: skip
  """The tensors of a folder → parameters in `dtype`, laid over a mesh; as `tensors.load`."""
  return tensors.load(_make(config), places(config), saved, mesh, dtype, eight_bits)


# Our words → theirs; {a} is audio_ or nothing, {m} the stream, {o} the other, {way} into {m}.
PARTS: Mapping[str, str] = {
  'embed': '{a}proj_in', 'out': '{a}proj_out', 'out_table': '{a}scale_shift_table',
  'level': '{a}time_embed', 'cross_level': 'av_cross_attn_{m}_scale_shift',
  'gate_level': 'av_cross_attn_{m}_{way}_gate', 'text_level': '{a}prompt_adaln',
  'text_up': '{a}caption_projection.linear_1', 'text_out': '{a}caption_projection.linear_2',
  'keyframe': 'keyframes_abs_pos_embedding',
  'self_attention': '{a}attn1', 'text_attention': '{a}attn2', 'cross_attention': '{o}_to_{m}_attn',
  'mlp': '{a}ff', 'table': '{a}scale_shift_table', 'text_table': '{a}prompt_scale_shift_table',
  'cross_table': '{m}_a2v_cross_attn_scale_shift_table',
}  # fmt: skip
STREAMS: Mapping[str, Mapping[str, str]] = {
  'audio': {'a': 'audio_', 'm': 'audio', 'o': 'video', 'way': 'v2a'},
  'video': {'a': '', 'm': 'video', 'o': 'audio', 'way': 'a2v'},
}
WITHIN: Mapping[str, Mapping[str, str]] = {
  'level': {
    'up': 'emb.timestep_embedder.linear_1', 'out': 'emb.timestep_embedder.linear_2',
    'rows': 'linear',
  },
  'attention': tensors.ATTENTION,
  'mlp': tensors.MLP,
}  # fmt: skip


def _tensor(prefix: str, keys: list[str], ours: tuple[int, ...]) -> Tensor:
  m, part, *rest = keys
  name = prefix + '.'.join([PARTS[part].format(**STREAMS[m]), *_words(part, rest)])
  swapped = None
  if m == 'audio':  # whose way as a query is the second of theirs
    swapped = {'cross_table': 0, 'cross_level.rows': len(ours) - 1}.get('.'.join([part, *rest[:1]]))
  shape = _shape_there(part, rest, ours)
  turned = name.endswith('.weight') and len(shape) == 2
  return Tensor(name, shape, ours, turned, swapped)


def _words(part: str, keys: list[str]) -> Iterator[str]:
  words = {**tensors.LEAVES, **WITHIN.get(part.rsplit('_', 1)[-1], {})}
  return (words[key] for key in keys)


def _shape_there(part: str, keys: list[str], ours: tuple[int, ...]) -> tuple[int, ...]:
  if part == 'keyframe':
    return (1, *ours)
  if part.endswith('table'):
    return ours
  last = keys[-1]
  if last == 'out':  # of attention: [H, K, D]
    return ours[-1], math.prod(ours[:-1])
  if last in ('kernel', 'query', 'key', 'value'):
    return math.prod(ours[1:]), ours[0]
  return (math.prod(ours),)
