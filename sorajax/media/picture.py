"""Decoded frames → RGB of the size and at the times that were asked for."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from sorajax.errors import UserError
from sorajax.media.source import fps_of, origin_s

UNTAGGED = 2  # FFmpeg's number for "no colour matrix given"
HD_HEIGHT = 720  # untagged films from this height on are BT.709, smaller ones BT.601
EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Shown:
  """A decoded frame and the time from which it is on screen.

  Attributes:
    start_s: seconds from where the picture begins.
    seconds: how long it stays, as far as the file tells.
    frame: the library's frame.
  """

  start_s: float
  seconds: float
  frame: Any


def pictures(container: Any, stream: Any, times: Iterable[float], size: Size | None) -> Iterator:
  """Yields uint8 [H, W, 3] for each time: the frame that is on screen then.

  One pass over the film from the first time on; ends early where the film ends.

  Args:
    container: an open container.
    stream: its picture stream.
    times: ascending seconds.
    size: (height, width) to scale and centre-crop to; None keeps the film's own.
  """
  wanted = iter(times)
  time = next(wanted, None)
  if time is None:
    return
  slack, pixel_shape = tick_s(stream), float(stream.sample_aspect_ratio or 1)
  scaler = VideoReformatter()  # it plans a conversion once; a frame's own would plan it each time
  last: Shown | None = None
  image: np.ndarray | None = None
  for shown in decode_from(container, stream, time):
    while time is not None and last is not None and shown.start_s > time + slack:
      image = to_rgb(last.frame, size, pixel_shape, scaler) if image is None else image
      yield image
      time = next(wanted, None)
    if time is None:
      return
    last, image = shown, None
  while last is not None and time is not None and time < last.start_s + last.seconds - slack:
    image = to_rgb(last.frame, size, pixel_shape, scaler) if image is None else image
    yield image
    time = next(wanted, None)


def tick_s(stream: Any) -> float:
  """The rounding (s) of a stream's time stamps: those of Matroska are whole milliseconds."""
  return max(0.5 * float(stream.time_base), 1e-6) + 1e-6


def decode_from(container: Any, stream: Any, from_s: float) -> Iterator[Shown]:
  """Decodes from the keyframe at or before `from_s` to the end of the film, in order of time."""
  origin, tick = origin_s(container), float(stream.time_base)
  usual_s = 1 / fps_of(stream)
  next_s = 0.0
  for frame in _frames_from(container, stream, from_s):
    start_s = next_s if frame.pts is None else frame.pts * tick - origin
    seconds = frame.duration * tick if frame.duration else usual_s
    next_s = start_s + seconds
    yield Shown(start_s, seconds, frame)


def _frames_from(container: Any, stream: Any, from_s: float) -> Iterator[Any]:
  """The library's frames from a keyframe at or before `from_s` on."""
  origin, tick = origin_s(container), float(stream.time_base)
  back_s = 0.0
  while back_s < from_s:
    try:
      container.seek(int((origin + from_s - back_s) / tick), stream=stream, backward=True)
    except av.FFmpegError:  # a file without an index is decoded from its beginning
      return container.decode(stream)
    frames = container.decode(stream)
    first = next(frames, None)
    begins_s = math.inf if first is None or first.pts is None else first.pts * tick - origin
    if begins_s <= from_s + tick_s(stream):
      return chain([first], frames)
    back_s = 2 * back_s + 1  # a keyframe can be shown later than its place in the index says
  if from_s > 0:
    container.seek(stream.start_time or 0, stream=stream, backward=True)
  return container.decode(stream)


def to_rgb(
  frame: Any, size: Size | None, pixel_shape: float = 1.0, scaler: VideoReformatter | None = None
) -> np.ndarray:
  """A decoded frame as uint8 [H, W, 3], upright, scaled to cover `size` and cropped to its centre.

  Args:
    frame: the library's frame, in any pixel format.
    size: (height, width), or None for the frame's own.
    pixel_shape: width of a pixel over its height.
    scaler: one for all frames of a film is faster; None makes one.
  """
  turns = round(frame.rotation / 90) % 4
  if size is not None and turns % 2:
    size = size[1], size[0]
  shape = _scaled(frame.height, frame.width * pixel_shape, size)
  shrinks = shape[0] < frame.height or shape[1] < frame.width
  # An RGB frame has no matrix to undo.
  matrix = None if frame.format.is_rgb else _matrix(frame)
  rgb = (scaler or VideoReformatter()).reformat(
    frame,
    height=shape[0],
    width=shape[1],
    format='rgb24',
    src_colorspace=matrix,
    dst_color_range=ColorRange.JPEG,
    interpolation=(Interpolation.AREA if shrinks else Interpolation.BICUBIC) | EXACT,
  )
  image = crop(rgb.to_ndarray(), size or shape)
  return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _scaled(height: int, width: float, size: Size | None) -> Size:
  """(height, width) to scale to, so that `size` is covered and the picture keeps its shape."""
  if size is None:
    return height, round(width)
  factor = max(size[0] / height, size[1] / width)
  return max(round(height * factor), size[0]), max(round(width * factor), size[1])


def _matrix(frame: Any) -> int:
  """swscale's number for the frame's colour matrix: as tagged, or by the custom of its height."""
  if frame.colorspace != UNTAGGED:
    return frame.colorspace
  return Colorspace.ITU709 if frame.height >= HD_HEIGHT else Colorspace.ITU601


def crop(image: np.ndarray, size: Size) -> np.ndarray:
  """The centre [H, W, 3] of an image that covers it."""
  top, left = (image.shape[0] - size[0]) // 2, (image.shape[1] - size[1]) // 2
  return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def resized(frames: np.ndarray, size: Size) -> np.ndarray:
  """uint8 [F, H, W, 3] → [F, *size, 3], scaled to cover `size` and cropped to its centre."""
  scaler, of = VideoReformatter(), av.VideoFrame.from_ndarray
  made = [to_rgb(of(frame, 'rgb24'), size, scaler=scaler) for frame in frames]
  return np.stack(made) if made else np.zeros((0, *size, 3), np.uint8)


def check_size(size: Size | None) -> None:
  """Refuses a size without pixels."""
  if size is not None and min(size) < 1:
    raise UserError(f'cannot resize to {size[0]}×{size[1]}; give at least 1×1 pixel')
