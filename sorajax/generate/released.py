"""A released LTX-2, in a folder as diffusers saves it: its settings, its codec and its weights."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from sorajax.clip import MODALITIES
from sorajax.codec.codec import Codec
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.linear import LinearConfig
from sorajax.codec.one_step_codec import OneStepCodec
from sorajax.codec.upsampler import Enlarger
from sorajax.data.loader import LoaderConfig
from sorajax.data.prepare_file import PrepareConfig
from sorajax.errors import UserError
from sorajax.geometry import Geometry
from sorajax.model.config import TransformerConfig
from sorajax.nn.attention import AttentionConfig
from sorajax.optim import OptimizerConfig
from sorajax.settings import FlowConfig, SampleConfig, Settings, TextConfig, TrainConfig
from sorajax.sharding import MeshConfig
from sorajax.tasks import capabilities
from sorajax.weights import (
  ltx2_audio,
  ltx2_one_step,
  ltx2_transformer,
  ltx2_upsampler,
  ltx2_video,
)
from sorajax.weights.prompts import ReleasedText
from sorajax.weights.shards import File, Shards, read_json

INDEX = 'model_index.json'
ONE_STEP = 'diffusion_decoder'  # the part that decodes pictures from LTX-2.5 on
DECODERS = ('one_step', 'convolutional')
MAX_TOKENS = 1024  # of a prompt
HEIGHT, WIDTH, FPS, SECONDS = 512, 768, 24.0, 5.0
# What a scheduler's config.json may say here, and what diffusers takes where it says nothing.
SCHEDULE: Mapping[str, Any] = {
  'base_image_seq_len': 1024, 'base_shift': 0.95, 'max_image_seq_len': 4096, 'max_shift': 2.05,
  'shift_terminal': 0.0, 'use_dynamic_shifting': True, 'time_shift_type': 'exponential',
  'shift': 1.0,
}  # fmt: skip


def is_released(folder: Path) -> bool:
  """Whether a folder is a whole model as diffusers saves it."""
  return (folder / INDEX).is_file()


def codec_of(folder: Path) -> Codec:
  """The folder's codec; `UserError` where a part is missing, damaged or of another kind."""
  sound, speaker = (Shards(folder / part) for part in ('audio_vae', 'vocoder'))
  return Codec(
    picture_of(folder),
    ltx2_audio.codec_of(sound.config(), dict(sound), speaker.config(), dict(speaker)),
  )


def picture_of(folder: Path) -> ConvCodec:
  """The picture's half, which needs no decoder of its own where the folder has a one-step one."""
  shards = Shards(folder / 'vae')
  decodes = any(n.startswith('decoder.') for n in shards) or not (folder / ONE_STEP).is_dir()
  return ltx2_video.codec_of(shards.config(), shards, decodes)


def with_one_step(codec: Codec, folder: Path) -> Codec:
  """The codec, whose pictures the folder's one-step decoder decodes where there is one.

  Raises:
    UserError: one that is damaged, of another kind, or of other latents.
  """
  if not (folder / ONE_STEP).is_dir() or not isinstance(codec.video, ConvCodec):
    return codec
  shards = Shards(folder / ONE_STEP)
  config = ltx2_one_step.config_of(shards.config())
  params = ltx2_one_step.params_of(config, shards)
  return dataclasses.replace(codec, video=OneStepCodec(codec.video, config, params))


def decoded_by(codec: Codec, name: str, folder: Path) -> Codec:
  """The codec of a model with one of the decoders of pictures that it has.

  Args:
    codec: with the decoder of its release.
    name: one of `DECODERS`.
    folder: of the model, for errors.

  Raises:
    UserError: it has no such decoder.
  """
  picture = codec.video
  if name == 'convolutional' and isinstance(picture, OneStepCodec) and picture.base.decodes:
    return dataclasses.replace(codec, video=picture.base)
  if not isinstance(picture, OneStepCodec if name == 'one_step' else ConvCodec):
    lacks = ONE_STEP if name == 'one_step' else 'convolutional decoder'
    raise UserError(f'{folder} has no {lacks}; leave --decoder={name} out')
  return codec


def enlarger_of(path: Path, codec: Codec) -> Enlarger:
  """The latent upsampler in a folder, or in a file of a release, for latents of a codec.

  Raises:
    UserError: one that is missing, damaged or of another codec.
  """
  saved = File(path) if path.is_file() else Shards(path)
  told = saved.config() if isinstance(saved, Shards) else ltx2_upsampler.saved_config_of(saved)
  config = ltx2_upsampler.config_of(told)
  picture, channels = codec.video, codec.geometry.video.channels
  if not isinstance(picture, ConvCodec | OneStepCodec) or config.channels != channels:
    raise UserError(
      f'the upsampler in {path} is of latents of {config.channels} channels and the codec of the '
      f'model is another, of {channels}; give the one of its release'
    )
  params = ltx2_upsampler.params_of(config, saved)
  return Enlarger(config, params, picture.mean, picture.scale)


def read(folder: Path) -> tuple[Settings, Codec]:
  """What stands in the folder's json files, and its codec, with the decoder of its release.

  Raises:
    UserError: a part that is missing, damaged or of a kind that this project does not have.
  """
  codec = with_one_step(codec_of(folder), folder)
  shards = Shards(folder / 'transformer')
  transformer = ltx2_transformer.config_of(shards.config())
  transformer = dataclasses.replace(transformer, compute=shards.dtype())
  geometry = codec.geometry
  _check_places(shards.config(), geometry)
  text = TextConfig(
    kind='ltx2',
    width=transformer.text_width,
    max_tokens=MAX_TOKENS,
    folder=str(folder),
    dtype=_dtype_of_text(folder),
  )
  settings = Settings(
    name=folder.name,
    prepare=PrepareConfig(
      frames=(geometry.video.frames_at_least(round(SECONDS * FPS)),), fps=FPS, height=HEIGHT,
      width=WIDTH, sample_rate_hz=geometry.audio.sample_rate_hz,
      audio_channels=geometry.audio.audio_channels,
    ),
    codec=LinearConfig(
      geometry.video.stride, geometry.video.channels, audio_channels=geometry.audio.channels
    ),
    mesh=MeshConfig(),
    data=LoaderConfig('', {}),
    transformer=transformer,
    text=text,
    flow=FlowConfig(preconditioned=False),
    optimizer=OptimizerConfig(),
    train=TrainConfig(0, tasks=dict.fromkeys(capabilities.TASKS, 1.0)),
    sample=sample_of(transformer, folder),
  )  # fmt: skip
  return settings, codec


def text_of(folder: Path) -> ReleasedText:
  """What reads the folder's prompts."""
  return ReleasedText(str(folder), MAX_TOKENS, _dtype_of_text(folder))


def _dtype_of_text(folder: Path) -> Literal['float32', 'bfloat16']:
  return Shards(folder / 'text_encoder').dtype()


def checked(config: Settings, own: Settings, folder: Path) -> Settings:
  """A config's settings where they are of the network in the folder, whose `own` are given."""
  mine, theirs = (
    dataclasses.replace(
      c, remat='none', unroll=1, attention=AttentionConfig(), compute='float32',
      matmul_precision='default',
    )
    for c in (config.transformer, own.transformer)
  )  # fmt: skip
  if mine != theirs or config.flow.preconditioned:
    raise UserError(f'{folder} holds another transformer than config describes; use its config')
  if config.text.kind != 'ltx2':
    raise UserError(f'{folder} reads prompts by Gemma; add --config.text.kind=ltx2 and its folder')
  return config


def transformer_params(
  folder: Path, settings: Settings, mesh: jax.sharding.Mesh, eight_bits: bool = False
) -> Any:
  """The transformer's weights in the type in which they were saved, laid over a mesh.

  With `eight_bits` the matrices of layers are rounded as they are read.
  """
  config = settings.transformer
  shards = Shards(folder / 'transformer')
  return ltx2_transformer.load(config, shards, mesh, jnp.dtype(config.compute), eight_bits)


def _check_places(saved: Mapping[str, Any], geometry: Geometry) -> None:
  """Raises unless the transformer counts seconds and pixels as the codecs do."""
  video, audio = geometry.video, geometry.audio
  hop = saved.get('audio_hop_length', 160)
  places = {
    'vae_scale_factors': (tuple(saved.get('vae_scale_factors', (8, 32, 32))), video.stride),
    'audio_sampling_rate': (saved.get('audio_sampling_rate', 16_000), audio.sample_rate_hz),
    'audio_scale_factor': (saved.get('audio_scale_factor', 4) * hop, audio.hop_samples),
  }
  for name, (told, own) in places.items():
    if told != own:
      raise UserError(f'the transformer has {name} {told} and the codec {own}; give one release')


def sample_of(c: TransformerConfig, folder: Path) -> SampleConfig:
  """Sampling as the pipelines of that release do it, by the scheduler in the folder."""
  first = not c.gated  # 2.0
  skipped = 29 if first else 28
  skips = skipped < c.layers
  s = _schedule(folder)
  shift = s['base_image_seq_len'], s['base_shift'], s['max_image_seq_len'], s['max_shift']
  if not s['use_dynamic_shifting']:  # distilled releases: the same for all lengths
    shift = 0, math.log(s['shift']), 1, math.log(s['shift'])
  return SampleConfig(
    seconds=SECONDS, fps=FPS, height=HEIGHT, width=WIDTH, steps=40 if first else 30,
    last=s['shift_terminal'] or 0.0, shift=shift,
    solver='euler', guidance={'video': 3.0, 'audio': 7.0},
    modality_guidance=dict.fromkeys(MODALITIES, 3.0),
    skip_guidance=dict.fromkeys(MODALITIES, float(skips)),
    skip_layers=(skipped,) if skips else (),
    rescale=0.7, batch=1, image_crf=18 if c.streams['video'].keyframes else 33,  # 18: 2.5
  )  # fmt: skip


def _schedule(folder: Path) -> Mapping[str, Any]:
  saved = read_json(folder / 'scheduler' / 'scheduler_config.json')
  s = {name: saved.get(name, value) for name, value in SCHEDULE.items()}
  if s['use_dynamic_shifting'] and s['time_shift_type'] != 'exponential':
    raise UserError(
      f'the scheduler has time_shift_type={s["time_shift_type"]}; only exponential is known'
    )
  if not s['shift'] > 0:
    raise UserError(f'the scheduler has shift={s["shift"]}; only more than 0 is known')
  return s
