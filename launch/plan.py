"""Plans a run: python launch/plan.py --config=configs/ltx2.py --topology=v5p:4x4x8.

Says whether it fits and how long a step takes. Compiles the very step that train.py would run,
ahead of time, for chips that are not here, and reads memory, products and talk between devices
from the program. Needs pip install 'sorajax[tpu]'.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sorajax import build, cli
from sorajax.plan import plan, report

_CONFIG = config_flags.DEFINE_config_file('config', None, 'What to train; see configs/.')
_TOPOLOGY = flags.DEFINE_string('topology', None, 'CHIP:SIDExSIDE, such as v5p:4x4x8 or v6e:16x16.')
_ROWS = flags.DEFINE_integer('rows', None, 'Rows of a step in place of those of the config.')
_PRICE = flags.DEFINE_float('price', 0.0, 'Of a chip for an hour, in any currency.')
_QUICK = flags.DEFINE_bool('quick', False, 'Compile with less effort, in a fraction of the time.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the plan as a page, and the program as text.')
flags.mark_flags_as_required(['config', 'topology'])


def main() -> None:
  settings = build.settings(_CONFIG.value)
  name, rows, price = _CONFIG.value.name, _ROWS.value, _PRICE.value
  for made in plan.plans(settings, name, _TOPOLOGY.value, rows, price, _QUICK.value):
    print(report.text(made), flush=True)
    if _OUT.value:
      report.write(made, Path(_OUT.value))


if __name__ == '__main__':
  cli.run(main)
