"""Which autoencoder a config trains."""

import os

import jax
import ml_collections

from sorajax import build
from sorajax.data.sources import open_source
from sorajax.errors import UserError
from sorajax.settings import MelCodecSettings, SoundCodecSettings
from sorajax.train import loop
from sorajax.train.mels import MelObjective
from sorajax.train.pictures import PictureObjective
from sorajax.train.sounds import SqueezeObjective


def train(config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]) -> None:
  """Trains to the last step, or goes on from the newest checkpoint of `workdir`.

  Leaves the finished codec in `workdir`/codec: the learned half, and beside it a linear one fitted
  on the same clips.

  Raises:
    UserError: a config that contradicts itself, the data or the workdir; loss or gradient that stay
      non-finite, with what broke.
  """
  settings = build.codec_settings(config)

  def make(mesh: jax.sharding.Mesh) -> PictureObjective | SqueezeObjective | MelObjective:
    if not settings.data.path:
      raise UserError('config.data.path is empty; add --config.data.path=CLIPS')
    source = open_source(settings.data.path, 'train')
    if isinstance(settings, SoundCodecSettings):
      return SqueezeObjective(settings, source, mesh)
    if isinstance(settings, MelCodecSettings):
      return MelObjective(settings, source, mesh)
    return PictureObjective(settings, source, mesh)

  loop.run(make, settings.mesh, config, workdir)
