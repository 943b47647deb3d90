"""Plans a training step of every rung of the ladder on its slice: python tools/plan_ladder.py

Prints the table of launch/pods.md, a row as soon as its program is compiled. Needs
pip install 'sorajax[tpu]'; ten minutes on two cores, with less of the compiler's effort than a run
spends (`--noquick` for all of it).
"""

import runpy
from pathlib import Path

from absl import flags

from sorajax import build, cli
from sorajax.errors import UserError
from sorajax.plan import plan
from sorajax.plan.planned import Plan
from sorajax.plan.report import GIB

_RUNGS = flags.DEFINE_list('rungs', [], 'Names of those to plan; all by default.')
_QUICK = flags.DEFINE_bool('quick', True, 'Compile with less effort, in a fraction of the time.')
CONFIG = Path(__file__).parents[1] / 'configs' / 'ladder.py'
HEAD = (
  'rung', 'parameters', 'slice', 'mesh', 'clips a step', 'a device holds', 'a step takes', 'MFU',
  'clip-hours a day', 'compiled in',
)  # fmt: skip


def main() -> None:
  ladder = runpy.run_path(str(CONFIG))
  names = _RUNGS.value or list(ladder['RUNGS'])
  unknown = [name for name in names if name not in ladder['RUNGS']]
  if unknown:
    raise UserError(f'no rung {unknown[0]!r}; choose some of {", ".join(ladder["RUNGS"])}')
  print(f'| {" | ".join(HEAD)} |\n|{"---|" * len(HEAD)}', flush=True)
  for name in names:
    settings = build.settings(ladder['get_config'](name))
    place = plan.Place(name, ladder['RUNGS'][name].topology, quick=_QUICK.value)
    for made in plan.of_training(settings, place):
      print(f'| {" | ".join(row(made))} |', flush=True)


def row(made: Plan) -> list[str]:
  """Of the table, in the order of `HEAD`."""
  seconds, prepare = made.estimate.seconds, made.work.settings.prepare
  mesh = ' × '.join(f'{axis} {n}' for axis, n in made.compiled.mesh.items() if n > 1)
  hours = made.work.clips / seconds * 24 * max(prepare.frames) / prepare.fps
  room = made.chip.memory / made.chip.devices / GIB
  return [
    made.name, f'{made.compiled.parameters / 1e6:,.0f} M', made.where, mesh,
    f'{made.work.clips} of {prepare.height}×{prepare.width}',
    f'{made.compiled.memory.peak / GIB:.1f} of {room:.0f} GiB', f'{seconds:.2f} s',
    f'{100 * made.mfu:.0f} %', f'{hours:,.0f}', f'{made.compiled.seconds:.0f} s',
  ]  # fmt: skip


if __name__ == '__main__':
  cli.run(main)
