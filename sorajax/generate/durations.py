"""Clips as long as a model finds fit for their prompts."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from sorajax import sharding
from sorajax.clip import Text
from sorajax.codec import plain
from sorajax.errors import UserError
from sorajax.generate import service
from sorajax.generate.ask import Ask
from sorajax.generate.request import Request
from sorajax.generate.sampling import rows_over
from sorajax.generate.service import Model
from sorajax.text.duration import Duration, frames_of
from sorajax.weights import ltx2_duration
from sorajax.weights.shards import Shards

AUTO, HEAD = 'auto', 'duration_head'


def parse(text: str | None) -> float | None:
  """What --seconds says; None for nothing and for `auto`."""
  if text is None or text == AUTO:
    return None
  try:
    return float(text)
  except ValueError as error:
    raise UserError(f'--seconds={text} is no number; give one, or {AUTO}') from error


def requests_of(model: Model, ask: Ask) -> list[Request]:
  """As `service.requests_of`, of clips whose durations the model finds from their prompts.

  Raises:
    UserError: a model that does not tell durations.
  """
  fps = service.requests_of(model, ask)[0].fps
  stride = model.codec.geometry.video.stride[0]
  prompts = list(dict.fromkeys(ask.prompts))
  found = dict(zip(prompts, seconds_of(model, prompts)))
  made: list[Request] = []
  for prompt in ask.prompts:
    seconds = frames_of(found[prompt], fps, stride) / fps
    own = dataclasses.replace(
      ask, prompts=(prompt,), seconds=seconds, fps=fps, seed=ask.seed + len(made)
    )
    made += service.requests_of(model, own)
  return made


def seconds_of(model: Model, prompts: Sequence[str]) -> list[float]:
  """How long a clip of each prompt should be, as the model's duration head says.

  Raises:
    UserError: a model without one, or one that is damaged or of another model.
  """
  own, encoder = model.settings.text, model.network.text
  folder = Path(own.folder) / HEAD
  if own.kind != 'ltx2' or not folder.is_dir():
    raise UserError(
      f'{model.workdir} has no {HEAD}, which LTX-2.5 finds durations by; give --seconds as a number'
    )
  shards = Shards(folder)
  config = ltx2_duration.config_of(shards.config())
  if config.audio + config.video != encoder.width:
    raise UserError(
      f'{folder} reads {config.audio + config.video} channels of text and the connectors give '
      f'{encoder.width}; they are of other releases'
    )
  params = ltx2_duration.params_of(config, shards)
  measure = jax.jit(lambda params, text: plain.joined(Duration, config, params)(text))
  found: list[float] = []
  rows = rows_over(model.mesh, 1)
  for i in range(0, len(prompts), rows):
    some = prompts[i : i + rows]
    text = _read(model, [*some, *[some[-1]] * (rows - len(some))]).astype(np.float32)
    found += np.asarray(measure(params, text))[: len(some)].astype(float).tolist()
  if not np.isfinite(found).all():
    raise UserError(f'{folder} gives durations that are no numbers; download it again')
  return found


def _read(model: Model, prompts: Sequence[str]) -> np.ndarray:
  """What the streams read of prompts, a row each."""
  encoder = model.network.text
  ids = np.stack([encoder.tokenize(prompt) for prompt in prompts])
  with jax.set_mesh(model.mesh):
    text = sharding.everywhere(Text(ids, np.ones_like(ids), np.zeros_like(ids)))
    return sharding.gathered(jax.jit(encoder.encode)(model.params['text'], text))
