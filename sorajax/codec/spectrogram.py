"""Sound as log-mel spectrograms through a fitted linear transform; waves are found when decoding.

A latent says how loud the bands are and not where their waves begin, so sounds that are alike have
latents that are alike. The waves are those whose spectrogram is nearest, by fast Griffin-Lim
(Perraudin, Balazs & Søndergaard 2013), block after block, each going on from the one before.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.codec.mel import MelConfig, frames, hann, log_mel_inside, mel_bank, overlapped
from sorajax.codec.pca import Pca, fit
from sorajax.codec.streams import Carried, Framing, Streamed
from sorajax.geometry import AudioGeometry

CHUNK = 16  # latents
AHEAD_S = 0.16  # of the frames after a block that it is made to go with
ROUNDS, MOMENTUM = 32, 0.99  # of Griffin-Lim
SPREADING = 30  # rounds in which bands are told apart into frequencies
TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class SpectrogramCodec(Streamed):
  """float32 [S, A] ↔ float32 [n, C].

  Attributes:
    mel: of frame k, centred on sample k · hop; its window is a whole number of hops.
    group: frames in a latent.
    pca: over group · mels · A values.
    chunk: latents that are coded at once.
  """

  kind: ClassVar[str] = 'spectrogram'
  mel: MelConfig
  group: int
  pca: Pca
  chunk: int = CHUNK

  def __post_init__(self) -> None:
    if self.mel.n_fft % self.mel.hop_samples:
      raise ValueError(f'a window of {self.mel.n_fft} is no multiple of {self.mel.hop_samples}')

  @property
  def geometry(self) -> AudioGeometry:
    return spectrogram_geometry(self.mel, self.group, len(self.pca.scale))

  @property
  def spread(self) -> np.ndarray:
    return self.pca.spread

  @property
  def output_rate_hz(self) -> int:
    return self.mel.sample_rate_hz

  @property
  def framing(self) -> Framing:
    hop, frames = self.mel.hop_samples, self.chunk * self.group
    reads = (frames - 1) * hop + self.mel.n_fft, frames * hop
    return Framing(self.mel.n_fft // 2, False, reads, reads)

  def covered(self, latents: int) -> int:
    """Samples that go into so many latents."""
    return latents * self.geometry.hop_samples

  def decoded(self, latents: int) -> int:
    """Mel frames that come out of so many latents."""
    return latents * self.group

  def encode_chunk(self, samples: np.ndarray, carried: Carried) -> tuple[np.ndarray, Carried]:
    """The samples of a chunk → its latents."""
    return self.pca.encode(_vectors(samples, self.mel, self.group)), None

  def decode_chunk(self, latents: np.ndarray, carried: Carried) -> tuple[np.ndarray, Carried]:
    """A chunk's latents → mel frames [T, mels · A]."""
    return self.pca.decode(latents).reshape(len(latents) * self.group, -1), None

  def tail(self) -> 'Waves':
    return Waves(self.mel, self.chunk * self.group)

  def shape(self) -> dict[str, Any]:
    """What `restored` needs beside the arrays."""
    return {'mel': dataclasses.asdict(self.mel), 'group': self.group, 'chunk': self.chunk}

  def arrays(self) -> dict[str, np.ndarray]:
    """What is fitted."""
    return self.pca.arrays()

  @classmethod
  def restored(cls, shape: dict[str, Any], arrays: dict[str, np.ndarray]) -> 'SpectrogramCodec':
    """The codec that `shape` and `arrays` are of."""
    return cls(MelConfig(**shape['mel']), shape['group'], Pca.restored(arrays), shape['chunk'])


def spectrogram_geometry(mel: MelConfig, group: int, channels: int) -> AudioGeometry:
  """Latents are `group` hops apart; each of their frames stands for half a hop on either side."""
  hop = mel.hop_samples
  return AudioGeometry(
    mel.sample_rate_hz, mel.audio_channels, group * hop, channels, lead_samples=hop // 2
  )


def fit_spectrogram(
  sounds: Iterable[np.ndarray], mel: MelConfig, group: int, channels: int, whiten: float,
  rms: float = 1.0,
) -> SpectrogramCodec:  # fmt: skip
  """A codec fitted on clips float32 [S, A]; see `codec.pca.fit` for `whiten` and `rms`."""
  return SpectrogramCodec(mel, group, fit(_all_vectors(sounds, mel, group), channels, whiten, rms))


def _all_vectors(sounds: Iterable[np.ndarray], mel: MelConfig, group: int) -> Iterator[np.ndarray]:
  half, geometry = mel.n_fft // 2, spectrogram_geometry(mel, group, 1)
  for audio in sounds:
    frames = geometry.latent_length(len(audio)) * group
    if frames:
      after = (frames - 1) * mel.hop_samples + half - len(audio)
      yield _vectors(np.pad(audio, ((half, after), (0, 0))), mel, group)


def _vectors(samples: np.ndarray, mel: MelConfig, group: int) -> np.ndarray:
  """Samples that all windows lie in → [n, group · mels · A]."""
  frames = np.asarray(_log_mel(mel, jnp.asarray(samples)[None]))[0]
  return frames.reshape(len(frames) // group, -1)


class Waves:
  """The tail of a decoder: mel frames → samples, a block after the other."""

  def __init__(self, mel: MelConfig, block: int):
    self._mel, self._block = mel, block
    self._ahead = round(AHEAD_S * mel.sample_rate_hz / mel.hop_samples)
    self._back = mel.n_fft // mel.hop_samples  # frames that share samples with those before
    self._frames = np.zeros((0, mel.mels * mel.audio_channels), np.float32)
    self._done = 0  # frames whose samples are given
    known = self._back * mel.hop_samples + mel.n_fft // 2, mel.audio_channels
    self._known = np.zeros(known, np.float32)  # the last samples given, or silence

  def push(self, values: np.ndarray | None) -> np.ndarray:
    """The next frames → the samples [S', A] that they complete."""
    if values is not None:
      self._frames = np.concatenate([self._frames, values])
    made = [self._known[:0]]
    while self._end() >= self._done + self._block + self._ahead:
      made.append(self._step(self._block))
    return np.concatenate(made)

  def finish(self) -> np.ndarray:
    """The samples that are left when there are no more frames."""
    made = [self._known[:0]]
    while self._end() > self._done:
      made.append(self._step(min(self._block, self._end() - self._done)))
    return np.concatenate(made)

  @property
  def _first(self) -> int:
    """The number of the first frame that is held."""
    return max(self._done - self._back, 0)

  def _end(self) -> int:
    return self._first + len(self._frames)

  def _step(self, count: int) -> np.ndarray:
    """The samples of the next `count` frames."""
    mel, size = self._mel, self._back + self._block + self._ahead
    before = max(self._back - self._done, 0)  # frames that lie before the sound
    held = self._frames[: size - before]
    sides = before, size - before - len(held)
    frames = np.pad(held, (sides, (0, 0)))
    there = np.pad(np.ones(len(held), np.float32), sides)
    bands = frames.reshape(size, mel.mels, mel.audio_channels)
    made = np.asarray(_waves(mel, bands, there, self._known))
    made = made[: len(self._known) + count * mel.hop_samples]
    known, self._known = len(self._known), made[-len(self._known) :]
    first = self._first
    self._done += count
    self._frames = self._frames[self._first - first :]
    return made[known:]


@functools.partial(jax.jit, static_argnums=0)
def _log_mel(mel: MelConfig, samples: jax.Array) -> jax.Array:
  with jax.default_matmul_precision('highest'):
    return log_mel_inside(samples, mel)


@functools.partial(jax.jit, static_argnums=0)
def _waves(mel: MelConfig, bands: jax.Array, there: jax.Array, known: jax.Array) -> jax.Array:
  """Samples whose spectrogram is near to what is asked for.

  Args:
    mel: what frames are.
    bands: [T, F, A], logarithms.
    there: [T], 0 for frames of which nothing is known.
    known: [K, A], the first samples, from the start of the first window on.

  Returns:
    [(T − 1) · hop + n_fft, A], which begin with `known`.
  """
  with jax.default_matmul_precision('highest'):
    wanted = amplitudes(jnp.exp(bands).transpose(2, 0, 1), mel)  # [A, T, K]
  first = known.T
  phases = 2 * jnp.pi * jax.random.uniform(jax.random.key(0), wanted.shape)
  keep = lambda x: x.at[:, : first.shape[1]].set(first)
  sounding = lambda unit: keep(overlapped(wanted * unit, mel.hop_samples, there))

  def better(_: Any, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    unit, before = now
    spectrum = windowed(sounding(unit), mel)
    ahead = spectrum + MOMENTUM * (spectrum - before)
    return ahead / jnp.maximum(jnp.abs(ahead), TINY), spectrum

  start = jnp.exp(1j * phases)
  unit, _ = jax.lax.fori_loop(0, ROUNDS, better, (start, jnp.zeros_like(start)))
  return sounding(unit).T


def amplitudes(bands: jax.Array, mel: MelConfig) -> jax.Array:
  """Amplitudes of mel bands [..., F] → of frequencies [..., n_fft/2 + 1], none below 0.

  The least squares of which the bands are sums, by multiplicative updates (Lee & Seung 2001).
  """
  bank = jnp.asarray(mel_bank(mel.sample_rate_hz, mel.n_fft, mel.mels))
  target, gram = bands @ bank.T, bank @ bank.T
  start = target / jnp.maximum(gram.sum(axis=0), TINY)
  step = lambda _, x: x * target / jnp.maximum(x @ gram, TINY)
  return jax.lax.fori_loop(0, SPREADING, step, start)


def windowed(samples: jax.Array, mel: MelConfig) -> jax.Array:
  """[A, (T − 1) · hop + n_fft] → the spectra of its windows, complex [A, T, n_fft/2 + 1]."""
  windows = frames(samples[..., None], mel.n_fft, mel.hop_samples)[..., 0]
  return jnp.fft.rfft(windows * hann(mel.n_fft), axis=2)
