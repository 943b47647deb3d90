"""An LTX-2 in the one file, or the several, that Lightricks releases ↔ in a folder of diffusers."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sorajax.errors import UserError
from sorajax.generate import gemma as gemma_lib
from sorajax.generate import released
from sorajax.generate.export import TRANSFORMER, Exported, link_rest
from sorajax.generate.gemma import TEXT, TOKENIZER, Gemma
from sorajax.media.atomic import new_folder, write_text
from sorajax.weights import (
  ltx2_duration,
  ltx2_one_step,
  ltx2_parts,
  ltx2_release,
  ltx2_released,
  ltx2_single_file,
  stored,
)
from sorajax.weights.ltx2_release import Release
from sorajax.weights.ltx2_single_file import KEPT
from sorajax.weights.shards import File, Shards, read_json
from sorajax.weights.stored import Part

DURATION = 'duration_head'


def are_files(paths: Sequence[str | os.PathLike[str]]) -> bool:
  """Whether paths are of files and not of a folder; `UserError` for several of both kinds."""
  folders = [path for path in paths if not Path(path).is_file()]
  if folders and len(paths) > 1:
    raise UserError(
      f'{folders[0]} is no file; give several files of a release, or one RUN or MODEL'
    )
  return not folders


def to_folder(
  files: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], version: str,
  text_encoder: str | None = None, shard_bytes: int = stored.SHARD_BYTES,
) -> list[str]:  # fmt: skip
  """Writes the parts that files hold as diffusers saves them; the folder appears whole or not.

  Args:
    files: of safetensors, one of all parts or several.
    out: the folder; there is none yet.
    version: one of `ltx2_released.VERSIONS`.
    text_encoder: folder of the Gemma that reads prompts, as transformers saves it, which is linked
      or copied; None for that of the files, if there is one.
    shard_bytes: of a file of tensors, at most.

  Returns:
    what the folder lacks to be a whole model.

  Raises:
    UserError: files of another version or that are damaged, something at `out`, a full disk, or a
      place that may not be written to.
  """
  release = ltx2_release.opened(*files)
  gemma = gemma_lib.of(release, text_encoder)
  configs = ltx2_released.configs_of(version, None if gemma is None else gemma.config)
  try:
    return _to_folder(release, Path(out), configs, gemma, shard_bytes)
  except UserError as error:
    own = ltx2_single_file.version_of(release) if 'of this version' in str(error) else None
    if own in (None, version):
      raise
    raise UserError(
      f'{release.name} is an LTX-{own} and --version={version}; give {own}'
    ) from error


def like(
  files: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str],
  folder: str | os.PathLike[str], shard_bytes: int = stored.SHARD_BYTES,
) -> list[str]:  # fmt: skip
  """As `to_folder`, of a model of the sizes of another one, which gives it the parts that it lacks.

  Args:
    files: of safetensors.
    out: the folder; there is none yet.
    folder: of the other model, as diffusers saves it.
    shard_bytes: of a file of tensors, at most.
  """
  other, release = Path(folder), ltx2_release.opened(*files)
  if not released.is_released(other):
    raise UserError(f'{other} is no model as diffusers saves it; it lacks {released.INDEX}')
  configs = {part: read_json(other / part / 'config.json') for part in ltx2_parts.PARTS}
  return _to_folder(release, Path(out), configs, gemma_lib.of(release, None), shard_bytes, other)


def _to_folder(
  release: Release, out: Path, configs: Mapping[str, Mapping[str, Any]], gemma: Gemma | None,
  shard_bytes: int, other: Path | None = None,
) -> list[str]:  # fmt: skip
  parts, rest = ltx2_single_file.read(release, configs)
  head = ltx2_duration.part_of(rest)
  if head is not None:
    parts[DURATION] = head
  parts |= _one_step(release, parts)
  if other is not None and released.ONE_STEP in parts and not _decodes(parts['vae']):
    del parts['vae']  # the other's can do more
  needed = sum(part.bytes for part in parts.values())
  with new_folder(out) as folder:
    stored.check_room(folder, needed + (gemma.bytes if gemma is not None else 0))
    for name, part in parts.items():
      stored.write_folder(folder / name, part, shard_bytes)
    (folder / KEPT).parent.mkdir()
    stored.write_file(folder / KEPT, rest, release.metadata)
    if gemma is not None:
      gemma.write(folder, shard_bytes)
    if other is not None:
      link_rest(other, folder, (*parts, KEPT.parts[0], *((TEXT, TOKENIZER) if gemma else ())))
      return []
    (folder / 'scheduler').mkdir()
    _write_json(folder / 'scheduler' / 'scheduler_config.json', ltx2_released.SCHEDULER)
    missing = [name for name in configs if name not in parts]
    if gemma is None:
      return [*missing, TEXT, TOKENIZER]
    if not missing:
      index = ltx2_released.index_of(configs['vocoder']['_class_name'], *gemma.classes)
      if head is not None:
        index[DURATION] = ['ltx2', ltx2_duration.CLASS]
      _write_json(folder / released.INDEX, index)
    return missing


def _one_step(release: Release, parts: Mapping[str, Part]) -> dict[str, Part]:
  """The one-step decoder of a release, if it has one."""
  begin = ltx2_release.ONE_STEP
  own = {n.removeprefix(begin): t for n, t in release.tensors.items() if n.startswith(begin)}
  if not own:
    return {}
  statistics = [t for t in parts['vae'].tensors if t.name in ltx2_one_step.STATISTICS]
  return {released.ONE_STEP: ltx2_one_step.part_of(own, statistics, ltx2_released.ONE_STEP)}


def _decodes(vae: Part) -> bool:
  """Whether the picture's autoencoder has a decoder of its own."""
  return any(tensor.name.startswith('decoder.') for tensor in vae.tensors)


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
