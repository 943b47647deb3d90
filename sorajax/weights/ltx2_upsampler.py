"""LTX-2's latent upsamplers, as diffusers saves them or in a file → `codec.upsampler`."""

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import jax
import numpy as np

from sorajax.codec import plain
from sorajax.codec.upsampler import Upsampler, UpsamplerConfig
from sorajax.errors import UserError
from sorajax.weights import options, tensors
from sorajax.weights.shards import File

WORDS = {
  'enter': 'initial_conv', 'norm': 'initial_norm', 'before': 'res_blocks',
  'after': 'post_upsample_res_blocks', 'leave': 'final_conv', 'first': 'conv1',
  'first_norm': 'norm1', 'second': 'conv2', 'second_norm': 'norm2', 'kernel': 'weight',
  'scale': 'weight',
}  # fmt: skip

RELEASED: Mapping[str, tuple[str, Any]] = {  # option in diffusers → in a release, and what is usual
  'in_channels': ('in_channels', 128), 'mid_channels': ('mid_channels', 512),
  'num_blocks_per_stage': ('num_blocks_per_stage', 4), 'dims': ('dims', 3),
  'spatial_upsample': ('spatial_upsample', True), 'temporal_upsample': ('temporal_upsample', False),
  'rational_spatial_scale': ('spatial_scale', 2.0),
  'use_rational_resampler': ('rational_resampler', False),
}  # fmt: skip


@options.read_for('the latent upsampler')
def config_of(saved: Mapping[str, Any]) -> UpsamplerConfig:
  """The config.json of `LTX2LatentUpsamplerModel` → the same upsampler here.

  Raises:
    UserError: one that enlarges by what this project does not know, or that lacks an option.
  """
  larger, more = saved['spatial_upsample'], saved['temporal_upsample']
  rational = larger and not more and saved['use_rational_resampler']
  ratio = Fraction(saved['rational_spatial_scale'] if rational else 2 if larger else 1)
  return UpsamplerConfig(
    channels=saved['in_channels'], width=saved['mid_channels'],
    blocks=saved['num_blocks_per_stage'], ratio=(ratio.numerator, ratio.denominator),
    doubled=more, deep=saved['dims'] == 3,
  )  # fmt: skip


def saved_config_of(file: File) -> dict[str, Any]:
  """What the config.json of the upsampler in a release's file would say in diffusers.

  The file's names of tensors are diffusers' own.

  Raises:
    UserError: a file whose head says nothing of it.
  """
  try:
    told = json.loads(file.metadata['config'])
    return {name: told.get(there, usual) for name, (there, usual) in RELEASED.items()}
  except (KeyError, ValueError, AttributeError) as error:
    raise UserError(
      f'the head of {file.path} does not tell the config of an upsampler; give one of a release, '
      'or a folder that diffusers saved'
    ) from error


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
