"""Prompts of a command line, and those that a released model reads beforehand."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import jax

from sorajax import sharding
from sorajax.errors import UserError
from sorajax.generate import released
from sorajax.settings import Settings
from sorajax.sharding import MeshConfig
from sorajax.weights import encoded

MOST_PROMPTS_BYTES = 64 * 2**20


def read_prompts(given: Sequence[str], file: str | None) -> tuple[str, ...]:
  """Prompts of the command line and of a file, one a line; `UserError` where there are none."""
  prompts = list(given)
  if file is not None:
    path = Path(file)
    if not path.is_file():
      raise UserError(f'no file {file}; give a UTF-8 text file with a prompt a line')
    if path.stat().st_size > MOST_PROMPTS_BYTES:
      raise UserError(f'{file} has {path.stat().st_size} bytes; split it into smaller files')
    try:
      lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
      raise UserError(f'{file} is not UTF-8 at byte {error.start}; save it as UTF-8') from error
    prompts += [line.strip() for line in lines if line.strip()]
    if not prompts:
      raise UserError(f'{file} holds no prompt; write one a line')
  for prompt in prompts:
    if any(0xD800 <= ord(c) <= 0xDFFF for c in prompt):
      raise UserError('a --prompt is not UTF-8; check the encoding of the terminal')
  return tuple(prompts) or ('',)


def encode_prompts(
  path: str | os.PathLike[str], prompts: Sequence[str], folder: str, config: Settings | None,
  batch: int,
) -> int:  # fmt: skip
  """Stores what the text encoder of an LTX-2 makes of prompts; returns how many a folder has.

  Args:
    path: the model, as diffusers saves it.
    prompts: any number.
    folder: of the encoded ones.
    config: whose mesh and longest prompt are taken; None for the model's own.
    batch: prompts read at once.

  Raises:
    UserError: no LTX-2 there, or a folder that holds prompts of another.
  """
  if not released.is_released(Path(path)):
    raise UserError(f'{path} is no LTX-2 as diffusers saves it; others read prompts as they sample')
  model = released.text_of(Path(path))
  if config is not None:
    model = dataclasses.replace(model, max_tokens=config.text.max_tokens)
  mesh = sharding.make_mesh(config.mesh if config else MeshConfig())
  rows = mesh.shape['data'] * mesh.shape['fsdp']
  with jax.set_mesh(mesh):
    return encoded.store(model, prompts, folder, -(-batch // rows) * rows)
