"""Maps a function over files: on this machine's processes, or by Apache Beam."""

import concurrent.futures
import sys
from collections.abc import Callable, Sequence

from tqdm import tqdm

from sorajax import workers as workers_lib
from sorajax.data.prepare_file import FileReport
from sorajax.errors import UserError, one_line

Task = Callable[[str], FileReport]


def run_local(files: Sequence[str], task: Task, workers: int) -> None:
  """Runs `task` for each file on `workers` processes (1 = in this one), with a progress bar.

  Raises:
    UserError: a worker died, for example of too little memory; what it had finished stays.
  """
  with _Progress(len(files)) as progress:
    if workers == 1:
      for file in files:
        progress.add(task(file))
      return
    with workers_lib.pool(workers) as pool:
      futures = {pool.submit(task, file): file for file in files}
      try:
        for future in concurrent.futures.as_completed(futures):
          progress.add(future.result())
      except concurrent.futures.BrokenExecutor as error:
        left = sorted(futures[future] for future in futures if _failed(future))[:workers]
        raise UserError(
          f'a worker died while preparing one of {", ".join(left)}; run again to go on from there,'
          ' with fewer --workers if memory ran out'
        ) from error
      finally:
        pool.shutdown(wait=False, cancel_futures=True)


def run_beam(files: Sequence[str], task: Task, runner: str, workers: int) -> None:
  """Runs `task` for each file by Apache Beam; the folders must be reachable from its workers.

  Args:
    files: what to map over.
    task: as for `run_local`; the results lie in the parts folder.
    runner: DirectRunner, DataflowRunner, FlinkRunner, …
    workers: processes of the DirectRunner.

  Raises:
    UserError: Beam is not installed, or does not know the runner.
  """
  try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError as error:
    raise UserError("--runner needs Apache Beam: pip install 'sorajax[beam]'") from error
  flags = [f'--runner={runner}']
  if runner == 'DirectRunner' and workers > 1:
    flags += [f'--direct_num_workers={workers}', '--direct_running_mode=multi_processing']
  try:
    pipeline = beam.Pipeline(options=PipelineOptions(flags))
  except (ValueError, ImportError, AttributeError) as error:
    raise UserError(f'cannot start the Beam runner {runner}: {one_line(error)}') from error
  # Without the reshuffle Beam fuses the steps, and one worker gets every file.
  _ = pipeline | beam.Create(list(files)) | beam.Reshuffle() | beam.Map(task)
  pipeline.run().wait_until_finish()


class _Progress:
  """A bar of files with the clips and seconds so far and the time left."""

  def __init__(self, files: int):
    # A log file is written to now and then; a terminal all the time.
    interval = 0.2 if sys.stderr.isatty() else 10.0
    self._bar = tqdm(total=files, unit='file', desc='prepare', mininterval=interval)
    self._clips, self._seconds = 0, 0.0

  def __enter__(self) -> '_Progress':
    return self

  def __exit__(self, *error: object) -> None:
    self._bar.close()

  def add(self, report: FileReport) -> None:
    self._clips += len(report.rows)
    self._seconds += sum(row.seconds for row in report.rows)
    self._bar.set_postfix_str(f'{self._clips} clips, {self._seconds:.0f} s', refresh=False)
    self._bar.update()


def _failed(future: 'concurrent.futures.Future[FileReport]') -> bool:
  return not future.done() or future.cancelled() or future.exception() is not None
