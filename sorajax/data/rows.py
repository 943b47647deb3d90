"""Latents of several clips → one row of tokens; rows → a batch of numpy arrays."""

import dataclasses

import numpy as np

from sorajax.clip import Batch, Latents, Text, Tokens
from sorajax.data.schedule import Bucket
from sorajax.geometry import Geometry


@dataclasses.dataclass(frozen=True)
class Placed:
  """A clip ready to be put in a row: its latents, what of it is given, and its text."""

  latents: Latents
  given: dict[str, np.ndarray]  # modality → bool, of the latents' shape without channels
  ids: np.ndarray  # int32 [L]


def assemble(
  rows: list[list[Placed]], bucket: Bucket, geometry: Geometry, pad_id: int = 0
) -> Batch:
  """Rows of clips → a Batch of numpy arrays, padded to the bucket's shape."""
  tokens = {}
  for m, length, channels in (
    ('audio', bucket.audio, geometry.audio.channels),
    ('video', bucket.video, geometry.video.channels),
  ):
    tokens[m] = _blank(len(rows), length, channels)
    for b, row in enumerate(rows):
      start = 0
      for segment, clip in enumerate(row, start=1):
        start += _fill(tokens[m], b, start, segment, m, clip, geometry)
  return Batch(tokens=tokens, text=_text(rows, bucket, pad_id))


def _blank(rows: int, length: int, channels: int) -> Tokens:
  zero = lambda *shape: np.zeros((rows, length, *shape), np.float32)
  count = lambda: np.zeros((rows, length), np.int32)
  return Tokens(zero(channels), zero(3), zero(), count(), count(), zero())


def _fill(
  tokens: Tokens, b: int, start: int, segment: int, m: str, clip: Placed, geometry: Geometry
) -> int:
  """Writes one clip's tokens of modality `m` into row `b` from `start`; returns how many."""
  latent = getattr(clip.latents, m)
  latent = np.asarray(latent, np.float32).reshape(-1, latent.shape[-1])
  span = slice(start, start + len(latent))
  asked = 1.0 - clip.given[m].reshape(-1).astype(np.float32)
  tokens.latent[b, span] = latent
  tokens.position[b, span] = geometry.positions(clip.latents)[m]
  tokens.sigma[b, span] = asked
  tokens.loss_mask[b, span] = asked
  tokens.segment[b, span] = segment
  return len(latent)


def _text(rows: list[list[Placed]], bucket: Bucket, pad_id: int) -> Text:
  shape = (len(rows), bucket.text * bucket.clips)
  ids, segments = np.full(shape, pad_id, np.int32), np.zeros(shape, np.int32)
  for b, row in enumerate(rows):
    start = 0
    for segment, clip in enumerate(row, start=1):
      cut = clip.ids[: bucket.text]
      ids[b, start : start + len(cut)] = cut
      segments[b, start : start + len(cut)] = segment
      start += len(cut)
  return Text(ids, segments, np.zeros(shape, np.int32))
