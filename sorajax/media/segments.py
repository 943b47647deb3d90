"""A long film written in segments, each whole by itself, so that a kill costs one of them.

Every segment begins with a key frame; joining copies the coded pictures and codes the sound, so the
film has the same bytes however often its making was interrupted.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from sorajax.clip import Clip
from sorajax.errors import UserError, one_line
from sorajax.media.atomic import full_disk, replacing
from sorajax.media.source import url_of
from sorajax.media.writer import SoundTrack, check_sound, shown, write_stream

AHEAD = 2  # pictures by which decoding is ahead of showing, at most, as x264 codes them here
FORM = shown(18)  # its sound; pictures are coded already


def write_segment(
  path: str | os.PathLike[str], pictures: Iterable[np.ndarray], fps: float, *, crf: int = 18
) -> None:
  """Writes pictures, chunks uint8 [F, H, W, 3] of one size and F ≥ 1, as an mp4 without sound.

  Raises:
    UserError: as `writer.write_stream`.
  """
  silence = np.zeros((0, 1), np.float32)
  chunks = (Clip(frames, silence, fps, 48_000) for frames in pictures)
  write_stream(path, chunks, crf=crf)


def join(
  path: str | os.PathLike[str],
  segments: Sequence[str | os.PathLike[str]],
  sounds: Iterable[np.ndarray] | None,
  sample_rate_hz: int,
) -> None:
  """Writes one mp4 of the pictures of all segments and of a sound.

  Args:
    path: what stood there is replaced in one step.
    segments: mp4s that `write_segment` wrote, of one size and rate.
    sounds: chunks float32 [S, A], as many as segments; None for no sound track.
    sample_rate_hz: of the sound.

  Raises:
    UserError: a segment that is damaged, or a place that cannot be written to.
  """
  given = None if sounds is None else iter(sounds)
  with replacing(path) as temporary:
    try:
      _join(str(temporary), str(path), segments, given, sample_rate_hz)
    except av.FFmpegError as error:
      other = UserError(f'cannot write {path}: {one_line(error.strerror)}')
      raise full_disk(error, path) or other from error


def _join(
  target: str, name: str, segments: Sequence, sounds: Iterator[np.ndarray] | None, rate: int
) -> None:
  options = {'fflags': '+bitexact', 'movflags': '+faststart', 'movie_timescale': '1000000'}
  picture, sound, frames = None, None, 0
  with av.open(url_of(target), 'w', format='mp4', options=options) as film:
    for segment in segments:
      heard = _alone(next(sounds), rate) if sounds else None
      with av.open(url_of(segment)) as part:
        if picture is None:
          picture = film.add_stream_from_template(part.streams.video[0])
          if heard is not None:
            check_sound(heard, name, FORM)
            sound = SoundTrack(film, heard, FORM)
        frames += _copy(film, part, picture, frames)
      if sound is not None and heard is not None:
        film.mux(list(sound.encode(heard)))
    if sound is not None:
      film.mux(sound.stream.encode(None))


def _copy(film: Any, part: Any, picture: Any, before: int) -> int:
  """Copies a segment's coded pictures behind `before` of the film; returns how many they are.

  Their order of decoding is counted through the whole film, since how far it is ahead of that of
  showing differs: segments of one or two pictures are not ahead at all.
  """
  source = part.streams.video[0]
  tick = Fraction(1) / source.average_rate / source.time_base
  shift = round(before * tick)
  packets = [packet for packet in part.demux(source) if packet.dts is not None]  # None: the end
  for number, packet in enumerate(packets, before):
    packet.pts, packet.dts = packet.pts + shift, round((number - AHEAD) * tick)
    packet.stream = picture
    film.mux(packet)
  return len(packets)


def _alone(audio: np.ndarray, rate: int) -> Clip:
  return Clip(np.zeros((0, 0, 0, 3), np.uint8), audio, 1.0, rate)


def remove(folder: Path) -> None:
  """Takes away a folder of segments, and nothing but what lies flat in it."""
  for file in folder.iterdir():
    file.unlink()
  folder.rmdir()
