"""What a run learned, as a model that diffusers reads: the way back out of this project."""

import dataclasses
import os
import shutil
from pathlib import Path

import jax
import ml_collections
import numpy as np

from sorajax import build, checkpoint
from sorajax.errors import UserError
from sorajax.generate import released, service
from sorajax.media.atomic import new_folder
from sorajax.model.config import TransformerConfig
from sorajax.network import Network
from sorajax.settings import Settings
from sorajax.weights import lora, ltx2_transformer, stored, tensors
from sorajax.weights.shards import Shards
from sorajax.weights.stored import Part

TRANSFORMER = 'transformer'
TYPES = {'float32': 'F32', 'bfloat16': 'BF16'}


@dataclasses.dataclass(frozen=True)
class Exported:
  """The transformer of a run or of a released model; no tensor of it is in memory.

  Attributes:
    config: the transformer.
    part: the same as diffusers has it.
    origin: folder of the released model that its run began with, or that it is; None for none.
  """

  config: TransformerConfig
  part: Part
  origin: Path | None


def read(path: str | os.PathLike[str]) -> Exported:
  """The transformer of a run, with averaged weights and low-rank changes added, or of a model.

  Args:
    path: as `service.load` takes it.

  Raises:
    UserError: no run there, or one of a transformer that diffusers does not have.
  """
  workdir, step = service.find(path)
  if released.is_released(workdir):
    return _released(workdir)
  settings = build.settings(ml_collections.ConfigDict(service.read_config(workdir)))
  if settings.flow.preconditioned:
    raise UserError(
      f'{path} has flow.preconditioned and its transformer does not give v itself, as LTX-2 does; '
      'give a run of configs/ltx2.py'
    )
  start = read(settings.start) if settings.start else None
  config = settings.transformer
  if start is None or start.origin is None:
    saved = ltx2_transformer.saved_config_of(config)
  else:
    saved = dict(start.part.config)
  learned = _averaged(settings, workdir, step)
  if settings.lora.rank and start is not None:
    changes = jax.tree.map(np.asarray, learned['lora'])
    made = lora.merged(config, start.part.tensors, changes, settings.lora.scale)
  else:
    made = ltx2_transformer.stored_of(config, learned[TRANSFORMER])
  return Exported(config, Part(saved, made), start.origin if start else None)


def write_changes(path: str | os.PathLike[str], file: str | os.PathLike[str]) -> None:
  """Writes the low-rank changes that a run learned, averaged, as diffusers reads them.

  Nothing else of the run is read, and no mesh is needed.

  Raises:
    UserError: a run that learned none.
  """
  workdir, step = service.find(path)
  settings = build.settings(ml_collections.ConfigDict(service.read_config(workdir)))
  if not settings.lora.rank:
    raise UserError(f'{path} learned all weights; give a run of a config with lora.rank')
  changes = jax.tree.map(np.asarray, _averaged(settings, workdir, step)['lora'])
  lora.write(file, lora.saved_of(settings.transformer, changes, settings.lora.scale))


def _released(folder: Path) -> Exported:
  shards = Shards(folder / TRANSFORMER)
  saved = shards.config()
  config = ltx2_transformer.config_of(saved)
  tensors.check(ltx2_transformer.places(config), shards.shapes())
  return Exported(config, Part(saved, stored.of(shards)), folder)


def _averaged(settings: Settings, workdir: Path, step: int | None):
  """The averaged weights of a run, as `checkpoint.Array`s."""
  encoder = build.text_encoder(settings.text)
  network = Network(settings.transformer, encoder, lora=settings.lora)
  abstract = jax.eval_shape(lambda: network.init(jax.random.key(0)))
  return checkpoint.arrays_of(workdir / 'checkpoints', step, 'ema', abstract)[0]


def as_type(exported: Exported, dtype: str) -> Exported:
  """The same in float32 or bfloat16."""
  made = [tensor.as_type(TYPES[dtype]) for tensor in exported.part.tensors]
  return dataclasses.replace(exported, part=Part(exported.part.config, made))


def write(
  exported: Exported, out: str | os.PathLike[str], shard_bytes: int = stored.SHARD_BYTES
) -> bool:
  """Writes a folder as diffusers saves a model; it appears whole or not at all.

  What else the released model has is linked, or copied where that cannot be.

  Args:
    exported: the transformer.
    out: the folder; there is none yet.
    shard_bytes: of a file of tensors, at most.

  Returns:
    whether it is a whole model; else it is a transformer alone.

  Raises:
    UserError: something at `out`, a full disk, or a place that may not be written to.
  """
  part = exported.part
  with new_folder(out) as folder:
    stored.check_room(folder, part.bytes)
    stored.write_folder(folder / TRANSFORMER, part, shard_bytes)
    if exported.origin is not None:
      link_rest(exported.origin, folder, (TRANSFORMER,))
  return exported.origin is not None


def link_rest(origin: Path, folder: Path, without: tuple[str, ...]) -> None:
  """Links or copies all parts of a model to another but some, and its index at last."""
  parts = [p for p in origin.iterdir() if p.name not in without and not p.name.startswith('.')]
  for part in sorted(parts, key=lambda p: p.name == released.INDEX):
    if part.is_dir():
      shutil.copytree(part, folder / part.name, copy_function=link)
    else:
      link(part, folder / part.name)


def link(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
  """A second name of a file on the same disk, else a copy of it."""
  try:
    os.link(os.path.realpath(source), target)
  except OSError:
    shutil.copyfile(source, target)
