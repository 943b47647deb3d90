"""Sound coded piece by piece on the host: whatever is pushed, networks see chunks of one size.

So the result does not depend on how the sound was cut, to the bit, and few sizes are compiled.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from sorajax.errors import UserError
from sorajax.geometry import AudioGeometry

Carried = list[jax.Array] | None
Tail = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Framing:
  """Which samples make a chunk of latents.

  Attributes:
    edge: samples laid around the sound.
    mirror: whether they are the sound in the mirror; else they are silence.
    first: (samples that the first chunk reads, samples until the next chunk).
    later: the same of all others.
  """

  edge: int
  mirror: bool
  first: tuple[int, int]
  later: tuple[int, int]


class Chunked(Protocol):
  """What a codec of sound offers to its streams.

  Attributes:
    chunk: latents in a chunk.
  """

  @property
  def geometry(self) -> AudioGeometry: ...
  @property
  def framing(self) -> Framing: ...
  @property
  def chunk(self) -> int: ...
  def covered(self, latents: int) -> int: ...
  def encode_chunk(self, samples: np.ndarray, carried: Carried) -> tuple[np.ndarray, Carried]: ...
  def decode_chunk(self, latents: np.ndarray, carried: Carried) -> tuple[np.ndarray, Carried]: ...
  def decoded(self, latents: int) -> int: ...
  def tail(self) -> Any: ...


class SoundEncoder:
  """Encodes a sound piece by piece; the latents are those of the whole."""

  def __init__(self, codec: Chunked):
    g = codec.geometry
    self._codec, self._begun = codec, False
    self._carried: Carried = None
    self._samples, self._done = 0, 0
    self._held = np.zeros((0, g.audio_channels), np.float32)

  def push(self, audio: np.ndarray) -> np.ndarray:
    """The next samples [S', A] → the latents that they complete."""
    audio = checked(audio, self._codec.geometry)
    self._samples += len(audio)
    self._held = np.concatenate([self._held, audio])
    f = self._codec.framing
    if not self._begun and len(self._held) > f.edge:
      self._held = _edged(self._held, f, before=True)
      self._begun = True
    return self._run() if self._begun else self._none()

  def finish(self) -> np.ndarray:
    """The latents that are left when there are no more samples."""
    codec, f = self._codec, self._codec.framing
    total = codec.geometry.latent_length(self._samples)
    if total == self._done:
      return self._none()
    silence = np.zeros((codec.covered(total) - self._samples, self._held.shape[1]), np.float32)
    self._held = np.concatenate([self._held, silence])
    self._held = _edged(self._held, f, before=not self._begun, after=True)
    self._samples, made = codec.covered(total), []
    left = total - self._done
    while self._done < total:
      lacking = max(self._framed()[0] - len(self._held), 0)
      self._held = np.pad(self._held, ((0, lacking), (0, 0)))
      made.append(self._step())
    return np.concatenate(made)[:left]

  def _run(self) -> np.ndarray:
    made = [self._none()]
    while len(self._held) >= self._framed()[0]:
      made.append(self._step())
    return np.concatenate(made)

  def _framed(self) -> tuple[int, int]:
    f = self._codec.framing
    return f.later if self._done else f.first

  def _step(self) -> np.ndarray:
    window, step = self._framed()
    latents, self._carried = self._codec.encode_chunk(self._held[:window], self._carried)
    self._held, self._done = self._held[step:], self._done + len(latents)
    return latents

  def _none(self) -> np.ndarray:
    return np.zeros((0, self._codec.geometry.channels), np.float32)


class SoundDecoder:
  """Decodes latents piece by piece; the samples are those of the whole."""

  def __init__(self, codec: Chunked):
    self._codec, self._tail = codec, codec.tail()
    self._carried: Carried = None
    self._held = np.zeros((0, codec.geometry.channels), np.float32)
    self._latents, self._done = 0, 0

  def push(self, latents: np.ndarray) -> np.ndarray:
    """The next latents [n, C] → the samples [S', A] that they complete."""
    latents = checked_latents(latents, self._codec.geometry)
    self._held, chunk = np.concatenate([self._held, latents]), self._codec.chunk
    self._latents += len(latents)
    made = [self._tail.push(None)]
    while len(self._held) >= chunk:
      made.append(self._tail.push(self._step()))
    return np.concatenate(made)

  def finish(self) -> np.ndarray:
    """The samples that are left when there are no more latents."""
    made = [self._tail.push(None)]
    if len(self._held):
      left = self._codec.decoded(self._latents) - self._done
      lacking = self._codec.chunk - len(self._held)
      self._held = np.pad(self._held, ((0, lacking), (0, 0)))
      made.append(self._tail.push(self._step()[:left]))
    return np.concatenate([*made, self._tail.finish()])

  def _step(self) -> np.ndarray:
    chunk = self._codec.chunk
    values, self._carried = self._codec.decode_chunk(self._held[:chunk], self._carried)
    self._held, self._done = self._held[chunk:], self._done + len(values)
    return values


class Streamed:
  """What a `Chunked` codec offers: its streams, and whole sounds by them."""

  def encoder(self: Any) -> SoundEncoder:
    """Codes a sound piece by piece."""
    return SoundEncoder(self)

  def decoder(self: Any) -> SoundDecoder:
    """Decodes a sound piece by piece."""
    return SoundDecoder(self)

  def encode(self, audio: np.ndarray) -> np.ndarray:
    """Samples to latents; `UserError` for bad ones."""
    encoder = self.encoder()
    return np.concatenate([encoder.push(audio), encoder.finish()])

  def decode(self, latents: np.ndarray, samples: int) -> np.ndarray:
    """Latents to `samples` samples at the codec's `output_rate_hz`."""
    decoder = self.decoder()
    return np.concatenate([decoder.push(latents), decoder.finish()])[:samples]


class Direct:
  """The tail of a decoder whose values are samples already."""

  def __init__(self, audio_channels: int):
    self._none = np.zeros((0, audio_channels), np.float32)

  def push(self, values: np.ndarray | None) -> np.ndarray:
    return self._none if values is None else values

  def finish(self) -> np.ndarray:
    return self._none


class Overlap:
  """Runs a network that looks ahead over frames in overlapping blocks, and keeps their insides.

  Blocks overlap by all that the network reads, so the insides are those of the whole.
  """

  def __init__(self, run: Tail, reach: int, block: int, factor: int, audio_channels: int):
    self._run, self._reach, self._factor = run, reach, factor
    self._block = max(block, reach)  # then all blocks but the first have one length
    self._none = np.zeros((0, audio_channels), np.float32)
    self._held: np.ndarray | None = None
    self._start, self._done = 0, 0  # frame numbers: of the first held, and of the first owed

  def push(self, values: np.ndarray | None) -> np.ndarray:
    """The next frames → the samples [S', A] that they complete."""
    if values is not None:
      self._held = values if self._held is None else np.concatenate([self._held, values])
    made = [self._none]
    while self._end() >= self._done + self._block + self._reach:
      made.append(self._inside(self._done - self._reach, self._done + self._block + self._reach))
    return np.concatenate(made)

  def finish(self) -> np.ndarray:
    """The samples that are left when there are no more frames."""
    if self._end() == self._done:
      return self._none
    return self._inside(self._end() - self._block - 2 * self._reach, self._end(), last=True)

  def _end(self) -> int:
    return self._start + (0 if self._held is None else len(self._held))

  def _inside(self, low: int, high: int, last: bool = False) -> np.ndarray:
    """The samples of the frames owed that frames low … high make."""
    assert self._held is not None
    low = max(low, 0)
    made = self._run(self._held[low - self._start : high - self._start])
    until = high if last else self._done + self._block
    kept = made[(self._done - low) * self._factor : (until - low) * self._factor]
    self._done = until
    oldest = max(self._done - self._block - 2 * self._reach, 0)  # of what a last block reads
    self._held, self._start = self._held[oldest - self._start :], oldest
    return kept


def checked(audio: np.ndarray, geometry: AudioGeometry) -> np.ndarray:
  """The sound as float32 [S, A]; `UserError` where it is not of the codec."""
  A = geometry.audio_channels
  if audio.ndim != 2 or audio.shape[1] != A:
    raise UserError(
      f'the sound has shape {audio.shape}; this codec takes [samples, {A}], so mix it to '
      f'{A} channel{"s" if A > 1 else ""}'
    )
  if not np.issubdtype(audio.dtype, np.floating):
    raise UserError(f'the sound is {audio.dtype}; give float32 within −1 … 1')
  odd = np.flatnonzero(~np.isfinite(audio).all(axis=1))
  if len(odd):
    raise UserError(
      f'{len(odd)} of {len(audio)} samples are not finite, the first at {odd[0]}; read the sound '
      'again or set them to 0'
    )
  return audio.astype(np.float32)


def check_rate(sample_rate_hz: int, geometry: AudioGeometry) -> None:
  """`UserError` where the sound's rate is not the codec's."""
  if sample_rate_hz != geometry.sample_rate_hz:
    raise UserError(
      f'the sound has {sample_rate_hz} Hz and the codec {geometry.sample_rate_hz} Hz; resample it'
    )


def checked_latents(latents: np.ndarray, geometry: AudioGeometry) -> np.ndarray:
  """Latents as float32 [n, C]; `UserError` where they are not of the codec."""
  C = geometry.channels
  if latents.ndim != 2 or latents.shape[1] != C:
    raise UserError(
      f'the latents have shape {latents.shape}; this codec takes [n, {C}], so encode the sound '
      'with this codec'
    )
  odd = np.flatnonzero(~np.isfinite(latents).all(axis=1))
  if len(odd):
    raise UserError(
      f'{len(odd)} of {len(latents)} latents are not finite, the first at {odd[0]}; sample again'
    )
  return latents.astype(np.float32)


def _edged(
  audio: np.ndarray, framing: Framing, *, before: bool = False, after: bool = False
) -> np.ndarray:
  """The sound with its edge laid before or after it."""
  sides = (framing.edge * before, framing.edge * after)
  mode = 'reflect' if framing.mirror else 'constant'
  return np.pad(audio, (sides, (0, 0)), mode=mode)  # type: ignore[call-overload]
