"""How near a clip is to another of the same length."""

import numpy as np

FRAME_SAMPLES = 512
FLOOR_DB = -80.0  # quieter than this, below full scale, sounds are all alike


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
  """Peak signal-to-noise ratio of two pictures uint8 [F, H, W, 3]; inf where they are equal."""
  error = np.mean(np.square(a.astype(np.float64) - b.astype(np.float64)))
  return float('inf') if error == 0 else float(10 * np.log10(255.0**2 / error))


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
