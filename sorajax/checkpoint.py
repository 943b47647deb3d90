"""Orbax checkpoints: model, optimiser, average, step and the place in the data, all or nothing."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from sorajax.codec import plain
from sorajax.data.schedule import Place
from sorajax.errors import UserError, cannot_read, one_line
from sorajax.media.atomic import full_disk, replacing, write_text

STATE, DATA = 'state', 'data'
CONFIG = 'config.json'
WEIGHTS, STEP = 'weights.npz', 'step'


class Checkpoints:
  """The checkpoints of one run, written in the background."""

  def __init__(self, folder: str | os.PathLike[str], keep: int):
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
    self.folder = Path(folder).absolute()
    self._manager = ocp.CheckpointManager(self.folder, options=options)

  @property
  def latest(self) -> int | None:
    """The newest complete step."""
    return self._manager.latest_step()

  def save(self, step: int, state: Any, data: dict[str, Any]) -> None:
    """Begins to write; a checkpoint is seen only once it is whole."""
    args = {STATE: ocp.args.StandardSave(state), DATA: ocp.args.JsonSave(data)}
    with self._writing():
      self._manager.save(step, args=ocp.args.Composite(**args))

  def restore(self, step: int, abstract: Any) -> Any:
    """The state, laid out as `abstract` says."""
    with _refusing(self.folder / str(step)):
      tree = _tree(self.folder / str(step))
      _check_shapes(*({'params': t['params'], 'ema': t['ema']} for t in (tree, abstract)))
      if _sizes(tree['optimizer']) != _sizes(abstract['optimizer']):
        raise UserError(
          f'the checkpoint {self.folder / str(step)} is of another optimizer, or of an older '
          'version; begin another --workdir with its weights, by '
          f'--config.start={self.folder.parent}'
        )
    return self._part(step, STATE, ocp.args.StandardRestore(abstract))

  def place(self, step: int, fingerprint: str) -> Place:
    """Where in the data to go on; `UserError` where they are not those of the checkpoint."""
    with _refusing(self.folder / str(step)):
      return place_of(self._part(step, DATA, ocp.args.JsonRestore()), fingerprint)

  def _part(self, step: int, name: str, args: Any) -> Any:
    with _refusing(self.folder / str(step)):
      return self._manager.restore(step, args=ocp.args.Composite(**{name: args}))[name]

  def wait(self) -> None:
    """Waits until everything is written."""
    with self._writing():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and writes no more."""
    self.wait()
    with self._writing():
      self._manager.close()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except Exception as error:  # each layer of the library has its own for a full disk
      raise full_disk(error, self.folder) or error from None


def data_state(place: Place, fingerprint: str) -> dict[str, Any]:
  """What a checkpoint keeps of the data."""
  return {**dataclasses.asdict(place), 'fingerprint': fingerprint}


def place_of(data: dict[str, Any], fingerprint: str) -> Place:
  """Where to go on; `UserError` where the data are not those of the checkpoint."""
  if data['fingerprint'] != fingerprint:
    raise UserError(
      'the data are not those that this run began with; give it back its data or a new --workdir'
    )
  return Place(data['step'], data['epoch'], data['epoch_first_step'])


def restore_part(
  folder: str | os.PathLike[str], step: int | None, name: str, abstract: Any
) -> tuple[Any, int]:
  """One entry of a saved state, for sampling: the weights without the optimiser.

  Args:
    folder: of the run's checkpoints.
    step: which; None for the newest.
    name: `ema` or `params`.
    abstract: shapes and layout of the entry.

  Returns:
    the entry and the step it is of.

  Raises:
    UserError: no checkpoint there, or one of another network.
  """
  path, step = _found(folder, step)
  handler = ocp.PyTreeCheckpointer()
  item = {name: abstract}
  restore_args = jax.tree.map(lambda a: ocp.ArrayRestoreArgs(sharding=a.sharding), item)
  args = ocp.args.PyTreeRestore(item=item, restore_args=restore_args, partial_restore=True)
  with _refusing(path / str(step)):
    _check_shapes({name: _tree(path / str(step))[name]}, item)
    return handler.restore(path / str(step) / STATE, args=args)[name], step


@dataclasses.dataclass(frozen=True)
class Array:
  """An array of a checkpoint; `np.asarray` reads it onto the host.

  Attributes:
    dtype: its type.
    read: gives it.
  """

  dtype: np.dtype
  read: Callable[[], np.ndarray]

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    return np.asarray(self.read(), dtype)


def arrays_of(
  folder: str | os.PathLike[str], step: int | None, name: str, abstract: Any
) -> tuple[Any, int]:
  """As `restore_part`, as `Array`s that are read one at a time, and that no device holds.

  Args:
    folder: of the run's checkpoints.
    step: which; None for the newest.
    name: `ema` or `params`.
    abstract: shapes of the entry.
  """
  path, step = _found(folder, step)
  saved, handler = path / str(step) / STATE, ocp.PyTreeCheckpointer()

  def array(keys: Any, found: Any) -> Array:
    def read() -> np.ndarray:
      item: Any = jax.ShapeDtypeStruct(found.shape, found.dtype)
      for key in reversed([name, *(key.key for key in keys)]):
        item = {key: item}
      restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
      args = ocp.args.PyTreeRestore(item=item, restore_args=restore_args, partial_restore=True)
      with _refusing(saved.parent):
        return jax.tree.leaves(handler.restore(saved, args=args))[0]

    return Array(np.dtype(found.dtype), read)

  with _refusing(saved.parent):
    tree = _tree(saved.parent)[name]
    _check_shapes({name: tree}, {name: abstract})
  return jax.tree_util.tree_map_with_path(array, tree), step


def _found(folder: str | os.PathLike[str], step: int | None) -> tuple[Path, int]:
  """The folder of checkpoints and the step that is asked for; `UserError` where it is not there."""
  path = Path(folder).absolute()
  steps = sorted(int(p.name) for p in path.glob('*') if p.name.isdigit())
  if not steps:
    raise UserError(f'no checkpoint in {path}; train first, or give another --checkpoint')
  step = steps[-1] if step is None else step
  if step not in steps:
    raise UserError(f'no checkpoint of step {step} in {path}; there are {steps}')
  return path, step


def write_weights(folder: Path, step: int, weights: Any) -> None:
  """Writes weights alone, as float16, and the step that they are of: enough to sample from."""
  arrays = {name: a.astype(np.float16) for name, a in plain.flat(weights).items()}
  with replacing(folder / WEIGHTS) as temporary, temporary.open('wb') as file:
    np.savez(file, allow_pickle=False, **arrays, **{STEP: np.int64(step)})


def read_weights(folder: Path, abstract: Any) -> tuple[Any, int]:
  """What `write_weights` wrote, laid out as `abstract` says, and the step.

  Raises:
    UserError: a damaged file, or weights of another network.
  """
  with _refusing(folder / WEIGHTS), np.load(folder / WEIGHTS) as archive:
    arrays = dict(archive.items())
    step = int(arrays.pop(STEP))
    weights = plain.unflat(arrays, abstract)
  place = lambda a, to: jax.device_put(a.astype(to.dtype), to.sharding)
  return jax.tree.map(place, weights, abstract), step


@contextlib.contextmanager
def _refusing(checkpoint: Path) -> Iterator[None]:
  """Whatever the library finds wrong with a checkpoint ends as one line."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:  # a damaged checkpoint raises whatever its layer likes
    reason = f'{one_line(error)[:120]}; if it is damaged, delete it to use the one before'
    raise cannot_read(f'the checkpoint {checkpoint}', reason) from error


def _tree(checkpoint: Path) -> Any:
  """The arrays of a checkpoint's state as their shapes."""
  found = ocp.PyTreeCheckpointer().metadata(checkpoint / STATE).item_metadata
  if found is None:
    raise ValueError('the description of its arrays cannot be read')
  return found.tree


def _sizes(tree: Any) -> list[tuple[int, ...]]:
  """Those of its arrays, whatever the containers that the library keeps them in."""
  return sorted(tuple(a.shape) for a in jax.tree.leaves(tree))


def _check_shapes(tree: Any, abstract: Any) -> None:
  flat = lambda t: {jax.tree_util.keystr(k): v for k, v in jax.tree_util.tree_leaves_with_path(t)}
  have, want = flat(tree), flat(abstract)
  for key in sorted(set(have) | set(want)):
    a, b = getattr(have.get(key), 'shape', None), getattr(want.get(key), 'shape', None)
    if a is None or b is None or tuple(a) != tuple(b):
      raise UserError(
        f'the checkpoint has {a} for {key} and the config {b}; use the config that it was '
        'trained with'
      )


def write_config(workdir: Path, config: dict[str, Any]) -> None:
  """Keeps the config beside the checkpoints."""
  write_text(workdir / CONFIG, json.dumps(config, indent=2, sort_keys=True) + '\n')


def read_config(workdir: Path) -> dict[str, Any] | None:
  """What `write_config` wrote, or None; `UserError` where it is damaged."""
  path = workdir / CONFIG
  if not path.is_file():
    return None
  try:
    config = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(config, dict):
      raise ValueError('it holds no config')
  except ValueError as error:
    cure = 'delete it and run launch/train.py again, which writes it anew'
    raise cannot_read(path, f'{one_line(error)}; {cure}') from error
  return config
