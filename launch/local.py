"""Several processes on one machine: python launch/local.py --processes=2 --run='launch/train.py …'.

All of them end when one does not end well, with its exit status; SIGTERM is handed on to all.
"""

import sys

from absl import flags

from sorajax import cli
from sorajax.cluster import processes

_RUN = flags.DEFINE_string('run', None, 'The program and its flags, without `python`.')
_GRACE_S = flags.DEFINE_float('grace_s', 60.0, 'How long others may take to end after one failed.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Whether to say what would run and do nothing.')
flags.mark_flag_as_required('run')


def main() -> None:
  commands = processes.side_by_side(_RUN.value, flags.FLAGS.processes)
  if _DRY_RUN.value:
    print(processes.shown(commands))
  else:
    sys.exit(processes.run_all(commands, _GRACE_S.value))


if __name__ == '__main__':
  cli.run(main)
