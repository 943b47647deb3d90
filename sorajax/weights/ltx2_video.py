"""LTX-2's video autoencoder as diffusers saves it → `codec.video` parameters."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.codec import video
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.video_config import HalfConfig, Stage, VideoConfig
from sorajax.errors import UserError
from sorajax.nn.conv import Padding
from sorajax.weights import options

STRIDES = {'spatial': (1, 2, 2), 'temporal': (2, 1, 1), 'spatiotemporal': (2, 2, 2)}
PADDINGS: Mapping[str, Padding] = {'zeros': 'zeros', 'reflect': 'reflect', 'replicate': 'edge'}
UNKNOWN = ('timestep_conditioning', 'decoder_inject_noise')


@options.read_for('the autoencoder')
def config_of(saved: Mapping[str, Any]) -> VideoConfig:
  """The config.json of `AutoencoderKLLTX2Video` → the same autoencoder here.

  Raises:
    UserError: an option that this project does not have, or that is missing.
  """
  for name in UNKNOWN:
    if np.any(saved.get(name, False)):
      raise UserError(f'the autoencoder has {name}={saved[name]}, which this project does not know')
  strange = {*saved['downsample_type'], *saved['upsample_type']} - set(STRIDES)
  if strange:
    raise UserError(f'the autoencoder changes its size by {sorted(strange)}; known: {[*STRIDES]}')
  if saved['patch_size_t'] != 1:
    raise UserError(f'the autoencoder has patch_size_t={saved["patch_size_t"]}; only 1 is known')
  for half in ('encoder', 'decoder'):
    if (mode := saved[f'{half}_spatial_padding_mode']) not in PADDINGS:
      raise UserError(f'the {half} is padded by {mode!r}; known: {[*PADDINGS]}')
  return VideoConfig(
    saved['latent_channels'], saved['patch_size'], _encoder(saved), _decoder(saved)
  )


def codec_of(
  saved: Mapping[str, Any], tensors: Mapping[str, np.ndarray], decodes: bool = True
) -> ConvCodec:  # fmt: skip
  """The codec of a checkpoint: its config.json and its tensors by name.

  Its latents have deviation 1 on the data that the statistics in the checkpoint come from.

  Args:
    saved: the config.json.
    tensors: by name.
    decodes: whether there is a decoder among them.
  """
  config = config_of(saved)
  with options.read_for('the autoencoder'):
    factor = np.float32(saved['scaling_factor'])
  params = jax.tree.map(jnp.asarray, params_of(config, tensors, decodes))
  mean, deviation = (np.asarray(tensors[f'latents_{name}'], np.float32) for name in ('mean', 'std'))
  scale = deviation / factor
  return ConvCodec(config, params, mean, scale, np.ones_like(scale))


def _encoder(saved: Mapping[str, Any]) -> HalfConfig:
  *blocks, inner = saved['layers_per_block']
  widths = saved['block_out_channels']
  scaled = _each(saved['spatio_temporal_scaling'], len(widths))
  if not all(scaled):
    raise UserError(
      f'spatio_temporal_scaling is {scaled}; an encoder whose stages all scale is known'
    )
  kinds = saved['downsample_type']
  stages = tuple(Stage(STRIDES[k], w, n) for k, w, n in zip(kinds, widths, blocks))
  padding = PADDINGS[saved['encoder_spatial_padding_mode']]
  width, causal = saved['latent_channels'], saved['encoder_causal']
  return HalfConfig(width, stages, inner, causal=causal, padding=padding)


def _decoder(saved: Mapping[str, Any]) -> HalfConfig:
  widths = saved['decoder_block_out_channels'][::-1]
  inner, *blocks = saved['decoder_layers_per_block'][::-1]
  factors = saved['upsample_factor'][::-1]
  scaled = _each(saved['decoder_spatio_temporal_scaling'], len(widths))[::-1]
  if not all(scaled):
    raise UserError(f'decoder_spatio_temporal_scaling is {scaled}; one that scales always is known')
  residuals = _each(saved['upsample_residual'], len(widths))[::-1]
  kinds = saved['upsample_type']  # alone among these, in the order in which stages run
  stages = tuple(
    Stage(STRIDES[k], w // f, n, factor=f, residual=r)
    for k, w, n, f, r in zip(kinds, widths, blocks, factors, residuals)
  )
  padding = PADDINGS[saved['decoder_spatial_padding_mode']]
  causal = saved['decoder_causal']
  return HalfConfig(widths[0], stages, inner, causal=causal, padding=padding)


def _each(value: Any, count: int) -> list:
  return [value] * count if isinstance(value, bool) else list(value)


def params_of(
  config: VideoConfig, saved: Mapping[str, np.ndarray], decodes: bool = True
) -> video.Params:  # fmt: skip
  """The tensors of `AutoencoderKLLTX2Video` by name → parameters; `decodes`: of both halves.

  Raises:
    UserError: a tensor that is missing, has another shape, or is left over.
  """
  wanted = video.shapes(config)
  if not decodes:
    del wanted['decoder']
  names = dict(tensor_names(wanted))
  left = set(saved) - set(names.values()) - {'latents_mean', 'latents_std'}
  if left:
    raise UserError(f'{len(left)} tensors have no place in the autoencoder, as {sorted(left)[0]}')

  def take(path, leaf):
    name = names[path]
    if name not in saved:
      raise UserError(
        f'the checkpoint lacks {name} of {leaf.shape}; give the config it was made with'
      )
    value = _arranged(name, saved[name], config.patch)
    if value.shape != leaf.shape:
      raise UserError(f'{name} gives {value.shape} and the autoencoder needs {leaf.shape}')
    return value

  return jax.tree_util.tree_map_with_path(take, wanted)


def tensor_names(params: video.Params) -> Iterator[tuple[Any, str]]:
  """(path in our tree, name of diffusers' tensor) of every parameter."""
  for path, _ in jax.tree_util.tree_leaves_with_path(params):
    half, *rest = (key.key for key in path)
    yield path, '.'.join([half, *_translated(half, rest)])


def _translated(half: str, keys: list) -> Iterator[str]:
  side = 'down' if half == 'encoder' else 'up'
  words = {
    'stem': 'conv_in.conv', 'out': 'conv_out.conv', 'stages': f'{side}_blocks',
    'inner': 'mid_block.resnets', 'blocks': 'resnets', 'enter': 'conv_in',
    'change': f'{side}samplers.0', 'conv': 'conv.conv', 'first': 'conv1.conv',
    'second': 'conv2.conv', 'shortcut': 'conv_shortcut', 'norm': 'norm3.weight',
    'norm_bias': 'norm3.bias', 'kernel': 'weight', 'bias': 'bias',
  }  # fmt: skip
  return (words.get(key, str(key)) for key in keys)


def _arranged(name: str, value: np.ndarray, patch: int) -> np.ndarray:
  """A tensor in our order of dimensions and channels, float32."""
  value = np.asarray(value, np.float32)
  if name.startswith('encoder.conv_in.conv.weight'):
    value = swap_patch(value, 1, patch)
  elif name.startswith('decoder.conv_out.conv.'):
    value = swap_patch(value, 0, patch)
  return value.transpose(2, 3, 4, 1, 0) if value.ndim == 5 else value


def swap_patch(value: np.ndarray, axis: int, patch: int) -> np.ndarray:
  """A patch's channels from (colour, column, row) to (colour, row, column)."""
  index = np.arange(value.shape[axis]).reshape(-1, patch, patch).swapaxes(1, 2).ravel()
  return value.take(index, axis=axis)
