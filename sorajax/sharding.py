"""The mesh, and the one table that maps logical axes onto it.

Parameters and activations name their axes logically (`embed`, `heads`, `batch` …) where they are
defined; nothing but `RULES` knows which mesh axes those are.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils

from sorajax.errors import UserError

P = jax.P
Mesh = jax.sharding.Mesh | jax.sharding.AbstractMesh

RULES: Mapping[str, Any] = {
  # activations
  'batch': ('data', 'fsdp'),
  'tokens': 'context',
  'swapped_heads': ('tensor', 'context'),  # tensor stays major: one all-to-all, no regather
  # parameters
  'embed': 'fsdp',
  'heads': 'tensor',
  'mlp': 'tensor',
}

Axes = tuple[str, ...]
AXES: Axes = ('data', 'fsdp', 'context', 'tensor')


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """How many devices along each mesh axis; one of them may be -1, the rest of the devices.

  Attributes:
    data: copies of the model that see different rows.
    fsdp: shards of every parameter; rows are split over them too.
    context: shards of the token axis.
    tensor: shards of heads and hidden units.
  """

  data: int = -1
  fsdp: int = 1
  context: int = 1
  tensor: int = 1


def make_mesh(config: MeshConfig, topology: Any = None) -> jax.sharding.Mesh:
  """A mesh of explicit axes over all devices; `UserError` where they do not divide.

  Several slices of TPUs lie along `data`, since the network between them is slow.

  Args:
    config: its sizes.
    topology: devices that are not here, as `jax.experimental.topologies` describes them.
  """
  sizes = [getattr(config, axis) for axis in AXES]
  devices = jax.devices() if topology is None else topology.devices
  count, slices = len(devices), _slices(devices)
  if sizes.count(-1) > 1 or any(s < 1 and s != -1 for s in sizes):
    raise UserError(f'config.mesh is {sizes}; give positive sizes, at most one of them -1')
  known = math.prod(s for s in sizes if s != -1)
  if -1 in sizes and count % known == 0:
    sizes[sizes.index(-1)] = count // known
  if math.prod(sizes) != count:
    shape = ' × '.join(f'{a}={s}' for a, s in zip(AXES, sizes))
    cure = f'choose sizes that divide {count}' if -1 in sizes else 'set data=-1'
    need = f'a multiple of {known}' if -1 in sizes else f'{known}'
    raise UserError(f'mesh {shape} needs {need} devices and there are {count}; {cure}')
  if sizes[0] % slices:
    shape = f'data={sizes[0]} does not divide over {slices} slices'
    raise UserError(f'mesh {shape}, which lie along it; choose a multiple of {slices}')
  explicit = (jax.sharding.AxisType.Explicit,) * len(AXES)
  if devices[0].platform != 'tpu' and topology is None:
    return jax.make_mesh(tuple(sizes), AXES, axis_types=explicit)
  within = (sizes[0] // slices, *sizes[1:])
  try:
    if slices == 1:
      found = mesh_utils.create_device_mesh(within, devices, allow_split_physical_axes=True)
    else:
      found = mesh_utils.create_hybrid_device_mesh(
        within, (slices, 1, 1, 1), devices, allow_split_physical_axes=True
      )
  except (NotImplementedError, ValueError) as error:
    raise UserError(
      f'mesh {sizes} does not lie on the torus of these chips; choose sizes that are products of '
      f'its sides'
    ) from error
  return jax.sharding.Mesh(found, AXES, axis_types=explicit)


def _slices(devices: Any) -> int:
  """How many slices of TPUs devices belong to; 1 where they are no TPUs."""
  if devices[0].platform != 'tpu':
    return 1
  return len({getattr(device, 'slice_index', 0) for device in devices})


def abstract_mesh(sizes: tuple[int, ...]) -> jax.sharding.AbstractMesh:
  """A mesh of explicit axes of these sizes over no devices at all."""
  explicit = (jax.sharding.AxisType.Explicit,) * len(AXES)
  return jax.sharding.AbstractMesh(sizes, AXES, axis_types=explicit)


def spec(*axes: str | None) -> jax.sharding.PartitionSpec:
  """Logical axis names, one a dimension → mesh axes."""
  return P(*(None if a is None else RULES[a] for a in axes))


def shards_of(mesh: Mesh, axis: str) -> int:
  """Over how many shards of the mesh the logical `axis` is split."""
  return math.prod(mesh.shape[n] for n in _mesh_axes(axis))


def shards(axis: str) -> int:
  """Over how many shards of the current mesh the logical `axis` is split; 1 where none is set."""
  return shards_of(jax.sharding.get_abstract_mesh(), axis) if is_laid() else 1


def is_laid() -> bool:
  """Whether arrays lie over a mesh; within `over_picture_rows`, each device sees its own alone."""
  return jax.sharding.AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types


def alone() -> bool:
  """Whether a single device computes, be it of a mesh or not."""
  return jax.sharding.get_abstract_mesh().size <= 1


def whole(x: jax.Array) -> jax.Array:
  """x, of which every device holds all."""
  return reshard(x, *(None,) * x.ndim)


def layout(x: jax.Array) -> jax.NamedSharding | None:
  """How an array lies over the mesh that is set; None where none is."""
  return jax.typeof(x).sharding if is_laid() else None


def like(x: jax.Array, other: jax.Array) -> jax.Array:
  """x [...], laid as another array of its shape is."""
  return jax.reshard(x, jax.typeof(other).sharding.spec) if is_laid() else x


def divides(size: int, axis: str) -> bool:
  """Whether `size` splits evenly over the current mesh's share of the logical `axis`."""
  return size % shards(axis) == 0


def _mesh_axes(axis: str) -> tuple[str, ...]:
  return RULES[axis] if isinstance(RULES[axis], tuple) else (RULES[axis],)


def check_divides(mesh: Mesh, what: str, size: int, axis: str) -> None:
  """Raises unless `size` splits evenly over the mesh axes of the logical `axis`."""
  shards = shards_of(mesh, axis)
  if size % shards:
    shape = ' × '.join(f'{n}={mesh.shape[n]}' for n in _mesh_axes(axis))
    cure = f'try {math.ceil(size / shards) * shards}'
    if axis == 'batch' and size and shards % size == 0:
      cure += f', or have {shards // size} devices share a row by config.mesh.context'
    raise UserError(f'{what} {size} does not divide over {shards} shards ({shape}); {cure}')


def reshard(x: jax.Array, *axes: str | None) -> jax.Array:
  """`x` with its dimensions laid over the mesh as named; nothing where no mesh is set."""
  return jax.reshard(x, spec(*axes)) if is_laid() else x


def by_rows(x: Any) -> Any:
  """An array, of the host's or not, split over devices by its rows if they divide, else whole."""
  return reshard(x, 'batch' if divides(len(x), 'batch') else None)


def everywhere(tree: Any) -> Any:
  """Arrays, whole on every device of the mesh but for those that lie over it already.

  Where no mesh is set, they go to the first device.
  """
  if not is_laid():
    return jax.device_put(tree)
  mesh = jax.sharding.get_mesh()
  lies = lambda a: getattr(getattr(a, 'sharding', None), 'mesh', None) == mesh
  put = lambda a: a if lies(a) else jax.device_put(a, jax.NamedSharding(mesh, P()))
  return jax.tree.map(put, tree)


def reshape(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """`x` in another shape, split over devices along the first dimension as before, else whole."""
  if not is_laid():
    return x.reshape(shape)
  rest = (None,) * (len(shape) - 1)
  return jax.lax.reshape(x, shape, out_sharding=P(jax.typeof(x).sharding.spec[0], *rest))


def shape_here(x: jax.Array) -> tuple[int, ...]:
  """The shape of what one device holds of `x`."""
  return jax.typeof(x).sharding.shard_shape(x.shape) if is_laid() else x.shape


def platform() -> str:
  """Of the devices of the current mesh, be they here or not; where none is set, of JAX's own."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return jax.default_backend() if device is None else device.platform


def each_device(run: Callable[..., jax.Array], like: jax.Array, *others: Any) -> jax.Array:
  """`run(like, *others)` by each device on its parts; the result lies as `like` does.

  The others are arrays, or trees of them.
  """
  if not is_laid():
    return run(like, *others)
  specs = jax.tree.map(lambda x: jax.typeof(x).sharding.spec, (like, *others))
  apart = jax.shard_map(run, in_specs=specs, out_specs=specs[0], check_vma=False)
  return apart(like, *others)


def gather_tokens(x: jax.Array) -> jax.Array:
  """All devices' tokens [B, T, …] of the parts that each holds, within `each_device`."""
  return jax.lax.all_gather(x, RULES['tokens'], axis=1, tiled=True)


def axes_for_rows(rows: int, least: int) -> Axes:
  """The axes of the current mesh over which most devices get equal shares of so many rows of a
  picture, `least` of them or more; none where no mesh is set.
  """
  if not is_laid():
    return ()
  some = [axes for n in range(len(AXES) + 1) for axes in itertools.combinations(AXES, n)]
  even = [axes for axes in some if rows % shards_along(axes) == 0]
  fits = (axes for axes in even if rows >= least * shards_along(axes))
  return max(fits, key=shards_along, default=())


def shards_along(axes: Axes) -> int:
  """How many devices of the current mesh lie along some of its axes."""
  return math.prod(jax.sharding.get_abstract_mesh().shape[axis] for axis in axes)


def over_picture_rows(
  run: Callable[[Any, Any, Axes], Any], whole: Any, pictures: Any, axes: Axes
) -> Any:
  """`run(whole, pictures, axes)`, each device with its share of the rows of every picture.

  Args:
    run: told over what it sees a share; what lies beyond it, `neighbours` tells. Arrays of 5
      dimensions that it returns are pictures [B, F, H, W, C], all others the same everywhere.
    whole: arrays that every device sees whole.
    pictures: arrays [B, F, H, W, C] whose H divide over the axes; all others whole.
    axes: of the mesh; devices along all others do the same.
  """
  shared = P(None, None, axes)
  layout = lambda tree: jax.tree.map(lambda a: shared if a.ndim == 5 else P(), tree)
  bare = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (whole, pictures))
  with no_mesh():
    made = jax.eval_shape(lambda a, b: run(a, b, ()), *bare)
  specs = jax.tree.map(lambda _: P(), whole), layout(pictures)
  shares = jax.tree.map(jax.reshard, (whole, pictures), specs)
  part = lambda a, b: run(a, b, axes)
  return jax.shard_map(part, in_specs=specs, out_specs=layout(made))(*shares)


def neighbours(x: jax.Array, rows: int, axes: Axes) -> tuple[jax.Array, jax.Array]:
  """The last `rows` of the share above and the first of the share below, zeros beyond the picture.

  Within `over_picture_rows`, for x [B, F, H, W, C].
  """
  count = jax.lax.axis_size(axes)
  down, up = [(i, i + 1) for i in range(count - 1)], [(i + 1, i) for i in range(count - 1)]
  above = jax.lax.ppermute(x[:, :, -rows:], axes, down)
  return above, jax.lax.ppermute(x[:, :, :rows], axes, up)


def at_edges(axes: Axes) -> tuple[jax.Array, jax.Array]:
  """Whether this share is the topmost, and whether it is the lowest."""
  here = jax.lax.axis_index(axes)
  return here == 0, here == jax.lax.axis_size(axes) - 1


def no_mesh() -> AbstractContextManager:
  """Within, arrays are laid over nothing, whatever mesh is set outside."""
  return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ()))


def shardings(mesh: jax.sharding.Mesh, abstract: Any) -> Any:
  """The NamedSharding of every leaf of an `eval_shape` result, replicated where none is known."""

  def one(leaf: Any) -> jax.NamedSharding:
    known = getattr(leaf, 'sharding', None)
    return jax.NamedSharding(mesh, known.spec if known is not None else P())

  return jax.tree.map(one, abstract)


def rows_here(mesh: jax.sharding.Mesh, rows: int) -> tuple[int, ...]:
  """Which rows of a batch the devices of this process hold, ascending."""
  index_map = jax.NamedSharding(mesh, spec('batch')).addressable_devices_indices_map((rows,))
  slices = [index[0] for index in index_map.values() if index is not None]
  return tuple(sorted({i for s in slices for i in range(*s.indices(rows))}))


def rows_sharding(
  mesh: jax.sharding.Mesh, ndim: int, batch_dim: int = 0, inner: str | None = 'tokens'
) -> jax.NamedSharding:
  """How a batch array lies: rows along `batch_dim`, the logical axis `inner` in the next one."""
  axes: list[str | None] = [None] * ndim
  axes[batch_dim : batch_dim + 2] = ['batch', inner][: ndim - batch_dim]
  return jax.NamedSharding(mesh, spec(*axes))


def place_rows(
  mesh: jax.sharding.Mesh, local: np.ndarray, rows: tuple[int, ...], total: int,
  batch_dim: int = 0, inner: str | None = 'tokens',
) -> jax.Array:  # fmt: skip
  """This process's rows of a batch array → the global array.

  Args:
    mesh: the mesh to lay it over.
    local: [..., len(rows), T, ...] with its rows along `batch_dim` in the order of `rows`.
    rows: as `rows_here` gave them.
    total: how many rows the global batch has.
    batch_dim: which dimension the rows lie along.
    inner: the logical axis of the dimension after it, if there is one.
  """
  shape = (*local.shape[:batch_dim], total, *local.shape[batch_dim + 1 :])
  where = {row: i for i, row in enumerate(rows)}

  def cut(index: Any) -> np.ndarray:
    picked = [where[i] for i in range(*index[batch_dim].indices(total))]
    rest = (*index[:batch_dim], slice(None), *index[batch_dim + 1 :])
    return local[rest].take(picked, axis=batch_dim)

  return jax.make_array_from_callback(shape, rows_sharding(mesh, len(shape), batch_dim, inner), cut)


def gathered(tree: Any) -> Any:
  """Arrays → whole arrays on the host.

  Where they lie on several processes' devices, all of these must call it.
  """
  if all(getattr(leaf, 'is_fully_addressable', True) for leaf in jax.tree.leaves(tree)):
    return jax.device_get(tree)
  return multihost_utils.process_allgather(tree, tiled=True)


def jit_init(mesh: jax.sharding.Mesh, init: Callable[[], Any]) -> tuple[Any, Any]:
  """Runs `init` with every leaf created where it will live.

  Returns:
    The tree, and the same tree of its NamedShardings.
  """
  layout = shardings(mesh, jax.eval_shape(init))
  return jax.jit(init, out_shardings=layout)(), layout
