"""How far a sound is from another, in the ways that an autoencoder is trained on.

All take float [B, S, A] and give a mean over everything. Logarithms take all amplitudes below
`FLOOR` to be alike, and so have no gradient there; where `smooth`, they add it: silence can learn.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp

from sorajax.codec.mel import floored_log, hann, magnitude, mel_bank
from sorajax.sharding import reshape

WINDOWS = (2048, 1024, 512, 256, 128)  # samples; hops are a quarter
FLOOR = 1e-4  # amplitudes below are all alike to the logarithm
MEL_WINDOW, MELS = 1024, 64


def waveform(a: jax.Array, b: jax.Array) -> jax.Array:
  """Mean absolute difference of samples."""
  return jnp.abs(a - b).mean()


def spectra(a: jax.Array, b: jax.Array, smooth: bool = False) -> jax.Array:
  """Mean absolute difference of log amplitudes, in nats, over short-time spectra of many widths.

  The logarithmic half of the multi-resolution loss of Yamamoto et al. (2020).
  """
  parts = [
    jnp.abs(_log(x, smooth) - _log(y, smooth)).mean()
    for x, y in zip(_amplitudes(a), _amplitudes(b))
  ]
  return sum(parts, jnp.zeros(())) / len(WINDOWS)


def convergence(a: jax.Array, b: jax.Array) -> jax.Array:
  """Difference of amplitudes over those of b, both root mean square, over the same spectra."""
  total = jnp.zeros(())
  for x, y in zip(_amplitudes(a), _amplitudes(b)):
    error, power = (jnp.square(v).mean(axis=(1, 2, 3)) for v in (x - y, y))
    total += jnp.sqrt(error / (power + FLOOR**2) + 1e-12).mean()
  return total / len(WINDOWS)


def mel(a: jax.Array, b: jax.Array, sample_rate_hz: int, smooth: bool = False) -> jax.Array:
  """Mean absolute difference of log-mel spectra, in nats."""
  bank = mel_bank(sample_rate_hz, MEL_WINDOW, MELS) * (sample_rate_hz / MEL_WINDOW)
  banded = lambda x: _log(jnp.einsum('btna,nf->btfa', _amplitude(x, MEL_WINDOW), bank), smooth)
  return jnp.abs(banded(a) - banded(b)).mean()


def _log(x: jax.Array, smooth: bool) -> jax.Array:
  return jnp.log(x + FLOOR) if smooth else floored_log(x, FLOOR)


def _amplitudes(x: jax.Array) -> Iterator[jax.Array]:
  return (_amplitude(x, size) for size in WINDOWS)


def _amplitude(x: jax.Array, size: int) -> jax.Array:
  """Amplitudes [B, T, size/2 + 1, A], 1 for a full sine; silence lies around the sound."""
  B, S, A = x.shape
  hop = size // 4
  blocks = -(-S // hop) + 6
  x = jnp.pad(x.astype(jnp.float32), ((0, 0), (3 * hop, (blocks - 3) * hop - S), (0, 0)))
  x = reshape(x, (B, blocks, hop, A))
  windows = jnp.concatenate([x[:, i : blocks - 3 + i] for i in range(4)], axis=2)
  window = hann(size)[:, None]
  spectrum = jnp.fft.rfft(windows * window, axis=2) * (2 / window.sum())
  return magnitude(spectrum.real, spectrum.imag)
