"""LTX-2's audio autoencoder and vocoders: released tensors → parameter trees.

Names are those of the released checkpoints (`ups.0`, `resblocks.0`, …) or of their conversion for
`diffusers` (`upsamplers.0`, `resnets.0`, …), without the prefix of the part.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sorajax.codec import plain
from sorajax.codec.audio import Autoencoder, AutoencoderConfig
from sorajax.codec.mel import MelConfig
from sorajax.codec.sound import MelCodec, MelCodecConfig
from sorajax.codec.statistics import Statistics
from sorajax.codec.vocoder import Vocoder, VocoderConfig, WideConfig, WideVocoder
from sorajax.errors import UserError
from sorajax.weights import options

Tensors = dict[str, np.ndarray]
Params = dict[str, Any]
ACTIVATIONS = ('leaky_relu', 'snake', 'snakebeta')
RELEASED_NAMES = (
  ('resblocks.', 'resnets.'),
  ('conv_pre.', 'conv_in.'),
  ('conv_post.', 'conv_out.'),
  ('act_post.', 'act_out.'),
  ('downsample.lowpass.', 'downsample.'),
  ('per_channel_statistics.mean-of-means', 'latents_mean'),
  ('per_channel_statistics.std-of-means', 'latents_std'),
)


def codec_of(
  saved: Mapping[str, Any], tensors: Tensors, of_vocoder: Mapping[str, Any], vocoding: Tensors
) -> MelCodec:
  """The codec of a checkpoint: config.json and tensors of its autoencoder and of its vocoder.

  Its latents have deviation 1 on the data that the statistics in the checkpoint come from.

  Raises:
    UserError: an option that this project does not have, parts that do not fit, a missing tensor.
  """
  own = vocoder_config_of(of_vocoder)
  read = wide_vocoder if isinstance(own, WideConfig) else vocoder
  auto = autoencoder_config_of(saved)
  with options.read_for('the audio autoencoder'):
    mel = MelConfig(
      sample_rate_hz=saved['sample_rate'],
      audio_channels=auto.audio_channels,
      hop_samples=saved['mel_hop_length'],
      mels=auto.mels,
    )
  try:
    config = MelCodecConfig(mel, auto, own)
  except ValueError as error:
    raise UserError(f'the parts of the sound codec do not fit together: {error}') from error
  mean, scale = statistics(tensors)
  params = {
    'autoencoder': autoencoder(tensors, auto),
    'vocoder': read(vocoding, own),  # type: ignore[arg-type]
  }
  return MelCodec(config, params, Statistics(mean, scale, np.ones_like(scale)))


@options.read_for('the audio autoencoder')
def autoencoder_config_of(saved: Mapping[str, Any]) -> AutoencoderConfig:
  """The config.json of `AutoencoderKLLTX2Audio` → the same autoencoder here.

  Raises:
    UserError: an option that this project does not have, or that is missing.
  """
  wanted = {'causality_axis': 'height', 'is_causal': True, 'double_z': True,
            'output_channels': saved['in_channels'], 'norm_type': 'pixel'}  # fmt: skip
  odd = [f'{n}={saved[n]}' for n, value in wanted.items() if saved.get(n, value) != value]
  if odd or saved.get('attn_resolutions') or saved.get('mid_block_add_attention'):
    what = ', '.join(odd) or 'attention'
    raise UserError(f'the audio autoencoder has {what}; causal ones without attention are known')
  return AutoencoderConfig(
    audio_channels=saved['in_channels'],
    mels=saved['mel_bins'],
    latent_channels=saved['latent_channels'],
    width=saved['base_channels'],
    multipliers=tuple(saved['ch_mult']),
    blocks=saved['num_res_blocks'],
  )


@options.read_for('the vocoder')
def vocoder_config_of(saved: Mapping[str, Any]) -> VocoderConfig | WideConfig:
  """The config.json of `LTX2Vocoder` or `LTX2VocoderWithBWE` → the same vocoder here.

  Raises:
    UserError: an option that this project does not have, or that is missing.
  """
  if 'bwe_in_channels' not in saved:
    return _vocoder_config(saved, '')
  rates = saved['output_sampling_rate'], saved['input_sampling_rate']
  if saved['window_length'] != saved['filter_length'] or rates[0] % rates[1]:
    raise ValueError(f'windows of {saved["window_length"]} samples, rates of {rates} Hz')
  return WideConfig(
    narrow=_vocoder_config(saved, ''),
    extension=_vocoder_config(saved, 'bwe_'),
    narrow_rate_hz=rates[1],
    ratio=rates[0] // rates[1],
    n_fft=saved['filter_length'],
    hop_samples=saved['hop_length'],
    mels=saved['num_mel_channels'],
  )


def _vocoder_config(saved: Mapping[str, Any], part: str) -> VocoderConfig:
  s = {n.removeprefix(part): value for n, value in saved.items() if n.startswith(part)}
  if s['act_fn'] not in ACTIVATIONS:
    raise ValueError(f'{part}act_fn is {s["act_fn"]!r}; known: {ACTIVATIONS}')
  return VocoderConfig(
    inputs=s['in_channels'],
    outputs=s['out_channels'],
    width=s['hidden_channels'],
    factors=tuple(s['upsample_factors']),
    sizes=tuple(s['upsample_kernel_sizes']),
    kernels=tuple(s['resnet_kernel_sizes']),
    dilations=tuple(tuple(d) for d in s['resnet_dilations']),
    activation='leaky' if s['act_fn'] == 'leaky_relu' else s['act_fn'],
    slope=s['leaky_relu_negative_slope'],
    oversampling=s['antialias_ratio'] if s['antialias'] else 1,
    filter_size=s['antialias_kernel_size'],
    ending=s['final_act_fn'] or 'none',
    last_bias=s['final_bias'],
  )


def autoencoder(tensors: Tensors, config: AutoencoderConfig) -> Params:
  """The parameters of `codec.audio.Autoencoder`; `UserError` where a tensor is missing."""
  reader = _Reader(tensors)
  made = {part: _stack(reader, f'{part}.', config) for part in ('encoder', 'decoder')}
  return _checked(made, plain.shapes(Autoencoder, config))


def statistics(tensors: Tensors) -> tuple[np.ndarray, np.ndarray]:
  """The mean and the scale of each channel of the autoencoder's tokens, float32 [C·F′] each."""
  reader = _Reader(tensors)
  return reader('latents_mean').astype(np.float32), reader('latents_std').astype(np.float32)


def vocoder(tensors: Tensors, config: VocoderConfig) -> Params:
  """The parameters of `codec.vocoder.Vocoder`; `UserError` where a tensor is missing."""
  return _checked(_vocoder(_Reader(tensors), '', config), plain.shapes(Vocoder, config))


def wide_vocoder(tensors: Tensors, config: WideConfig) -> Params:
  """The parameters of `codec.vocoder.WideVocoder`; `UserError` where a tensor is missing."""
  reader = _Reader(tensors)
  made = {
    'narrow': _vocoder(reader, 'vocoder.', config.narrow),
    'extension': _vocoder(reader, 'bwe_generator.', config.extension),
    'basis': reader('mel_stft.stft_fn.forward_basis')[:, 0].T,
    'bank': reader('mel_stft.mel_basis').T,
  }
  return _checked(made, plain.shapes(WideVocoder, config))


class _Reader:
  """Tensors by name; one that is missing is named."""

  def __init__(self, tensors: Tensors):
    self._tensors = {_renamed(name): value for name, value in tensors.items()}

  def __call__(self, name: str) -> np.ndarray:
    if name not in self._tensors:
      raise UserError(
        f'the weights lack {name} among their {len(self._tensors)} tensors; give the config of '
        'their release'
      )
    return np.asarray(self._tensors[name])

  def names(self, prefix: str, suffix: str) -> list[str]:
    return [n for n in self._tensors if n.startswith(prefix) and n.endswith(suffix)]

  def conv(self, name: str, bias: bool = True) -> Params:
    """[out, in, …] → kernel […, in, out]."""
    kernel = np.moveaxis(self(f'{name}.weight'), (1, 0), (-2, -1))
    return {'kernel': kernel, **({'bias': self(f'{name}.bias')} if bias else {})}

  def transposed(self, name: str) -> Params:
    """[in, out, size] → kernel [size, in, out]."""
    return {
      'kernel': np.moveaxis(self(f'{name}.weight'), -1, 0),
      'bias': self(f'{name}.bias'),
    }


def _renamed(name: str) -> str:
  for released, ours in RELEASED_NAMES:
    name = name.replace(released, ours)
  parts = ['upsamplers' if part == 'ups' else part for part in name.split('.')]
  return '.'.join(parts)


def _stack(r: _Reader, part: str, c: AutoencoderConfig) -> Params:
  """The layers in the order in which they run."""
  middle = [_block(r, f'{part}mid.block_1', c)]
  if c.middle_attention:
    middle.append(_attention(r, f'{part}mid.attn_1', c))
  middle.append(_block(r, f'{part}mid.block_2', c))
  levels = range(len(c.multipliers))
  layers: list[Params] = []
  if part == 'encoder.':
    for level in levels:
      if level:
        layers.append({'conv': {'conv': r.conv(f'{part}down.{level - 1}.downsample.conv')}})
      layers += _level(r, f'{part}down.{level}', c, level, c.blocks)
    layers += middle
  else:
    layers += middle
    for level in reversed(levels):
      layers += _level(r, f'{part}up.{level}', c, level, c.blocks + 1)
      if level:
        layers.append({'conv': {'conv': r.conv(f'{part}up.{level}.upsample.conv.conv')}})
  return {
    'first': _plane(r, f'{part}conv_in'),
    'layers': {str(i): layer for i, layer in enumerate(layers)},
    **_norm(r, f'{part}norm_out', c, 'norm'),
    'last': _plane(r, f'{part}conv_out'),
  }


def _level(r: _Reader, name: str, c: AutoencoderConfig, level: int, blocks: int) -> list[Params]:
  layers = []
  for i in range(blocks):
    layers.append(_block(r, f'{name}.block.{i}', c))
    if level in c.attention_levels:
      layers.append(_attention(r, f'{name}.attn.{i}', c))
  return layers


def _plane(r: _Reader, name: str) -> Params:
  return {'conv': r.conv(f'{name}.conv')}


def _norm(r: _Reader, name: str, c: AutoencoderConfig, ours: str) -> Params:
  if c.norm == 'pixel':
    return {}
  return {ours: {'scale': r(f'{name}.weight'), 'bias': r(f'{name}.bias')}}


def _block(r: _Reader, name: str, c: AutoencoderConfig) -> Params:
  skip = r.names(f'{name}.nin_shortcut.', '.weight')
  return {
    **_norm(r, f'{name}.norm1', c, 'norm1'),
    **_norm(r, f'{name}.norm2', c, 'norm2'),
    'conv1': _plane(r, f'{name}.conv1'),
    'conv2': _plane(r, f'{name}.conv2'),
    **({'skip': r.conv(f'{name}.nin_shortcut.conv')} if skip else {}),
  }


def _attention(r: _Reader, name: str, c: AutoencoderConfig) -> Params:
  maps = {'q': 'q', 'k': 'k', 'v': 'v', 'out': 'proj_out'}
  convs = {ours: r.conv(f'{name}.{theirs}') for ours, theirs in maps.items()}
  return {**_norm(r, f'{name}.norm', c, 'norm'), **convs}


def _vocoder(r: _Reader, part: str, c: VocoderConfig) -> Params:
  beside = len(c.kernels)
  blocks = {
    str(stage): {
      str(i): _resblock(r, f'{part}resnets.{stage * beside + i}', c, len(c.dilations[i]))
      for i in range(beside)
    }
    for stage in range(len(c.factors))
  }
  made: Params = {
    'first': r.conv(f'{part}conv_in'),
    'ups': {str(i): r.transposed(f'{part}upsamplers.{i}') for i in range(len(c.factors))},
    'blocks': blocks,
    'last': r.conv(f'{part}conv_out', bias=c.last_bias),
  }
  if c.activation != 'leaky':
    made['snake'] = {n: r(f'{part}act_out.act.{n}') for n in ('alpha', 'beta')}
  if c.activation != 'leaky' or c.oversampling > 1:
    made['lowpass'] = _lowpass(r, part)
  return made


def _resblock(r: _Reader, name: str, c: VocoderConfig, count: int) -> Params:
  made: Params = {
    f'convs{n}': {str(i): r.conv(f'{name}.convs{n}.{i}') for i in range(count)} for n in (1, 2)
  }
  if c.activation == 'leaky':
    return made
  inner = '.act' if c.oversampling > 1 else ''
  parts = ('alpha', 'beta') if c.activation == 'snakebeta' else ('alpha',)
  for n in (1, 2):
    made[f'acts{n}'] = {
      str(i): {p: r(f'{name}.acts{n}.{i}{inner}.{p}') for p in parts} for i in range(count)
    }
  return made


def _lowpass(r: _Reader, part: str) -> np.ndarray:
  """The one filter of all activations; `UserError` where they are not one."""
  names = r.names(part, '.filter')
  if not names:
    raise UserError(f'the weights lack {part}act_out.upsample.filter; give the config of theirs')
  first = r(names[0]).reshape(-1)
  for name in names:
    if not np.array_equal(first, r(name).reshape(-1)):
      raise UserError(f'{name} is not the filter of {names[0]}; these weights are of another kind')
  return first


def _checked(made: Params, like: Params) -> Params:
  return plain.unflat({n: a.astype(np.float32) for n, a in plain.flat(made).items()}, like)
