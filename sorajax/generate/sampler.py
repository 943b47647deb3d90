"""Plans → clips: the one place where network, guidance, solver and codec meet."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from sorajax import sharding
from sorajax.clip import MODALITIES, Batch, Clip, Latents, Tokens
from sorajax.cluster import peers
from sorajax.codec.codec import Codec
from sorajax.data.rows import Placed, assemble
from sorajax.generate import refine, sampling
from sorajax.generate.refine import Refiner
from sorajax.generate.request import Plan, Request, finish, plan
from sorajax.network import Network
from sorajax.settings import SampleConfig, Settings

Stages = tuple[Plan, ...]  # of one request
Numbered = tuple[int, Stages]  # and which of all requests it is


@dataclasses.dataclass(frozen=True)
class Made:
  """A finished clip and how it came to be.

  Attributes:
    request: what was asked for.
    clip: the answer.
    batch: how many clips were sampled together.
    row: which of them this is.
    number: which of all requests this was, from 0.
  """

  request: Request
  clip: Clip
  batch: int
  row: int
  number: int


@dataclasses.dataclass(frozen=True)
class Sampler:
  """(parameters, requests) → clips, for one network and codec.

  Attributes:
    settings: of the run that trained the network.
    network: the velocity.
    codec: of its latents.
    batch: clips sampled at once.
    joined: whether audio and video attend to each other.
    refiner: makes clips small first and then large; None makes them at once.
  """

  settings: Settings
  network: Network
  codec: Codec
  batch: int = 1
  joined: bool = True
  refiner: Refiner | None = None

  def __call__(self, params: Any, requests: Sequence[Request]) -> Iterator[Made]:
    """Samples requests in batches of equal layout, in their order within each layout.

    Args:
      params: trainable and frozen parameters in one dict.
      requests: any number, of any sizes and tasks.

    Returns:
      clips as they are finished; every request is checked before the first is made.
    """
    batches = self.batches(requests)
    return (made for rows in batches for made in self.make(params, rows))

  def batches(self, requests: Sequence[Request]) -> list[list[Numbered]]:
    """Those that are sampled together: of equal layout, in their order within each."""
    groups: dict[tuple, list[Numbered]] = {}
    known: dict[tuple, Stages] = {}  # what a clip starts from is coded once for all prompts
    for number, request in enumerate(requests):
      request.check()
      alike = _but_words(request)
      if alike not in known:
        known[alike] = self._stages(request)
      stages = tuple(_said(plan, request) for plan in known[alike])
      latents = stages[-1].latents
      arrays = latents.video, latents.audio, latents.reference, latents.keyframes
      shapes = tuple(None if array is None else array.shape for array in arrays)
      begins = tuple(stages[0].begins.items())
      groups.setdefault((shapes, begins, request.hold), []).append((number, stages))
    size = self.batch
    return [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]

  def make(self, params: Any, rows: list[Numbered]) -> Iterator[Made]:
    """Samples one of `batches`."""
    requests = [stages[-1].request for _, stages in rows]
    peers.reached(f'the batch of seed {requests[0].seed}')
    clips = self._batch(params, [stages for _, stages in rows])
    for row, ((number, _), request, clip) in enumerate(zip(rows, requests, clips)):
      yield Made(request, clip, self.batch, row, number)

  def again(self, params: Any, request: Request, row: int) -> Made:
    """Makes one clip in the very row of a batch in which it was made."""
    made = self._batch(params, [self._stages(request)] * (row + 1))
    return Made(request, made[row], self.batch, row, 0)

  def _stages(self, request: Request) -> Stages:
    """The plans of a request: of the small clip first, where there is one.

    That one alone is made after a reference; what refines it only sharpens.
    """
    known = tuple(t for t, w in self.settings.train.tasks.items() if w > 0)
    alone = request if self.refiner is None else dataclasses.replace(request, reference=None)
    last = dataclasses.replace(plan(alone, self.codec, known), request=request)
    self.codec.check_size(last.latents)
    if self.refiner is None:
      return (last,)
    return plan(self.refiner.first(last, self.codec.geometry.video), self.codec, known), last

  def _batch(self, params: Any, rows: list[Stages]) -> list[Clip]:
    """Samples up to a batch of one layout; rows that are left over repeat the last."""
    filled = rows + [rows[-1]] * (self.batch - len(rows))
    config, plans = self.settings.sample, [stages[0] for stages in filled]
    made = self._latents(params, plans, config)
    if self.refiner is not None:
      plans = self.refiner.second([stages[-1] for stages in filled], made)
      own = params if self.refiner.params is None else self.refiner.params
      made = self._latents(own, plans, refine.second_stage(config))
    return [finish(p, self.codec.decode(latents)) for p, latents in zip(plans[: len(rows)], made)]

  def _latents(self, params: Any, plans: list[Plan], config: SampleConfig) -> list[Latents]:
    """One pass of the solver over a whole batch."""
    batch = self.tokens(plans)
    given = {m for m in MODALITIES if all(p.keeps(m) for p in plans)}
    seeds = np.array([p.request.seed for p in plans], np.uint32)
    shift = sampling.shift_of(self.settings, plans[0].latents.video_tokens)
    config = sampling.without(config, given)
    begins = tuple(plans[0].begins.items())
    held = plans[0].request.hold < 1
    run = sampling.sampling(self.network, config, shift, self.joined, begins, held)
    latents = jax.device_get(run(params, *_placed(batch, self.tokens(plans, blank=True)), seeds))
    return [_shaped(p, {m: x[row] for m, x in latents.items()}) for row, p in enumerate(plans)]

  def tokens(self, plans: list[Plan], blank: bool = False) -> Batch:
    """A batch with one plan a row; `blank` leaves out the prompts, for guidance."""
    text = self.network.text
    shards = sharding.shards('tokens')
    bucket = sampling.bucket_of(plans[0].latents, len(plans), text.max_tokens, shards)
    said = ['' if blank else p.request.prompt for p in plans]
    rows = [
      [Placed(p.latents, p.given, text.tokenize(prompt), p.request.hold)]
      for p, prompt in zip(plans, said)
    ]
    return assemble(rows, bucket, self.codec.geometry)


def _but_words(request: Request) -> tuple:
  """What requests have in common that differ in prompt and seed alone."""
  fields = (f.name for f in dataclasses.fields(request) if f.name not in ('prompt', 'seed'))
  values = (getattr(request, name) for name in fields)
  return tuple(v if isinstance(v, str | int | float) else id(v) for v in values)


def _said(plan: Plan, request: Request) -> Plan:
  """A plan of a request with the prompt and seed of one that is else the same."""
  own = dataclasses.replace(plan.request, prompt=request.prompt, seed=request.seed)
  return dataclasses.replace(plan, request=own)


def _shaped(plan: Plan, tokens: dict[str, np.ndarray]) -> Latents:
  """A row's tokens [T, C] by modality → the latents of its plan."""
  video = tokens['video'][: plan.given['video'].size].reshape(plan.latents.video.shape)
  audio = tokens['audio'][: plan.given['audio'].size]
  return dataclasses.replace(plan.latents, video=video, audio=audio)


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
