"""The very programs that train and sample, compiled for devices that are not here."""

import dataclasses
import functools
import math
import re
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from sorajax import build, sharding
from sorajax.clip import Batch
from sorajax.codec import video, video_config
from sorajax.codec.convolutional import decode_next
from sorajax.data.latents import LatentSource
from sorajax.data.loader import check_batch
from sorajax.data.rows import blank
from sorajax.data.schedule import Bucket
from sorajax.errors import UserError, one_line
from sorajax.generate.sampling import sampling
from sorajax.network import Network
from sorajax.plan import hlo
from sorajax.plan.memory import Memory
from sorajax.plan.topology import describe
from sorajax.plan.work import Clips, Decoding, start_dtype
from sorajax.settings import Settings
from sorajax.train.state import initial_state, make_step
from sorajax.train.velocity import VelocityObjective

QUICK = {'optimization_level': 9, 'memory_fitting_level': 9}  # O0
# A compiler for GPUs asks a GPU which way to multiply is the fastest; here all are cuBLAS's.
UNASKED = {'xla_gpu_enable_triton_gemm': False}
NO_CLIPS = cast(LatentSource, None)  # the program of a step does not depend on them


@dataclasses.dataclass(frozen=True)
class Compiled:
  """A program and what it took to compile.

  Attributes:
    memory: of one device.
    program: its text, read.
    mesh: axis → size.
    seconds: to trace, lower and compile.
    parameters: how many its network has.
    resident: bytes of memory that this process has had at most, compiling it and before.
  """

  memory: Memory
  program: hlo.Program
  mesh: dict[str, int]
  seconds: float
  parameters: int
  resident: int


class DoesNotFit(UserError):
  """A program needs more memory than a device has."""


def mesh_of(settings: Settings, topology: str, slices: int = 1) -> jax.sharding.Mesh:
  """The mesh of a run over slices of chips, such as v5p:4x4x8.

  Raises:
    UserError: an unknown topology, or a mesh or model that does not divide over it.
  """
  mesh = sharding.make_mesh(settings.mesh, describe(topology, slices))
  build.check_mesh(settings, mesh)
  return mesh


def lies_on(topology: str, slices: int = 1) -> Callable[[sharding.MeshConfig], bool]:
  """Whether a mesh can be laid over slices of chips; `UserError` for an unknown topology."""
  described = describe(topology, slices)

  def lies(config: sharding.MeshConfig) -> bool:
    try:
      sharding.make_mesh(config, described)
    except UserError:
      return False
    return True

  return lies


def train_step(
  settings: Settings, bucket: Bucket, mesh: jax.sharding.Mesh, quick: bool = False,
  room: float = math.inf,
) -> Compiled:  # fmt: skip
  """Compiles one training step on a bucket of clips.

  Args:
    settings: of the run.
    bucket: of clips.
    mesh: as `mesh_of` gives it.
    quick: whether the compiler may leave out what takes it longest. Its program is then
      likely to hold and communicate more than the one that a run would get.
    room: bytes of a device, for compilers that do not know them.

  Raises:
    DoesNotFit: with how much it needs.
    UserError: a batch that does not divide over the mesh.
  """
  began = time.monotonic()
  with jax.set_mesh(mesh):
    step, (state, frozen, batch) = training_program(settings, bucket, mesh)
    start = frozen if settings.lora.rank else {}
    cure = 'take fewer --rows, remat=offload, more micro-batches, or more chips along fsdp'
    lowered = step.lower(state, frozen, batch)
    compiled = _compile(lowered, quick, room, f'a step does not fit; {cure}')
  parts = {'weights': 'params', 'moving average': 'ema', 'optimiser': 'optimizer'}
  held = {name: _bytes(state[part]) for name, part in parts.items()}
  held['weights'] += _bytes(start)
  held['batch'] = _bytes(batch)
  return _read(compiled, mesh, held, {**start, **state['params']}, began)


def sampling_run(
  clips: Clips, mesh: jax.sharding.Mesh, quick: bool = False, room: float = math.inf,
  weights: str = 'float32',
) -> Compiled:  # fmt: skip
  """Compiles all steps of sampling a batch of clips; the codec is another program.

  Args:
    clips: that are made.
    mesh: as `mesh_of` gives it.
    quick: as of `train_step`.
    room: likewise.
    weights: type of the transformer's: float32 as runs keep them, bfloat16 as LTX-2 is released.

  Raises:
    DoesNotFit: with how much it needs.
  """
  began = time.monotonic()
  with jax.set_mesh(mesh):
    run, trained, args = sampling_program(clips, mesh, weights)
    cure = 'take fewer --rows, --weights=bfloat16, or more chips along fsdp or context'
    compiled = _compile(run.lower(*args), quick, room, f'sampling does not fit; {cure}')
  held = {'weights': _bytes(args[0]), 'tokens, prompts': _bytes(args[1:4])}
  return _read(compiled, mesh, held, trained, began, clips.guided)


def decoding_run(
  work: Decoding, mesh: jax.sharding.Mesh, quick: bool = False, room: float = math.inf
) -> Compiled:
  """Compiles a run of a picture decoder in the middle of clips.

  Args:
    work: what is decoded.
    mesh: as `mesh_of` gives it.
    quick: as of `train_step`.
    room: likewise.

  Raises:
    DoesNotFit: with how much it needs.
  """
  began = time.monotonic()
  with jax.set_mesh(mesh):
    args = _, params, _, latents, carried = decoding_arguments(work, mesh)
    lowered = decode_next.lower(*args, last=False)
    cure = 'take fewer --rows, which are clips, or more chips'
    compiled = _compile(lowered, quick, room, f'decoding does not fit; {cure}')
  held = {'weights': _bytes(params), 'latents': _bytes(latents), 'carried': _bytes(carried)}
  return _read(compiled, mesh, held, params, began)


def decoding_arguments(work: Decoding, mesh: jax.sharding.Mesh) -> tuple:
  """What `decode_next` is called with in the middle of clips, on the mesh that is set: the config,
  and the shapes of weights, statistics, latents, and what the runs before left."""
  everywhere = jax.NamedSharding(mesh, sharding.P())
  params = jax.tree.map(lambda a: _laid(a, everywhere), video.shapes(work.config)['decoder'])
  channel = jax.ShapeDtypeStruct((work.config.channels,), jnp.float32)
  by_rows = sharding.divides(work.clips, 'batch')
  split = lambda ndim: sharding.rows_sharding(mesh, ndim, inner=None) if by_rows else everywhere

  def latents(count: int):
    shape = work.clips, count, *work.size[1:], work.config.channels
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=split(5))

  run = functools.partial(decode_next, work.config, params, (channel, channel), last=False)
  lead = video_config.decoder_lead(work.config.decoder)
  _, carried = jax.eval_shape(run, latents(lead + work.chunk - 1), None)
  _, carried = jax.eval_shape(run, latents(work.chunk), carried)
  carried = jax.tree.map(_laid, carried, sharding.shardings(mesh, carried))
  return work.config, params, (channel, channel), latents(work.chunk), carried


def training_program(settings: Settings, bucket: Bucket, mesh: jax.sharding.Mesh) -> tuple:
  """A training step as it is jitted, and the shapes of its arguments, on the mesh that is set."""
  check_batch(bucket, settings.train.micro_batches, mesh)
  network, start = _network(settings), None
  if settings.lora.rank:
    start = _weights(network, mesh, start_dtype(settings))
    network = dataclasses.replace(network, lora=settings.lora)
  objective = VelocityObjective(settings, network, NO_CLIPS, mesh, start)
  shapes = jax.eval_shape(initial_state(objective))
  layout = sharding.shardings(mesh, shapes)
  state = jax.tree.map(_laid, shapes, layout)
  frozen = start or jax.eval_shape(objective.frozen)
  return make_step(objective, mesh, layout), (state, frozen, _batch(settings, bucket, mesh))


def sampling_program(clips: Clips, mesh: jax.sharding.Mesh, weights: str = 'float32') -> tuple:
  """All steps of sampling as they are jitted, the shapes of what a run learns, and those of the
  arguments, on the mesh that is set."""
  settings, bucket, network = clips.settings, clips.bucket, _network(clips.settings)
  params = _weights(network, mesh, weights)
  trained = {
    name: part for name, part in params.items() if name != 'text' or network.text.trainable
  }
  batch = _laid_rows(blank(bucket.rows, bucket, _channels(settings)), mesh)
  seeds = jax.ShapeDtypeStruct((bucket.rows,), np.uint32)
  run = sampling(network, settings.sample, clips.shift)
  return run, trained, (params, batch.tokens, batch.text, batch.text, seeds)


def _weights(network: Network, mesh: jax.sharding.Mesh, dtype: str) -> Any:
  """The shapes of all weights on the mesh that is set, those of the transformer of a type."""
  shapes = jax.eval_shape(lambda: network.init(jax.random.key(0)))
  params = jax.tree.map(_laid, shapes, sharding.shardings(mesh, shapes))
  cast = lambda a: jax.ShapeDtypeStruct(a.shape, jnp.dtype(dtype), sharding=a.sharding)
  params['transformer'] = jax.tree.map(cast, params['transformer'])
  everywhere = jax.NamedSharding(mesh, sharding.P())
  return {
    **params,
    **jax.tree.map(lambda a: _laid(a, everywhere), jax.eval_shape(network.frozen)),
  }


def _network(settings: Settings) -> Network:
  """On latents of any codec."""
  spread = {m: (1.0,) * channels for m, channels in _channels(settings).items()}
  given = spread if settings.flow.preconditioned else {}
  return Network(settings.transformer, build.text_encoder(settings.text), given)


def _channels(settings: Settings) -> dict[str, int]:
  return {m: s.channels for m, s in settings.transformer.streams.items()}


def _read(
  compiled: Any, mesh: jax.sharding.Mesh, held: Mapping[str, float], params: Any, began: float,
  second: float = 1.0,
) -> Compiled:  # fmt: skip
  analysis = compiled.memory_analysis()
  memory = Memory(held, analysis.peak_memory_in_bytes, analysis.host_temp_size_in_bytes)
  sizes = {name: mesh.shape[name] for name in mesh.axis_names}
  program = hlo.Program(compiled.as_text(), sizes, second)
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
  resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # told in KiB
  return Compiled(memory, program, sizes, time.monotonic() - began, count, resident)


def _compile(lowered: Any, quick: bool, room: float, refusal: str) -> Any:
  """Raises `DoesNotFit` with a refusal WHAT; CURE, between which it says how much is needed."""
  options = (QUICK if quick else {}) | ({} if sharding.platform() == 'tpu' else UNASKED)
  what, cure = refusal.split('; ')
  try:
    compiled = lowered.compile(options)
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    sizes = re.search(r'\(([\d.]+[KMGTP])\) exceeds available HBM \(([\d.]+[KMGTP])\)', str(error))
    needs = (
      f'needs {sizes.group(1)} and a device has {sizes.group(2)}' if sizes else one_line(error)
    )
    raise DoesNotFit(f'{what}: it {needs}; {cure}') from error
  peak = compiled.memory_analysis().peak_memory_in_bytes
  if peak > room:
    needs = f'needs {peak / 2**30:.2f}G and a device has {room / 2**30:.2f}G'
    raise DoesNotFit(f'{what}: it {needs}; {cure}')
  return compiled


def _batch(settings: Settings, bucket: Bucket, mesh: jax.sharding.Mesh) -> Batch:
  """A batch of shapes, laid over the mesh as the loader lays arrays."""
  count = settings.train.micro_batches
  made = blank(bucket.rows // count, bucket, _channels(settings))
  repeat = lambda x: np.broadcast_to(x, (count, *x.shape))
  return _laid_rows(jax.tree.map(repeat, made), mesh, 1)


def _laid_rows(batch: Batch, mesh: jax.sharding.Mesh, batch_dim: int = 0) -> Batch:
  where = lambda x: sharding.rows_sharding(mesh, x.ndim, batch_dim)
  return jax.tree.map(lambda x: _laid(x, where(x)), batch)


def _laid(shape: Any, where: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where)


def _bytes(tree: Any) -> float:
  """Of one device's part of laid shapes."""
  parts = [
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  ]
  return float(sum(parts))
