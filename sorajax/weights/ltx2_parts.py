"""Which tensors the parts of an LTX-2 have in diffusers, by name, from what their config.json says.

Where the readers of parts take what they need, this table is complete: nothing may be left over.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax

from sorajax.codec import video
from sorajax.codec.audio import AutoencoderConfig
from sorajax.codec.vocoder import END_SIZE, VocoderConfig
from sorajax.weights import (
  ltx2_audio,
  ltx2_connectors,
  ltx2_transformer,
  ltx2_video,
  options,
  tensors,
)

Shapes = dict[str, tuple[int, ...]]
PARTS = ('transformer', 'connectors', 'vae', 'audio_vae', 'vocoder')


def shapes_of(part: str, config: Mapping[str, Any]) -> Shapes:
  """The shape of every tensor of a part, by name.

  Args:
    part: one of `PARTS`.
    config: what its config.json says.

  Raises:
    UserError: an option that this project does not have, or that is missing.
  """
  of = {
    'transformer': _transformer, 'connectors': _connectors, 'vae': _video, 'audio_vae': _audio,
    'vocoder': _vocoders,
  }  # fmt: skip
  with options.read_for(part):
    return of[part](config)


def _transformer(config: Mapping[str, Any]) -> Shapes:
  return _of_places(ltx2_transformer.places(ltx2_transformer.config_of(config)))


def _connectors(config: Mapping[str, Any]) -> Shapes:
  return _of_places(ltx2_connectors.places(ltx2_connectors.config_of(config)))


def _of_places(where: tensors.Places) -> Shapes:
  return {tensor.name: tensor.shape for tensor in tensors.tensors_of(where)}


def _video(config: Mapping[str, Any]) -> Shapes:
  wanted = video.shapes(ltx2_video.config_of(config))
  leaves = jax.tree_util.tree_leaves(wanted)
  made: Shapes = {f'latents_{name}': (config['latent_channels'],) for name in ('mean', 'std')}
  for (_, name), leaf in zip(ltx2_video.tensor_names(wanted), leaves):
    shape = tuple(leaf.shape)
    made[name] = (shape[4], shape[3], *shape[:3]) if len(shape) == 5 else shape
  return made


def _audio(config: Mapping[str, Any]) -> Shapes:
  c = ltx2_audio.autoencoder_config_of(config)
  made: Shapes = {'latents_mean': (c.width,), 'latents_std': (c.width,)}
  for name, inputs, outputs, size in [*_encoder(c), *_decoder(c)]:
    made[f'{name}.conv.weight'] = outputs, inputs, size, size
    made[f'{name}.conv.bias'] = (outputs,)
  return made


Maps = Iterator[tuple[str, int, int, int]]  # name, inputs, outputs, side of the kernel


def _encoder(c: AutoencoderConfig) -> Maps:
  widths = [c.width * m for m in c.multipliers]
  yield 'encoder.conv_in', c.audio_channels, c.width, 3
  inputs = c.width
  for level, width in enumerate(widths):
    for i in range(c.blocks):
      yield from _block(f'encoder.down.{level}.block.{i}', inputs, width)
      inputs = width
    if level < len(widths) - 1:
      yield f'encoder.down.{level}.downsample', width, width, 3
  yield from _middle('encoder', inputs)
  yield 'encoder.conv_out', inputs, 2 * c.latent_channels, 3


def _decoder(c: AutoencoderConfig) -> Maps:
  widths = [c.width * m for m in c.multipliers]
  inputs = widths[-1]
  yield 'decoder.conv_in', c.latent_channels, inputs, 3
  yield from _middle('decoder', inputs)
  for level in reversed(range(len(widths))):
    for i in range(c.blocks + 1):
      yield from _block(f'decoder.up.{level}.block.{i}', inputs, widths[level])
      inputs = widths[level]
    if level:
      yield f'decoder.up.{level}.upsample.conv', inputs, inputs, 3
  yield 'decoder.conv_out', inputs, c.audio_channels, 3


def _middle(half: str, width: int) -> Maps:
  for i in (1, 2):
    yield from _block(f'{half}.mid.block_{i}', width, width)


def _block(name: str, inputs: int, outputs: int) -> Maps:
  yield f'{name}.conv1', inputs, outputs, 3
  yield f'{name}.conv2', outputs, outputs, 3
  if inputs != outputs:
    yield f'{name}.nin_shortcut', inputs, outputs, 1


def _vocoders(config: Mapping[str, Any]) -> Shapes:
  c = ltx2_audio.vocoder_config_of(config)
  if isinstance(c, VocoderConfig):
    return dict(_vocoder('', c))
  basis = 2 * (c.n_fft // 2 + 1), 1, c.n_fft
  return {
    **dict(_vocoder('vocoder.', c.narrow)),
    **dict(_vocoder('bwe_generator.', c.extension)),
    'mel_stft.mel_basis': (c.mels, basis[0] // 2),
    'mel_stft.stft_fn.forward_basis': basis,
    'mel_stft.stft_fn.inverse_basis': basis,
  }


Named = Iterator[tuple[str, tuple[int, ...]]]


def _vocoder(prefix: str, c: VocoderConfig) -> Named:
  widths = [c.width // 2**i for i in range(len(c.factors) + 1)]
  words = {'leaky': (), 'snake': ('alpha',), 'snakebeta': ('alpha', 'beta')}[c.activation]
  yield from _conv(f'{prefix}conv_in', (widths[0], c.inputs, END_SIZE))
  for i, size in enumerate(c.sizes):
    width = widths[i + 1]
    yield f'{prefix}upsamplers.{i}.weight', (widths[i], width, size)
    yield f'{prefix}upsamplers.{i}.bias', (width,)
    for j, (kernel, dilations) in enumerate(zip(c.kernels, c.dilations)):
      block = f'{prefix}resnets.{i * len(c.kernels) + j}'
      for k, of in ((k, of) for k in range(len(dilations)) for of in (1, 2)):
        yield from _conv(f'{block}.convs{of}.{k}', (width, width, kernel))
        taps = c.filter_size if c.oversampling > 1 else 0
        yield from _activation(f'{block}.acts{of}.{k}', width, words, taps)
  if words:
    yield from _activation(f'{prefix}act_out', widths[-1], ('alpha', 'beta'), c.filter_size)
  yield from _conv(f'{prefix}conv_out', (c.outputs, widths[-1], END_SIZE), c.last_bias)


def _conv(name: str, shape: tuple[int, ...], bias: bool = True) -> Named:
  yield f'{name}.weight', shape
  if bias:
    yield f'{name}.bias', shape[:1]


def _activation(name: str, width: int, words: tuple[str, ...], taps: int) -> Named:
  """`words`: its parameters of each channel; `taps`: of the filters around it, 0 for none."""
  for word in words:
    yield f'{name}.act.{word}' if taps else f'{name}.{word}', (width,)
  for way in ('upsample', 'downsample') if taps else ():
    yield f'{name}.{way}.filter', (1, 1, taps)
