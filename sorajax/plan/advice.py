"""What to change in a plan that wastes something."""

from collections.abc import Iterator

from sorajax.plan.planned import Plan
from sorajax.plan.search import REMATS
from sorajax.plan.work import Step

TIGHT = 0.1  # share of memory below which a program that fits may not fit another day
LOOSE = 0.5  # share of memory above which less may be computed twice
WHOLE = 0.1  # of what is gathered, above which weights are sent whole by all-reduce instead
LOUD = 0.25  # share of the time above which communication is worth lessening


def advice(plan: Plan) -> Iterator[str]:
  """A line for each thing that is worth a change; none where all is well."""
  yield from _of_layout(plan)
  yield from _of_memory(plan)
  yield from _of_communication(plan)


def _of_layout(plan: Plan) -> Iterator[str]:
  fsdp, tile = plan.compiled.mesh.get('fsdp', 1), plan.chip.tile
  sent = lambda kind: sum(
    size for (k, axes, _), (size, _) in plan.estimate.by_collective.items()
    if (k, axes) == (kind, ('fsdp',))
  )  # fmt: skip
  if sent('all-reduce') <= WHOLE * sent('all-gather'):
    return
  for m, stream in sorted(plan.work.settings.transformer.streams.items()):
    if fsdp > 1 and stream.width / fsdp < tile <= stream.width:
      yield (
        f'fsdp={fsdp} leaves {stream.width // fsdp} of {stream.width} channels of {m} to a device, '
        f'less than the {tile} of a tile, so that weights are sent whole: take fsdp of '
        f'{stream.width // tile} at most, and more of data'
      )


def _of_memory(plan: Plan) -> Iterator[str]:
  remat = plan.work.settings.transformer.remat
  if plan.room < TIGHT:
    trains = isinstance(plan.work, Step) and remat != REMATS[-1]
    more = f', remat={REMATS[max(REMATS.index(remat) + 1, 2)]}' if trains else ''
    yield f'{100 * plan.room:.0f} % of memory is left: take fewer --rows{more} or more of fsdp'
  if plan.room > LOOSE and isinstance(plan.work, Step) and remat != REMATS[0]:
    less = REMATS[REMATS.index(remat) - 1]
    yield (
      f'{100 * plan.room:.0f} % of memory is left and layers are computed twice: try remat={less}, '
      'or more --rows'
    )


def _of_communication(plan: Plan) -> Iterator[str]:
  found = plan.estimate
  if found.exposed <= LOUD * found.seconds:
    return
  spent: dict[str, float] = {}
  for (_, axes, beside), (_, seconds) in found.by_collective.items():
    if not beside:
      name = '+'.join(axes) or 'all'
      spent[name] = spent.get(name, 0.0) + seconds
  worst = max(spent, key=lambda name: spent[name])
  yield (
    f'{100 * found.exposed / found.seconds:.0f} % of the time is exposed communication, most of it '
    f'over {worst}: take more --rows for each device, or fewer devices along {worst}'
  )
