"""Pictures drawn after pictures, frame for frame: what a clip may be made after in its turn."""

from collections.abc import Callable

import numpy as np
import scipy.ndimage

from sorajax.errors import UserError

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of BT.709


def picture(frames: np.ndarray) -> np.ndarray:
  """The picture itself."""
  return frames


def grey(frames: np.ndarray) -> np.ndarray:
  """Its brightness alone."""
  return _spread(_brightness(frames))


def edges(frames: np.ndarray) -> np.ndarray:
  """White where its brightness changes, black elsewhere (Sobel & Feldman 1968)."""
  bright, along = _brightness(frames), scipy.ndimage.correlate1d
  slopes = [
    along(along(bright, [-1, 0, 1], axis), [0.25, 0.5, 0.25], other)
    for axis, other in ((1, 2), (2, 1))
  ]
  return _spread(np.hypot(*slopes))


DRAWINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  drawing.__name__: drawing for drawing in (picture, grey, edges)
}


def drawn(frames: np.ndarray, name: str, smaller: int = 1) -> np.ndarray:
  """A drawing of frames that are made smaller first.

  Args:
    frames: uint8 [F, H, W, 3].
    name: in `DRAWINGS`.
    smaller: by how much.

  Returns:
    uint8 [F, H / smaller, W / smaller, 3].

  Raises:
    UserError: no such drawing, or a size that does not divide.
  """
  if name not in DRAWINGS:
    raise UserError(f'there is no drawing {name!r}; there are {", ".join(DRAWINGS)}')
  count, height, width = frames.shape[:3]
  if smaller < 1 or height % smaller or width % smaller:
    raise UserError(f'{height}×{width} pixels cannot be made {smaller} times smaller')
  squares = frames.reshape(count, height // smaller, smaller, width // smaller, smaller, 3)
  return DRAWINGS[name](squares.mean(axis=(2, 4)).round().astype(np.uint8))


def _brightness(frames: np.ndarray) -> np.ndarray:
  return frames.astype(np.float32) @ LUMA


def _spread(bright: np.ndarray) -> np.ndarray:
  """Brightness [F, H, W] → uint8 [F, H, W, 3]."""
  level = np.clip(bright.round(), 0, 255).astype(np.uint8)
  return np.repeat(level[..., None], 3, axis=-1)
