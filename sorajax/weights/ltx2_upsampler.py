"""LTX-2's latent upsamplers as diffusers saves them → `codec.upsampler`."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import jax
import numpy as np

from sorajax.codec import plain
from sorajax.codec.upsampler import Upsampler, UpsamplerConfig
from sorajax.errors import UserError
from sorajax.weights import tensors

WORDS = {
  'enter': 'initial_conv', 'norm': 'initial_norm', 'before': 'res_blocks',
  'after': 'post_upsample_res_blocks', 'leave': 'final_conv', 'first': 'conv1',
  'first_norm': 'norm1', 'second': 'conv2', 'second_norm': 'norm2', 'kernel': 'weight',
  'scale': 'weight',
}  # fmt: skip


def config_of(saved: Mapping[str, Any]) -> UpsamplerConfig:
  """The config.json of `LTX2LatentUpsamplerModel` → the same upsampler here.

  Raises:
    UserError: one that enlarges by what this project does not know.
  """
  larger, more = saved['spatial_upsample'], saved['temporal_upsample']
  rational = larger and not more and saved['use_rational_resampler']
  ratio = Fraction(saved['rational_spatial_scale'] if rational else 2 if larger else 1)
  try:
    return UpsamplerConfig(
      channels=saved['in_channels'], width=saved['mid_channels'],
      blocks=saved['num_blocks_per_stage'], ratio=(ratio.numerator, ratio.denominator),
      doubled=more, deep=saved['dims'] == 3,
    )  # fmt: skip
  except ValueError as error:
    raise UserError(f'the latent upsampler cannot be built here: {error}') from error


def params_of(config: UpsamplerConfig, saved: Mapping[str, np.ndarray]) -> plain.Params:
  """The tensors of `LTX2LatentUpsamplerModel` by name → parameters, float32.

  Raises:
    UserError: tensors that are missing, have another shape, or are left over.
  """
  change = 'upsampler.conv' if 'upsampler.conv.weight' in saved else 'upsampler.0'
  words, wanted = {**WORDS, 'change': change}, plain.shapes(Upsampler, config)
  name_of = lambda path: '.'.join(words.get(key.key, key.key) for key in path)
  named = {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(wanted)}
  given = {name: saved[name] for name in saved if name != 'upsampler.blur_down.kernel'}
  tensors.check_shapes(
    {name: _shape(name, leaf, config) for name, leaf in named.items()},
    {name: tuple(value.shape) for name, value in given.items()},
  )
  take = lambda path, leaf: _here(given[name_of(path)])
  return jax.tree_util.tree_map_with_path(take, wanted)


def _shape(name: str, leaf: jax.ShapeDtypeStruct, config: UpsamplerConfig) -> tuple[int, ...]:
  """What a parameter's shape is there."""
  if len(leaf.shape) == 1:
    return leaf.shape
  *kernel, inputs, outputs = leaf.shape
  flat = not config.deep or (name.startswith('upsampler') and not config.doubled)
  return (outputs, inputs, *(kernel[1:] if flat else kernel))


def _here(value: np.ndarray) -> np.ndarray:
  value = np.asarray(value, np.float32)
  if value.ndim == 1:
    return value
  value = value[:, :, None] if value.ndim == 4 else value
  return np.ascontiguousarray(value.transpose(2, 3, 4, 1, 0))
