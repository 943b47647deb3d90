"""Films, images and sounds that a clip starts from or is made after."""

import dataclasses
from pathlib import Path

from sorajax.clip import Clip
from sorajax.errors import UserError
from sorajax.geometry import AudioGeometry
from sorajax.media import reader

SOUNDS = ('.wav', '.flac', '.mp3', '.m4a', '.ogg', '.opus')


def read(path: str, sound: AudioGeometry, size: tuple[int, int], fps: float) -> Clip:
  """A film, image or sound.

  Args:
    path: of the file.
    sound: whose rate and channels are wanted.
    size: (height, width) that is wanted.
    fps: frames a second that are wanted.
  """
  rates = {'sample_rate_hz': sound.sample_rate_hz, 'audio_channels': sound.audio_channels}
  kind = Path(path).suffix.lower()
  if kind in SOUNDS:
    clip = reader.read_sound(path, **rates)
    return dataclasses.replace(clip, video=clip.video.reshape(0, *size, 3), fps=fps)
  return reader.read(path, fps=fps, size=size, **rates)


def read_reference(path: str, sound: AudioGeometry, size: tuple[int, int], fps: float) -> Clip:
  """As `read`, of what has a picture; `UserError` for what has none."""
  clip = read(path, sound, size, fps)
  if not len(clip.video):
    raise UserError(f'{path} has no picture that a clip could be made after; give a film or image')
  return clip
