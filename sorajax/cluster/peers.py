"""Processes of one run watch one another, so that none waits for ever for one that is gone.

Each tells the coordination service of JAX what it is at, and hears what the others are at. One that
is silent has died or was stopped; where all are heard and none gets on, the one that is furthest
behind is the likely culprit. Whoever finds that out says so and ends, and so all do.

Where process 0 dies, which runs that service, JAX itself ends the others within seconds.
"""

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

FOLDER = 'sorajax/peers'
ENDED, FAILED = 'ended', 'failed: '
BEATS = 12  # of each process in the longest silence that is borne


@dataclasses.dataclass(frozen=True)
class Patience:
  """How long processes wait for one another.

  Attributes:
    silence_s: for a sign of life.
    standstill_s: for any process to get on, since the last did; compilation is one stretch.
  """

  silence_s: float = 60.0
  standstill_s: float = 3600.0

  @property
  def beat_s(self) -> float:
    """Between two signs of life."""
    return self.silence_s / BEATS


@dataclasses.dataclass
class Peer:
  """What is known of a process.

  Attributes:
    beat: its last sign of life.
    heard: when that came, by the own clock.
    count: of the stretches of work that it began.
    moved: when that last grew, by the own clock.
    doing: the stretch that it is in.
  """

  beat: str
  heard: float
  count: int = 0
  moved: float = 0.0
  doing: str = 'its start'


class Watch:
  """The signs of life of one process, and its ear for those of the others."""

  def __init__(
    self, service: Any, process: int, count: int, patience: Patience,
    clock: Callable[[], float] = time.monotonic,
  ):  # fmt: skip
    """A watch that has heard of nobody yet.

    Args:
      service: the client of JAX's coordination service, or what looks like it.
      process: the number of this one.
      count: of all.
      patience: how long to wait.
      clock: seconds.
    """
    self._service, self._process, self.patience, self._clock = service, process, patience, clock
    self._beat, self._count, self._doing = 0, 0, Peer.doing
    self._lock = threading.Lock()
    self._peers = {i: Peer('', clock(), moved=clock()) for i in range(count)}

  def reached(self, doing: str) -> None:
    """Notes that this process begins a stretch of work, such as `step 12`."""
    with self._lock:
      self._count, self._doing = self._count + 1, doing

  def beat(self) -> None:
    """Gives a sign of life, and hears those of the others; waits where the service does."""
    with self._lock:
      self._beat += 1
      told = f'{self._beat}|{self._count}|{self._doing}'
    self._service.key_value_set(f'{FOLDER}/{self._process}', told, allow_overwrite=True)
    for key, value in self._service.key_value_dir_get(FOLDER):
      self._hear(int(key.rpartition('/')[2]), value)

  def _hear(self, process: int, value: str) -> None:
    peer, now = self._peers[process], self._clock()
    beat, count, doing = value.split('|', 2)
    if beat != peer.beat:
      peer.beat, peer.heard = beat, now
    if int(count) > peer.count:
      peer.moved = now
    peer.count, peer.doing = int(count), doing

  def trouble(self) -> str | None:
    """What keeps this run from going on, in one line; None where nothing does."""
    now = self._clock()
    others = {i: p for i, p in self._peers.items() if i != self._process and p.doing != ENDED}
    for i, peer in others.items():
      if peer.doing.startswith(FAILED):
        return f'process {i} {peer.doing}'
    silent = [i for i, p in others.items() if now - p.heard > self.patience.silence_s]
    if 0 in silent and len(silent) == len(others):
      return f'{self._silence(0, now)}; it runs the service that all others speak through'
    if silent:
      return '; '.join(self._silence(i, now) for i in silent)
    last = max(p.moved for p in self._peers.values())
    if now - last <= self.patience.standstill_s:
      return None
    least = min(p.count for p in self._peers.values())
    behind = [f'process {i}' for i, p in self._peers.items() if p.count == least]
    who = 'all processes' if len(behind) == len(self._peers) else ', '.join(behind)
    where = next(p.doing for p in self._peers.values() if p.count == least)
    return f'nobody got on for {now - last:.0f} s, and {who} did not get beyond {where}'

  def _silence(self, process: int, now: float) -> str:
    peer = self._peers[process]
    return f'process {process} was not heard for {now - peer.heard:.0f} s, last in {peer.doing}'


class _Company:
  """This process among the others, while there are any."""

  def __init__(self) -> None:
    self.watch: Watch | None = None
    self._over = threading.Event()
    self._living = threading.Thread(target=self._live, daemon=True)

  def join(self, watch: Watch) -> None:
    self.watch = watch
    self._living.start()
    threading.Thread(target=self._judge, daemon=True).start()  # apart: the service may not answer

  def say(self, last: str) -> bool:
    """Gives a last sign of life; whether there is anybody to hear it."""
    if self.watch is None or self._over.is_set():
      return False
    self._over.set()
    self._living.join(self.watch.patience.beat_s)  # so that no older sign comes after the last
    self.watch.reached(last)
    self._beat()
    return True

  def leave(self) -> NoReturn:
    """Ends this process, whatever its threads wait for, once the others could hear why."""
    assert self.watch
    time.sleep(3 * self.watch.patience.beat_s)
    sys.stdout.flush()
    os._exit(1)

  def _live(self) -> None:
    assert self.watch
    while not self._over.wait(self.watch.patience.beat_s):
      self._beat()

  def _judge(self) -> None:
    assert self.watch
    while not self._over.wait(self.watch.patience.beat_s):
      found = self.watch.trouble()
      if found:
        print(f'error: {found}; all processes end, run them again to go on', file=sys.stderr)
        self.leave()

  def _beat(self) -> None:
    assert self.watch
    try:
      self.watch.beat()
    except Exception:  # of many types; whoever is not heard is judged by that alone
      return


_COMPANY = _Company()


def watch(service: Any, process: int, count: int, patience: Patience) -> None:
  """Watches over a run of several processes from now on."""
  _COMPANY.join(Watch(service, process, count, patience))


def reached(doing: str) -> None:
  """Tells the others what this process begins; nothing where it is alone."""
  if _COMPANY.watch is not None:
    _COMPANY.watch.reached(doing)


def are_there() -> bool:
  """Whether this process is one of several."""
  return _COMPANY.watch is not None


def lost(reason: str) -> None:
  """Says that talk failed, and waits until the watch must have found whose silence it was.

  Where it has, it ended this process; returns where nobody is silent, or this process is alone.
  """
  if _COMPANY.watch is not None:
    print(f'error: {reason}; listening for who is gone', file=sys.stderr, flush=True)
    patience = _COMPANY.watch.patience
    time.sleep(patience.silence_s + 6 * patience.beat_s)  # and the time that it takes to leave


def ended() -> None:
  """Tells the others not to wait for signs of life of this process."""
  _COMPANY.say(ENDED)


def failed(message: str) -> None:
  """Tells the others that this process ends and why, and ends it; returns where it is alone."""
  if _COMPANY.say(FAILED + message):
    _COMPANY.leave()
