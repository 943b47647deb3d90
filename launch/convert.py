"""Writes a model as diffusers reads it: a folder with the transformer that a run learned.

  python launch/convert.py --checkpoint=RUN --out=MODEL

Low-rank changes are added to the weights that they are of. Where the run began with an LTX-2, the
folder is a whole model, with the other parts of that one linked or copied.
"""

from absl import flags

from sorajax import cli
from sorajax.generate import export

_CHECKPOINT = flags.DEFINE_string(
  'checkpoint', None, 'Workdir of a run, or one of its steps, or an LTX-2 as diffusers saves it.'
)
_OUT = flags.DEFINE_string('out', None, 'The folder; there is none yet.')
_DTYPE = flags.DEFINE_enum(
  'dtype', None, [*export.TYPES], 'Of the transformer; default: that of its weights.'
)
_SHARD_GB = flags.DEFINE_float('shard_gb', 5.0, 'Of a file of tensors, at most.', 0.0)
flags.mark_flags_as_required(['checkpoint', 'out'])


def main() -> None:
  exported = export.read(_CHECKPOINT.value)
  whole = export.write(exported, _OUT.value, _DTYPE.value, round(_SHARD_GB.value * 1e9))
  print(f'{"a model" if whole else "a transformer alone"} in {_OUT.value}')


if __name__ == '__main__':
  cli.run(main)
