"""What travels along the walk: Clip → Latents → Tokens (and the text beside them).

A clip is what a person sees and hears; latents are what a codec makes of it; tokens are what the
transformer reads. Every token carries its own noise level, so conditioning is nothing but tokens
whose `sigma` is 0.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

MODALITIES = ('audio', 'video')  # the order in which streams are visited, everywhere

MAX_SHOTS = 256  # of a storyboard

Array = Any  # np.ndarray on the host, jax.Array on devices


@dataclasses.dataclass(frozen=True)
class Clip:
  """A stretch of film with its sound, on the host.

  Attributes:
    video: uint8 [F, H, W, 3], sRGB; F = 1 is an image, F = 0 is sound alone.
    audio: float32 [S, A] in [-1, 1]; S = 0 is a silent medium (an image, a film without a track).
    fps: frames a second.
    sample_rate_hz: samples a second.
  """

  video: np.ndarray
  audio: np.ndarray
  fps: float
  sample_rate_hz: int

  @property
  def seconds(self) -> float:
    """Duration of the picture, or of the sound where there is no picture."""
    return len(self.video) / self.fps if len(self.video) else len(self.audio) / self.sample_rate_hz


@dataclasses.dataclass(frozen=True)
class Latents:
  """A clip in a codec's space, before it is cut into tokens.

  Attributes:
    video: float32 [f, h, w, C]; f = 0 where there is no picture.
    audio: float32 [n, C]; n = 0 where there is no sound.
    fps: frames a second of the *clip*, which turns latent frames into seconds.
    frames: F of the clip.
    samples: S of the clip; the codec's tokens may reach a little past it.
    reference: float32 [f', h', w', C] of a picture that the clip is made after, a whole number of
      times smaller than its own; None for none.
    keyframes: float32 [K, h, w, C] of frames that stand alone, beside the picture; None for none.
    keyframe_at: which frame of the clip each of them is.
  """

  video: Array
  audio: Array
  fps: float
  frames: int
  samples: int
  reference: Array | None = None
  keyframes: Array | None = None
  keyframe_at: tuple[int, ...] = ()

  @property
  def video_tokens(self) -> int:
    """Tokens of the picture, of its reference and of frames that stand alone."""
    pictures = (self.video, self.reference, self.keyframes)
    return sum(math.prod(p.shape[:3]) for p in pictures if p is not None)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tokens:
  """One modality's tokens of a batch of rows.

  Attributes:
    latent: [B, T, C], noised to its own level.
    position: float32 [B, T, 3] of (seconds, y, x); pixels for y and x, 0 for sound.
    sigma: float32 [B, T]; 0 is clean (given), 1 is pure noise.
    segment: int32 [B, T]; which clip of a packed row, counted from 1; 0 is padding.
    shot: int32 [B, T]; which shot of the storyboard.
    loss_mask: float32 [B, T]; 1 where the loss counts.
    keyframe: bool [B, T]; whether a token is of a frame that stands alone; None where none is
      marked.
    levels: float32 [B, N]; the level of each clip of a row, where all tokens of a clip have that
      sigma or 0, so that what depends on levels is computed N times a row and not T times; None
      where tokens have any.
  """

  latent: Array
  position: Array
  sigma: Array
  segment: Array
  shot: Array
  loss_mask: Array
  keyframe: Array | None = None
  levels: Array | None = None

  def replace(self, **changes: Array) -> 'Tokens':
    return dataclasses.replace(self, **changes)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Text:
  """The prompts of a batch of rows.

  Attributes:
    ids: int32 [B, L], as the text encoder's tokenizer numbers them.
    segment: int32 [B, L]; which clip of the row a token speaks of; 0 is padding.
    shot: int32 [B, L]; which shot of that clip.
  """

  ids: Array
  segment: Array
  shot: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """What the loader hands to a training step: clean tokens, their text, and what is given.

  Attributes:
    tokens: modality → Tokens with `sigma` 1 where the task asks for it and 0 where it is given.
    text: the captions.
  """

  tokens: dict[str, Tokens]
  text: Text
