"""Sound as a lapped transform (MDCT) through a fitted linear transform.

The MDCT of N coefficients a frame with a sine window reconstructs perfectly (Princen, Johnson &
Bradley 1987; Malvar 1990). Frame i is centred on sample i·N. A latent holds `group` frames of all
channels. Coding streams: the encoder carries the samples that its next frame still needs, the
decoder half a window.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import numpy as np

from sorajax.codec.pca import Pca, fit
from sorajax.geometry import AudioGeometry


@dataclasses.dataclass(frozen=True)
class LappedCodec:
  """float32 [S, A] ↔ float32 [n, C].

  Attributes:
    geometry: hop is group · N samples; lead and tail are N/2 each.
    group: MDCT frames in a latent.
    weight: float32 [N], multiplies the coefficients before the linear transform, so that quiet
      high bands count beside loud low ones.
    pca: over group·N·A values.
  """

  kind: ClassVar[str] = 'lapped'
  geometry: AudioGeometry
  group: int
  weight: np.ndarray
  pca: Pca

  @property
  def spread(self) -> np.ndarray:
    return self.pca.spread

  @property
  def output_rate_hz(self) -> int:
    return self.geometry.sample_rate_hz

  def encoder(self) -> 'LappedEncoder':
    """Codes a sound piece by piece."""
    return LappedEncoder(self)

  def decoder(self) -> 'LappedDecoder':
    """Decodes a sound piece by piece."""
    return LappedDecoder(self)

  def shape(self) -> dict[str, Any]:
    """What `restored` needs beside the arrays."""
    return {**dataclasses.asdict(self.geometry), 'group': self.group}

  def arrays(self) -> dict[str, np.ndarray]:
    """What is fitted."""
    return {**self.pca.arrays(), 'weight': self.weight}

  @classmethod
  def restored(cls, shape: dict[str, Any], arrays: dict[str, np.ndarray]) -> 'LappedCodec':
    """The codec that `shape` and `arrays` are of."""
    geometry = AudioGeometry(**{k: v for k, v in shape.items() if k != 'group'})
    return cls(geometry, shape['group'], arrays['weight'], Pca.restored(arrays))

  def encode(self, audio: np.ndarray) -> np.ndarray:
    """Samples to latents."""
    encoder = LappedEncoder(self)
    return np.concatenate([encoder.push(audio), encoder.finish()])

  def decode(self, latents: np.ndarray, samples: int) -> np.ndarray:
    """Latents to `samples` samples."""
    return LappedDecoder(self).push(latents)[:samples]

  def latents(self, samples: np.ndarray) -> np.ndarray:
    """Samples [N + n·hop, A], N of them of the past, to latents [n, C]."""
    vectors = _vectors(samples, len(self.weight), self.group, self.weight)
    return self.pca.encode(vectors[:, None])[:, 0]  # one by one: a sum's order depends on the count


class LappedEncoder:
  """Encodes a sound piece by piece; the latents are those of the whole."""

  def __init__(self, codec: LappedCodec):
    self._codec, self._samples, self._done = codec, 0, 0
    self._held = np.zeros((len(codec.weight), codec.geometry.audio_channels), np.float32)

  def push(self, audio: np.ndarray) -> np.ndarray:
    """The next samples [S', A] → the latents that they complete."""
    past, hop = len(self._codec.weight), self._codec.geometry.hop_samples
    self._samples += len(audio)
    self._held = np.concatenate([self._held, audio.astype(np.float32)])
    ready = (len(self._held) - past) // hop
    if not ready:
      return self._codec.pca.basis[:0].copy()
    latents = self._codec.latents(self._held[: ready * hop + past])
    self._held, self._done = self._held[ready * hop :], self._done + ready
    return latents

  def finish(self) -> np.ndarray:
    """The latents that are left when there are no more samples."""
    geometry = self._codec.geometry
    left = geometry.latent_length(self._samples) - self._done
    silence = left * geometry.hop_samples + len(self._codec.weight) - len(self._held)
    return self.push(np.zeros((max(silence, 0), geometry.audio_channels), np.float32))


class LappedDecoder:
  """Decodes latents piece by piece; the samples are those of the whole."""

  def __init__(self, codec: LappedCodec):
    self._codec, self._started = codec, False
    self._half = np.zeros((len(codec.weight), codec.geometry.audio_channels), np.float32)

  def push(self, latents: np.ndarray) -> np.ndarray:
    """The next latents [n, C] → the samples [S', A] that they complete."""
    N, A = len(self._codec.weight), self._codec.geometry.audio_channels
    if not len(latents):
      return self._half[:0]
    values = self._codec.pca.decode(latents[:, None]).reshape(-1, A, N) / self._codec.weight
    windows = np.matmul(values, basis(N)).transpose(0, 2, 1)  # [f, 2N, A]
    windows[0, :N] += self._half
    windows[1:, :N] += windows[:-1, N:]
    self._half = windows[-1, N:]
    before = 0 if self._started else N  # the first half window lies before the first sample
    self._started = True
    return windows[:, :N].reshape(-1, A)[before:]

  def finish(self) -> np.ndarray:
    """Nothing is left but the half window after the last sample."""
    return self._half[:0]


def fit_lapped(
  sounds: Iterable[np.ndarray], geometry: AudioGeometry, group: int, whiten: float,
  rms: float = 1.0,
) -> LappedCodec:  # fmt: skip
  """A codec fitted on clips float32 [S, A], gone through twice; see `codec.pca.fit`."""
  N = geometry.hop_samples // group
  flat = np.ones(N, np.float32)
  power, count = np.zeros(N), 0
  for vectors in _all_vectors(sounds, geometry, group, flat):
    coefficients = vectors.reshape(-1, N)
    power, count = power + np.square(coefficients).sum(axis=0), count + len(coefficients)
  spread = np.sqrt(power / max(count, 1) + 1e-10)
  weight = (spread**-0.5 / np.mean(spread**-0.5)).astype(np.float32)
  pca = fit(_all_vectors(sounds, geometry, group, weight), geometry.channels, whiten, rms)
  return LappedCodec(geometry, group, weight, pca)


def lapped_geometry(
  sample_rate_hz: int, audio_channels: int, frame_samples: int, group: int, channels: int
) -> AudioGeometry:
  """The geometry of a lapped codec of `frame_samples` coefficients a frame."""
  half = frame_samples // 2
  hop = group * frame_samples
  return AudioGeometry(sample_rate_hz, audio_channels, hop, channels, half, frame_samples - half)


def _all_vectors(sounds, geometry, group, weight) -> Iterator[np.ndarray]:
  N = geometry.hop_samples // group
  for audio in sounds:
    length = geometry.latent_length(len(audio)) * geometry.hop_samples
    if length:
      padded = np.pad(audio, ((N, length - len(audio)), (0, 0)))
      yield _vectors(padded, N, group, weight)


def _vectors(samples: np.ndarray, N: int, group: int, weight: np.ndarray) -> np.ndarray:
  """Samples [N + n·group·N, A], N of them of the past → weighted coefficients [n, group·A·N]."""
  windows = np.lib.stride_tricks.sliding_window_view(samples, 2 * N, axis=0)[::N]
  values = np.matmul(windows.astype(np.float32), basis(N).T) * weight
  return values.reshape(len(values) // group, -1)


@functools.cache
def basis(N: int) -> np.ndarray:
  """The windowed cosines, float32 [N, 2N]; together with their shifts, an orthonormal basis."""
  n, k = np.arange(2 * N), np.arange(N)[:, None]
  window = np.sin(np.pi / (2 * N) * (n + 0.5))
  cosine = np.cos(np.pi / N * (n + 0.5 + N / 2) * (k + 0.5))
  return (np.sqrt(2 / N) * window * cosine).astype(np.float32)
