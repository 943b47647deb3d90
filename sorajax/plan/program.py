"""The very program that a training run would execute, compiled for devices that are not here."""

import dataclasses
import math
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


def train_step(settings: Settings, bucket: Bucket, topology: str) -> Compiled:
  """Compiles one training step on a bucket of clips for a slice of chips, such as v5p:4x4x8.

  Raises:
    DoesNotFit: with how much it needs.
    UserError: an unknown topology, or a mesh, batch or model that does not divide over it.
  """
  began = time.monotonic()
  mesh = sharding.make_mesh(settings.mesh, _devices(topology))
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
    compiled = _compile(step.lower(state, frozen, batch))
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
  try:
    return topologies.get_topology_desc(platform='tpu', topology_name=topology)
  except Exception as error:  # the plug-in raises whatever it likes
    if 'libtpu' in str(error).lower() or 'Unknown backend' in str(error):
      raise UserError("no compiler for TPUs here; pip install 'sorajax[tpu]'") from error
    raise UserError(f'no topology {topology!r}: {one_line(error)}; try v5p:4x4x4') from error


def _compile(lowered: Any) -> Any:
  try:
    return lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' in str(error):
      raise DoesNotFit(one_line(error)) from error
    raise


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
