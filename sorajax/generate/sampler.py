"""Plans → clips: the one place where network, guidance, solver and codec meet."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from sorajax import sharding
from sorajax.clip import Batch, Clip, Tokens
from sorajax.cluster import peers
from sorajax.codec.codec import Codec
from sorajax.data.rows import Placed, assemble
from sorajax.generate.request import Plan, Request, finish, plan
from sorajax.generate.sampling import bucket_of, sampling, shift_of
from sorajax.network import Network
from sorajax.settings import Settings


@dataclasses.dataclass(frozen=True)
class Made:
  """A finished clip and how it came to be.

  Attributes:
    request: what was asked for.
    clip: the answer.
    batch: how many clips were sampled together.
    row: which of them this is.
  """

  request: Request
  clip: Clip
  batch: int
  row: int


@dataclasses.dataclass(frozen=True)
class Sampler:
  """(parameters, requests) → clips, for one network and codec.

  Attributes:
    settings: of the run that trained the network.
    network: the velocity.
    codec: of its latents.
    batch: clips sampled at once.
    joined: whether audio and video hear each other.
  """

  settings: Settings
  network: Network
  codec: Codec
  batch: int = 1
  joined: bool = True

  def __call__(self, params: Any, requests: Sequence[Request]) -> Iterator[Made]:
    """Samples requests in batches of equal layout, in their order within each layout.

    Args:
      params: trainable and frozen parameters in one dict.
      requests: any number, of any sizes and tasks.

    Returns:
      clips as they are finished; every request is checked before the first is made.
    """
    known = tuple(t for t, w in self.settings.train.tasks.items() if w > 0)
    groups: dict[tuple, list[Plan]] = {}
    for request in requests:
      p = plan(request, self.codec, known)
      key = (p.latents.video.shape, p.latents.audio.shape)
      groups.setdefault(key, []).append(p)
    return self._run(params, list(groups.values()))

  def again(self, params: Any, request: Request, row: int) -> Made:
    """Makes one clip in the very row of a batch in which it was made."""
    known = tuple(t for t, w in self.settings.train.tasks.items() if w > 0)
    p = plan(request, self.codec, known)
    made = self._batch(params, [p] * (row + 1))
    return Made(request, made[row], self.batch, row)

  def _run(self, params: Any, groups: list[list[Plan]]) -> Iterator[Made]:
    size = self.batch
    for group in groups:
      for start in range(0, len(group), size):
        plans = group[start : start + size]
        peers.reached(f'the batch of seed {plans[0].request.seed}')
        for row, clip in enumerate(self._batch(params, plans)):
          yield Made(plans[row].request, clip, size, row)

  def _batch(self, params: Any, plans: list[Plan]) -> list[Clip]:
    """Samples up to a batch of plans of one layout; rows that are left over repeat the last."""
    size = self.batch
    filled = plans + [plans[-1]] * (size - len(plans))
    batch = self.tokens(filled)
    seeds = np.array([p.request.seed for p in filled], np.uint32)
    shift = shift_of(self.settings, math.prod(plans[0].latents.video.shape[:3]))
    run = sampling(self.network, self.settings.sample, shift, self.joined)
    latents = jax.device_get(run(params, *_placed(batch, self.tokens(filled, blank=True)), seeds))
    clips = []
    for row, p in enumerate(plans):
      shaped = {m: latents[m][row] for m in latents}
      video = shaped['video'][: p.given['video'].size].reshape(p.latents.video.shape)
      audio = shaped['audio'][: p.given['audio'].size]
      full = dataclasses.replace(p.latents, video=video, audio=audio)
      clips.append(finish(p, self.codec.decode(full)))
    return clips

  def tokens(self, plans: list[Plan], blank: bool = False) -> Batch:
    """A batch with one plan a row; `blank` leaves out the prompts, for guidance."""
    text = self.network.text
    bucket = bucket_of(plans[0].latents, len(plans), text.max_tokens, sharding.shards('tokens'))
    rows = [
      [Placed(p.latents, p.given, text.tokenize('' if blank else p.request.prompt))] for p in plans
    ]
    return assemble(rows, bucket, self.codec.geometry)


def _placed(batch: Batch, blank: Batch) -> tuple[dict[str, Tokens], Any, Any]:
  """Tokens and both texts on the mesh, whole on every process."""
  mesh = jax.sharding.get_mesh()
  rows = batch.text.ids.shape[0]
  if mesh.empty:
    return batch.tokens, batch.text, blank.text
  sharding.check_divides(mesh, 'config.sample.batch', rows, 'batch')
  here = sharding.rows_here(mesh, rows)
  put = lambda x: sharding.place_rows(mesh, x[list(here)], here, rows)
  return jax.tree.map(put, (batch.tokens, batch.text, blank.text))
