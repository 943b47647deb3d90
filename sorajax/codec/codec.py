"""A codec: one half for the picture and one for the sound, each of any kind, behind one interface.

Every half codes in pieces, and the pieces are those of the whole; so memory does not grow with
duration, and coding a clip at once is coding it in one piece.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from sorajax.clip import Clip, Latents
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.lapped import LappedCodec
from sorajax.codec.one_step_codec import OneStepCodec
from sorajax.codec.patches import PatchCodec
from sorajax.codec.sound import MelCodec, SqueezeCodec
from sorajax.codec.spectrogram import SpectrogramCodec
from sorajax.errors import UserError, cannot_read, one_line
from sorajax.geometry import AudioGeometry, Geometry, VideoGeometry
from sorajax.media.atomic import make_folder, replacing, write_text

ARRAYS = 'codec.npz'
SAVED_LAST = 'codec.json'  # a folder that has it holds a whole codec
TRAINED = Path(__file__).with_name('trained')  # codecs that come along, a folder each


class Coder(Protocol):
  """Codes one clip piece by piece: what is pushed in comes out as soon as it is complete."""

  def push(self, piece: np.ndarray, /) -> np.ndarray: ...
  def finish(self) -> np.ndarray: ...


class PictureCoder(Coder, Protocol):
  """A coder that can be put away and taken up again in another process."""

  def state(self) -> Mapping[str, np.ndarray]: ...
  def resume(self, state: Mapping[str, np.ndarray], /) -> None: ...


class Half(Protocol):
  """What both halves offer.

  Attributes:
    kind: its name in a saved codec.
    spread: float32 [C], the standard deviation of each channel of its latents.
  """

  kind: ClassVar[str]

  @property
  def spread(self) -> np.ndarray: ...
  def encoder(self) -> Coder: ...
  def decoder(self) -> Coder: ...
  def shape(self) -> dict[str, Any]: ...
  def arrays(self) -> dict[str, np.ndarray]: ...


class PictureCodec(Half, Protocol):
  """uint8 [F, H, W, 3] ↔ float32 [f, h, w, C]; the first piece has 1 + n·stride_t frames."""

  @property
  def geometry(self) -> VideoGeometry: ...
  def encoder(self) -> PictureCoder: ...
  def decoder(self) -> PictureCoder: ...


class SoundCodec(Half, Protocol):
  """float32 [S, A] ↔ float32 [n, C]; pieces are of any length.

  Attributes:
    output_rate_hz: samples a second of what it decodes; a vocoder may give more than went in.
  """

  @property
  def output_rate_hz(self) -> int: ...

  @property
  def geometry(self) -> AudioGeometry: ...


KINDS: Mapping[str, Any] = {
  kind.kind: kind
  for kind in (
    PatchCodec,
    ConvCodec,
    OneStepCodec,
    LappedCodec,
    SpectrogramCodec,
    SqueezeCodec,
    MelCodec,
  )
}


@dataclasses.dataclass(frozen=True)
class Codec:
  """Clip ↔ Latents, both streams, on the host."""

  video: PictureCodec
  audio: SoundCodec

  @property
  def geometry(self) -> Geometry:
    return Geometry(self.video.geometry, self.audio.geometry)

  @property
  def spread(self) -> dict[str, np.ndarray]:
    """The standard deviation of each channel, measured on the data: modality → float32 [C]."""
    return {'video': self.video.spread, 'audio': self.audio.spread}

  @property
  def fingerprint(self) -> str:
    """A short hash of everything that the latents depend on."""
    arrays = _arrays(self)
    digest = hashlib.sha256(json.dumps(_shape(self), sort_keys=True).encode())
    for name in sorted(arrays):
      digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:16]

  def encode(self, clip: Clip) -> Latents:
    """Raises `UserError` where the clip's size, rate or channels are not the codec's."""
    pieces = list(self.encode_stream([clip]))
    video, audio = (np.concatenate([getattr(p, m) for p in pieces]) for m in ('video', 'audio'))
    return Latents(video, audio, clip.fps, len(clip.video), len(clip.audio))

  def encode_picture(self, frames: np.ndarray) -> np.ndarray:
    """uint8 [F, H, W, 3] → float32 [f, h, w, C], of a picture without sound."""
    coder = self.video.encoder()
    return np.concatenate([coder.push(frames), coder.finish()])

  def check_size(self, latents: Latents) -> None:
    """`UserError` where a clip of so many latents cannot be decoded."""
    if isinstance(self.video, OneStepCodec):
      self.video.check_size(latents.video.shape[:3])

  def decode(self, latents: Latents) -> Clip:
    """The whole clip at once; `decode_stream` holds a piece at a time."""
    pieces = list(self.decode_stream([latents]))
    video, audio = (np.concatenate([getattr(p, m) for p in pieces]) for m in ('video', 'audio'))
    return Clip(video, audio, latents.fps, self.audio.output_rate_hz)

  def encode_stream(self, pieces: Iterable[Clip]) -> Iterator[Latents]:
    """Pieces of one clip → pieces of its latents, in memory that does not grow.

    Each piece's frames must fill whole latent frames: 1 + n·stride_t at first, then n·stride_t.
    """
    picture, sound, clip = self.video.encoder(), self.audio.encoder(), None
    for clip in pieces:
      self._check(clip)
      video, audio = picture.push(clip.video), sound.push(clip.audio)
      yield Latents(video, audio, clip.fps, len(clip.video), len(clip.audio))
    if clip is not None:
      yield Latents(picture.finish(), sound.finish(), clip.fps, 0, 0)

  def decode_stream(self, pieces: Iterable[Latents]) -> Iterator[Clip]:
    """Pieces of one clip's latents → pieces of the clip, in memory that does not grow."""
    picture, sound, owed, latents = self.video.decoder(), self.audio.decoder(), 0, None
    rate = self.audio.output_rate_hz
    for latents in pieces:
      owed += round(latents.samples * rate / self.geometry.audio.sample_rate_hz)
      audio = sound.push(latents.audio)[:owed]
      owed -= len(audio)
      yield Clip(picture.push(latents.video), audio, latents.fps, rate)
    if latents is not None:
      yield Clip(picture.finish(), sound.finish()[:owed], latents.fps, rate)

  def save(self, folder: str | os.PathLike[str], *, dtype: Any = None) -> None:
    """Writes `codec.npz` and `codec.json`, the arrays as `dtype` or as they are."""
    path = make_folder(folder)
    arrays = {name: a if dtype is None else a.astype(dtype) for name, a in _arrays(self).items()}
    with replacing(path / ARRAYS) as temporary, temporary.open('wb') as file:
      np.savez_compressed(file, allow_pickle=False, **arrays)
    write_text(path / SAVED_LAST, json.dumps(_shape(self), indent=2) + '\n')

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


def load(folder: str | os.PathLike[str]) -> Codec:
  """Reads what `Codec.save` wrote.

  Args:
    folder: a path, or the name of a codec that comes along, such as `film`; where both are there,
      the folder if it holds a codec.

  Raises:
    UserError: nothing is there, or it is damaged.
  """
  path = Path(folder)
  if not (path / SAVED_LAST).is_file() and (TRAINED / path / SAVED_LAST).is_file():
    path = TRAINED / path
  if not (path / SAVED_LAST).is_file():
    known = ', '.join(sorted(p.name for p in TRAINED.glob('*')))
    raise UserError(
      f'{path} holds no codec; run launch/encode.py on a prepared folder first, or name one that '
      f'comes along: {known}'
    )
  try:
    shape = json.loads((path / SAVED_LAST).read_text(encoding='utf-8'))
    with np.load(path / ARRAYS) as archive:
      arrays = {name: _wide(array) for name, array in archive.items()}
    halves = {}
    for m in ('video', 'audio'):
      own = {n.removeprefix(f'{m}_'): a for n, a in arrays.items() if n.startswith(f'{m}_')}
      halves[m] = KINDS[shape[m].pop('kind')].restored(shape[m], own)
    return Codec(**halves)
  except Exception as error:  # a damaged archive raises whatever its layer likes
    raise cannot_read(f'the codec {path}', f'{one_line(error)}; encode again') from error


def _wide(array: np.ndarray) -> np.ndarray:
  return array.astype(np.float32) if array.dtype == np.float16 else array


def in_pieces(latents: Latents, frames: int) -> Iterator[Latents]:
  """Latents in pieces of `frames` latent frames, each with its share of the sound's latents."""
  count = max(-(-len(latents.video) // frames), 1)
  cuts = [round(i * len(latents.audio) / count) for i in range(count + 1)]
  for i in range(count):
    video = latents.video[i * frames : (i + 1) * frames]
    audio = latents.audio[cuts[i] : cuts[i + 1]]
    samples = latents.samples if i == 0 else 0
    yield Latents(video, audio, latents.fps, latents.frames if i == 0 else 0, samples)


def _shape(codec: Codec) -> dict[str, Any]:
  halves = {'video': codec.video, 'audio': codec.audio}
  return {m: {'kind': half.kind, **half.shape()} for m, half in halves.items()}


def _arrays(codec: Codec) -> dict[str, np.ndarray]:
  halves = {'video': codec.video, 'audio': codec.audio}
  return {f'{m}_{name}': a for m, half in halves.items() for name, a in half.arrays().items()}
