"""The scheduler that steps processes: what it holds."""

from cpython.object cimport PyObject

from partisan._core.process cimport Process, Runner


cdef class Scheduler(Runner):
    cdef readonly dict processes        # pid key (serial << 28 | id) -> Process
    cdef readonly dict names            # registered name (str) -> Process, or a sink: callable(message, link)
    cdef object home                    # its Atom
    cdef readonly str node              # name of the node whose processes these are
    cdef PyObject** ready               # run queue: owned ring of owned references to Process
    cdef Py_ssize_t ready_capacity      # entries allocated, a power of two
    cdef Py_ssize_t ready_head
    cdef Py_ssize_t ready_length
    cdef list postponed                 # processes that asked for the next loop turn (a bare yield)
    cdef bint awake                     # run() is under way or arranged for: no wake() needed
    cdef public tuple variables         # ((ContextVar, value), ...): set in the context of every process
    cdef object wake                    # callable(): arrange that run() is called soon
    cdef object enter_task              # callable(loop, task): asyncio's bookkeeping of current_task()
    cdef object leave_task              # callable(loop, task)
    cdef object crash_reason            # callable(exception) -> reason term
    cdef readonly dict aliases          # number -> Alias: what may be answered from elsewhere
    cdef public unsigned long long next_alias  # number of the next alias
    cdef public object forget           # callable(node, target, number): a request to another node is not wanted any more
    cdef object exited                  # callable(process, reason, error or None): a process has ended
    cdef object idle_context            # context in which futures call back
    cdef readonly unsigned long long steps
    cdef Py_ssize_t next_key            # key of the next pid
    cdef object stopwatch               # callable() -> seconds; None: runs are not timed
    cdef double long_step               # seconds; a longer step is reported
    cdef Py_ssize_t closely             # so many runs are yet to be timed step by step
    cdef object slow                    # callable(process or None, seconds, steps)

    cdef object context_of(self, Process process)
    cdef Process pop_ready(self)
    cdef int step(self, Process process) except -1
    cdef int timed_step(self, Process process) except -1
    cdef int judge(self, double seconds, Py_ssize_t steps, Process last) except -1
    cdef object resume(self, Process process, bint* ended)
    cdef object close(self, object coroutine)
    cdef int suspend(self, Process process, object yielded) except -1
    cdef int await_future(self, Process process, object yielded) except -1
    cdef int finish(self, Process process, object reason, object error) except -1
    cdef Process find_process(self, unsigned long long id, unsigned long long serial)
