"""Samples clips: python launch/sample.py --checkpoint=runs/film --prompt='a rabbit' --out=clips.

Writes for each clip the film, a contact sheet with its sound, and a json from which --again makes
the same film once more, byte for byte on the same machine. Killed, the same command goes on.
"""

from absl import flags
from ml_collections import config_flags

from sorajax import cli
from sorajax.errors import UserError
from sorajax.generate import durations, prompts, released, service
from sorajax.generate.ask import Ask
from sorajax.media.drawings import DRAWINGS

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Default: the one kept with the run.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'A run, or an LTX-2 that diffusers saved.')
_LORA = flags.DEFINE_multi_string('lora', [], 'Files of low-rank changes to its transformer.')
_WEIGHTS = flags.DEFINE_enum('weights', None, ['int8'], 'Of layers; default: as they were saved.')
_ENCODED = flags.DEFINE_string('encoded', '', 'Folder of launch/encode_prompts.py, for LTX-2.')
_DECODER = flags.DEFINE_enum('decoder', None, released.DECODERS, 'Default: one_step if there.')
_UPSAMPLER = flags.DEFINE_string('upsampler', None, 'Of latents: clips are made small first.')
_REFINE_LORA = flags.DEFINE_multi_string('refine_lora', [], 'As --lora, for the refining alone.')
_REFINE_PLAIN = flags.DEFINE_bool('refine_plain', False, 'Whether to refine without --lora.')
_PROMPT = flags.DEFINE_multi_string('prompt', [], 'What the clip shows; may be repeated.')
_PROMPTS = flags.DEFINE_string('prompts', None, 'A UTF-8 file with a prompt a line.')
_AGAIN = flags.DEFINE_string('again', None, 'The json of a clip: make that clip once more.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the clips.')
_TASK = flags.DEFINE_string('task', 'text_to_clip', 'Capability, see sorajax/tasks, or remix.')
_INPUT = flags.DEFINE_string('input', None, 'Film, image or sound that the task starts from.')
_GIVEN_S = flags.DEFINE_float('given_seconds', None, 'extend: how much of the input is given.')
_HOLD = flags.DEFINE_float('hold', 1.0, 'How firmly what is given stays: from 0, not, to 1.')
_STRENGTH = flags.DEFINE_float('strength', None, 'remix: from 0, the input itself, to 1; else 0.7.')
_REFERENCE = flags.DEFINE_string('reference', None, 'Film or image that clips are made after.')
_DRAWING = flags.DEFINE_enum('reference_as', 'picture', list(DRAWINGS), 'What is taken of it.')
_SMALLER = flags.DEFINE_integer('reference_smaller', 1, 'How many times smaller that is.', 1)
_KEYFRAME = flags.DEFINE_multi_string('keyframe', [], 'IMAGE@SECONDS: clips come by it then.')
_COUNT = flags.DEFINE_integer('count', 1, 'Clips for each prompt, with seeds counting up.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the first clip.')
_SECONDS = flags.DEFINE_string('seconds', None, 'Or auto, by LTX-2.5; default: of the config.')
_SIZE = flags.DEFINE_string('size', None, 'HEIGHTxWIDTH in pixels; default: of the config.')
_FPS = flags.DEFINE_float('fps', None, 'Frames a second; default: of the config.')
_BATCH = flags.DEFINE_integer('batch', None, 'Clips sampled at once; default: of the config.')
flags.mark_flags_as_required(['checkpoint', 'out'])


def main() -> None:
  cli.join_hosts()
  if (_REFINE_LORA.value or _REFINE_PLAIN.value) and not _UPSAMPLER.value:
    raise UserError('--refine_… is of the second stage; add --upsampler=PATH')
  ask = Ask(
    prompts=prompts.read_prompts(_PROMPT.value, _PROMPTS.value), task=_TASK.value,
    input=_INPUT.value, given_s=_GIVEN_S.value, count=_COUNT.value, seed=_SEED.value,
    seconds=durations.parse(_SECONDS.value), size=_SIZE.value, fps=_FPS.value, batch=_BATCH.value,
    reference=_REFERENCE.value, reference_as=_DRAWING.value, reference_smaller=_SMALLER.value,
    keyframes=tuple(_KEYFRAME.value), hold=_HOLD.value, strength=_STRENGTH.value,
  )  # fmt: skip
  early = bool(_WEIGHTS.value) and not (_LORA.value or _REFINE_LORA.value)  # changes come first
  model = service.load(_CHECKPOINT.value, _CONFIG.value, encoded=_ENCODED.value, eight_bits=early)
  plain = model if _REFINE_PLAIN.value else None
  for file in _LORA.value:
    model = service.with_changes(model, file, kept=plain is not None)
  if _UPSAMPLER.value:
    model = service.with_refiner(model, _UPSAMPLER.value, _REFINE_LORA.value, plain)
  if _DECODER.value:
    model = service.with_decoder(model, _DECODER.value)
  if _WEIGHTS.value:
    model = service.of_8_bits(model)
  if _AGAIN.value:
    films = service.make_again(model, _AGAIN.value, _OUT.value, ask)
  else:
    teller = durations if _SECONDS.value == durations.AUTO else service
    films = service.answer(model, teller.requests_of(model, ask), _OUT.value, ask.batch)
  print(f'{len(films)} clips in {_OUT.value}')


if __name__ == '__main__':
  cli.run(main)
