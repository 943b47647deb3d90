"""Where a film cuts from one shot to the next."""

import os
from collections import deque

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from scenedetect import AdaptiveDetector, FrameTimecode

from sorajax.clip import Clip
from sorajax.errors import UserError
from sorajax.media.picture import decode_from
from sorajax.media.source import check_whole, declared_s, fps_of, opened, video_of

LOOK_HEIGHT = 72  # cuts show as well on small frames, and these cost little
SHORTEST_S = 0.4  # two cuts closer than this are one


def detect_shots(path: str | os.PathLike[str]) -> list[tuple[float, float]]:
  """Finds the shots of a film in one pass, in memory that does not grow with its length.

  Args:
    path: a film.

  Returns:
    (start_s, end_s) of each shot, seconds from where the picture begins; they follow one another
    without a gap, and the last ends with the film.

  Raises:
    UserError: missing, empty, damaged, cut short, or without a picture.
  """
  with opened(path) as container:
    stream = video_of(container)
    if stream is None:
      raise UserError(f'{path} has no picture; give a film')
    stream.thread_type = 'AUTO'
    fps = fps_of(stream)
    detector = _detector(fps)
    width = max(round(stream.width * LOOK_HEIGHT / stream.height), 16)
    # The detector counts frames and speaks of a cut a few frames late: keep that many times.
    recent: deque[tuple[int, float]] = deque(maxlen=detector.event_buffer_length + 2)
    starts, end_s, scaler = [0.0], 0.0, VideoReformatter()
    try:
      for number, shown in enumerate(decode_from(container, stream, 0.0)):
        small = scaler.reformat(
          shown.frame, width, LOOK_HEIGHT, 'bgr24', interpolation=Interpolation.AREA
        )
        recent.append((number, shown.start_s))
        end_s = shown.start_s + shown.seconds
        for cut in detector.process_frame(FrameTimecode(number, fps), small.to_ndarray()):
          starts.append(dict(recent)[cut.frame_num])
    except av.FFmpegError:  # of a decoder of one thread, where the film breaks off
      check_whole(str(path), end_s, declared_s(stream))
      raise
    check_whole(str(path), end_s, declared_s(stream))
  if not end_s:
    raise UserError(f'cannot read {path}: no frame of it decodes')
  return list(zip(starts, starts[1:] + [end_s]))


def cuts_of(clip: Clip) -> list[int]:
  """The first frames of all shots of a clip but the first; of one in its last frames, nothing."""
  detector, found = _detector(clip.fps), list[int]()
  for number, frame in enumerate(clip.video):
    bgr = np.ascontiguousarray(frame[..., ::-1])
    found += [c.frame_num for c in detector.process_frame(FrameTimecode(number, clip.fps), bgr)]
  return found


def _detector(fps: float) -> AdaptiveDetector:
  return AdaptiveDetector(min_scene_len=max(round(SHORTEST_S * fps), 1))
