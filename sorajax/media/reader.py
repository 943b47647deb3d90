"""A film, an image or a sound on disk (or in memory) → Clip."""

import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from sorajax.clip import Clip
from sorajax.errors import UserError, cannot_read, one_line
from sorajax.geometry import samples_of
from sorajax.media.picture import Size, check_size, pictures
from sorajax.media.sound import sound
from sorajax.media.source import (
  Probe,
  Source,
  audio_of,
  check_file,
  check_whole,
  declared_s,
  fps_of,
  is_image,
  length_s,
  name_of,
  opened,
  video_of,
)
from sorajax.media.still import as_filmed

DEFAULT_RATE_HZ = 48_000  # what a silent medium counts its no samples in
IMAGE_FPS = 1.0


def probe(source: Source) -> Probe:
  """What a film, image or sound holds, decoding one frame at most.

  Args:
    source: a path, or the bytes of a file.

  Raises:
    UserError: missing, empty, damaged, or neither film, image nor sound.
  """
  if is_image(source):
    height, width = read_image(source).shape[:2]
    return Probe(1, IMAGE_FPS, height, width, 1 / IMAGE_FPS, 0, 0)
  with opened(source) as container:
    video, audio = video_of(container), audio_of(container)
    stream = video or audio
    if stream is None:
      raise UserError(f'{name_of(source)} holds neither picture nor sound')
    seconds = length_s(container, stream)
    rate, channels = (audio.rate, audio.channels) if audio else (0, 0)
    if video is None:
      return Probe(0, 0.0, 0, 0, seconds, rate, channels)
    first = next(pictures(container, video, [0.0], None), None)
    if first is None:
      raise UserError(f'cannot read {name_of(source)}: no frame of it decodes')
    fps = fps_of(video)
    frames = round(seconds * fps) or video.frames
    return Probe(frames, fps, first.shape[0], first.shape[1], seconds, rate, channels)


def read(
  source: Source,
  *,
  fps: float | None = None,
  size: Size | None = None,
  sample_rate_hz: int | None = None,
  audio_channels: int | None = None,
  start_s: float = 0.0,
  frames: int | None = None,
  image_crf: int = 0,
) -> Clip:
  """Reads a film (or a span of it) with its sound, or an image as a clip of one frame.

  Frame k is the one on screen at `start_s` + k / fps, and the sound begins at `start_s` and lasts
  exactly as long as the frames, so a span equals the same span of the whole.

  Args:
    source: a path, or the bytes of a file.
    fps: frames a second; None keeps the film's average.
    size: (height, width) to scale and centre-crop to; None keeps the film's own.
    sample_rate_hz: None keeps the film's own.
    audio_channels: 1 or 2; None keeps the film's own.
    start_s: seconds from where the picture begins.
    frames: how many; None reads to the end.
    image_crf: as of `read_image`, where it is an image.

  Returns:
    a clip; a film without a sound track has S = 0.

  Raises:
    UserError: missing, empty, damaged or cut short, without a picture, or too short for the span.
  """
  name = name_of(source)
  check_size(size)
  if start_s < 0 or (frames is not None and frames < 1) or (fps is not None and fps <= 0):
    raise UserError(f'cannot read {frames} frames at {fps} fps from {start_s} s of {name}')
  if is_image(source):
    image = read_image(source, size, image_crf)
    silence = np.zeros((0, audio_channels or 1), np.float32)
    return Clip(image[None], silence, fps or IMAGE_FPS, sample_rate_hz or DEFAULT_RATE_HZ)
  with opened(source) as container:
    stream = _picture_stream(container, source)
    rate = fps or fps_of(stream)
    counts = itertools.count() if frames is None else range(frames)
    times = (start_s + count / rate for count in counts)
    images = list(pictures(container, stream, times, size))
    end_s, said_s = start_s + len(images) / rate, declared_s(stream)
    if frames is None:
      check_whole(name, end_s, said_s)
    if not images or (frames is not None and len(images) < frames):
      check_whole(name, end_s, min(said_s, start_s + (frames or 1) / rate))
      wanted = f'{frames or 1} frames at {rate:g} fps from {start_s:g} s'
      raise UserError(f'{name} ends before {wanted}; it gave {len(images)}')
    length_s = len(images) / rate
    audio, audio_rate = _sound(container, start_s, length_s, sample_rate_hz, audio_channels)
  return Clip(np.stack(images), audio, rate, audio_rate)


def read_sound(
  source: Source,
  *,
  sample_rate_hz: int | None = None,
  audio_channels: int | None = None,
  start_s: float = 0.0,
  seconds: float | None = None,
) -> Clip:
  """Reads the sound of a sound file or a film as a clip with F = 0.

  Args:
    source: a path (wav, flac, mp3, mp4, …), or the bytes of a file.
    sample_rate_hz: None keeps the file's own.
    audio_channels: 1 or 2; None keeps the file's own.
    start_s: seconds from where the picture, or else the sound, begins.
    seconds: how long; None reads to the end. Silence where the file has ended.

  Raises:
    UserError: missing, empty, damaged, or without sound.
  """
  with opened(source) as container:
    stream = audio_of(container)
    if stream is None:
      raise UserError(f'{name_of(source)} has no sound; give a file with a sound track')
    if seconds is None:
      seconds = max(length_s(container, stream) - start_s, 0.0)
    audio, rate = _sound(container, start_s, seconds, sample_rate_hz, audio_channels)
  return Clip(np.zeros((0, 0, 0, 3), np.uint8), audio, IMAGE_FPS, rate)


def read_image(source: Source, size: Size | None = None, crf: int = 0) -> np.ndarray:
  """Reads an image as uint8 [H, W, 3], upright, scaled to cover `size` and cropped to its centre.

  Args:
    source: a path, or the bytes of a file.
    size: (height, width); None keeps the image's own.
    crf: by which H.264 codes it before it is scaled, see `still.as_filmed`; 0 for not at all.

  Raises:
    UserError: missing, empty, or not an image.
  """
  name = name_of(source)
  check_file(source)
  check_size(size)
  try:
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
      upright = _eight_bits(ImageOps.exif_transpose(image)).convert('RGB')
  except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
    raise cannot_read(name, f'{one_line(error)}; it is damaged or not an image') from error
  coded = Image.fromarray(as_filmed(np.asarray(upright), crf)) if crf else upright
  if size is None:
    return np.asarray(coded)
  return np.asarray(ImageOps.fit(coded, (size[1], size[0]), Image.Resampling.LANCZOS))


def _eight_bits(image: Image.Image) -> Image.Image:
  """An image of 16 bits of grey in 8, which PIL would cut off; another as it is."""
  if not image.mode.startswith('I'):
    return image
  grey = np.asarray(image).astype(np.float32) / 257
  return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))


def _picture_stream(container: Any, source: Source) -> Any:
  """The picture stream, made ready to decode."""
  stream = video_of(container)
  if stream is None:
    raise UserError(f'{name_of(source)} has sound but no picture; give a film or an image')
  if isinstance(source, bytes):
    stream.codec_context.thread_count = 1  # a stored clip is one of many, decoded side by side
  else:
    stream.thread_type = 'AUTO'
  return stream


def _sound(
  container: Any, start_s: float, seconds: float, rate: int | None, channels: int | None
) -> tuple[np.ndarray, int]:
  """A span of the container's sound [S, A] and its rate; S = 0 where there is no track."""
  stream = audio_of(container)
  if stream is None:
    return np.zeros((0, channels or 1), np.float32), rate or DEFAULT_RATE_HZ
  rate, channels = rate or stream.rate, channels or stream.channels
  samples = samples_of(1, 1 / seconds, rate) if seconds > 0 else 0  # as geometry rounds
  return sound(container, stream, start_s, samples, rate, channels), rate


def read_spans(
  source: Source,
  spans: Sequence[tuple[float, int]],
  *,
  fps: float,
  size: Size,
  sample_rate_hz: int,
  audio_channels: int,
) -> Iterator[Clip]:
  """Yields one clip for each span of a film, decoding the picture once and in constant memory.

  Args:
    source: a path, or the bytes of a film.
    spans: (start_s, frames) in order of time, not overlapping.
    fps: frames a second.
    size: (height, width) to scale and centre-crop to.
    sample_rate_hz: samples a second.
    audio_channels: 1 or 2.

  Raises:
    UserError: as `read`.
  """
  times = (start_s + count / fps for start_s, frames in spans for count in range(frames))
  # The two tracks are read at different places, so each needs the file for itself.
  with opened(source) as film, opened(source) as track:
    images = pictures(film, _picture_stream(film, source), times, size)
    for start_s, frames in spans:
      video = list(itertools.islice(images, frames))
      if len(video) < frames:
        raise UserError(f'{name_of(source)} ends before {start_s + frames / fps:.2f} s')
      audio, _ = _sound(track, start_s, frames / fps, sample_rate_hz, audio_channels)
      yield Clip(np.stack(video), audio, fps, sample_rate_hz)
