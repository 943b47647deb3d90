"""A folder of films → a data set of clips: ArrayRecord shards and the index that finishes them."""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sorajax.data import captions as captions_lib
from sorajax.data import index as index_lib
from sorajax.data.index import Index, Split
from sorajax.data.prepare_engines import run_beam, run_local
from sorajax.data.prepare_file import (
  FileReport,
  PrepareConfig,
  file_identity,
  load_report,
  part_path,
  prepare_file,
)
from sorajax.data.records import Row, discard_unfinished, read_shard, write_shard
from sorajax.errors import UserError, cannot_read, one_line
from sorajax.media.source import IMAGES

FILMS = frozenset({'.mp4', '.webm', '.mov', '.mkv', '.m4v'})
SPLITS = ('train', 'validation')
PARTS = '.parts'  # folder in the output, while clips are cut
PART_NAME = re.compile(r'\.probe|\.?[0-9a-f]{32}\.(array_record|json)(\.[0-9a-f]{12}\.tmp)?')
SHARD_NAME = re.compile(r'(train|validation)-\d{5}-of-\d{5}\.array_record')
UNNAMEABLE = ('Cc', 'Cs')  # Unicode categories: control characters, bytes that are not UTF-8

Skipped = dict[str, str]


def prepare(
  input_dir: str | os.PathLike[str],
  output_dir: str | os.PathLike[str],
  config: PrepareConfig,
  *,
  runner: str | None = None,
  workers: int | None = None,
) -> Index:
  """Cuts every film and image under a folder into clips and writes them as a data set.

  Each file is prepared on its own and its part is kept, so a run that was killed goes on where it
  stopped. The shards and the index come out the same, byte by byte, whatever the engine, the
  number of workers, and the interruptions. A finished data set is left as it is.

  Args:
    input_dir: films, images, and the captions beside them.
    output_dir: for the shards, `index.json`, and for the time being the parts.
    config: the settings.
    runner: an Apache Beam runner; None = processes on this machine.
    workers: processes; None = one for each core.

  Returns:
    the index of the data set.

  Raises:
    UserError: nothing to prepare, nothing worth keeping, an output folder that cannot be written
      to or that holds a data set of other films or settings, or shards of something else.
  """
  root, output = Path(input_dir), Path(output_dir)
  files, skipped = walk(root, output)
  identity = _identity(root, files, config)
  if (output / index_lib.NAME).exists():
    index = index_lib.load(output)
    if index.identity != identity:
      raise UserError(
        f'{output} holds another data set ({_other(index, config)}); name a new folder'
      )
    _remove_parts(output / PARTS)
    return index
  parts = _parts_folder(output)
  known = {file: load_report(file, str(root), config, str(parts)) for file in files}
  left = [file for file in files if known[file] is None]
  task = functools.partial(prepare_file, root=str(root), config=config, parts=str(parts))
  count = min(workers or os.cpu_count() or 1, max(len(left), 1))
  if runner is not None:
    run_beam(left, task, runner, count)
  elif left:
    run_local(left, task, count)
  reports = [known[file] or task(file) for file in files]
  _check_kept(root, reports)
  index = _merge(output, parts, reports, skipped, identity, config)
  index_lib.save(output, index)
  _remove_parts(parts)
  return index


def walk(root: Path, output: Path) -> tuple[list[str], list[Skipped]]:
  """The films and images under `root`, and what else lies there, both sorted.

  Captions beside a film count as neither, nor does the output folder; where that is `root` itself,
  its parts do not.

  Raises:
    UserError: no such folder, or nothing in it to prepare.
  """
  if not root.is_dir():
    raise UserError(f'no input folder {root}; name one that holds films')
  files: list[str] = []
  skipped: list[Skipped] = []
  captions: set[Path] = set()
  others: list[str] = []
  own = output.resolve(), output.resolve() / PARTS
  for folder, inner, names in os.walk(root, onerror=_refuse):
    inner[:] = [name for name in inner if Path(folder, name).resolve() not in own]
    links = [name for name in inner if Path(folder, name).is_symlink()]
    for name in (*links, *names):
      path = Path(folder, name)
      file = path.relative_to(root).as_posix()
      if any(unicodedata.category(character) in UNNAMEABLE for character in file):
        reason = 'its name is not UTF-8 or holds control characters; rename it'
        skipped.append({'file': ascii(file), 'reason': reason})
      elif name in links:
        reason = 'a link to a folder is not followed; give that folder as --input, or copy it here'
        skipped.append({'file': file, 'reason': reason})
      elif path.suffix.lower() in FILMS | IMAGES and not name.startswith('.'):
        files.append(file)
        captions.update(path.with_suffix(suffix) for suffix in captions_lib.SIDECARS)
      else:
        others.append(file)
  reason = 'not a film or an image'
  skipped += [{'file': o, 'reason': reason} for o in others if root / o not in captions]
  if not files:
    kinds = ' '.join(f'*{suffix}' for suffix in sorted(FILMS | IMAGES))
    raise UserError(f'{root} holds no film or image ({kinds}) among its {len(skipped)} files')
  return sorted(files), sorted(skipped, key=lambda item: item['file'])


def _refuse(error: OSError) -> None:
  raise cannot_read(error.filename, error)


def _identity(root: Path, files: Sequence[str], config: PrepareConfig) -> str:
  """A hash of the settings and of every file with its captions."""
  content = [[file, file_identity(root / file, config)] for file in files]
  settings = dataclasses.asdict(config)
  return hashlib.sha256(json.dumps([settings, content]).encode()).hexdigest()[:32]


def _other(index: Index, config: PrepareConfig) -> str:
  """What sets a finished data set apart from the one that was asked for."""
  settings = json.loads(json.dumps(dataclasses.asdict(config)))
  for name, value in settings.items():
    if index.config.get(name) != value:
      return f'{name}={index.config.get(name)}, not {value}'
  return 'its films or captions have changed'


def _parts_folder(output: Path) -> Path:
  """Makes the output folder, and in it the one for parts, unless it holds what is not ours."""
  parts = output / PARTS
  if not parts.is_dir() and _shards_in(output):
    raise UserError(f'{output} holds shards of something else, half done; name a new folder')
  try:
    parts.mkdir(parents=True, exist_ok=True)
    probe = parts / '.probe'
    probe.touch()
    probe.unlink()
  except OSError as error:
    raise UserError(f'cannot write to {output}: {error.strerror}; name another folder') from error
  return parts


def _remove_parts(parts: Path) -> None:
  """Takes away what preparing put there, and the folder if nothing else is in it."""
  for file in parts.glob('*'):
    if PART_NAME.fullmatch(file.name):
      file.unlink()
  if parts.is_dir() and not any(parts.iterdir()):
    parts.rmdir()


def _shards_in(output: Path) -> list[Path]:
  return [path for path in output.glob('*') if SHARD_NAME.fullmatch(path.name)]


def _check_kept(root: Path, reports: Sequence[FileReport]) -> None:
  """Raises, with what was wrong with them, where not one clip is worth keeping."""
  if any(report.rows for report in reports):
    return
  dropped = Counter[str]()
  for report in reports:
    dropped.update(report.dropped)
  reasons = [f'{count} {reason}' for reason, count in sorted(dropped.items())]
  reasons += [item['reason'] for report in reports for item in report.skipped[:1]]
  raise UserError(
    f'no clip of {root} was kept ({one_line("; ".join(reasons))}); give other films or loosen '
    'config.prepare'
  )


def _merge(
  output: Path,
  parts: Path,
  reports: Sequence[FileReport],
  skipped: Sequence[Skipped],
  identity: str,
  config: PrepareConfig,
) -> Index:
  """Writes the shards, clips in the order of their files, and returns the index over them."""
  bad = [item for report in reports for item in report.skipped]
  every = sorted([*skipped, *bad], key=lambda item: item['file'])
  dropped = Counter[str]()
  for report in reports:
    dropped.update(report.dropped)
  for path in _shards_in(output):  # left by a run of other settings that was killed here
    path.unlink()
  splits = {}
  for split in SPLITS:
    rows = tuple(row for report in reports for row in _of(report, split))
    shards = _write_shards(output, parts, reports, split, len(rows), config.shards)
    splits[split] = Split(shards, rows)
  settings = json.loads(json.dumps(dataclasses.asdict(config)))
  return Index(identity, settings, splits, dict(sorted(dropped.items())), tuple(every))


def _write_shards(
  output: Path, parts: Path, reports: Sequence[FileReport], split: str, clips: int, shards: int
) -> tuple[str, ...]:
  """Deals the clips of a split to its shards in order; returns their names."""
  count = min(shards if split == 'train' else 1, clips)
  records = (
    record
    for report in reports
    for record, place in zip(read_shard(part_path(report.file, str(parts))), report.splits)
    if place == split
  )
  names = []
  for shard in range(count):
    name = f'{split}-{shard:05d}-of-{count:05d}.array_record'
    size = clips * (shard + 1) // count - clips * shard // count
    discard_unfinished(output / name)
    write_shard(output / name, itertools.islice(records, size))
    names.append(name)
  return tuple(names)


def _of(report: FileReport, split: str) -> Iterator[Row]:
  return (row for row, place in zip(report.rows, report.splits) if place == split)
