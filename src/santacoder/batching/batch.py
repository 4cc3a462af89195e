"""The sequences that wait and those in the batch, and how they come from one to the other.

Callers hold the scheduler's lock. Queues and batch stay consistent wherever an interruption comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from santacoder.batching.alike import part, readers
from santacoder.batching.cache_room import CacheRoom
from santacoder.batching.calls import Call, queued_by_turns
from santacoder.batching.counters import Counters, Meter
from santacoder.batching.limits import Limits
from santacoder.decoding.sequence import Sequence
from santacoder.engine.kv_cache import KVCache
from santacoder.prefixes.store import StoredPrefixes

NewCache = Callable[[], KVCache]


class Batch:
    """The sequences of all calls that have not left.

    Attributes:
        limits: what may run and wait; changed by `limit`.
        room: memory for keys and values.
        meter: counts what enters and leaves.
        calls: those that have sequences in their queues; the first one's turn is next.
        running: the sequences that have begun.
    """

    def __init__(
        self,
        limits: Limits,
        block_bytes: int,
        stored: StoredPrefixes | None,
        end: Callable[[Sequence], None],
        loaded: Callable[[], None],
    ) -> None:
        """Take the limits, the bytes of a kv_block, and the prefix cache on disk, if there is one.

        `end` is called with each sequence that has ended, `loaded` from any thread when one was read from the disk.
        """
        self.limits = limits
        self.room = CacheRoom(limits, block_bytes)
        self.meter = Meter()
        self.calls: dict[Call, None] = {}
        self.running: list[Sequence] = []
        self._block_bytes, self._stored = block_bytes, stored
        self._end, self._loaded = end, loaded

    def __iter__(self) -> Iterator[Sequence]:
        """Iterate over all sequences: those that wait, then those that have begun."""
        return chain(*(call.queue for call in self.calls), self.running)

    @property
    def blocks(self) -> int:
        """Number of kv_blocks that the sequences may need and that kept prefixes hold."""
        return self.room.blocks(self.running)

    def limit(self, limits: Limits) -> None:
        """Keep to new limits from now on."""
        self.limits = limits
        self.room.limit(limits)

    def counters(self) -> Counters:
        """Return the counts of this moment."""
        waiting = sum(not sequence.ended for call in self.calls for sequence in call.queue)
        running = sum(not sequence.ended for sequence in self.running)
        generated = sum(sequence.generated for sequence in self.running)
        return self.meter.snapshot(running, waiting, generated, self.blocks * self._block_bytes)

    def clear(self) -> None:
        """Let go of all sequences and of what is kept."""
        self.calls, self.running = {}, []
        self.room.forget()

    def retire(self, new_cache: NewCache) -> None:
        """Take ended sequences out of the batch; their caches may serve the next ones."""
        for sequence in self.running:
            if not sequence.ended and sequence.expired:
                sequence.expire()
        part(self.running, new_cache)
        for sequence in self.running:
            if sequence.ended:
                self.meter.generated_tokens += sequence.generated
                sequence.guesses.remember(sequence.token_ids[sequence.prompt.size :])
                self.room.keep(sequence)
                self._end(sequence)
        self.running = [sequence for sequence in self.running if not sequence.ended]

    def admit(self, new_cache: NewCache) -> None:
        """Start waiting sequences, of all calls in turn, except those whose prefix is being read."""
        if not self.calls:
            return
        gone = set(map(id, self.running))  # started or ended
        changed: dict[Call, None] = {}
        skipped, most = 0, self.limits.max_samples
        places = self.limits.max_running - sum(each.held is None and each.follows is None for each in self.running)
        parted = places < 0  # more rows than run at a time: calls take turns, so that a new one need not wait
        served = {each.call for each in self.running} if parted else set()
        read = readers(self.running)
        for call, sequence in queued_by_turns(self.calls, most):
            has_place = places > 0 or (parted and call not in served)
            if skipped == most or not (has_place or parted or read or sequence.ended):
                break
            if sequence.ended:
                self._end(sequence)
            elif id(sequence) not in gone:
                if not (self._follow(sequence, read) or (has_place and self._start(new_cache, sequence))):
                    skipped += 1
                    continue
                call.begun = True
                if sequence.follows is None:
                    places -= 1
                    served.add(call)
                    read |= readers([sequence])
            gone.add(id(sequence))
            changed[call] = None
        for call in changed:
            if len(call.queue) <= len(gone) and gone.issuperset(map(id, call.queue)):
                self.calls.pop(call, None)  # first: an interruption leaves no empty ones
            call.drop(gone, most)
        if any(call.queue for call in changed):  # they come after those that still wait for their turn
            order = chain((call for call in self.calls if call not in changed), changed)
            self.calls = {call: None for call in order if call.queue}

    def _follow(self, sequence: Sequence, read: dict[bytes, Sequence]) -> bool:
        """Let a sequence share the rows of one that reads the same prompt, if there is one and room."""
        leader = read.get(sequence.prompt.tobytes()) if read and sequence.may_share else None
        if leader is None or len(self.running) >= self.limits.max_samples:
            return False
        if not self.room.has_room(sequence, self.running):
            return False
        sequence.follow(leader)
        self.meter.cached_tokens += sequence.reused
        self.running.append(sequence)
        return True

    def _start(self, new_cache: NewCache, sequence: Sequence) -> bool:
        """Give a sequence its cache, if there is room and nothing to wait for."""
        if sequence.has_hooks and not sequence.asks_itself and len(self.running) >= self.limits.max_running:
            return False  # hooks that block take no places but each other's
        if sequence.cache is not None:
            sequence.use(sequence.cache)
        else:
            cache = self.room.cache_for(sequence, self.running, new_cache)
            if cache is None:
                return False
            sequence.use(cache)
        self.meter.cached_tokens += sequence.reused
        if self._stored is not None:
            most = min(sequence.reads_from + 1, sequence.prompt.size)
            sequence.loading = self._stored.look_up(sequence.prompt, sequence.reused, most, self._loaded)
        self.running.append(sequence)
        return True

    def take_loaded(self) -> None:
        """Give sequences what was read for them from the disk."""
        for sequence in self.running if self._stored is not None else ():
            if sequence.loading is not None and sequence.loading.done:
                before = sequence.reused
                sequence.take_loaded()
                self.meter.cached_tokens += sequence.reused - before
                self.meter.move()
