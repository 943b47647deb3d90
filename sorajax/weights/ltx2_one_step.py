"""LTX-2.5's one-step decoder: as its release has it → as diffusers saves it → `codec.one_step`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from sorajax.codec import plain
from sorajax.codec.one_step import OneStep, OneStepConfig, Stage
from sorajax.errors import UserError
from sorajax.weights import options, stored, tensors
from sorajax.weights.ltx2_video import swap_patch
from sorajax.weights.stored import Part, Stored

CLASS = 'LTX2VideoDiffusionDecoderModel'
FIXED: Mapping[str, Any] = {
  'out_channels': 3, 'decoder_model_output_type': 'x0', 'decoder_num_inference_steps': 1,
}  # fmt: skip
STATISTICS = ('latents_mean', 'latents_std')  # which the autoencoder has too
LINEAR = 't_embedder.timestep_embedder.linear_'
WORDS = {
  'enter': 'conv_in', 'stages': 'det_stages', 'changes': 'upsamples', 'map': 'proj',
  'noise': 'conv_in_x_t', 'reading': 'diff_blocks', 'norm': 'norm_out', 'leave': 'conv_out',
  'context': 'context_proj', 'table': 'scale_shift_table', 'first_norm': 'norm1',
  'second_norm': 'norm2', 'attention': 'attn', 'query': 'to_q', 'key': 'to_k', 'value': 'to_v',
  'out': 'to_out.0', 'query_norm': 'norm_q', 'key_norm': 'norm_k', 'up': 'w_up', 'gate': 'w_gate',
  'down': 'w_down', 'kernel': 'weight', 'scale': 'weight',
}  # fmt: skip
# In a release the maps of queries, keys and values are one tensor, and what a block adds may have a
# gate of its own for each channel: gate → the map whose outputs it scales.
PACKED = '.qkv.'
RELEASED = {
  '.attn.proj.': '.attn.to_out.0.', '.q_norm.': '.norm_q.', '.k_norm.': '.norm_k.',
  't_embedder.mlp.0.': f'{LINEAR}1.', 't_embedder.mlp.2.': f'{LINEAR}2.',
}  # fmt: skip
GATES = {'gate_msa': 'attn.proj', 'gate_mlp': 'mlp.w_down', 'gate_ctx': 'context_proj'}
PREVIEW = 'coarse_'  # heads of a release that are not of the decoder
LEVEL = {
  'up': f'{LINEAR}1', 'out': f'{LINEAR}2',
  'rows': 'shared_adaln.proj',
}  # fmt: skip


@options.read_for('the one-step decoder')
def config_of(saved: Mapping[str, Any]) -> OneStepConfig:
  """The config.json of `LTX2VideoDiffusionDecoderModel` → the same decoder here.

  Raises:
    UserError: an option that this project does not have, or that is missing.
  """
  for name, known in FIXED.items():
    if saved[name] != known:
      raise UserError(f'the one-step decoder has {name}={saved[name]!r}; only {known!r} is known')
  *widths, last = saved['decoder_stage_channels']
  *depths, blocks = saved['decoder_stage_depths']
  strides, windows = saved['decoder_upsample_strides'], saved['decoder_stage_kernels']
  factors = saved['decoder_upsample_channel_reductions']
  counts = {len(part) for part in (widths, depths, strides, windows, factors)}
  if len(counts) > 1:
    raise ValueError(f'its lists are of {sorted(counts)} stages; give as many in each')
  for wide, factor, narrow in zip(widths, factors, (*widths[1:], last)):
    if wide != factor * narrow:
      raise ValueError(f'{wide} channels become {narrow}, which is not 1/{factor} of them')
  stages = (
    Stage(width, depth, _size(window), _size(stride))
    for width, depth, window, stride in zip(widths, depths, windows, strides)
  )
  made = OneStepConfig(
    channels=saved['latent_channels'], stages=tuple(stages), width=last, blocks=blocks,
    window=_size(saved['decoder_stage5_kernel']), patch=saved['patch_size'],
    head_dim=saved['decoder_head_dim'], level_width=saved['decoder_t_emb_dim'],
    level_scale=saved['decoder_timestep_scale_multiplier'],
  )  # fmt: skip
  told = tuple(saved[f'{name}_compression_ratio'] for name in ('temporal', 'spatial', 'spatial'))
  if told != made.geometry.stride:
    raise ValueError(
      f'its latents are of {told} frames and pixels and its stages make {made.geometry.stride}'
    )
  return made


def _size(given: Any) -> tuple[int, int, int]:
  t, y, x = given
  return t, y, x


def shapes_of(config: OneStepConfig) -> dict[str, tuple[int, ...]]:
  """The shape of every tensor, by name."""
  leaves = jax.tree_util.tree_leaves_with_path(plain.shapes(OneStep, config))
  turned = lambda path, leaf: leaf.shape[::-1] if _is_map(path) else leaf.shape
  own = {name_of(path): turned(path, leaf) for path, leaf in leaves}
  return {**own, **dict.fromkeys(STATISTICS, (config.channels,))}


def params_of(config: OneStepConfig, saved: Mapping[str, np.ndarray]) -> plain.Params:
  """The tensors of `LTX2VideoDiffusionDecoderModel` by name → parameters, float32.

  Its statistics of latents are not read: they are those of the autoencoder, as in its pipeline.

  Raises:
    UserError: tensors that are missing, have another shape, or are left over.
  """
  own = getattr(saved, 'shapes', None)
  given = own() if own else {name: tuple(value.shape) for name, value in saved.items()}
  tensors.check_shapes(shapes_of(config), given)

  def take(path, leaf):
    name = name_of(path)
    value = np.asarray(saved[name], np.float32)
    if path[0].key in ('noise', 'leave'):
      axis = 1 if name.endswith('x_t.weight') else 0
      within = name != 'decoder.conv_in_x_t.bias'
      value = swap_patch(value, axis, config.patch) if within else value
    return np.ascontiguousarray(value.T) if _is_map(path) else value

  return jax.tree_util.tree_map_with_path(take, plain.shapes(OneStep, config))


def part_of(
  released: Mapping[str, Stored], statistics: Sequence[Stored], saved: Mapping[str, Any]
) -> Part:
  """The decoder of a release as diffusers has it.

  Args:
    released: its tensors by their names below it.
    statistics: of its latents, by diffusers' names.
    saved: what its config.json says.

  Raises:
    UserError: tensors that are missing, misshaped or unknown.
  """
  gate_of = {}
  for name, tensor in released.items():
    block, _, last = name.rpartition('.')
    if last in GATES:
      gate_of[f'{block}.{GATES[last]}'] = tensor
  made = list(statistics)
  for name, tensor in released.items():
    owner, _, last = name.rpartition('.')
    if last in GATES or any(word.startswith(PREVIEW) for word in name.split('.')):
      continue
    if owner in gate_of:
      tensor = _gated(tensor, gate_of[owner])
    for before, now in RELEASED.items():
      name = name.replace(before, now)
    made += [part.named(f'decoder.{part.name}') for part in _apart(tensor.named(name))]
  odd = tensors.difference(shapes_of(config_of(saved)), {t.name: t.shape for t in made})
  if odd:
    raise UserError(f'the one-step decoder is not that of a release: {odd}; download it again')
  return Part(saved, sorted(made, key=lambda tensor: tensor.name))


def _gated(tensor: Stored, gate: Stored) -> Stored:
  """A map's weight or bias, each output of it times its gate, rounded once."""

  def exact() -> np.ndarray:
    value = tensor.read().astype(np.float32)
    return gate.read().astype(np.float32).reshape(-1, *(1,) * (value.ndim - 1)) * value

  return tensor.rounding(exact)


def _apart(tensor: Stored) -> Iterator[Stored]:
  """The maps of queries, keys and values, one after the other; another tensor alone."""
  before, packed, kind = tensor.name.partition(PACKED)
  if not packed:
    yield tensor
    return
  for letter, part in zip('qkv', stored.thirds(tensor)):
    yield part.named(f'{before}.to_{letter}.{kind}')


def parameters(config: OneStepConfig) -> int:
  """How many numbers it learned."""
  return sum(math.prod(s) for n, s in shapes_of(config).items() if n not in STATISTICS)


def name_of(path: tuple) -> str:
  """diffusers' name of a parameter."""
  first, *rest = (key.key for key in path)
  begin = [LEVEL[rest.pop(0)]] if first == 'level' else [WORDS[first]]
  if first == 'stages':
    rest = [n for n in rest if n != 'blocks']
  return '.'.join(['decoder', *begin, *(WORDS.get(key, key) for key in rest)])


def _is_map(path: tuple) -> bool:
  return path[-1].key == 'kernel'
