"""Writes what a run with lora.rank learned, as diffusers reads it: a file of safetensors.

python launch/lora.py --checkpoint=RUN --out=CHANGES.safetensors
"""

from absl import flags

from sorajax import cli
from sorajax.generate import export

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Workdir of a run, or one of its steps.')
_OUT = flags.DEFINE_string('out', None, 'The file.')
flags.mark_flags_as_required(['checkpoint', 'out'])


def main() -> None:
  export.write_changes(_CHECKPOINT.value, _OUT.value)
  print(f'low-rank changes in {_OUT.value}')


if __name__ == '__main__':
  cli.run(main)
