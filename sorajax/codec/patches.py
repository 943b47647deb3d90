"""Pictures as space-time patches through a fitted linear transform.

A patch is stride_t frames of stride_y × stride_x pixels. The first frame stands alone: it is
encoded as a patch that stands still, and decoded as the mean over that patch, so one basis serves
for both and an image is a clip of one frame. Every latent frame depends on its own frames alone,
so coding streams without any carried state.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from sorajax.codec.pca import Pca, fit
from sorajax.geometry import VideoGeometry

CHUNK_FRAMES = 64  # latent frames coded at once


@dataclasses.dataclass(frozen=True)
class PatchCodec:
  """uint8 [F, H, W, 3] ↔ float32 [f, h, w, C]."""

  kind: ClassVar[str] = 'patches'
  geometry: VideoGeometry
  pca: Pca

  @property
  def spread(self) -> np.ndarray:
    return self.pca.spread

  def encoder(self) -> 'PatchCoder':
    """Codes a clip piece by piece."""
    return PatchCoder(self.encode)

  def decoder(self) -> 'PatchCoder':
    """Decodes a clip piece by piece."""
    return PatchCoder(self.decode)

  def shape(self) -> dict[str, Any]:
    """What `restored` needs beside the arrays."""
    return dataclasses.asdict(self.geometry)

  def arrays(self) -> dict[str, np.ndarray]:
    """What is fitted."""
    return self.pca.arrays()

  @classmethod
  def restored(cls, shape: dict[str, Any], arrays: dict[str, np.ndarray]) -> 'PatchCodec':
    """The codec that `shape` and `arrays` are of."""
    geometry = VideoGeometry(tuple(shape['stride']), shape['channels'])
    return cls(geometry, Pca.restored(arrays))

  def encode(self, video: np.ndarray, first: bool = True) -> np.ndarray:
    """Pixels to latents.

    Args:
      video: uint8 [F, H, W, 3]; F is 0 or 1 + n·stride_t, and n·stride_t where it is not `first`.
      first: whether video[0] is the clip's first frame.

    Raises:
      UserError: a size that does not divide.
    """
    frames = len(video) + (0 if first or not len(video) else 1)
    f, h, w = self.geometry.latent_size(frames, *video.shape[1:3])
    if not f:
      return np.zeros((0, h, w, self.geometry.channels), np.float32)
    patches = _patches(video, self.geometry.stride, first)
    return np.concatenate([self.pca.encode(p) for p in patches])

  def decode(self, latents: np.ndarray, first: bool = True) -> np.ndarray:
    """Latents to pixels.

    Args:
      latents: float32 [f, h, w, C].
      first: whether latents[0] is the clip's first, which stands for one frame.
    """
    t, y, x = self.geometry.stride
    f, h, w = latents.shape[:3]
    out = [np.zeros((0, h * y, w * x, 3), np.uint8)]
    for start in range(0, f, CHUNK_FRAMES):
      patch = self.pca.decode(latents[start : start + CHUNK_FRAMES]).reshape(-1, h, w, t, y, x, 3)
      frames = patch.transpose(0, 3, 1, 4, 2, 5, 6).reshape(-1, h * y, w * x, 3)
      if first and start == 0:
        frames = np.concatenate([frames[:t].mean(axis=0, keepdims=True), frames[t:]])
      out.append(np.rint(np.clip((frames + 1) * 127.5, 0, 255)).astype(np.uint8))
    return np.concatenate(out)


class PatchCoder:
  """Codes piece by piece; all that is carried is whether the clip has begun."""

  def __init__(self, code: Callable[[np.ndarray, bool], np.ndarray]):
    self._code, self._begun, self._nothing = code, False, np.zeros(0)

  def push(self, piece: np.ndarray) -> np.ndarray:
    """The next frames or latents, coded."""
    out = self._code(piece, not self._begun)
    self._begun, self._nothing = self._begun or len(piece) > 0, out[:0]
    return out

  def finish(self) -> np.ndarray:
    """Nothing is left."""
    return self._nothing

  def state(self) -> Mapping[str, np.ndarray]:
    """All that `resume` needs to go on in another process."""
    return {'begun': np.asarray(self._begun), 'nothing': self._nothing}

  def resume(self, state: Mapping[str, np.ndarray]) -> None:
    """Goes on from what `state` gave."""
    self._begun, self._nothing = bool(state['begun']), state['nothing']


def fit_patches(
  videos: Iterable[np.ndarray], stride: tuple[int, int, int], channels: int, whiten: float
) -> PatchCodec:
  """A codec fitted on clips uint8 [F, H, W, 3]."""
  width = int(np.prod(stride)) * 3
  batches = (p.reshape(-1, width) for v in videos if len(v) for p in _patches(v, stride))
  return PatchCodec(VideoGeometry(stride, channels), fit(batches, channels, whiten))


def _patches(
  video: np.ndarray, stride: tuple[int, int, int], first: bool = True
) -> Iterator[np.ndarray]:
  """Chunks of patches float32 [f', h, w, t·y·x·3] in [-1, 1], the first frame standing still."""
  t, y, x = stride
  height, width = video.shape[1:3]
  if first:
    video = np.concatenate([np.broadcast_to(video[:1], (t - 1, *video.shape[1:])), video])
  for start in range(0, len(video), CHUNK_FRAMES * t):
    frames = video[start : start + CHUNK_FRAMES * t]
    split = frames.reshape(-1, t, height // y, y, width // x, x, 3).transpose(0, 2, 4, 1, 3, 5, 6)
    flat = split.reshape(-1, height // y, width // x, t * y * x * 3)
    yield flat.astype(np.float32) / 127.5 - 1
