"""Latents of several clips → one row of tokens; rows → a batch of numpy arrays."""

import dataclasses

import numpy as np

from sorajax.clip import MODALITIES, Batch, Latents, Text, Tokens
from sorajax.data.schedule import Bucket
from sorajax.geometry import Geometry


@dataclasses.dataclass(frozen=True)
class Placed:
  """A clip ready to be put in a row: its latents, what of it is given, and its text."""

  latents: Latents
  given: dict[str, np.ndarray]  # as `tasks.capabilities.Given`
  ids: np.ndarray  # int32 [L]
  hold: float = 1.0  # how firmly: what is given has 1 − hold of the noise that the rest has


def assemble(
  rows: list[list[Placed]], bucket: Bucket, geometry: Geometry, pad_id: int = 0
) -> Batch:
  """Rows of clips → a Batch of numpy arrays, padded to the bucket's shape."""
  channels = {m: getattr(geometry, m).channels for m in MODALITIES}
  batch = blank(len(rows), bucket, channels, pad_id)
  for m, tokens in batch.tokens.items():
    for b, row in enumerate(rows):
      start = 0
      for segment, clip in enumerate(row, start=1):
        start += _fill(tokens, b, start, segment, m, clip, geometry)
  _fill_text(batch.text, rows, bucket)
  return batch


def blank(rows: int, bucket: Bucket, channels: dict[str, int], pad_id: int = 0) -> Batch:
  """A batch of numpy arrays that holds nothing but padding; `channels`: modality → C."""
  sizes = {'audio': bucket.audio, 'video': bucket.video}
  shape = (rows, bucket.text * bucket.clips)
  ids = np.full(shape, pad_id, np.int32)
  text = Text(ids, np.zeros(shape, np.int32), np.zeros(shape, np.int32))
  return Batch({m: _blank(rows, sizes[m], channels[m]) for m in MODALITIES}, text)


def _blank(rows: int, length: int, channels: int) -> Tokens:
  zero = lambda *shape: np.zeros((rows, length, *shape), np.float32)
  count = lambda: np.zeros((rows, length), np.int32)
  return Tokens(zero(channels), zero(3), zero(), count(), count(), zero())


def _fill(
  tokens: Tokens, b: int, start: int, segment: int, m: str, clip: Placed, geometry: Geometry
) -> int:
  """Writes one clip's tokens of modality `m` into row `b` from `start`; returns how many."""
  latents = _shown(clip) if m == 'video' else clip.latents
  latent, asked = _flat(getattr(latents, m)), 1.0 - clip.hold * clip.given[m].reshape(-1)
  if m == 'video':
    for x, held in ((latents.reference, 1.0), (latents.keyframes, clip.hold)):
      if x is not None:
        latent = np.concatenate([latent, _flat(x)])
        asked = np.append(asked, np.full(len(latent) - len(asked), 1.0 - held))
  span = slice(start, start + len(latent))
  tokens.latent[b, span] = latent
  tokens.position[b, span] = geometry.positions(latents)[m]
  tokens.sigma[b, span] = asked
  tokens.loss_mask[b, span] = asked
  tokens.segment[b, span] = segment
  return len(latent)


def _shown(clip: Placed) -> Latents:
  """A clip's latents with those frames alone that are given beside it."""
  latents, given = clip.latents, clip.given.get('keyframes')
  if latents.keyframes is None or given is None:
    return dataclasses.replace(latents, keyframes=None, keyframe_at=())
  at = tuple(frame for frame, shown in zip(latents.keyframe_at, given) if shown)
  return dataclasses.replace(latents, keyframes=latents.keyframes[given], keyframe_at=at)


def _flat(latent: np.ndarray) -> np.ndarray:
  return np.asarray(latent, np.float32).reshape(-1, latent.shape[-1])


def _fill_text(text: Text, rows: list[list[Placed]], bucket: Bucket) -> None:
  """Writes the captions of rows of clips, one after the other."""
  for b, row in enumerate(rows):
    start = 0
    for segment, clip in enumerate(row, start=1):
      cut = clip.ids[: bucket.text]
      text.ids[b, start : start + len(cut)] = cut
      text.segment[b, start : start + len(cut)] = segment
      start += len(cut)
