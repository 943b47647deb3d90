"""Opens films; says what a file holds, and where its time begins."""

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from sorajax.errors import UserError, cannot_read, one_line

Source = str | os.PathLike[str] | bytes

IMAGES = frozenset({'.png', '.jpg', '.jpeg', '.webp', '.bmp'})
NOT_MEDIA = frozenset({'tty', 'srt', 'webvtt', 'ass', 'bin', 'lrc'})  # what text may pass for
CUT_SHORT_S = 0.3  # files of rounded time stamps may end a little before their own word for it


@dataclasses.dataclass(frozen=True)
class Probe:
  """What a file says about itself, without decoding it.

  Attributes:
    frames: pictures, as far as the file tells; 0 = no picture.
    fps: frames a second, on average; 0 = no picture.
    height: pixels, as shown (rotation and pixel shape applied).
    width: pixels, as shown.
    seconds: of the picture, or of the sound where there is no picture.
    sample_rate_hz: 0 = no sound.
    audio_channels: 0 = no sound.
  """

  frames: int
  fps: float
  height: int
  width: int
  seconds: float
  sample_rate_hz: int
  audio_channels: int


def name_of(source: Source) -> str:
  """What to call a source in an error."""
  return f'a stored clip of {len(source)} bytes' if isinstance(source, bytes) else str(source)


def url_of(path: str | os.PathLike[str]) -> str:
  """A path as FFmpeg takes it, to which what stands before a colon is a protocol."""
  return f'file:{os.fspath(path)}'


def is_image(source: Source) -> bool:
  """Whether a source is a still image, by its extension or its first bytes."""
  if isinstance(source, bytes):
    return source[:8] == b'\x89PNG\r\n\x1a\n' or source[:3] == b'\xff\xd8\xff'
  return Path(source).suffix.lower() in IMAGES


@contextlib.contextmanager
def opened(source: Source) -> Iterator[Any]:
  """Opens a container; whatever the library finds wrong with it ends as one line.

  Raises:
    UserError: missing, empty, or not a film or a sound; also on errors while decoding inside.
  """
  name = name_of(source)
  check_file(source)
  try:
    file = io.BytesIO(source) if isinstance(source, bytes) else url_of(source)
    with av.open(file, metadata_errors='replace') as container:
      if container.format.name in NOT_MEDIA:
        raise UserError(f'cannot read {name}: it is text, not a film or a sound')
      yield container
  except av.FFmpegError as error:
    raise cannot_read(name, f'{one_line(error.strerror)}; it is damaged or not media') from error


def check_file(source: Source) -> None:
  """Refuses what is missing, empty, a folder, or not permitted, before any library sees it."""
  if isinstance(source, bytes):
    if not source:
      raise UserError('cannot read a stored clip: it has 0 bytes')
    return
  path = Path(source)
  if path.is_dir():
    raise UserError(f'cannot read {path}: it is a folder; name a file inside it')
  try:
    size = path.stat().st_size
  except OSError as error:
    raise cannot_read(path, error) from error
  if not size:
    raise UserError(f'cannot read {path}: the file is empty')
  if not os.access(path, os.R_OK):
    raise UserError(f'cannot read {path}: permission denied')


def video_of(container: Any) -> Any | None:
  """The picture stream, or None; the cover of a record is not a picture."""
  for stream in container.streams.video:
    if not stream.disposition & av.stream.Disposition.attached_pic:
      return stream
  return None


def audio_of(container: Any) -> Any | None:
  """The first sound stream that says its rate, or None."""
  return next((stream for stream in container.streams.audio if stream.rate), None)


def origin_s(container: Any) -> float:
  """The time stamp (s) at which the picture begins, or the sound where there is no picture."""
  stream = video_of(container) or audio_of(container)
  if stream is None or stream.start_time is None:
    return 0.0
  return float(stream.start_time * stream.time_base)


def fps_of(stream: Any) -> float:
  """Frames a second of a picture stream, on average."""
  return float(stream.average_rate or stream.guessed_rate or stream.base_rate or 25)


def declared_s(stream: Any) -> float:
  """How long the file says that this very stream is, in seconds; 0 = it does not say."""
  if stream.duration:
    return float(stream.duration * stream.time_base)
  hours, _, rest = stream.metadata.get('DURATION', '').partition(':')  # Matroska's '00:09:56.47'
  minutes, _, seconds = rest.partition(':')
  with contextlib.suppress(ValueError):
    end_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return end_s - float((stream.start_time or 0) * stream.time_base)
  return 0.0


def length_s(container: Any, stream: Any) -> float:
  """How long a stream of a container just opened is, in seconds.

  Where the file does not say, as one that was written live, its packets are counted.
  """
  said_s = declared_s(stream) or (container.duration or 0) / 1e6
  if said_s:
    return said_s
  stamps = [(p.pts, p.duration or 0) for p in container.demux(stream) if p.pts is not None]
  container.seek(stream.start_time or 0, stream=stream, backward=True)
  if not stamps:
    return 0.0
  tick = float(stream.time_base)
  (last, lasting), first = max(stamps), min(stamps)[0]
  usual_s = 1 / fps_of(stream) if stream.type == 'video' else 0.0
  return (last - first) * tick + (lasting * tick or usual_s)


def check_whole(name: str, end_s: float, said_s: float) -> None:
  """Refuses a film whose last frame leaves the screen before the file says that it does."""
  if end_s < said_s - CUT_SHORT_S:
    raise UserError(f'{name} is cut short: {end_s:.2f} s of {said_s:.2f} s; fetch it again')


def file_hash(path: str | os.PathLike[str]) -> str:
  """The beginning of a file's SHA-256; '' where there is no such file."""
  if not Path(path).is_file():
    return ''
  found = Path(path).stat()
  return _hash_of(str(path), found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=4096)
def _hash_of(path: str, *_: int) -> str:
  with Path(path).open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()[:16]
