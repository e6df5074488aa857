"""Counts of live things in the core: `count(&live.processes, 1)`. Compiled to nothing in a release."""


cdef extern from "counters.h" nogil:
    bint COUNTING "PARTISAN_COUNTING"                                           # whether this flavour counts
    void count "partisan_count"(Py_ssize_t* which, Py_ssize_t by) noexcept      # `which`: a field of `live`


cdef struct counters:
    Py_ssize_t processes    # Process objects
    Py_ssize_t holds        # holds of processes by send queues above their high water
    Py_ssize_t messages     # messages in mailboxes
    Py_ssize_t queues       # SendQueue objects
    Py_ssize_t exports      # buffers of send queues that somebody looks at
    Py_ssize_t slabs        # Slab objects
    Py_ssize_t assemblies   # frame readers in the middle of a long frame
    Py_ssize_t rings        # Fresh objects
    Py_ssize_t parcels      # parcels in Fresh objects
    Py_ssize_t runs         # Run objects
    Py_ssize_t watches      # Watch objects that are on something


cdef counters live
