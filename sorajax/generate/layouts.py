"""An LTX-2 in the one file that Lightricks releases ↔ in a folder as diffusers saves it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sorajax.errors import UserError
from sorajax.generate import released
from sorajax.generate.export import TRANSFORMER, Exported, link, link_rest
from sorajax.media.atomic import new_folder, write_text
from sorajax.weights import ltx2_duration, ltx2_parts, ltx2_released, ltx2_single_file, stored
from sorajax.weights.ltx2_single_file import KEPT
from sorajax.weights.shards import File, Shards, read_json
from sorajax.weights.stored import Part

TEXT, TOKENIZER, DURATION = 'text_encoder', 'tokenizer', 'duration_head'
OF_TEXT = ('config.json', 'generation_config.json', 'model')  # what its files begin with
OF_TOKENIZER = ('tokenizer', 'special_tokens_map', 'added_tokens', 'chat_template')


def to_folder(
  file: str | os.PathLike[str], out: str | os.PathLike[str], version: str,
  text_encoder: str | None = None, shard_bytes: int = stored.SHARD_BYTES,
) -> list[str]:  # fmt: skip
  """Writes the parts that a file holds as diffusers saves them; the folder appears whole or not.

  Args:
    file: of safetensors.
    out: the folder; there is none yet.
    version: one of `ltx2_released.VERSIONS`.
    text_encoder: folder of the Gemma that reads prompts, as transformers saves it, which is linked
      or copied; None for none.
    shard_bytes: of a file of tensors, at most.

  Returns:
    what the folder lacks to be a whole model.

  Raises:
    UserError: a file of another version or that is damaged, something at `out`, a full disk, or a
      place that may not be written to.
  """
  text = None if text_encoder is None else read_json(Path(text_encoder) / 'config.json')
  configs = ltx2_released.configs_of(version, text)
  try:
    return _to_folder(Path(file), Path(out), configs, text_encoder, shard_bytes)
  except UserError as error:
    own = ltx2_single_file.version_of(file) if 'of this version' in str(error) else None
    if own in (None, version):
      raise
    raise UserError(f'{file} is an LTX-{own} and --version={version}; give {own}') from error


def like(
  file: str | os.PathLike[str], out: str | os.PathLike[str], folder: str | os.PathLike[str],
  shard_bytes: int = stored.SHARD_BYTES,
) -> list[str]:  # fmt: skip
  """As `to_folder`, of a model of the sizes of another one, which gives it the parts that it lacks.

  Args:
    file: of safetensors.
    out: the folder; there is none yet.
    folder: of the other model, as diffusers saves it.
    shard_bytes: of a file of tensors, at most.
  """
  other = Path(folder)
  if not released.is_released(other):
    raise UserError(f'{other} is no model as diffusers saves it; it lacks {released.INDEX}')
  configs = {part: read_json(other / part / 'config.json') for part in ltx2_parts.PARTS}
  return _to_folder(Path(file), Path(out), configs, None, shard_bytes, other)


def _to_folder(
  file: Path, out: Path, configs: Mapping[str, Mapping[str, Any]], text_encoder: str | None,
  shard_bytes: int, other: Path | None = None,
) -> list[str]:  # fmt: skip
  parts, rest, metadata = ltx2_single_file.read(file, configs)
  head = ltx2_duration.part_of(rest)
  if head is not None:
    parts[DURATION] = head
  classes = None if text_encoder is None else _classes(Path(text_encoder))
  with new_folder(out) as folder:
    stored.check_room(folder, sum(part.bytes for part in parts.values()))
    for name, part in parts.items():
      stored.write_folder(folder / name, part, shard_bytes)
    (folder / KEPT).parent.mkdir()
    stored.write_file(folder / KEPT, rest, metadata)
    if other is not None:
      link_rest(other, folder, (*parts, KEPT.parts[0]))
      return []
    (folder / 'scheduler').mkdir()
    _write_json(folder / 'scheduler' / 'scheduler_config.json', ltx2_released.SCHEDULER)
    missing = [name for name in configs if name not in parts]
    if text_encoder is None or classes is None:
      return [*missing, TEXT, TOKENIZER]
    _link_text(Path(text_encoder), folder)
    if not missing:
      vocoder = configs['vocoder']['_class_name']
      index = ltx2_released.index_of(vocoder, *classes)
      if head is not None:
        index[DURATION] = ['ltx2', ltx2_duration.CLASS]
      _write_json(folder / released.INDEX, index)
    return missing


def _classes(gemma: Path) -> tuple[str, str]:
  """The names of the classes of a text encoder and of its tokenizer.

  Raises:
    UserError: a folder that lacks a file, or is damaged.
  """
  Shards(gemma)
  config, words = (read_json(gemma / f'{name}.json') for name in ('config', 'tokenizer_config'))
  try:
    return config['architectures'][0], words['tokenizer_class']
  except (KeyError, IndexError) as error:
    raise UserError(f'{gemma} names no classes; give it as transformers saves it') from error


def _link_text(gemma: Path, folder: Path) -> None:
  """Links the files of a text encoder and of its tokenizer into two folders."""
  for name, begins in ((TEXT, OF_TEXT), (TOKENIZER, OF_TOKENIZER)):
    (folder / name).mkdir()
    for path in gemma.iterdir():
      if path.is_file() and path.name.startswith(begins):
        link(path, folder / name / path.name)


def to_file(exported: Exported, out: str | os.PathLike[str]) -> bool:
  """Writes a model as the one file that Lightricks releases; it appears whole or not at all.

  The text encoder has no place there. What a folder that was made of such a file keeps of it, such
  as the texts of its head, is written again.

  Args:
    exported: a transformer, and the folder of the other parts.
    out: the file; there is none yet.

  Returns:
    whether the file tells its config, which Lightricks' own program needs.

  Raises:
    UserError: parts that are damaged, something at `out`, a full disk, or a place that may not be
      written to.
  """
  if Path(out).exists():
    raise UserError(f'{out} is there already; delete it or choose another name')
  parts, rest, metadata = {TRANSFORMER: exported.part}, [], dict(stored.FORMAT)
  if exported.origin is not None:
    for name in ltx2_parts.PARTS:
      if name != TRANSFORMER and (exported.origin / name).is_dir():
        shards = Shards(exported.origin / name)
        parts[name] = Part(shards.config(), stored.of(shards))
    if (exported.origin / KEPT).is_file():
      kept = File(exported.origin / KEPT)
      rest, metadata = stored.of(kept), kept.metadata
    elif (exported.origin / DURATION).is_dir():
      shards = Shards(exported.origin / DURATION)
      rest = ltx2_duration.rest_of(Part(shards.config(), stored.of(shards)))
  ltx2_single_file.write(out, parts, rest, metadata)
  return 'config' in metadata


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
  write_text(path, json.dumps(content, indent=2) + '\n')
