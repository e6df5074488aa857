"""What ties processes together: links and monitors."""

from partisan._core.identities cimport Pid, Reference
from partisan._core.process cimport Process
from partisan._core.watch cimport Watch


cdef class Link(Watch):
    """One end of a link: on the process whose end it is, and held by it under the other's pid."""
    cdef readonly Process mine
    cdef readonly Pid pid               # of the other end
    cdef Process other                  # ... if that is of this node
    cdef object tell                    # callable(mine, theirs, reason): tells the other's node; None: it is this one


cdef class Monitor(Watch):
    """Tells the process that holds it, by a message, that another has ended."""
    cdef readonly Process holder        # ... under the reference
    cdef readonly Reference reference
    cdef readonly object item           # what is monitored: a pid, or (name, node)
    cdef readonly object tag            # first element of the message
