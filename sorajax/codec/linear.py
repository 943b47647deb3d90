"""The linear codec of picture and sound: needs no training, so that everything else can run."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from sorajax.clip import Clip, Latents
from sorajax.codec.lapped import (
  LappedCodec,
  LappedDecoder,
  LappedEncoder,
  fit_lapped,
  lapped_geometry,
)
from sorajax.codec.patches import PatchCodec, fit_patches
from sorajax.codec.pca import Pca
from sorajax.errors import UserError, cannot_read, one_line
from sorajax.geometry import AudioGeometry, Geometry, VideoGeometry
from sorajax.media.atomic import make_folder, replacing, write_text

PCA_PARTS = ('mean', 'basis', 'scale', 'spread')
SAVED_LAST = 'codec.json'  # a folder that has it holds a whole codec


@dataclasses.dataclass(frozen=True)
class LinearConfig:
  """What a linear codec keeps.

  Attributes:
    stride: (frames, height, width) of a patch.
    video_channels: of at most 3 · frames · height · width.
    video_whiten: how far the channels' spreads are made equal, 0 to 1; see `codec.pca.fit`.
    frame_samples: N, coefficients of an MDCT frame.
    group: MDCT frames in a latent.
    audio_channels: latent channels, of at most N · group · A.
    audio_whiten: as for the picture.
  """

  stride: tuple[int, int, int] = (4, 16, 16)
  video_channels: int = 96
  video_whiten: float = 0.5
  frame_samples: int = 320
  group: int = 4
  audio_channels: int = 64
  audio_whiten: float = 0.5

  def __post_init__(self) -> None:
    counts = (*self.stride, self.video_channels, self.frame_samples, self.group)
    if min(*counts, self.audio_channels) < 1:
      raise ValueError('stride, channels, frame_samples and group must be above 0')


@dataclasses.dataclass(frozen=True)
class LinearCodec:
  """Clip ↔ Latents, both streams, on the host."""

  video: PatchCodec
  audio: LappedCodec

  @property
  def geometry(self) -> Geometry:
    return Geometry(self.video.geometry, self.audio.geometry)

  @property
  def spread(self) -> dict[str, np.ndarray]:
    """The standard deviation of each channel, measured on the data: modality → float32 [C]."""
    return {'video': self.video.pca.spread, 'audio': self.audio.pca.spread}

  @property
  def fingerprint(self) -> str:
    """A short hash of everything that the latents depend on."""
    arrays = _arrays(self)
    digest = hashlib.sha256(repr(self.geometry).encode())
    for name in sorted(arrays):
      digest.update(arrays[name].tobytes())
    return digest.hexdigest()[:16]

  def encode(self, clip: Clip) -> Latents:
    """Raises `UserError` where the clip's size, rate or channels are not the codec's."""
    self._check(clip)
    video, audio = self.video.encode(clip.video), self.audio.encode(clip.audio)
    return Latents(video, audio, clip.fps, len(clip.video), len(clip.audio))

  def decode(self, latents: Latents) -> Clip:
    """The whole clip at once; `decode_stream` holds a chunk at a time."""
    return next(iter(self.decode_stream([latents])))

  def encode_stream(self, chunks: Iterable[Clip]) -> Iterator[Latents]:
    """Chunks of one clip → chunks of its latents, in memory that does not grow.

    Each chunk's frames must fill whole latent frames: 1 + n·stride_t at first, then n·stride_t.
    """
    encoder, clip = LappedEncoder(self.audio), None
    for i, clip in enumerate(chunks):
      self._check(clip)
      video, audio = self.video.encode(clip.video, first=i == 0), encoder.push(clip.audio)
      yield Latents(video, audio, clip.fps, len(clip.video), len(clip.audio))
    if clip is not None:
      yield Latents(video[:0], encoder.finish(), clip.fps, 0, 0)

  def decode_stream(self, chunks: Iterable[Latents]) -> Iterator[Clip]:
    """Chunks of one clip's latents → chunks of the clip, in memory that does not grow."""
    decoder, begun, owed = LappedDecoder(self.audio), False, 0
    for latents in chunks:
      video = self.video.decode(latents.video, first=not begun)
      begun = begun or len(video) > 0
      owed += latents.samples
      audio = decoder.push(latents.audio)[:owed]
      owed -= len(audio)
      yield Clip(video, audio, latents.fps, self.geometry.audio.sample_rate_hz)

  def save(self, folder: str | os.PathLike[str]) -> None:
    """Writes `codec.npz` and `codec.json`."""
    path = make_folder(folder)
    with replacing(path / 'codec.npz') as temporary, temporary.open('wb') as file:
      np.savez(file, allow_pickle=False, **_arrays(self))
    shape = {**dataclasses.asdict(self.geometry), 'group': self.audio.group}
    write_text(path / SAVED_LAST, json.dumps(shape, indent=2) + '\n')

  def _check(self, clip: Clip) -> None:
    g = self.geometry.audio
    if len(clip.audio) and clip.sample_rate_hz != g.sample_rate_hz:
      raise UserError(
        f'the sound has {clip.sample_rate_hz} Hz and the codec {g.sample_rate_hz} Hz; resample it'
      )
    if clip.audio.ndim != 2 or clip.audio.shape[1] != g.audio_channels:
      raise UserError(
        f'the sound has shape {clip.audio.shape}; this codec takes [samples, {g.audio_channels}]'
      )
    if clip.video.dtype != np.uint8 or clip.video.ndim != 4 or clip.video.shape[3] != 3:
      raise UserError(
        f'the picture is {clip.video.dtype} {clip.video.shape}; give uint8 [F, H, W, 3]'
      )
    if not np.isfinite(clip.audio).all():
      raise UserError('the sound holds values that are not finite; read the clip again')


def fit_linear(
  clips: Iterable[Clip], config: LinearConfig, sample_rate_hz: int, audio_channels: int
) -> LinearCodec:
  """Fits both halves on clips that can be gone through several times.

  Raises:
    UserError: no clips, or more channels than a patch has values.
  """
  geometry = lapped_geometry(
    sample_rate_hz, audio_channels, config.frame_samples, config.group, config.audio_channels
  )
  try:
    video = fit_patches(
      (c.video for c in clips), config.stride, config.video_channels, config.video_whiten
    )
    sounds = _Again(lambda: (c.audio for c in clips))
    audio = fit_lapped(sounds, geometry, config.group, config.audio_whiten)
  except ValueError as error:
    raise UserError(f'config.codec: {error}') from error
  return LinearCodec(video, audio)


def load(folder: str | os.PathLike[str]) -> LinearCodec:
  """Reads what `save` wrote; `UserError` where it is missing or damaged."""
  path = Path(folder)
  if not (path / SAVED_LAST).is_file():
    raise UserError(f'{path} holds no codec; run launch/encode.py on a prepared folder first')
  try:
    shape = json.loads((path / SAVED_LAST).read_text(encoding='utf-8'))
    with np.load(path / 'codec.npz') as arrays:
      pca = {m: Pca(*(arrays[f'{m}_{part}'] for part in PCA_PARTS)) for m in ('video', 'audio')}
      weight = arrays['audio_weight']
    video = VideoGeometry(tuple(shape['video']['stride']), shape['video']['channels'])
    audio = AudioGeometry(**shape['audio'])
    return LinearCodec(
      PatchCodec(video, pca['video']), LappedCodec(audio, shape['group'], weight, pca['audio'])
    )
  except Exception as error:  # a damaged archive raises whatever its layer likes
    raise cannot_read(f'the codec {path}', f'{one_line(error)}; encode again') from error


def in_chunks(latents: Latents, frames: int) -> Iterator[Latents]:
  """Latents in chunks of `frames` latent frames, each with its share of the sound's latents."""
  count = max(-(-len(latents.video) // frames), 1)
  cuts = [round(i * len(latents.audio) / count) for i in range(count + 1)]
  for i in range(count):
    video = latents.video[i * frames : (i + 1) * frames]
    audio = latents.audio[cuts[i] : cuts[i + 1]]
    samples = latents.samples if i == 0 else 0
    yield Latents(video, audio, latents.fps, latents.frames if i == 0 else 0, samples)


class _Again:
  """An iterable made anew for every loop."""

  def __init__(self, make):
    self._make = make

  def __iter__(self):
    return iter(self._make())


def _arrays(codec: LinearCodec) -> dict[str, np.ndarray]:
  parts = {
    f'{m}_{part}': getattr(pca, part)
    for m, pca in (('video', codec.video.pca), ('audio', codec.audio.pca))
    for part in PCA_PARTS
  }
  return {**parts, 'audio_weight': codec.audio.weight}
