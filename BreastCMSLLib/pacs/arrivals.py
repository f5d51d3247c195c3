"""Who is sending what just now, and whether anybody broke off: half a study must not pass for a whole one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field


@dataclass
class _Senders:
    """Of one study. A break starts a new round; who began in that round and releases has sent all."""

    round: int = 0
    best: int = -1  # latest round of which somebody released
    open: dict[Hashable, int] = field(default_factory=dict)  # association → the round it began in


class Arrivals:
    """Associations and the studies they bring.

    Parameters
    ----------
    mark, clear : callable
        Called with a study's identifier: somebody is about to send an image of it; all have ended well.
    """

    def __init__(self, mark: Callable[[str], None], clear: Callable[[str], None]):
        self._mark, self._clear = mark, clear
        self._studies: dict[str, _Senders] = {}
        self._lock = threading.Lock()

    def image(self, association: Hashable, study: str) -> None:
        """An association is about to bring an image of a study, which is marked before each."""
        with self._lock:
            self._mark(study)
            senders = self._studies.setdefault(study, _Senders())
            senders.open.setdefault(association, senders.round)

    def released(self, association: Hashable) -> None:
        """An association has ended as it should: it has sent all it wanted to."""
        with self._lock:
            for study, senders in self._of(association):
                senders.best = max(senders.best, senders.open.pop(association))
                self._look(study, senders)

    def broken(self, association: Hashable) -> None:
        """An association has ended otherwise."""
        with self._lock:
            for study, senders in self._of(association):
                del senders.open[association]
                senders.round += 1
                self._look(study, senders)

    def lost(self, alive: Collection[Hashable]) -> None:
        """Associations that are none of these have ended without a word: they count as broken."""
        with self._lock:
            gone = {a for senders in self._studies.values() for a in senders.open if a not in alive}
        for association in gone:
            self.broken(association)

    def _of(self, association: Hashable) -> list[tuple[str, _Senders]]:
        return [(study, senders) for study, senders in self._studies.items() if association in senders.open]

    def _look(self, study: str, senders: _Senders) -> None:
        if senders.open:
            return
        if senders.best == senders.round:
            self._clear(study)
            del self._studies[study]
