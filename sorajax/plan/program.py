"""The very program that a training run would execute, compiled for devices that are not here."""

import dataclasses
import math
import os
import re
import time
from typing import Any, cast

import jax
import numpy as np
from jax.experimental import topologies

from sorajax import build, sharding
from sorajax.clip import Batch
from sorajax.data.latents import LatentSource
from sorajax.data.loader import check_batch
from sorajax.data.rows import blank
from sorajax.data.schedule import Bucket
from sorajax.errors import UserError, one_line
from sorajax.network import Network
from sorajax.plan import hlo
from sorajax.settings import Settings
from sorajax.train.state import initial_state, make_step
from sorajax.train.velocity import VelocityObjective

# What the compiler for TPUs is told where there is none: no chip to hold, no cloud to ask.
ALONE = {
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_ACCELERATOR_TYPE': 'v5p-8',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_STDERR_LOG_LEVEL': '3',
}
NO_CLIPS = cast(LatentSource, None)  # the program of a step does not depend on them


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of one device.

  Attributes:
    weights: parameters.
    average: their moving average.
    optimizer: its moments.
    batch: tokens and captions.
    peak: the most that are in use at once, all of the above among them.
  """

  weights: float
  average: float
  optimizer: float
  batch: float
  peak: float

  @property
  def temporary(self) -> float:
    """Activations, gradients and whatever else comes and goes."""
    return self.peak - self.weights - self.average - self.optimizer - self.batch


@dataclasses.dataclass(frozen=True)
class Compiled:
  """A program and what it took to compile.

  Attributes:
    memory: of one device.
    program: its text, read.
    mesh: axis → size.
    seconds: to trace, lower and compile.
    parameters: how many are trained.
  """

  memory: Memory
  program: hlo.Program
  mesh: dict[str, int]
  seconds: float
  parameters: int


class DoesNotFit(UserError):
  """A program needs more memory than a device has."""


def train_step(settings: Settings, bucket: Bucket, topology: str, quick: bool = False) -> Compiled:
  """Compiles one training step on a bucket of clips for a slice of chips, such as v5p:4x4x8.

  Args:
    settings: of the run.
    bucket: of clips.
    topology: of the slice.
    quick: whether the compiler may leave out what takes it longest. Its program is then
      likely to hold and talk more than the one that a run would get.

  Raises:
    DoesNotFit: with how much it needs.
    UserError: an unknown topology, or a mesh, batch or model that does not divide over it.
  """
  began = time.monotonic()
  mesh = sharding.make_mesh(settings.mesh, _devices(topology))
  build.check_mesh(settings, mesh)
  streams = settings.transformer.streams
  spread = {m: (1.0,) * s.channels for m, s in streams.items()}  # of any codec
  given = spread if settings.flow.preconditioned else {}
  network = Network(settings.transformer, build.text_encoder(settings.text), given)
  check_batch(bucket, settings.train.micro_batches, mesh)
  with jax.set_mesh(mesh):
    objective = VelocityObjective(settings, network, NO_CLIPS, mesh)
    shapes = jax.eval_shape(initial_state(objective))
    layout = sharding.shardings(mesh, shapes)
    state = jax.tree.map(_laid, shapes, layout)
    batch = _batch(settings, bucket, mesh)
    frozen = jax.eval_shape(objective.frozen)
    step = make_step(objective, mesh, layout)
    compiled = _compile(step.lower(state, frozen, batch), -1.0 if quick else 0.0)
  used = compiled.memory_analysis()
  memory = Memory(
    _bytes(state['params']), _bytes(state['ema']), _bytes(state['optimizer']), _bytes(batch),
    used.peak_memory_in_bytes,
  )  # fmt: skip
  sizes = {name: mesh.shape[name] for name in mesh.axis_names}
  program = hlo.Program(compiled.as_text(), sizes)
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes['params']))
  return Compiled(memory, program, sizes, time.monotonic() - began, count)


def _devices(topology: str) -> Any:
  """The devices of a topology; `UserError` where there is no such, or no compiler for it."""
  jax.config.update('jax_platforms', 'cpu')
  for name, value in ALONE.items():
    os.environ.setdefault(name, value)
  try:
    return topologies.get_topology_desc(platform='tpu', topology_name=topology)
  except Exception as error:  # the plug-in raises whatever it likes
    if 'libtpu' in str(error).lower() or 'Unknown backend' in str(error):
      raise UserError("no compiler for TPUs here; pip install 'sorajax[tpu]'") from error
    raise UserError(f'no topology {topology!r}: {one_line(error)}; try v5p:4x4x4') from error


def _compile(lowered: Any, effort: float) -> Any:
  options = {'exec_time_optimization_effort': effort, 'memory_fitting_effort': effort}
  try:
    return lowered.compile(options if effort else None)
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    sizes = re.search(r'\(([\d.]+[KMGTP])\) exceeds available HBM \(([\d.]+[KMGTP])\)', str(error))
    needs = (
      f'needs {sizes.group(1)} and a device has {sizes.group(2)}' if sizes else one_line(error)
    )
    raise DoesNotFit(
      f'a step does not fit: it {needs}; take fewer --rows, remat=full, more micro-batches, or '
      'more chips along fsdp'
    ) from error


def _batch(settings: Settings, bucket: Bucket, mesh: jax.sharding.Mesh) -> Batch:
  """A batch of shapes, laid over the mesh as the loader lays arrays."""
  count = settings.train.micro_batches
  channels = {m: s.channels for m, s in settings.transformer.streams.items()}
  made = blank(bucket.rows // count, bucket, channels)

  def laid(x: np.ndarray) -> jax.ShapeDtypeStruct:
    spec = sharding.spec(None, 'batch', 'tokens', *[None] * (x.ndim - 2))
    where = jax.NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct((count, *x.shape), x.dtype, sharding=where)

  return jax.tree.map(laid, made)


def _laid(shape: Any, where: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where)


def _bytes(tree: Any) -> float:
  """Of one device's part of laid shapes."""
  parts = [
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  ]
  return float(sum(parts))
