"""One film → its clips: shots, windows, filters, captions, and a part file."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sorajax.clip import Clip
from sorajax.data import captions as captions_lib
from sorajax.data.records import Example, Row, pack, row_of, write_shard
from sorajax.errors import UserError, one_line
from sorajax.media import reader
from sorajax.media.atomic import write_text
from sorajax.media.shots import detect_shots
from sorajax.media.source import is_image
from sorajax.media.writer import to_bytes

LUMA = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
ENDS = 1 << 16  # bytes at each end of a file that tell it from another of the same size


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
  """What to make of a folder of films.

  Attributes:
    frames: the clip lengths to cut, in frames; the longest that fits is taken first.
    fps: frames a second of the clips.
    height: pixels.
    width: pixels.
    sample_rate_hz: samples a second of the clips.
    audio_channels: 1 or 2.
    min_loudness_db: clips whose sound is below this (RMS, dB of full scale) count as silent.
    black_below: clips whose mean luma (0–255) is below this count as black.
    frozen_below: clips whose frames differ by less than this (mean, 0–255) count as frozen.
    keep_silent: keep silent clips, and films without a sound track.
    shards: train files to write.
    validation_fraction: share of the shots that is held out; a shot is held out as a whole.
  """

  frames: tuple[int, ...]
  fps: float
  height: int
  width: int
  sample_rate_hz: int
  audio_channels: int = 1
  min_loudness_db: float = -60.0
  black_below: float = 8.0
  frozen_below: float = 0.3
  keep_silent: bool = False
  shards: int = 1
  validation_fraction: float = 0.1

  def __post_init__(self) -> None:
    if not self.frames or min(self.frames) < 1:
      raise ValueError(f'frames is {self.frames}; give at least one clip length, such as (25,)')
    counts = (self.fps, self.height, self.width, self.sample_rate_hz, self.shards)
    if not all(0 < count < math.inf for count in counts):
      raise ValueError('fps, height, width, sample_rate_hz and shards must be above 0')
    if self.audio_channels not in (1, 2):
      raise ValueError(f'audio_channels is {self.audio_channels}; it must be 1 or 2')
    if not 0 <= self.validation_fraction <= 1:
      raise ValueError(f'validation_fraction is {self.validation_fraction}; it must be in 0 … 1')


@dataclasses.dataclass(frozen=True)
class FileReport:
  """What became of one file.

  Attributes:
    file: relative to the input folder.
    identity: hash of the settings and of the file.
    rows: of the clips kept, in the order of the part file.
    splits: 'train' or 'validation' for each row.
    dropped: reason → windows (or, for too_short, shots) left out.
    skipped: {'file', 'reason'} where the file, or its captions, could not be used.
  """

  file: str
  identity: str
  rows: tuple[Row, ...]
  splits: tuple[str, ...]
  dropped: dict[str, int]
  skipped: tuple[dict[str, str], ...]


def prepare_file(file: str, root: str, config: PrepareConfig, parts: str) -> FileReport:
  """Cuts one film or image into clips, writes them as a part file and reports.

  A part that is there already, from the same file under the same settings, is left as it is.
  A file that cannot be read ends in a report that says why, never in an exception.

  Args:
    file: the film, relative to `root`.
    root: the input folder.
    config: the settings.
    parts: the folder for part files.
  """
  media = Path(root, file)
  done = load_report(file, root, config, parts)
  if done is not None:
    return done
  identity = file_identity(media, config)
  skipped: list[dict[str, str]] = []
  spans = _captions(media, root, skipped)
  dropped: dict[str, int] = {}
  rows: list[Row] = []
  splits: list[str] = []

  def records() -> Iterator[bytes]:
    for shot, number, start_s, clip in _clips(media, config, dropped):
      caption = captions_lib.caption_at(spans, start_s, start_s + clip.seconds)
      example = _example(f'{file}#{shot:04d}.{number:03d}', clip, caption, file, start_s)
      record = pack(example)
      rows.append(row_of(example, len(record)))
      splits.append(split_of(file, shot, config.validation_fraction))
      yield record

  try:
    write_shard(part_path(file, parts), records())
  except UserError as error:
    skipped.insert(0, {'file': file, 'reason': _without(str(error), root)})
    rows, splits, dropped = [], [], {}
    write_shard(part_path(file, parts), [])
  report = FileReport(file, identity, tuple(rows), tuple(splits), dropped, tuple(skipped))
  write_text(report_path(file, parts), json.dumps(dataclasses.asdict(report)))
  return report


def load_report(file: str, root: str, config: PrepareConfig, parts: str) -> FileReport | None:
  """The report of a part that is finished and still of this file and these settings, or None."""
  try:
    text = json.loads(report_path(file, parts).read_text(encoding='utf-8'))
  except FileNotFoundError:
    return None
  if text['identity'] != file_identity(Path(root, file), config):
    return None
  text['rows'] = tuple(Row(**row) for row in text['rows'])
  text['splits'], text['skipped'] = tuple(text['splits']), tuple(text['skipped'])
  return FileReport(**text)


def part_path(file: str, parts: str) -> Path:
  """Where the clips of a file wait to be merged."""
  return Path(parts, f'{_hash(file)}.array_record')


def report_path(file: str, parts: str) -> Path:
  """Where the report of a file lies; written last, so it says that the part is whole."""
  return Path(parts, f'{_hash(file)}.json')


def file_identity(media: Path, config: PrepareConfig) -> str:
  """A short hash of the settings, the file's size and ends, and its captions."""
  size = media.stat().st_size if media.is_file() else -1
  ends = b''
  if size > 0 and os.access(media, os.R_OK):
    with media.open('rb') as file:
      ends = file.read(ENDS)
      file.seek(max(size - ENDS, 0))
      ends += file.read(ENDS)
  sidecar = captions_lib.sidecar_of(media)
  words = sidecar.read_bytes() if sidecar and os.access(sidecar, os.R_OK) else b''
  settings = json.dumps(dataclasses.asdict(config)).encode()
  return _hash(b'\0'.join([settings, str(size).encode(), ends, words]))


def split_of(file: str, shot: int, validation_fraction: float) -> str:
  """The split of a shot: the same on every machine, whatever else lies in the folder."""
  draw = int(_hash(f'{file}#{shot}')[:12], 16) / 16**12
  return 'validation' if draw < validation_fraction else 'train'


def _clips(
  media: Path, config: PrepareConfig, dropped: dict[str, int]
) -> Iterator[tuple[int, int, float, Clip]]:
  """Yields (shot, window in it, start_s, clip) of what passes; counts what does not."""
  size = config.height, config.width
  if is_image(media):
    image = reader.read(
      media,
      fps=config.fps,
      size=size,
      sample_rate_hz=config.sample_rate_hz,
      audio_channels=config.audio_channels,
    )
    kept: Iterable[tuple[int, int, float, Clip]] = [(0, 0, 0.0, image)]
  else:
    places = list(_windows(detect_shots(media), config, dropped))
    clips = reader.read_spans(
      media,
      [(start_s, frames) for _, _, start_s, frames in places],
      fps=config.fps,
      size=size,
      sample_rate_hz=config.sample_rate_hz,
      audio_channels=config.audio_channels,
    )
    kept = (
      (shot, number, start_s, clip) for (shot, number, start_s, _), clip in zip(places, clips)
    )
  for shot, number, start_s, clip in kept:
    fault = fault_of(clip, config)
    if fault:
      dropped[fault] = dropped.get(fault, 0) + 1
    else:
      yield shot, number, start_s, clip


def _windows(
  shots: list[tuple[float, float]], config: PrepareConfig, dropped: dict[str, int]
) -> Iterator[tuple[int, int, float, int]]:
  """Yields (shot, window in it, start_s, frames), the longest that fits first."""
  lengths = sorted(config.frames, reverse=True)
  for shot, (start_s, end_s) in enumerate(shots):
    left = int((end_s - start_s) * config.fps + 0.01)  # whole frames, but for rounded time stamps
    if left < lengths[-1]:
      dropped['too_short'] = dropped.get('too_short', 0) + 1
    number = used = 0
    while left - used >= lengths[-1]:
      frames = next(length for length in lengths if length <= left - used)
      yield shot, number, start_s + used / config.fps, frames
      number, used = number + 1, used + frames


def fault_of(clip: Clip, config: PrepareConfig) -> str | None:
  """Why a clip is not worth keeping, or None: no_sound, silent, black or frozen."""
  moving = len(clip.video) > 1
  if moving and not config.keep_silent:
    if not len(clip.audio):
      return 'no_sound'
    if loudness_db(clip.audio) < config.min_loudness_db:
      return 'silent'
  video = clip.video.astype(np.float32)
  if (video @ LUMA).mean() < config.black_below:
    return 'black'
  if moving and np.abs(np.diff(video, axis=0)).mean() < config.frozen_below:
    return 'frozen'
  return None


def loudness_db(audio: np.ndarray) -> float:
  """RMS of [S, A] in dB of full scale; −200 for digital silence."""
  return float(20 * np.log10(max(np.sqrt(np.mean(np.square(audio, dtype=np.float64))), 1e-10)))


def _captions(media: Path, root: str, skipped: list[dict[str, str]]) -> tuple[Any, ...]:
  """The captions of a film; a caption file that cannot be used is named in `skipped`."""
  sidecar = captions_lib.sidecar_of(media)
  try:
    return captions_lib.load(sidecar) if sidecar else ()
  except UserError as error:
    name = sidecar.relative_to(root).as_posix() if sidecar else ''
    skipped.append({'file': name, 'reason': _without(str(error), root)})
    return ()


def _example(key: str, clip: Clip, caption: str, file: str, start_s: float) -> Example:
  frames, height, width = clip.video.shape[:3]
  return Example(
    key=key,
    media=to_bytes(clip),
    caption=caption,
    frames=frames,
    height=height,
    width=width,
    samples=len(clip.audio),
    fps=clip.fps,
    sample_rate_hz=clip.sample_rate_hz,
    audio_channels=clip.audio.shape[1],
    source=file,
    start_s=start_s,
  )


def _without(message: str, root: str) -> str:
  """An error without the input folder's path, so that the index does not depend on where it lay."""
  return one_line(message.replace(f'{Path(root)}{os.sep}', ''))


def _hash(content: str | bytes) -> str:
  data = content.encode() if isinstance(content, str) else content
  return hashlib.sha256(data).hexdigest()[:32]
