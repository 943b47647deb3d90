"""Sound as log-mel spectrograms: short-time Fourier transforms and Slaney's mel scale."""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

LINEAR_HZ = 200 / 3  # a mel below 1 kHz
LOG_STEP = np.log(6.4) / 27  # the logarithm of a mel's ratio above
LEAST_WEIGHT = 1e-3  # of windows, below which samples fade out


@dataclasses.dataclass(frozen=True)
class MelConfig:
  """A log-mel spectrogram; the defaults are those of LTX-2.

  Attributes:
    sample_rate_hz: samples a second.
    audio_channels: A.
    n_fft: samples of a window, periodic Hann.
    hop_samples: between windows; frame j is centred on sample j · hop.
    mels: F, bands of Slaney's scale from 0 to half the rate.
    floor: the least amplitude that the logarithm is taken of.
    edges: what lies around the sound: itself in the mirror, or silence.
  """

  sample_rate_hz: int = 16_000
  audio_channels: int = 2
  n_fft: int = 1024
  hop_samples: int = 160
  mels: int = 64
  floor: float = 1e-5
  edges: Literal['reflect', 'silence'] = 'reflect'

  def __post_init__(self) -> None:
    if self.hop_samples < 1 or self.n_fft % 2 or self.n_fft < 2 * self.hop_samples:
      raise ValueError(f'n_fft {self.n_fft} must be even and at least 2 · hop {self.hop_samples}')


def log_mel(audio: jax.Array, config: MelConfig) -> jax.Array:
  """A whole sound float32 [B, S, A], S ≥ 1 → [B, 1 + S // hop, F, A]."""
  half = config.n_fft // 2
  mode = 'reflect' if config.edges == 'reflect' else 'constant'
  return log_mel_inside(jnp.pad(audio, ((0, 0), (half, half), (0, 0)), mode=mode), config)


def log_mel_inside(audio: jax.Array, config: MelConfig) -> jax.Array:
  """[B, S, A] → frames whose windows lie inside, [B, 1 + (S − n_fft) // hop, F, A]."""
  windows = frames(audio.astype(jnp.float32), config.n_fft, config.hop_samples)
  windows = windows * hann(config.n_fft)[:, None]
  spectrum = jnp.fft.rfft(windows, axis=2)
  bank = mel_bank(config.sample_rate_hz, config.n_fft, config.mels)
  amplitude = magnitude(spectrum.real, spectrum.imag)
  return floored_log(
    jnp.einsum('btna,nf->btfa', amplitude, bank, precision='highest'), config.floor
  )


def frames(x: jax.Array, size: int, hop: int) -> jax.Array:
  """[B, S, A] → [B, T, size, A], T = 1 + (S − size) // hop windows."""
  count = (x.shape[1] - size) // hop + 1
  return x[:, np.arange(count)[:, None] * hop + np.arange(size)]


def overlapped(spectra: jax.Array, hop: int, there: jax.Array | None = None) -> jax.Array:
  """The samples nearest to what windows are to hold (Griffin & Lim 1984).

  Args:
    spectra: complex [B, T, n_fft/2 + 1], of Hann windows.
    hop: samples between them, of which n_fft is a multiple.
    there: [T], how much each counts; all alike if None.

  Returns:
    float32 [B, (T − 1) · hop + n_fft].
  """
  T, size = spectra.shape[1], 2 * (spectra.shape[2] - 1)
  parts = size // hop
  window = hann(size) if there is None else hann(size) * there[:, None]

  def added(pieces: jax.Array) -> jax.Array:
    pieces = pieces.reshape(len(pieces), T, parts, hop)
    sides = lambda i: ((0, 0), (i, parts - 1 - i), (0, 0))
    shifted = [jnp.pad(pieces[:, :, i], sides(i)) for i in range(parts)]
    return jnp.stack(shifted).sum(axis=0).reshape(len(pieces), -1)

  weight = added(jnp.broadcast_to(window * hann(size), (1, T, size)))
  return added(jnp.fft.irfft(spectra, size, axis=2) * window) / jnp.maximum(weight, LEAST_WEIGHT)


def magnitude(real: jax.Array, imaginary: jax.Array) -> jax.Array:
  """√(re² + im²), with a gradient of 0 at 0."""
  power = real * real + imaginary * imaginary
  return jnp.where(power > 0, jnp.sqrt(jnp.where(power > 0, power, 1.0)), 0.0)


def floored_log(x: jax.Array, floor: float) -> jax.Array:
  """log max(x, floor)."""
  return jnp.log(jnp.maximum(x, floor))


@functools.cache
def hann(size: int) -> np.ndarray:
  """The periodic Hann window, float32 [size]."""
  return (np.sin(np.pi / size * np.arange(size)) ** 2).astype(np.float32)


@functools.cache
def fourier_basis(size: int) -> np.ndarray:
  """Windowed cosines, then negated sines: float32 [size, 2·(size/2 + 1)]."""
  angle = 2 * np.pi / size * np.outer(np.arange(size), np.arange(size // 2 + 1))
  basis = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1)
  return (hann(size).astype(np.float64)[:, None] * basis).astype(np.float32)


@functools.cache
def mel_bank(sample_rate_hz: int, n_fft: int, mels: int) -> np.ndarray:
  """Triangles of unit area a band, float32 [n_fft/2 + 1, mels] (Slaney 1998, Auditory Toolbox)."""
  bins = np.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1)
  edges = _hz_of_mel(np.linspace(0, _mel_of_hz(sample_rate_hz / 2), mels + 2))
  low, centre, high = edges[:-2], edges[1:-1], edges[2:]
  rising = (bins[:, None] - low) / (centre - low)
  falling = (high - bins[:, None]) / (high - centre)
  triangle = np.maximum(np.minimum(rising, falling), 0)
  return (triangle * 2 / (high - low)).astype(np.float32)


def _mel_of_hz(hz: float) -> float:
  if hz < 1000:
    return hz / LINEAR_HZ
  return 1000 / LINEAR_HZ + float(np.log(hz / 1000)) / LOG_STEP


def _hz_of_mel(mel: np.ndarray) -> np.ndarray:
  above = 1000 * np.exp(LOG_STEP * (mel - 1000 / LINEAR_HZ))
  return np.where(mel < 1000 / LINEAR_HZ, mel * LINEAR_HZ, above)
