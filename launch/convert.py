"""Writes an LTX-2 in another layout: what a run learned, or a release, as others read it.

  python launch/convert.py --checkpoint=RUN --out=MODEL
  python launch/convert.py --checkpoint=FILE --version=2.3 --text_encoder=GEMMA --out=MODEL
  python launch/convert.py --checkpoint=FILE --checkpoint=FILE … --version=2.5 --out=MODEL
  python launch/convert.py --checkpoint=RUN --layout=single --out=FILE

MODEL is a folder as diffusers saves it, FILE the one file that Lightricks releases, or one of the
several: of 2.5 give the transformer, the text encoder and the autoencoders. The low-rank
changes of a run are added to the weights that they are of, and where these are an LTX-2, its other
parts come along, linked or copied. There is a tensor in memory at a time.
"""

from absl import flags

from sorajax import cli
from sorajax.errors import UserError
from sorajax.generate import export, layouts
from sorajax.weights import ltx2_released

_CHECKPOINT = flags.DEFINE_multi_string('checkpoint', None, 'RUN or a step of it, MODEL, or FILEs.')
_OUT = flags.DEFINE_string('out', None, 'MODEL, or with --layout=single FILE; not there yet.')
_LAYOUT = flags.DEFINE_enum('layout', 'diffusers', ['diffusers', 'single'], 'What is written.')
_VERSION = flags.DEFINE_enum('version', None, [*ltx2_released.VERSIONS], 'Of FILE.')
_LIKE = flags.DEFINE_string('like', None, 'Of FILE: a MODEL of its sizes, for what it lacks.')
_TEXT = flags.DEFINE_string('text_encoder', None, 'Of FILE: folder of its Gemma, if not in it.')
_DTYPE = flags.DEFINE_enum(
  'dtype', None, [*export.TYPES], 'Of the transformer of RUN; default: that of its weights.'
)
_SHARD_GB = flags.DEFINE_float('shard_gb', 5.0, 'Of a file of tensors in MODEL, at most.', 0.0)
flags.mark_flags_as_required(['checkpoint', 'out'])


def main() -> None:
  out, most = _OUT.value, round(_SHARD_GB.value * 1e9)
  if layouts.are_files(_CHECKPOINT.value):
    _check_not_given('dtype')
    missing = _from_file(most)
    print(f'in {out}: ' + (f'no {", ".join(missing)}' if missing else 'a whole model'))
    return
  _check_not_given('version', 'like', 'text_encoder')
  exported = export.read(*_CHECKPOINT.value)
  if _DTYPE.value is not None:
    exported = export.as_type(exported, _DTYPE.value)
  if _LAYOUT.value == 'single':
    told = layouts.to_file(exported, out)
    print(f'in {out}: one file{"" if told else " without the config of a release in its head"}')
  else:
    whole = export.write(exported, out, most)
    print(f'in {out}: {"a whole model" if whole else "a transformer alone"}')


def _check_not_given(*names: str) -> None:
  for name in names:
    if flags.FLAGS[name].value is not None:
      what = 'this FILE' if layouts.are_files(_CHECKPOINT.value) else 'a RUN or MODEL'
      raise UserError(f'--{name} has no place beside the flags of {what}; leave it out')


def _from_file(most: int) -> list[str]:
  if _LAYOUT.value == 'single':
    raise UserError(f'{_CHECKPOINT.value[0]} is a file already; leave out --layout=single')
  if _LIKE.value is not None:
    _check_not_given('version', 'text_encoder')
    return layouts.like(_CHECKPOINT.value, _OUT.value, _LIKE.value, most)
  if _VERSION.value is None:
    raise UserError(f'add the --version of {_CHECKPOINT.value[0]}, or a MODEL --like it')
  return layouts.to_folder(_CHECKPOINT.value, _OUT.value, _VERSION.value, _TEXT.value, most)


if __name__ == '__main__':
  cli.run(main)
