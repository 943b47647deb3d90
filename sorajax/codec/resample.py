"""Rates changed by windowed sinc filters, and activations between two such changes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.codec.convolution import LAYOUT, centre, phases, reach

HANN_WIDTH, HANN_ROLLOFF = 6, 0.99


def kaiser_sinc(ratio: int, size: int) -> np.ndarray:
  """A low pass at 1/(2·ratio) of the rate with a transition of 2.4/ratio: float32 [size], sum 1.

  Kaiser's window by his formula for the attenuation (Kaiser 1974), as BigVGAN (Lee et al. 2023)
  and Alias-Free GAN (Karras et al. 2021) choose it.
  """
  half = size // 2
  attenuation_db = 2.285 * (half - 1) * np.pi * 2.4 / ratio + 7.95
  if attenuation_db > 50:
    beta = 0.1102 * (attenuation_db - 8.7)
  elif attenuation_db >= 21:
    beta = 0.5842 * (attenuation_db - 21) ** 0.4 + 0.07886 * (attenuation_db - 21)
  else:
    beta = 0.0
  time = np.arange(size) - half + (0.5 if size % 2 == 0 else 0.0)
  taps = np.kaiser(size, beta) * np.sinc(time / ratio)
  return (taps / taps.sum()).astype(np.float32)


def hann_sinc(ratio: int) -> np.ndarray:
  """A sinc of 6 periods each way under a Hann window, rolled off at 0.99: float32 [size]."""
  width = int(np.ceil(HANN_WIDTH / HANN_ROLLOFF))
  time = (np.arange(2 * width * ratio + 1) / ratio - width) * HANN_ROLLOFF
  window = np.cos(np.clip(time, -HANN_WIDTH, HANN_WIDTH) * np.pi / HANN_WIDTH / 2) ** 2
  return (np.sinc(time) * window * HANN_ROLLOFF / ratio).astype(np.float32)


def upsample(x: jax.Array, taps: jax.Array, ratio: int, left: int) -> jax.Array:
  """[B, T, C] → [B, T·ratio, C], each channel alone; the edges repeat outwards.

  `left` is the tap that a frame meets at its own first output frame.
  """
  x = _widened(x, *reach(len(taps), ratio, left))
  kernel = phases(ratio * taps.astype(x.dtype), ratio, left)[:, None, None]  # [window, 1, 1, ratio]
  y = _plane(x, kernel, 1)  # [B, T, C, ratio]
  return y.swapaxes(2, 3).reshape(len(x), -1, x.shape[2])


def downsample(x: jax.Array, taps: jax.Array, ratio: int) -> jax.Array:
  """[B, T·ratio, C] → [B, T, C], each channel alone; the edges repeat outwards."""
  x = _widened(x, (len(taps) - 1) // 2, len(taps) // 2)
  return _plane(x, taps.astype(x.dtype)[:, None, None, None], ratio)[..., 0]


def anti_aliased(
  activation: Callable[[jax.Array], jax.Array], x: jax.Array, taps: jax.Array, ratio: int
) -> jax.Array:
  """An activation at `ratio` times the rate, so that the overtones it makes do not fold back."""
  faster = upsample(x, taps, ratio, centre(len(taps), ratio))
  return downsample(activation(faster), taps, ratio)


def anti_aliased_reach(size: int, ratio: int) -> int:
  """How many frames either way `anti_aliased` reads."""
  return max(reach(size, ratio, centre(size, ratio))) + -(-(size // 2) // ratio)


def _widened(x: jax.Array, before: int, after: int) -> jax.Array:
  """[B, T, C] with its first and last frames repeated; `jnp.pad` does not on a sharded batch."""
  return jnp.concatenate([x[:, :1]] * before + [x] + [x[:, -1:]] * after, axis=1)


def _plane(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  """Filters along time with the channels as a second axis: [B, T, C] → [B, T′, C, outputs]."""
  return jax.lax.conv_general_dilated(
    x[..., None], kernel, (stride, 1), 'VALID', dimension_numbers=LAYOUT[2]
  )
