"""Training an autoencoder on clips: what that of pictures and that of sounds have in common."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from sorajax import sharding
from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.codec.codec import Codec
from sorajax.codec.linear import LinearConfig, fit_linear
from sorajax.data.clips import clip_loader, cut, usable
from sorajax.data.latents import FIT_CLIPS, evenly
from sorajax.data.loader import Loader
from sorajax.data.schedule import Place
from sorajax.data.sources import Source, clip_of, open_source
from sorajax.errors import UserError
from sorajax.media.sheet import contact_sheet, save_image, stack_sheets
from sorajax.settings import CodecSettings, MelCodecSettings, SoundCodecSettings
from sorajax.train.objective import Scalars

HELD_CLIPS = 48  # looked at by an evaluation
SEEN_CLIPS = 400  # from which the spread of the latents is measured
SHOWN_CLIPS = 4


@dataclasses.dataclass(frozen=True)
class Reconstruction:
  """The part of a `train.objective.Objective` that does not depend on what is coded.

  Attributes:
    modality: what is coded: 'video' or 'audio'.
    settings: the config file.
    source: training clips.
    mesh: devices.
  """

  modality: ClassVar[str]
  settings: CodecSettings | SoundCodecSettings | MelCodecSettings
  source: Source
  mesh: jax.sharding.Mesh

  @property
  def batch_spec(self) -> jax.sharding.PartitionSpec:
    return sharding.spec('batch')

  def begun(self) -> Any:
    return None

  def frozen(self) -> Any:
    return {}

  def counts(self, batch: Any) -> dict[str, jax.Array]:
    return {'micro_batches': jnp.asarray(len(batch[self.modality]), jnp.float32)}

  def values(self, batch: Any) -> dict[str, jax.Array]:
    return {self.modality: batch[self.modality].astype(jnp.float32)}

  def weighed(
    self, terms: Mapping[str, jax.Array], counts: Mapping[str, jax.Array]
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The sum of `terms` with the config's weights, and each: a micro-batch's share of them."""
    shares = {name: term / counts['micro_batches'] for name, term in terms.items()}
    return sum(getattr(self.settings.loss, name) * term for name, term in shares.items()), shares

  def loader(self, place: Place) -> Loader:
    train = self.settings.train
    return clip_loader(
      self.settings.data, self.source, mesh=self.mesh, seed=train.seed,
      micro_batches=train.micro_batches, place=place, modalities=(self.modality,),
    )  # fmt: skip

  def evaluator(self) -> 'HeldOut':
    return HeldOut(self, list(self.held(HELD_CLIPS)))

  def keep(self, workdir: Path) -> None:
    """The codec is written when it has learned something."""

  def sample(self, params: Any, workdir: Path, step: int) -> None:
    """Writes the codec, and clips beside what it makes of them."""
    weights = sharding.gathered(params)
    if jax.process_index():
      return
    sheets = []
    with sharding.no_mesh():  # the other processes do not compute along
      codec = self.codec(weights)
      codec.save(workdir / 'codec')
      for clip in self.held(SHOWN_CLIPS):
        made = codec.decode(codec.encode(clip))
        sheets += [contact_sheet(clip, 'as it is'), contact_sheet(made, f'decoded at step {step}')]
    save_image(workdir / 'reconstructions.png', stack_sheets(sheets))

  def finish(self, params: Any, workdir: Path, step: int) -> None:
    """The same: the codec is what the run was for."""
    self.sample(params, workdir, step)

  def fitted(self, config: LinearConfig) -> Codec:
    """A linear codec of training clips, cut as held-out ones are."""
    clips = [*self._cuts(self.source, FIT_CLIPS)]
    return fit_linear(clips, config, clips[0].sample_rate_hz, clips[0].audio.shape[1])

  def started(self, config: Any) -> Any:
    """The parameters that training begins with, of `settings.start`; None where it names none.

    Raises:
      UserError: a codec of another kind or size than `config`.
    """
    start = self.settings.start
    if not start:
      return None
    half = getattr(codec_lib.load(start), self.modality)
    if getattr(half, 'config', None) != config:
      raise UserError(
        f'config.start={start} holds another {self.modality} codec than config describes; '
        'start from one of the same size, or from none'
      )
    return half.params

  def seen(self) -> Iterator[Clip]:
    """Training clips to measure latents on."""
    return self._cuts(self.source, SEEN_CLIPS)

  def held(self, most: int) -> Iterator[Clip]:
    """Clips that are never trained on."""
    return self._cuts(open_source(self.settings.data.path, 'validation'), most)

  def loss(self, params, frozen, batch: Any, key, counts) -> Any:
    raise NotImplementedError

  def errors(self, params: Any, frozen: Any, batch: Any) -> dict[str, jax.Array]:
    """How far a batch is from what becomes of its mean latents."""
    raise NotImplementedError

  def codec(self, weights: Any) -> Codec:
    """The finished codec of weights on the host."""
    raise NotImplementedError

  def _cuts(self, source: Source, most: int) -> Iterator[Clip]:
    found = usable(source, self.settings.data)
    for i in evenly(len(found), most):
      yield cut(clip_of(source[int(found[i])]), self.settings.data, None)


class HeldOut:
  """Losses and errors on clips that are never trained on."""

  def __init__(self, objective: Reconstruction, clips: list[Clip]):
    self._clips = np.stack([getattr(clip, objective.modality) for clip in clips])
    self._objective, self._errors = objective, jax.jit(self._errors_of)

  def __call__(self, params: Any, frozen: Any) -> Scalars:
    """`loss`, each of its parts, and the objective's `errors`, averaged over clips."""
    rows, mesh = self._objective.settings.data.rows, self._objective.mesh
    here = sharding.rows_here(mesh, rows)
    count, found = len(self._clips), []
    for start in range(0, count - rows + 1, rows):
      some = self._clips[[start + row for row in here]]
      batch = {self._objective.modality: sharding.place_rows(mesh, some, here, rows, inner=None)}
      found.append({k: float(v) for k, v in self._errors(params, frozen, batch).items()})
    if not found:
      raise UserError(
        f'{count} held-out clips do not fill a batch of {rows}; lower config.data.rows'
      )
    return {name: float(np.mean([f[name] for f in found])) for name in found[0]}

  def _errors_of(self, params, frozen, batch):
    counts = {'micro_batches': jnp.ones(())}
    loss, parts = self._objective.loss(params, frozen, batch, jax.random.key(0), counts)
    return {'loss': loss, **self._objective.errors(params, frozen, batch), **parts}
