"""The only reader of ConfigDict: config → frozen dataclasses → objects."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import ml_collections

from sorajax import sharding
from sorajax.codec.codec import Codec
from sorajax.codec.mel import MelConfig
from sorajax.codec.squeeze import SqueezeConfig
from sorajax.codec.video_config import FACTORED, WHOLE, Shift, VideoConfig, compact
from sorajax.data.prepare_file import PrepareConfig
from sorajax.errors import UserError
from sorajax.flow import levels
from sorajax.geometry import Geometry
from sorajax.network import Network, TextEncoder
from sorajax.settings import (
  CodecSettings,
  FlowConfig,
  MelCodecSettings,
  PictureConfig,
  Settings,
  SoundCodecSettings,
  TextConfig,
)
from sorajax.tasks import capabilities
from sorajax.text.minilm import MiniLM
from sorajax.text.small import SmallEncoder
from sorajax.weights.encoded import EncodedText
from sorajax.weights.prompts import ReleasedText

T = TypeVar('T')

# What a checkpoint is of, for good.
KEPT = ('codec', 'picture', 'sound', 'mel_codec', 'transformer', 'text', 'flow.preconditioned')
RESUMED = (*KEPT, 'lora')  # what must stay where a run itself goes on
FREE_KEYS = ('unroll', 'remat', 'attention', 'matmul_precision', 'encoded')  # how, not what


def frozen(cls: type[T], config: Any, name: str) -> T:
  """A ConfigDict section as an instance of the dataclass `cls`.

  Args:
    cls: a frozen dataclass whose fields are numbers, strings, tuples, dicts or such dataclasses.
    config: the section, a ConfigDict or any mapping.
    name: what to call the section in errors, for example `train`; '' for all of it.

  Raises:
    UserError: a key that `cls` lacks (with the nearest that it has), a key that is missing, or a
      value of the wrong type.
  """
  whole = f'config.{name}' if name else 'config'
  if not isinstance(config, Mapping | ml_collections.ConfigDict):
    raise UserError(f'{whole} is {config!r}; it must be a section with keys')
  given = dict(config.items())
  fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
  for key in given:
    if key not in fields:
      near = difflib.get_close_matches(key, fields, 1) or [', '.join(fields)]
      raise UserError(f'{whole} has no key {key!r}; did you mean {near[0]}?')
  for key, field in fields.items():
    optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
    if key not in given and not optional:
      raise UserError(f'{whole} lacks the key {key!r}; add it to the config file')
  hints = typing.get_type_hints(cls)
  values = {k: _coerce(hints[k], v, f'{name}.{k}' if name else k) for k, v in given.items()}
  try:
    return cls(**values)
  except ValueError as error:
    raise UserError(f'{whole}: {error}') from error


def settings(config: Any) -> Settings:
  """A whole config file, checked across its sections.

  Raises:
    UserError: an unknown, missing or mistyped key, or sections that contradict one another.
  """
  out = frozen(Settings, config, '')
  streams = out.transformer.streams
  wanted = {'video': out.codec.video_channels, 'audio': out.codec.audio_channels}
  if set(streams) != set(wanted):
    raise UserError(f'config.transformer.streams has {sorted(streams)}; it needs audio and video')
  for m, channels in wanted.items():
    if streams[m].channels != channels:
      raise UserError(
        f'config.transformer.streams.{m}.channels is {streams[m].channels} and the codec makes '
        f'{channels}; make them equal'
      )
  width = text_encoder(out.text).width
  if out.transformer.text_width != width:
    raise UserError(
      f'config.transformer.text_width is {out.transformer.text_width} and the text encoder makes '
      f'{width}; make them equal'
    )
  if out.lora.rank and not out.start:
    raise UserError('config.lora.rank changes the weights of another run; name it in config.start')
  _check_guidance(out)
  if out.sample.levels and out.sample.levels[0] != 1:
    raise UserError(
      f'config.sample.levels are {out.sample.levels}; give noise levels that fall from 1 to 0'
    )
  for task, weight in out.train.tasks.items():
    capabilities.find(task)
    if weight < 0:
      raise UserError(f'config.train.tasks.{task} is {weight}; weights are not negative')
  if not sum(out.train.tasks.values()) > 0:
    raise UserError('config.train.tasks has no task of positive weight; add text_to_clip')
  return out


def _check_guidance(config: Settings) -> None:
  """Raises unless all streams have scales, and the layers that are skipped are there."""
  for name in ('wait', 'guidance', 'modality_guidance', 'skip_guidance'):
    scales = getattr(config.sample, name)
    if set(scales) != set(config.transformer.streams):
      raise UserError(f'config.sample.{name} has {sorted(scales)}; it needs audio and video')
  skips, layers = config.sample.skip_layers, config.transformer.layers
  if any(config.sample.skip_guidance.values()) and not skips:
    raise UserError('config.sample.skip_guidance needs config.sample.skip_layers; name some')
  for layer in skips:
    if not 0 <= layer < layers:
      raise UserError(
        f'config.sample.skip_layers names layer {layer} and the transformer has 0 to {layers - 1}'
      )


def codec_settings(config: Any) -> CodecSettings | SoundCodecSettings | MelCodecSettings:
  """A whole config file of a learned codec, checked across its sections.

  Raises:
    UserError: as `settings`.
  """
  if 'sound' in config:
    sounds = frozen(SoundCodecSettings, config, '')
    _check_hears(sounds.sound, 'sound', sounds.prepare)
    return sounds
  if 'mel_codec' in config:
    mels = frozen(MelCodecSettings, config, '')
    own = mels.mel_codec
    _check_hears(own.mel, 'mel_codec.mel', mels.prepare)
    if own.vocoder.factor != own.mel.hop_samples:
      raise UserError(
        f'config.mel_codec.vocoder makes {own.vocoder.factor} samples a mel frame and '
        f'config.mel_codec.mel.hop_samples is {own.mel.hop_samples}; make them equal'
      )
    return mels
  out = frozen(CodecSettings, config, '')
  autoencoder(out.picture).geometry.latent_size(out.data.frames, *out.data.size)
  return out


def _check_hears(own: SqueezeConfig | MelConfig, section: str, clips: PrepareConfig) -> None:
  """Raises unless a codec of sound is of the rate and the channels of the clips."""
  for name in ('sample_rate_hz', 'audio_channels'):
    have, wanted = getattr(own, name), getattr(clips, name)
    if have != wanted:
      raise UserError(f'config.{section}.{name} is {have} and that of config.prepare {wanted}')


def autoencoder(config: PictureConfig) -> VideoConfig:
  """The picture autoencoder that a config describes; `UserError` where it does not fit together."""
  c = config
  try:
    kernels = Shift(c.shift) if c.shift else FACTORED if c.factored else WHOLE
    t, y, x = c.stride
    if c.channels < 1:
      raise ValueError(f'channels are {c.channels}; give 1 or more')
    if c.join < 1 or y % c.join or x % c.join:
      raise ValueError(f'stride {c.stride} must divide by join={c.join} in space')
    apart = compact(
      (t, y // c.join, x // c.join), c.channels, c.widths, blocks=c.blocks,
      decoder_blocks=c.decoder_blocks, decoder_widths=c.decoder_widths, patch=c.patch,
      kernels=kernels,
    )  # fmt: skip
    return dataclasses.replace(apart, straight=c.straight, join=c.join)
  except ValueError as error:
    raise UserError(f'config.picture: {error}') from error


def text_encoder(config: TextConfig) -> TextEncoder:
  """The text encoder that a config names."""
  if config.kind == 'minilm':
    return MiniLM(config.max_tokens)
  if config.kind == 'ltx2':
    released = ReleasedText(config.folder, config.max_tokens, config.dtype)
    return EncodedText(config.encoded, released) if config.encoded else released
  return SmallEncoder(config.width, config.depth, config.max_tokens, config.kind)


def network(config: Settings, codec: Codec) -> Network:
  """The function that is trained and sampled, on the latents of a codec.

  Raises:
    UserError: latents that the config's transformer does not read.
  """
  check_geometry(config, codec.geometry)
  spread = {m: tuple(s.tolist()) for m, s in codec.spread.items()}
  chosen = spread if config.flow.preconditioned else {}
  return Network(config.transformer, text_encoder(config.text), chosen, config.lora)


def level_sampler(config: FlowConfig) -> levels.LevelSampler:
  """How training draws noise levels."""
  both = levels.mixed(levels.logit_normal(config.mean, config.std), levels.uniform, config.uniform)
  return levels.shifted(both, config.shift)


def check_mesh(config: Settings, mesh: sharding.Mesh) -> None:
  """Raises unless transformer and text encoder divide over the mesh, before anything compiles."""
  c, text, prefix = config.transformer, text_encoder(config.text), 'config.transformer.'
  sizes = [(f'{prefix}cross_heads', c.cross_heads, 'heads')]
  for m, own in c.streams.items():
    name = f'{prefix}streams.{m}.'
    sizes += [(f'{name}width', own.width, 'embed'), (f'{name}heads', own.heads, 'heads')]
    sizes += [(f'{name}hidden', own.hidden, 'mlp')]
  if isinstance(text, SmallEncoder):
    sizes += [('config.text.width', text.width, 'embed')]
    sizes += [('the heads (of 32) of config.text.width:', text.heads, 'heads')]
  if c.attention.split == 'swap':
    swapped = [(what, size, 'swapped_heads') for what, size, axis in sizes if axis == 'heads']
    sizes += [one for one in swapped if one[0].startswith(prefix)]
  for what, size, axis in sizes:
    sharding.check_divides(mesh, what, size, axis)


def check_geometry(config: Settings, geometry: Geometry) -> None:
  """Raises unless latents of this geometry are what the config's transformer reads."""
  for m in ('video', 'audio'):
    have, wanted = getattr(geometry, m).channels, config.transformer.streams[m].channels
    if have != wanted:
      raise UserError(
        f'the {m} latents have {have} channels and the transformer reads {wanted}; encode again '
        f'with this config or change config.codec.{m}_channels'
      )


def check_same(before: Any, now: Any, what: str, kept: tuple[str, ...] = KEPT) -> None:
  """Raises unless two configs, as plain dicts, describe the same network and training target."""
  for path in kept:
    was, given = (_at(config, path) for config in (before, now))
    key = difference(was, given, path)
    if key:
      raise UserError(f'{what} was made with another config.{key}; use its config, or start anew')


def _at(config: Any, path: str) -> Any:
  """What a config, as plain dicts, has at a dotted path; None for nothing."""
  for key in path.split('.'):
    config = (config or {}).get(key)
  return None if path == 'lora' and not (config or {}).get('rank') else config


def difference(
  before: Any, now: Any, name: str, free: Iterable[str] = FREE_KEYS, shared: bool = False
) -> str:
  """The first key in which two config sections differ; '' for none.

  Args:
    before: a section, as plain dicts.
    now: another.
    name: of the section.
    free: keys that may differ.
    shared: whether those may that only one of them has.
  """
  if isinstance(before, dict) and isinstance(now, dict):
    keys = set(before) & set(now) if shared else set(before) | set(now)
    for key in sorted(keys - set(free)):
      found = difference(before.get(key), now.get(key), f'{name}.{key}', free, shared)
      if found:
        return found
    return ''
  return '' if before == now else name


def _fields(hint: Any) -> set[str]:
  return {f.name for f in dataclasses.fields(hint)} if dataclasses.is_dataclass(hint) else set()


def _coerce(hint: Any, value: Any, name: str) -> Any:
  """`value` as the type that `hint` names; an int may stand for a float, a list for a tuple."""
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if dataclasses.is_dataclass(hint):
    return frozen(hint, value, name)  # type: ignore[arg-type]
  if origin in (typing.Union, types.UnionType):
    if value is None and type(None) in args:
      return None
    kinds = [a for a in args if a is not type(None)]
    given = set(value) if isinstance(value, Mapping | ml_collections.ConfigDict) else set()
    return _coerce(max(kinds, key=lambda kind: len(_fields(kind) & given)), value, name)
  if origin is typing.Literal:
    if value not in args:
      choices = ', '.join(repr(a) for a in args)
      raise UserError(f'config.{name} is {value!r}; choose one of {choices}')
    return value
  if origin is tuple and isinstance(value, tuple | list):
    hints = [args[0]] * len(value) if args[-1] is Ellipsis else args
    if len(hints) != len(value):
      raise UserError(f'config.{name} has {len(value)} items; it takes {len(hints)}')
    return tuple(_coerce(h, v, f'{name}[{i}]') for i, (h, v) in enumerate(zip(hints, value)))
  if origin is dict and isinstance(value, Mapping | ml_collections.ConfigDict):
    return {k: _coerce(args[1], v, f'{name}.{k}') for k, v in value.items()}
  if hint is float and isinstance(value, int) and not isinstance(value, bool):
    return float(value)
  plain = origin or hint
  if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
    raise UserError(f'config.{name} is {value!r}; it must be of type {plain.__name__}')
  return value
