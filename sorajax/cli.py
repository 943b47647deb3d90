"""How an entry point starts and how it fails: one line, a non-zero exit, no traceback."""

import ctypes
import difflib
import errno
import gc
import logging as standard_logging
import os
import runpy
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict

from sorajax.cluster import peers
from sorajax.cluster.peers import Patience
from sorajax.errors import Stopped, UserError, cannot_read, cannot_write, one_line

MOST_CORES = 4  # of a CPU that are devices
COMPILED = '/jax/core/compile/backend_compile_duration'  # as JAX names what it tells of
LONG_S = 1.0  # a compilation that leaves much behind
SELDOM = (100_000, 50, 50)  # objects, and rounds of the younger, before garbage is looked for
CONFIG = 'config'  # the flag that names a config file, in every program that takes one
HOSTS = ('coordinator', 'processes', 'process')  # the flags that make a run one of several

flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0 of a multi-host run.')
flags.DEFINE_integer('processes', 1, 'Processes of a multi-host run.')
flags.DEFINE_integer('process', 0, 'The number of this one.')
flags.DEFINE_integer('join_seconds', 300, 'How long to wait for the others to join.')
flags.DEFINE_float('silence_seconds', 60, 'How long to wait for a sign of life of the others.', 0.1)
flags.DEFINE_float('standstill_seconds', 3600, 'How long to wait until any of them gets on.', 0.1)
flags.DEFINE_string('compiled', '', 'Folder that keeps compiled programs; hosts may share it.')


def run(main: Callable[[], None]) -> None:
  """Parses flags and runs `main()`; bad input ends in one line on stderr and exit status 1."""
  logging.set_verbosity(logging.WARNING)  # libraries tell each step of each save otherwise
  app.run(lambda argv: _guarded(main, argv), flags_parser=_parse)


def join_hosts() -> None:
  """Joins the processes of a multi-host run, where there is one.

  With --coordinator, --processes and --process it joins that run. Without, clusters that JAX
  recognises by their environment (Cloud TPU slices, Slurm, GKE) are joined if SORAJAX_MULTIHOST=1.

  Raises:
    UserError: flags that contradict one another, that name no coordinator where there is no
      cluster either, or a coordinator that does not answer.
  """
  f = flags.FLAGS
  if f.coordinator is None and os.environ.get('SORAJAX_MULTIHOST') != '1':
    if f.processes > 1 or f.process > 0:
      told = f'--processes={f.processes} --process={f.process} without --coordinator'
      cure = 'add --coordinator=HOST:PORT of process 0, or SORAJAX_MULTIHOST=1 in a known cluster'
      raise UserError(f'{told}; {cure}')
    return
  import jax
  from jax._src import distributed  # the service has no public name

  if f.coordinator is not None and not 0 <= f.process < f.processes:
    raise UserError(f'--process={f.process} of --processes={f.processes}; count from 0')
  if f.coordinator is not None:
    _reach(f.coordinator, f.process, f.join_seconds)
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  given = f.coordinator is not None
  try:
    jax.distributed.initialize(
      coordinator_address=f.coordinator,
      num_processes=f.processes if given else None,
      process_id=f.process if given else None,
      initialization_timeout=f.join_seconds,
      heartbeat_timeout_seconds=int(2 * f.silence_seconds) + 30,  # the watch speaks before
    )
  except (RuntimeError, ValueError) as error:
    cure = '' if given else '; outside of a cluster that JAX knows, add --coordinator=HOST:PORT'
    raise UserError(f'cannot join the other processes: {one_line(error)}{cure}') from error
  patience = Patience(f.silence_seconds, f.standstill_seconds)
  peers.watch(distributed.global_state.client, jax.process_index(), jax.process_count(), patience)


def _reach(coordinator: str, process: int, seconds: float) -> None:
  """Waits until process 0 listens, since JAX ends a process in C++ where nobody does."""
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit() or not 0 < int(port) < 2**16:
    raise UserError(f'--coordinator={coordinator} is no address; write HOST:PORT of process 0')
  until = time.monotonic() + seconds
  while process > 0:
    try:
      return socket.create_connection((host.strip('[]'), int(port)), timeout=5).close()
    except OSError as error:
      if time.monotonic() >= until:
        raise UserError(
          f'nobody answers at --coordinator={coordinator} within {seconds:g} s '
          f'({one_line(error)}); start process 0 there, or raise --join_seconds'
        ) from error
      time.sleep(0.2)


def stay_alone() -> None:
  """Refuses the flags of a multi-host run in a program that works alone."""
  for name in HOSTS:
    if flags.FLAGS[name].present:
      raise UserError(f'--{name}: {Path(sys.argv[0]).name} works alone; start it once without it')


def use_cores() -> None:
  """Makes cores of a CPU devices, before JAX first looks at them; accelerators stay as they are.

  XLA runs a convolution of few channels on one core, so that two devices side by side are up to
  twice as fast. There are `MOST_CORES` at most, since each holds a tile of its own. XLA_FLAGS that
  name a number of devices are obeyed.
  """
  import jax

  if 'xla_force_host_platform_device_count' not in os.environ.get('XLA_FLAGS', ''):
    jax.config.update('jax_num_cpu_devices', min(len(os.sched_getaffinity(0)), MOST_CORES))


def collect_seldom() -> None:
  """Has Python look for garbage in cycles seldom, and never among what was imported.

  Tracing a program makes objects by the million, nearly all of which last: without this, a third
  of the time that it takes (LTX-2's step in tools/bench_peers.py) goes into looking through them.
  """
  gc.freeze()
  gc.set_threshold(*SELDOM)


def give_back_after_compiling() -> None:
  """Has memory that a long compilation was done in go back to the system, before the program runs.

  The C library keeps what is freed between that which is not: of LTX-2's step beside diffusers'
  (tools/bench_peers.py), half a gigabyte. Does nothing where the C library is not glibc.
  """
  import jax

  trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
  if trim is None:
    return

  def heard(event: str, duration_secs: float, **_: str | int) -> None:
    if event == COMPILED and duration_secs >= LONG_S:
      trim(0)

  jax.monitoring.register_event_duration_secs_listener(heard)


class _ConfigFile(flags.ArgumentParser):
  """Loads a config file and says at once, by its name, what is wrong with it."""

  def __init__(self, argv: Sequence[str]):
    self._argv = argv

  def parse(self, path: str) -> ConfigDict:
    """What `get_config()` of the file returns; FILE:TEXT hands TEXT to it.

    Raises:
      UserError: a file that is missing or fails, or that lacks a key which the flags name.
    """
    file, *argument = path.split(':', 1)
    if not Path(file).is_file():
      raise UserError(f'no config file {file!r}; give one such as configs/film.py')
    try:
      get_config = runpy.run_path(file).get('get_config')
      config = get_config(*argument) if get_config else None
    except Exception as error:  # a config is a program, and raises whatever it likes
      reason = f'{type(error).__name__}: {one_line(error)}; mend the file'
      raise cannot_read(f'the config {file}', reason) from error
    if not isinstance(config, ConfigDict):
      raise UserError(f'the config {file} has no get_config() that returns a ConfigDict; add one')
    for flag in self._argv:
      if flag.startswith(f'--{CONFIG}.'):
        _check_key(config, flag.partition('=')[0], file)
    config.lock()
    return config


def _check_key(config: ConfigDict, flag: str, file: str) -> None:
  """Raises unless the config has the key that a flag --config.a.b sets."""
  section = config
  for name in flag.split('.')[1:]:
    if not isinstance(section, ConfigDict):
      return  # the library says what a value of this type takes
    name = name.partition('[')[0]
    if name not in section:
      near = difflib.get_close_matches(name, list(section), 1)
      cure = f'did you mean {near[0]}?' if near else 'add it there to set it'
      raise UserError(f'{flag}: {file} has no key {name!r} in that section; {cure}')
    section = section[name]


def _parse(argv: Sequence[str]) -> list[str]:
  if CONFIG in flags.FLAGS:
    flags.FLAGS[CONFIG].parser = _ConfigFile(argv)
  try:
    return flags.FLAGS(argv)
  except UserError as error:
    _fail(str(error))
  except Exception as error:  # a typo in a flag or in --config.key=value raises whatever it likes
    _fail(f'{one_line(error)}; see {argv[0]} --help')


def _guarded(main: Callable[[], None], argv: Sequence[str]) -> None:
  if len(argv) > 1:
    _fail(f'unexpected argument {argv[1]!r}; every option is written --name=value')
  _quieten()
  try:
    if flags.FLAGS.compiled:
      _keep_compiled(flags.FLAGS.compiled)
    if 'jax' in sys.modules:
      collect_seldom()
      give_back_after_compiling()
    main()
  except UserError as error:
    _fail(str(error))
  except Stopped:  # which was told of
    peers.ended()
    sys.exit(Stopped.STATUS)
  except KeyboardInterrupt:
    _fail('interrupted; what was written is complete and the same command goes on from there', 130)
  except OSError as error:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
      what = f'{error.filename or "the output"}: {one_line(error)}'
      _fail(f'no space left to write {what}; free some and run again')
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
      _fail(f'no permission to write {error.filename}; choose another folder')
    _leave(error)
  except MemoryError as error:
    _fail(f'out of memory: {one_line(error)}; ask for less at once')
  except Exception as error:
    _leave(error)
  peers.ended()


def _keep_compiled(folder: str) -> None:
  if '://' not in folder:
    try:
      os.makedirs(folder, exist_ok=True)
    except OSError as error:
      raise cannot_write(folder, error) from error
  import jax

  jax.config.update('jax_compilation_cache_dir', folder)


def _leave(error: Exception) -> NoReturn:
  """Ends with an error that nobody foresaw; the other processes, if there are any, hear of it."""
  if peers.are_there():
    if _is_of_talk(error):
      peers.lost(one_line(error))
    traceback.print_exception(error)
    peers.failed(f'{type(error).__name__}: {one_line(error)}')
  raise error


def _is_of_talk(error: Exception) -> bool:
  """Whether an error is the runtime's, and not of what this process alone asked of it."""
  own = ('RESOURCE_EXHAUSTED', 'INVALID_ARGUMENT')
  return type(error).__name__ == 'JaxRuntimeError' and not any(kind in str(error) for kind in own)


def _quieten() -> None:
  """Lets an error be told once: libraries also log it, and their threads fail in its wake."""
  for name in ('absl', 'asyncio'):
    standard_logging.getLogger(name).setLevel(standard_logging.CRITICAL)
  sys.unraisablehook = lambda _: None
  warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)


def _fail(message: str, status: int = 1) -> NoReturn:
  print(f'error: {message}', file=sys.stderr, flush=True)
  peers.failed(message)
  sys.exit(status)
