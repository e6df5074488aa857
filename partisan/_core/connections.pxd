"""The connection table: (node, channel) to the send queues of its connections."""

from partisan._core.bound cimport Bound
from partisan._core.places cimport Places
from partisan._core.sendqueue cimport SendQueue


cdef class Holding(SendQueue):
    pass


cdef class TakeOver:
    cdef Lane lane
    cdef list waits                       # of Wait: those that are not over yet
    cdef dict held                        # slot -> its Holding


cdef class Wait:
    cdef TakeOver takeover
    cdef SendQueue queue                  # whose barrier; None: it is lost

    cdef int begin(self) except -1


cdef class Lane:
    """The connections of one (peer, channel), and the slots that spread traffic over them.

    A slot is what a pair of processes, or a partition key, hashes to. It keeps the queue that it has used until that one is
    closed, or the peer has provably handled what the slot has sent, so a pair's messages never swap.
    """
    cdef readonly Peer peer
    cdef readonly str channel
    cdef readonly Bound bound
    cdef readonly Py_ssize_t parallelism  # connections wanted
    cdef Py_ssize_t pairs                 # slots of pairs of processes; those of partition keys come after them
    cdef readonly Py_ssize_t count        # connections up
    cdef list slots                       # slot -> the queue that it uses now, or None if unused since that one closed
    cdef readonly Places places           # the connections, and which of them the slots of pairs may take
    cdef bint shares                      # pairs use as few connections as they can without waiting
    cdef list takeovers                   # under way, oldest first
    cdef dict retired                     # queue that was given up and is not released -> slots that may have used it
    cdef readonly bint configured         # the peer's spec names the channel
    cdef bint abroad                      # its messages take the peer's foreign connection until that is lost
    # callable(target, message) -> message for the peer's `partisan_python`, or None to send this one plainly; or None
    cdef public object envelope

    cdef int arrange(self) except -1
    cdef Py_ssize_t slot_of(self, Py_ssize_t number)
    cdef bint roams(self, Py_ssize_t slot)
    cdef Py_ssize_t home_of(self, Py_ssize_t slot)
    cdef SendQueue away(self)
    cdef SendQueue at(self, Py_ssize_t slot)
    cdef SendQueue resolve(self, Py_ssize_t slot)
    cdef SendQueue choose(self, Py_ssize_t slot)
    cdef SendQueue some(self, Py_ssize_t slot)
    cdef int tell_parted(self) except -1
    cdef SendQueue weigh(self, Py_ssize_t slot, SendQueue queue)
    cdef SendQueue take(self, Py_ssize_t slot, SendQueue queue)
    cdef bint gather(self) except -1
    cdef int leave(self) except -1
    cdef int hand_over_all(self, dict leaving) except -1
    cdef int hand_over(self, slots, used) except -1
    cdef Holding holding(self)
    cdef int follow(self, Lane default) except -1
    cdef int settle(self, Py_ssize_t slot, SendQueue holding) except -1
    cdef list waits_for(self, SendQueue queue)


cdef class Peer:
    """What is known of the connections to one node."""
    cdef readonly str name
    cdef readonly dict lanes              # channel (str) -> Lane
    cdef readonly Py_ssize_t count        # connections up, of all channels and the foreign one
    cdef readonly SendQueue foreign       # the connection of another wire than Partisan's, or None
    cdef readonly Py_ssize_t lacking      # configured lanes with fewer connections than they want
    cdef readonly bint seen               # a connection was up once
    cdef readonly bint strayed            # messages for channels without a lane may have gone out on the default one
    cdef public bint watches_calls        # the node tells us itself, by Partisan, when a process that we have called ends
    cdef ConnectionTable table

    cdef bint watches(self, str channel) except -1
    cdef int open_foreign(self, SendQueue queue) except -1
    cdef int close_foreign(self, SendQueue queue) except -1
    cdef Lane lane(self, str channel)
    cdef Lane stand_in(self, str channel)


cdef class ConnectionTable:
    cdef readonly dict peers              # node name (str) -> Peer
    cdef object bound                     # callable(node, channel) -> Bound
    cdef readonly bint fallback           # use the default channel while a channel has no connection
    cdef readonly frozenset channels      # names (str) that our configuration knows
    cdef object unknown                   # callable(node, channel): a message was for a channel that nobody knows
    cdef set told                         # channels (str) that `unknown` was called with, MAX_TOLD at most
    cdef readonly bint shares             # slots of a channel share as few connections as they can without waiting
    cdef object parted                    # callable(): some lane is one for `gather`
    cdef readonly Py_ssize_t count        # connections up, to all nodes

    cdef int tell_parted(self) except -1
    cdef int tell(self, str node, str channel) except -1
