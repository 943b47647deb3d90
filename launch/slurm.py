"""A run on Slurm: python launch/slurm.py --nodes=4 --gpus=8 --run='python launch/train.py …'.

The run saves two minutes before its time is over and is queued again; the same with preemption.
"""

from absl import flags

from sorajax import cli
from sorajax.cluster import commands, processes

_NAME = flags.DEFINE_string('name', 'sorajax', 'Of the run.')
_NODES = flags.DEFINE_integer('nodes', 1, 'How many.', lower_bound=1)
_GPUS = flags.DEFINE_integer('gpus', 8, 'Of each node.', lower_bound=0)
_CPUS = flags.DEFINE_integer(
  'cpus', None, 'Cores of each node; 8 for each of its GPUs by default.', lower_bound=1
)
_HOURS = flags.DEFINE_float('hours', 24.0, 'At most, at a time.', lower_bound=0.1)
_RUN = flags.DEFINE_string('run', None, 'The command of every node.')
_OPTIONS = flags.DEFINE_string('options', '', 'Further options of sbatch.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Whether to print the script and do nothing.')
flags.mark_flag_as_required('run')


def main() -> None:
  script = commands.sbatch(
    _NAME.value, _NODES.value, _GPUS.value, _HOURS.value, _RUN.value, _OPTIONS.value, _CPUS.value
  )
  if _DRY_RUN.value:
    print(script, end='')
    return
  processes.hand(['sbatch'], script)


if __name__ == '__main__':
  cli.run(main)
