"""Clip → mp4 (to show or to store) or wav, with the same bytes for the same clip every time."""

import dataclasses
import io
import math
import os
import wave
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from sorajax.clip import Clip
from sorajax.errors import UserError, one_line
from sorajax.media.atomic import full_disk, replacing
from sorajax.media.source import url_of

BT709 = 1  # the number of ITU-R BT.709 as matrix, primaries and transfer alike
LIMITED = 1  # luma 16 … 235
STABLE = {'mbtree': '0'}  # x264's macroblock tree varies from run to run on small pictures
LAYOUTS = {1: 'mono', 2: 'stereo'}


@dataclasses.dataclass(frozen=True)
class Form:
  """How the two tracks are coded.

  Attributes:
    pixels: the H.264 pixel format.
    options: of libx264; the thread count is fixed, because it is part of what the bytes depend on.
    sound: the sound codec.
    bit_rate: of the sound, in bits a second; None is AAC's best.
  """

  pixels: str
  options: dict[str, str]
  sound: str
  bit_rate: int | None = None


def write(path: str | os.PathLike[str], clip: Clip, *, crf: int = 18) -> None:
  """Writes a clip to `path`: `.mp4` (H.264 4:2:0 and AAC, plays anywhere) or `.wav` (sound alone).

  Args:
    path: where to; what stood there is replaced in one step, or kept if writing fails.
    clip: video uint8 [F, H, W, 3] and audio float32 [S, A]; S = 0 writes no sound track.
    crf: H.264 quality, 0 (lossless) to 51 (worst).

  Raises:
    UserError: an unknown extension, a clip that the format cannot hold, a folder not writable.
  """
  if Path(path).suffix.lower() == '.wav':
    _write_wav(path, clip)
  else:
    write_stream(path, [clip], crf=crf)


def write_stream(path: str | os.PathLike[str], chunks: Iterable[Clip], *, crf: int = 18) -> None:
  """Writes consecutive chunks of one clip as one mp4, holding only one chunk at a time.

  Args:
    path: an `.mp4` file.
    chunks: clips of one size, rate and channel count; the first says which.
    crf: H.264 quality, 0 (lossless) to 51 (worst).

  Raises:
    UserError: as `write`; also chunks that do not belong together, or none at all.
  """
  suffix = Path(path).suffix.lower()
  if suffix != '.mp4':
    raise UserError(f'cannot write {path}: {suffix or "no extension"} is not known; end it in .mp4')
  with replacing(path) as temporary:
    _encode(str(temporary), str(path), chunks, shown(crf))


def shown(crf: int) -> Form:
  """The form of films to look at, which play anywhere."""
  return Form('yuv420p', {'crf': str(crf), 'preset': 'medium', 'threads': '4', **STABLE}, 'aac')


def to_bytes(clip: Clip) -> bytes:
  """The stored form of a clip: mp4 of H.264 4:4:4 near lossless, and FLAC of 16 bits.

  Args:
    clip: any size of at least 1×1 pixel, F ≥ 1; S = 0 stores no sound track.

  Returns:
    bytes that `reader.read` turns back into F frames and S samples.

  Raises:
    UserError: a clip without frames, or with more than two channels.
  """
  buffer = io.BytesIO()
  options = {'crf': '10', 'preset': 'veryfast', 'threads': '1', **STABLE}
  _encode(buffer, 'a stored clip', [clip], Form('yuv444p', options, 'flac'))
  return buffer.getvalue()


def aac_bytes(clip: Clip, bit_rate: int) -> bytes:
  """A clip as an mp4 whose sound has `bit_rate` bits a second, as near as AAC comes to that.

  Raises:
    UserError: as `write`.
  """
  buffer = io.BytesIO()
  _encode(buffer, 'a clip', [clip], dataclasses.replace(shown(18), bit_rate=bit_rate))
  return buffer.getvalue()


def _encode(target: str | io.BytesIO, name: str, chunks: Iterable[Clip], form: Form) -> None:
  """Encodes the chunks into `target`; `name` is what errors call it."""
  rest = iter(chunks)
  first = next(rest, None)
  if first is None:
    raise UserError(f'cannot write {name}: there are no frames')
  _check(first, name, form)
  # The default of a millisecond would cut a track short by a few samples.
  rate = Fraction(first.fps).limit_denominator(1001)
  scale = math.lcm(rate.numerator, first.sample_rate_hz)
  options = {'fflags': '+bitexact', 'movie_timescale': str(min(scale, 1_000_000))}
  if isinstance(target, str):
    options['movflags'] = '+faststart'  # reads the file again at the end, which needs a real one
  try:
    where = url_of(target) if isinstance(target, str) else target
    with av.open(where, 'w', format='mp4', options=options) as container:
      tracks: list[PictureTrack | SoundTrack] = [PictureTrack(container, first, form)]
      if len(first.audio):
        tracks.append(SoundTrack(container, first, form))
      for chunk in chain([first], _alike(rest, first, name, form)):
        for track in tracks:
          container.mux(list(track.encode(chunk)))
      for track in tracks:
        container.mux(track.stream.encode(None))
  except av.FFmpegError as error:
    other = UserError(f'cannot write {name}: {one_line(error.strerror)}')
    raise full_disk(error, name) or other from error


class PictureTrack:
  """The picture track of a file being written."""

  def __init__(self, container: Any, first: Clip, form: Form):
    rate = Fraction(first.fps).limit_denominator(1001)
    self.stream = container.add_stream('libx264', rate=rate, options=form.options)
    self.stream.height, self.stream.width = first.video.shape[1:3]
    self.stream.pix_fmt = form.pixels
    context = self.stream.codec_context
    context.flags |= Flags.bitexact
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED
    self._pixels, self._tick, self._count = form.pixels, 1 / rate, 0

  def encode(self, chunk: Clip) -> Iterator[Any]:
    for image in chunk.video:
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format='rgb24')
      frame = frame.reformat(
        format=self._pixels,
        src_color_range=ColorRange.JPEG,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
      )
      frame.pts, frame.time_base = self._count, self._tick
      self._count += 1
      yield from self.stream.encode(frame)


class SoundTrack:
  """The sound track of a file being written."""

  def __init__(self, container: Any, first: Clip, form: Form):
    rate, channels = first.sample_rate_hz, first.audio.shape[1]
    # Noise substitution would make a span decode differently from the same span of the whole.
    options = {'aac_pns': '0'} if form.sound == 'aac' else {}
    self.stream = container.add_stream(form.sound, rate=rate, options=options)
    context = self.stream.codec_context
    context.layout = LAYOUTS[channels]
    context.format = 'fltp' if form.sound == 'aac' else 's16'
    context.flags |= Flags.bitexact
    if form.sound == 'aac':
      best = channels * min(96_000, 6 * rate)  # AAC holds 6 bits a sample at most
      context.bit_rate = form.bit_rate or best
    self._rate, self._format, self._count = rate, context.format.name, 0

  def encode(self, chunk: Clip) -> Iterator[Any]:
    if not len(chunk.audio):
      return
    if self._format == 's16':
      samples = to_int16(chunk.audio).reshape(1, -1)
    else:
      samples = np.ascontiguousarray(np.clip(chunk.audio, -1, 1).T, dtype=np.float32)
    layout = LAYOUTS[chunk.audio.shape[1]]
    frame = av.AudioFrame.from_ndarray(samples, format=self._format, layout=layout)
    frame.sample_rate, frame.pts = self._rate, self._count
    frame.time_base = Fraction(1, self._rate)
    self._count += len(chunk.audio)
    yield from self.stream.encode(frame)


def to_int16(audio: np.ndarray) -> np.ndarray:
  """float [S, A] in [-1, 1] → int16 [S, A], the inverse of dividing by 32768."""
  return np.clip(np.rint(audio * 32768.0), -32768, 32767).astype(np.int16)


def _write_wav(path: str | os.PathLike[str], clip: Clip) -> None:
  if not len(clip.audio):
    raise UserError(f'cannot write {path}: the clip has no sound')
  with replacing(path) as temporary, open(temporary, 'wb') as file, wave.open(file) as out:
    out.setnchannels(clip.audio.shape[1])
    out.setsampwidth(2)
    out.setframerate(clip.sample_rate_hz)
    out.writeframes(to_int16(clip.audio).tobytes())


def _alike(chunks: Iterator[Clip], first: Clip, name: str, form: Form) -> Iterator[Clip]:
  """The chunks, each of the first one's size, rates and channels."""
  for chunk in chunks:
    _check(chunk, name, form)
    if _header(chunk) != _header(first):
      raise UserError(f'cannot write {name}: a chunk of {_header(chunk)} after {_header(first)}')
    yield chunk


def _header(clip: Clip) -> str:
  height, width = clip.video.shape[1:3]
  sound = f'{clip.audio.shape[1]}×{clip.sample_rate_hz} Hz' if len(clip.audio) else 'no sound'
  return f'{height}×{width} at {clip.fps} fps with {sound}'


def _check(clip: Clip, name: str, form: Form) -> None:
  """Refuses what the form cannot hold."""
  if clip.video.ndim != 4 or clip.video.shape[3] != 3 or clip.video.dtype != np.uint8:
    shape = f'{clip.video.dtype}{list(clip.video.shape)}'
    raise UserError(f'cannot write {name}: the picture is {shape}, not uint8[F, H, W, 3]')
  frames, height, width = clip.video.shape[:3]
  if not frames or not height or not width:
    raise UserError(f'cannot write {name}: the clip has no picture; write sound alone to a .wav')
  if form.pixels == 'yuv420p' and (height % 2 or width % 2):
    even = f'{height + height % 2}×{width + width % 2}'
    raise UserError(f'cannot write {name}: {height}×{width} needs even sides; resize to {even}')
  if len(clip.audio):
    check_sound(clip, name, form)


def check_sound(clip: Clip, name: str, form: Form) -> None:
  """Refuses sound that the form cannot hold."""
  if clip.audio.ndim != 2 or clip.audio.shape[1] not in LAYOUTS:
    raise UserError(f'cannot write {name}: sound of {list(clip.audio.shape)}, not [S, 1] or [S, 2]')
  if not np.isfinite(clip.audio).all():
    raise UserError(f'cannot write {name}: the sound holds NaN or infinity')
  rates = av.Codec(form.sound, 'w').audio_rates
  if rates and clip.sample_rate_hz not in rates:
    near = min(rates, key=lambda rate: abs(rate - clip.sample_rate_hz))
    raise UserError(f'cannot write {name}: AAC has no {clip.sample_rate_hz} Hz; resample to {near}')
