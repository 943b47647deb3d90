"""Films, images and sounds that a clip starts from, comes by or is made after."""

import dataclasses
import math
from typing import Any

import numpy as np

from sorajax.clip import Clip
from sorajax.codec.codec import Codec
from sorajax.errors import UserError
from sorajax.generate.request import Request
from sorajax.geometry import AudioGeometry
from sorajax.media import reader


def read(
  path: str, sound: AudioGeometry, size: tuple[int, int], fps: float, frames: int | None = None,
  image_crf: int = 0,
) -> Clip:  # fmt: skip
  """A film, image or sound, or the beginning of it.

  Args:
    path: of the file.
    sound: whose rate and channels are wanted.
    size: (height, width) that is wanted.
    fps: frames a second that are wanted.
    frames: at most so many, and sound as long; None takes all.
    image_crf: of an image, see `reader.read_image`.
  """
  rates = {'sample_rate_hz': sound.sample_rate_hz, 'audio_channels': sound.audio_channels}
  found = reader.probe(path)
  longer = frames is not None and found.seconds * fps >= frames + 1
  if found.frames:
    most = frames if longer else None
    return reader.read(path, fps=fps, size=size, frames=most, image_crf=image_crf, **rates)
  clip = reader.read_sound(path, seconds=frames / fps if longer and frames else None, **rates)
  return dataclasses.replace(clip, video=clip.video.reshape(0, *size, 3), fps=fps)


def of(request: Request, codec: Codec, image_crf: int = 0) -> Request:
  """A request with what it takes of the files that it names, in the rates of `codec`.

  Images that a clip begins with or comes by are coded by `image_crf` first.
  """
  sound, plays_hz = codec.geometry.audio, codec.audio.output_rate_hz
  frames = codec.geometry.video.frames_at_least(request.frames)
  wanted = sound, (request.height, request.width), request.fps
  found: dict[str, Any] = {}
  if request.given_path:
    given = found['given'] = read(request.given_path, *wanted, frames, image_crf)
    if plays_hz > sound.sample_rate_hz and len(given.audio):
      found['given_sound'] = reader.read_sound(
        request.given_path, sample_rate_hz=plays_hz, audio_channels=sound.audio_channels,
        seconds=len(given.audio) / given.sample_rate_hz,
      )  # fmt: skip
  if request.reference_path:
    found['reference'] = read_seen(request.reference_path, *wanted, frames)
  if request.keyframe_paths:
    seen = [read_seen(path, *wanted, 1, image_crf).video[:1] for path in request.keyframe_paths]
    found['keyframes'] = np.concatenate(seen)
  return dataclasses.replace(request, **found)


def read_seen(
  path: str, sound: AudioGeometry, size: tuple[int, int], fps: float, frames: int,
  image_crf: int = 0,
) -> Clip:  # fmt: skip
  """As `read`, of what has a picture; `UserError` for what has none."""
  clip = read(path, sound, size, fps, frames, image_crf)
  if not len(clip.video):
    raise UserError(f'{path} has no picture that a clip could be made after; give a film or image')
  return clip


def parse_keyframe(text: str) -> tuple[str, float]:
  """'a.png@1.5' → ('a.png', 1.5)."""
  path, _, at_s = text.rpartition('@')
  try:
    moment = float(at_s)
  except ValueError:
    path, moment = '', 0.0
  if not path or not math.isfinite(moment):
    raise UserError(
      f'--keyframe={text} is not IMAGE@SECONDS; write for instance --keyframe=last.png@4'
    )
  return path, moment
