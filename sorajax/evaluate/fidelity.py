"""How near a clip is to another of the same length."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from sorajax.codec import sound_loss

FRAME_SAMPLES = 512
SSIM_SIGMA = 1.5  # pixels
FLOOR_DB = -80.0  # quieter than this, below full scale, sounds are all alike


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
  """Peak signal-to-noise ratio of two pictures uint8 [F, H, W, 3]; inf where they are equal."""
  error = np.mean(np.square(a.astype(np.float64) - b.astype(np.float64)))
  return float('inf') if error == 0 else float(10 * np.log10(255.0**2 / error))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
  """Structural similarity of two pictures uint8 [F, H, W, 3], at most 1 (Wang et al. 2004).

  With their Gaussian window of 1.5 pixels, on every channel of every frame.
  """
  x, y = a.astype(np.float64), b.astype(np.float64)
  blur = lambda v: ndimage.gaussian_filter(v, SSIM_SIGMA, axes=(1, 2), truncate=3.5)
  mean_x, mean_y = blur(x), blur(y)
  var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
  covariance = blur(x * y) - mean_x * mean_y
  c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
  likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
  return float((likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def flicker(a: np.ndarray, b: np.ndarray) -> float:
  """Mean difference, in levels of 255, of the changes from frame to frame of two pictures."""
  if len(a) < 2:
    return 0.0
  change_a, change_b = (np.diff(x.astype(np.int16), axis=0) for x in (a, b))
  return float(np.abs(change_a - change_b).mean())


def mel_distance(a: np.ndarray, b: np.ndarray, sample_rate_hz: int) -> float:
  """Mean difference of log-mel spectra in nats, for sounds float [S, A]."""
  return float(sound_loss.mel(_one(a), _one(b), sample_rate_hz))


def stft_distance(a: np.ndarray, b: np.ndarray) -> float:
  """Of multi-resolution spectra: mean log difference in nats + spectral convergence of b to a."""
  made, real = _one(b), _one(a)
  return float(sound_loss.spectra(made, real) + sound_loss.convergence(made, real))


def _one(sound: np.ndarray) -> jax.Array:
  return jnp.asarray(sound)[None]


def snr_db(sound: np.ndarray, other: np.ndarray) -> float:
  """Signal-to-noise ratio of `other` against `sound`, both float [S, A]."""
  noise = np.sum(np.square(sound.astype(np.float64) - other))
  signal = np.sum(np.square(sound.astype(np.float64)))
  return float('inf') if noise == 0 else float(10 * np.log10(signal / noise))


def log_spectral_distance_db(a: np.ndarray, b: np.ndarray) -> float:
  """Root-mean-square difference of log power spectra, averaged over frames (Gray & Markel 1976).

  Args:
    a: float [S, A] in [-1, 1].
    b: the same.
  """
  difference = _log_power(a) - _log_power(b)
  return float(np.sqrt(np.mean(np.square(difference), axis=-1)).mean())


def _log_power(sound: np.ndarray) -> np.ndarray:
  """dB below full scale, clamped at `FLOOR_DB`: [frames, bins] of the mean over channels."""
  mono = np.pad(sound.astype(np.float64).mean(axis=1), (0, FRAME_SAMPLES))
  windows = np.lib.stride_tricks.sliding_window_view(mono, FRAME_SAMPLES)[:: FRAME_SAMPLES // 2]
  window = np.hanning(FRAME_SAMPLES)
  power = np.square(np.abs(np.fft.rfft(windows * window, axis=-1)) * 2 / window.sum())
  return np.maximum(10 * np.log10(power + 1e-12), FLOOR_DB)
