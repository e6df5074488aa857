"""What ties processes together: links and monitors."""

from partisan._core.identities import Atom

__all__ = ["Link", "Monitor", "link", "unlink"]

cdef object PROCESS = Atom("process")


cdef class Link(Watch):
    """One end of a link.

    Args:
        mine: the process of this node at this end.
        pid: of the other.
        tell: callable(mine, theirs, reason): tells the node of the other end that this one has ended.
    """

    def __init__(self, Process mine not None, Pid pid not None, tell=None):
        self.mine = mine
        self.pid = pid
        self.tell = tell

    cpdef int fire(self, object reason) except -1:
        if self.other is None:
            self.tell(self.mine.pid, self.pid, reason)
            return 0
        theirs = self.other.untie(self.mine.pid)
        if theirs is not None:
            theirs.detach()
        return self.other.signal(reason, self.mine.pid, True)


cdef class Monitor(Watch):
    """Tells its holder, by `(tag, reference, process, item, reason)`, that what it watches has ended.

    Args:
        holder: the process that monitors.
        reference: under which it holds this.
        item: what is monitored: a pid, or (name, node).
        tag: DOWN, unless the holder wanted another.
    """

    def __init__(self, Process holder not None, Reference reference not None, item, tag):
        self.holder = holder
        self.reference = reference
        self.item = item
        self.tag = tag

    cpdef int fire(self, object reason) except -1:
        if self.holder.untie(self.reference) is not None:
            self.holder.deliver((self.tag, self.reference, PROCESS, self.item, reason))
        return 0


cdef Link one_end(Process mine, Process other):
    cdef Link link = Link.__new__(Link)
    link.mine = mine
    link.pid = other.pid
    link.other = other
    link.attach(mine)
    mine.tie(other.pid, link)
    return link


def link(Process one not None, Process other not None) -> None:
    """Link two living processes of this node; nothing if they are, or are one."""
    if one is not other and (one.ties is None or other.pid not in one.ties):
        one_end(one, other)
        one_end(other, one)


def unlink(Process mine not None, Pid pid not None) -> Link | None:
    """Take a process's end of a link away, and the other end if that is of this node; the end, or None."""
    cdef Link link = mine.untie(pid)
    if link is not None:
        link.detach()
        if link.other is not None:
            theirs = link.other.untie(mine.pid)
            if theirs is not None:
                theirs.detach()
    return link
