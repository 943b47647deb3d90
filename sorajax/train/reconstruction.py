"""Training a picture autoencoder: pixels that come back as they went in."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from sorajax import build, sharding
from sorajax.clip import Clip
from sorajax.codec import loss as losses
from sorajax.codec import moments, video
from sorajax.codec.codec import Codec
from sorajax.codec.convolutional import measured
from sorajax.codec.video_config import VideoConfig
from sorajax.data.clips import clip_loader, cut, usable
from sorajax.data.latents import clip_of, evenly, fit
from sorajax.data.loader import Loader
from sorajax.data.schedule import Place
from sorajax.data.sources import Source, open_source
from sorajax.errors import UserError
from sorajax.media.sheet import contact_sheet, save_image, stack_sheets
from sorajax.settings import CodecSettings
from sorajax.train import loop
from sorajax.train.objective import Scalars

HELD_CLIPS = 48  # looked at by an evaluation
SEEN_CLIPS = 400  # from which the spread of the latents is measured
SHOWN_CLIPS = 4


def train(config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]) -> None:
  """Trains to the last step, or goes on from the newest checkpoint of `workdir`.

  Leaves the finished codec in `workdir`/codec: the learned picture half, and beside it a linear
  sound half fitted on the same clips.

  Raises:
    UserError: a config that contradicts itself, the data or the workdir; loss or gradient that stay
      non-finite, with what broke.
  """
  settings = build.codec_settings(config)

  def make(mesh: jax.sharding.Mesh) -> PictureObjective:
    if not settings.data.path:
      raise UserError('config.data.path is empty; add --config.data.path=CLIPS')
    return PictureObjective(settings, open_source(settings.data.path, 'train'), mesh)

  loop.run(make, settings.mesh, config, workdir)


@dataclasses.dataclass(frozen=True)
class PictureObjective:
  """What `loss` weighs together, on clips; a `train.objective.Objective`."""

  settings: CodecSettings
  source: Source
  mesh: jax.sharding.Mesh

  @property
  def config(self) -> VideoConfig:
    """Of the autoencoder."""
    return build.autoencoder(self.settings.picture)

  @property
  def batch_spec(self) -> jax.sharding.PartitionSpec:
    return sharding.spec('batch')

  def init(self, key: jax.Array) -> Any:
    return video.init(self.config, key)

  def frozen(self) -> Any:
    return {}

  def counts(self, batch: Any) -> dict[str, jax.Array]:
    return {'micro_batches': jnp.asarray(len(batch['video']), jnp.float32)}

  def values(self, batch: Any) -> dict[str, jax.Array]:
    return {'pixels': batch['video'].astype(jnp.float32)}

  def loss(self, params, frozen, batch: Any, key, counts):
    pixels = batch['video'].astype(jnp.float32) / 127.5 - 1
    mean, logvar = video.encode(self.config, params, pixels)
    logvar = logvar.clip(*moments.LOGVAR)
    made = video.decode(self.config, params, moments.draw(key, mean, logvar))
    terms = {
      name: getattr(losses, name)(made, pixels)
      for name in ('absolute', 'pyramid', 'edges', 'spectrum', 'flicker')
    }
    terms['divergence'] = losses.divergence(mean, logvar)
    terms['roughness'] = losses.roughness(mean)
    terms = {name: term / counts['micro_batches'] for name, term in terms.items()}
    return sum(getattr(self.settings.loss, name) * term for name, term in terms.items()), terms

  def loader(self, place: Place) -> Loader:
    train = self.settings.train
    return clip_loader(
      self.settings.data, self.source, mesh=self.mesh, seed=train.seed,
      micro_batches=train.micro_batches, place=place,
    )  # fmt: skip

  def evaluator(self) -> 'HeldOutPictures':
    held = open_source(self.settings.data.path, 'validation')
    return HeldOutPictures(self, list(self._cuts(held, HELD_CLIPS)))

  def keep(self, workdir: Path) -> None:
    """The codec is written when it has learned something."""

  def sample(self, params: Any, workdir: Path, step: int) -> None:
    """Writes the codec, and pictures beside what it makes of them."""
    weights = sharding.gathered(params)
    if jax.process_index():
      return
    codec = self.codec(weights)
    codec.save(workdir / 'codec')
    held = open_source(self.settings.data.path, 'validation')
    sheets = []
    for clip in self._cuts(held, SHOWN_CLIPS):
      made = codec.decode(codec.encode(clip))
      sheets += [contact_sheet(clip, 'as it is'), contact_sheet(made, f'decoded at step {step}')]
    save_image(workdir / 'reconstructions.png', stack_sheets(sheets))

  def codec(self, weights: Any) -> Codec:
    """The codec of weights on the host, its latents normalised over training clips."""
    videos = (clip.video for clip in self._cuts(self.source, SEEN_CLIPS))
    picture = measured(self.config, weights, videos)
    return Codec(picture, fit(self.source, self.settings.codec).audio)

  def _cuts(self, source: Source, most: int) -> Iterator[Clip]:
    found = usable(source, self.settings.data)
    for i in evenly(len(found), most):
      yield cut(clip_of(source[int(found[i])]), self.settings.data, None)


class HeldOutPictures:
  """Losses and fidelity on clips that are never trained on."""

  def __init__(self, objective: PictureObjective, clips: list[Clip]):
    self._videos = np.stack([c.video for c in clips])
    self._objective, self._errors = objective, jax.jit(self._errors_of)

  def __call__(self, params: Any, frozen: Any) -> Scalars:
    """`loss`, each of its parts, and `psnr_db` of the mean latents, averaged over clips."""
    rows = self._objective.settings.data.rows
    found: list[Scalars] = []
    for start in range(0, len(self._videos) - rows + 1, rows):
      some = self._videos[start : start + rows]
      here = sharding.rows_here(self._objective.mesh, rows)
      placed = sharding.place_rows(self._objective.mesh, some[list(here)], here, rows, inner=None)
      found.append({k: float(v) for k, v in self._errors(params, placed).items()})
    if not found:
      raise UserError(
        f'{len(self._videos)} held-out clips do not fill a batch of {rows}; lower config.data.rows'
      )
    return {name: float(np.mean([f[name] for f in found])) for name in found[0]}

  def _errors_of(self, params, seen):
    objective = self._objective
    counts = {'micro_batches': jnp.ones(())}
    key = jax.random.key(0)
    loss, parts = objective.loss(params, {}, {'video': seen}, key, counts)
    pixels = seen.astype(jnp.float32)
    mean, _ = video.encode(objective.config, params, pixels / 127.5 - 1)
    made = video.decode(objective.config, params, mean)
    made = jnp.round(jnp.clip((made + 1) * 127.5, 0, 255))
    error = jnp.square(made - pixels).mean(axis=(1, 2, 3, 4))
    psnr = 10 * jnp.log10(255.0**2 / jnp.maximum(error, 1e-9))
    return {'loss': loss, 'psnr_db': psnr.mean(), **parts}
