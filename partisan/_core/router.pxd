"""The way of a message: from send() to a send queue, and from a frame to a mailbox."""

from libc.stdint cimport uint8_t

from partisan._core.acknowledged cimport Acknowledging
from partisan._core.connections cimport ConnectionTable, Lane
from partisan._core.etf cimport Codec
from partisan._core.frame cimport FrameReader
from partisan._core.identities cimport Pid
from partisan._core.process cimport Process
from partisan._core.scheduler cimport Scheduler
from partisan._core.sendqueue cimport SendQueue


cdef class Origin(FrameReader):
    """Abstract: the connection on which a message came, as far as its receivers know it."""
    cdef readonly object link              # who owns the connection
    cdef public str channel                # what the peer said the connection is for; None until its hello
    cdef bint wrapped                      # the message in hand was taken out of another


cdef class PairKey:
    cdef readonly unsigned long long value


cdef class Router:
    """One node's messages: out through the connection table, in to the processes."""
    cdef readonly str node                 # name of this node
    cdef readonly Pid outside              # in whose name code that is no process's own asks
    cdef readonly Codec codec              # of messages on the wire
    cdef readonly Scheduler scheduler
    cdef readonly ConnectionTable table
    cdef object clock                      # callable() -> seconds, for queues whose frames may be superseded
    cdef object call_soon                  # callable(function): call it in the next loop turn
    cdef public object undeliverable              # callable(target, message): nobody here has that name or pid
    cdef public object after_burst         # callable() at the end of every burst and turn; None for none
    cdef public Acknowledging acknowledging  # of what is sent with `ack`
    cdef tuple place                       # where the last message with `ack` went: (target, channel, partition key)
    cdef public object forwarding          # callable(node, target, message, channel, partition_key, key, ack): takes
                                           # what is sent to other nodes, and gives forward() what goes on; None for none
    cdef public object receiving           # callable(target, message, inbound): takes what came from other nodes, and
                                           # gives hand_over() what goes on; None for none
    cdef public object ordering            # callable(message, inbound) -> whether it takes this message, which looks causal
    cdef public object optioned            # callable(target, message, **options): sends with what few messages have
    cdef public object relaying            # callable(node, target, message, channel, ack) -> whether it takes what is for
                                           # a node without a connection; None for nobody
    cdef public frozenset foreign_parts    # names (str) of parts of the node that only a foreign connection knows
    cdef public bytes padding              # what user messages to other nodes are padded with; None: they are not
    cdef public object call_outside        # callable(...) -> awaitable: a call from code that is no process's own
    cdef public object call_monitored      # callable(...) -> awaitable: a call of a node that watches no calls for us
    cdef public object call_unreached      # callable(...) -> awaitable or None: a call of a node that is not connected
    cdef public object refuse              # callable(caller, tag, channel, reason): nobody will answer the request
    cdef public object read_caller         # callable(term) -> pid or (name, node) of who asks, or None: the rarer forms
    cdef dict tallies                      # node -> how many of its requests wait here
    cdef object ending                     # deque of callable(): for the end of the burst
    cdef list dirty                        # queues with a write arranged for
    cdef bint roused                       # turn() is arranged for
    cdef bint busy                         # inside a burst or a turn: what is marked now is written at its end
    cdef unsigned long thread              # identity of the only thread that may send
    cdef readonly unsigned long long undelivered  # messages for nobody

    cdef int check_thread(self) except -1
    cdef int post(self, object target, object message, str channel, object partition_key, object key,
                  bint ack) except -1
    cdef int send_remote(self, str node, const uint8_t* target, size_t size, object name, object message,
                         str channel, object partition_key, object key, bint ack) except -1
    cdef int send_kept(self, str node, const uint8_t* target, size_t size, object name, object message,
                       str channel, object partition_key) except -1
    cdef Lane lane_to(self, str node, str channel)
    cdef SendQueue queue_of(self, Lane lane, const uint8_t* target, size_t size, object name, object partition_key)
    cdef SendQueue own_queue_of(self, Lane lane, const uint8_t* target, size_t size, object partition_key)
    cdef int hold_sender(self, SendQueue queue) except -1
    cdef int send_named(self, object name, str node, object message, str channel, object partition_key,
                        object key, bint ack) except -1
    cdef int send_pid(self, object pid, object message, str channel, object partition_key, object key,
                      bint ack) except -1
    cdef bint take_causal(self, object message, Origin inbound) except -1
    cdef int deliver_name(self, str name, object message, Origin inbound) except -1
    cdef int send_elsewhere(self, object target, object message, str channel, object partition_key, object key,
                            bint ack) except -1
    cdef int send_here(self, str name, object message) except -1
    cdef int give(self, Process process, object message, Origin inbound) except -1
    cdef int give_nobody(self, object target, object message, Origin inbound) except -1
    cdef object serve(self, tuple message, Process process, Origin inbound)
    cdef bint is_here(self, object place)
    cdef int nobody(self, object target, object message) except -1
    cdef int deliver_term(self, object target, object message, Origin inbound) except -1
    cdef object end(self, object failure)
    cdef int finish_burst(self) except -1
    cdef int try_again(self, SendQueue queue) except -1
    cdef bint is_system(self, object name)
    cdef bint is_ours(self, object name)


cdef object current_router                 # ContextVar[Router]
