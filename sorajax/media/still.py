"""A picture as a film would hold it."""

import io

import av
import numpy as np

RATE, PRESET = 1, 'veryfast'  # as the stills of LTX-2's training were coded


def as_filmed(picture: np.ndarray, crf: int) -> np.ndarray:
  """What H.264 leaves of a picture that it codes alone.

  A model that learned from coded films takes a clean first frame for something else; the released
  LTX-2 were trained on such (Lightricks 2026).

  Args:
    picture: uint8 [H, W, 3]; of odd H or W, the last row or column is dropped.
    crf: of H.264, 1 (best) to 51 (worst); 0 leaves the picture as it is.

  Returns:
    uint8, as large.
  """
  if not crf:
    return picture
  height, width = (side // 2 * 2 for side in picture.shape[:2])
  file = io.BytesIO()
  with av.open(file, 'w', format='mp4') as container:
    stream = container.add_stream('libx264', RATE, {'crf': str(crf), 'preset': PRESET})
    stream.height, stream.width = height, width
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), 'rgb24')
    container.mux(stream.encode(frame.reformat(format='yuv420p')))
    container.mux(stream.encode())
  file.seek(0)
  with av.open(file, 'r') as container:
    return next(container.decode(video=0)).to_ndarray(format='rgb24')
