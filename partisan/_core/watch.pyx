"""What is to be done when something ends: links, monitors and calls are watches on a process.

A watched thing has its watches in a list that runs through them, so that to begin and to end one costs neither a
search nor a table entry, and what nobody watches carries one pointer.
"""

from partisan._core.counters cimport count, live

__all__ = ["Watch", "Watched"]


cdef class Watched:

    def watches(self) -> list:
        """The watches on it, the latest first."""
        cdef Watch watch = self.first
        cdef list found = []
        while watch is not None:
            found.append(watch)
            watch = watch.older
        return found

    cdef list tell_watches(self, object reason):
        cdef Watch watch
        cdef list watches
        cdef list errors = None
        if self.first is None:
            return None
        watches = []
        while self.first is not None:
            watch = self.first
            watch.detach()
            watches.append(watch)
        while watches:
            watch = watches.pop()
            try:
                watch.fire(reason)
            except BaseException as error:
                errors = [error] if errors is None else errors + [error]
        return errors


cdef class Watch(Alias):
    """Abstract: something that is told when a process ends.

    It is on one process at most. `fire` is called when that has ended, when the watch is on it no more; `drop` when the
    process that holds the watch has.
    """

    def __dealloc__(self):
        if self.of is not None:
            count(&live.watches, -1)

    cdef int attach(self, Watched of) except -1:
        """Watch it from now on."""
        count(&live.watches, 1)
        self.of = of
        self.older = of.first
        if self.older is not None:
            self.older.newer = self
        of.first = self
        return 0

    cdef int detach(self) except -1:
        """Watch nothing from now on."""
        if self.of is None:
            return 0
        count(&live.watches, -1)
        if self.newer is not None:
            self.newer.older = self.older
        else:
            self.of.first = self.older
        if self.older is not None:
            self.older.newer = self.newer
        self.of = self.newer = self.older = None
        return 0

    cdef bint answerable(self):
        return False

    cpdef int fire(self, object reason) except -1:
        """What was watched has ended for this reason."""
        raise NotImplementedError(f"{type(self).__name__} does not say what is done at an end")

    cpdef int drop(self) except -1:
        """Whoever held this has ended."""
        self.detach()
        return 0

    def watch(self, Watched of not None) -> None:
        """Watch it from now on."""
        self.detach()
        self.attach(of)

    def unwatch(self) -> None:
        """Watch nothing from now on."""
        self.detach()
