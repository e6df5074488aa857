"""The parts of CPython's C interface that Cython declares otherwise than the codec needs them.

References are counted by hand where a function here takes or gives a PyObject*: "new" is owned by the caller.
"""

from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport int64_t


cdef extern from *:
    """
    #include <stdint.h>
    /* An int of one digit: nearly every int there is. Its value is read without a call. */
    #if PY_VERSION_HEX >= 0x030C0000
    #define partisan_int_is_compact(o) PyUnstable_Long_IsCompact((PyLongObject *)(o))
    #define partisan_int_value(o) PyUnstable_Long_CompactValue((PyLongObject *)(o))
    #else
    #define partisan_int_is_compact(o) ((size_t)(Py_SIZE(o) + 1) < 3)
    #define partisan_int_value(o) (Py_SIZE(o) * (Py_ssize_t)((PyLongObject *)(o))->ob_digit[0])
    #endif
    /* The value of an int if it has 64 bits at most: 1, or 0. */
    static inline int partisan_int_fits(PyObject *o, int64_t *value) {
        int overflow;
        if (partisan_int_is_compact(o)) {
            *value = partisan_int_value(o);
            return 1;
        }
    #if PY_VERSION_HEX < 0x030C0000
        if (Py_SIZE(o) == 2 || Py_SIZE(o) == -2) {
            const digit *digits = ((PyLongObject *)o)->ob_digit;
            *value = (int64_t)((uint64_t)digits[1] << PyLong_SHIFT | digits[0]);
            if (Py_SIZE(o) < 0) *value = -*value;
            return 1;
        }
    #endif
        *value = PyLong_AsLongLongAndOverflow(o, &overflow);
        return !overflow;
    }
    #if PY_VERSION_HEX >= 0x030D0000
    #define partisan_dict_of_size(n) PyDict_New()
    #else
    #define partisan_dict_of_size(n) _PyDict_NewPresized(n)
    #endif
    """
    bint int_is_compact "partisan_int_is_compact"(PyObject* value) noexcept     # value is an int
    Py_ssize_t int_value "partisan_int_value"(PyObject* value) noexcept         # value is compact
    bint int_fits "partisan_int_fits"(PyObject* value, int64_t* result) noexcept    # value is an int
    dict dict_of_size "partisan_dict_of_size"(Py_ssize_t items)                 # room for `items` where CPython offers it


cdef extern from "Python.h":
    PyTypeObject PyUnicode_Type, PyLong_Type, PyBytes_Type, PyFloat_Type, PyDict_Type, PyList_Type, PyTuple_Type
    PyTypeObject PyByteArray_Type, PyMemoryView_Type
    PyObject* TRUE "Py_True"
    PyObject* FALSE "Py_False"
    PyObject* NONE "Py_None"

    PyTypeObject* Py_TYPE(PyObject* item) noexcept
    void Py_INCREF(PyObject* item) noexcept
    void Py_DECREF(PyObject* item) noexcept

    bint PyUnicode_Check(PyObject* item) noexcept
    bint PyLong_Check(PyObject* item) noexcept
    bint PyBytes_Check(PyObject* item) noexcept
    bint PyByteArray_Check(PyObject* item) noexcept
    bint PyFloat_Check(PyObject* item) noexcept
    bint PyDict_Check(PyObject* item) noexcept
    bint PyList_Check(PyObject* item) noexcept
    bint PyTuple_Check(PyObject* item) noexcept
    bint PyMemoryView_Check(PyObject* item) noexcept

    double PyFloat_AS_DOUBLE(PyObject* item) noexcept
    char* PyBytes_AS_STRING(PyObject* item) noexcept
    Py_ssize_t PyBytes_GET_SIZE(PyObject* item) noexcept
    bint PyUnicode_IS_COMPACT_ASCII(PyObject* item) noexcept
    void* PyUnicode_DATA(PyObject* item) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject* item) noexcept
    Py_ssize_t PyDict_GET_SIZE(PyObject* item) noexcept
    Py_ssize_t PySequence_Fast_GET_SIZE(PyObject* item) noexcept
    PyObject** PySequence_Fast_ITEMS(PyObject* item) noexcept
    bint PyDict_Next(PyObject* mapping, Py_ssize_t* position, PyObject** key, PyObject** value) noexcept

    PyObject* new_int "PyLong_FromLong"(long value) except NULL                             # new
    PyObject* new_uint64 "PyLong_FromUnsignedLongLong"(unsigned long long value) except NULL  # new
    PyObject* new_float "PyFloat_FromDouble"(double value) except NULL                      # new
    PyObject* new_bytes "PyBytes_FromStringAndSize"(const char* text, Py_ssize_t size) except NULL      # new
    PyObject* new_text "PyUnicode_New"(Py_ssize_t size, Py_UCS4 largest) except NULL        # new, not yet filled
    void PyList_SET_ITEM(PyObject* items, Py_ssize_t index, PyObject* item) noexcept        # takes the reference
    void PyTuple_SET_ITEM(PyObject* items, Py_ssize_t index, PyObject* item) noexcept       # takes the reference
    PyObject* try_set_default "PyDict_SetDefault"(PyObject* mapping, PyObject* key, PyObject* value) noexcept   # borrowed
    Py_hash_t try_hash "PyObject_Hash"(PyObject* key) noexcept                              # -1: it has none
    bint PyErr_ExceptionMatches(object kind) noexcept
    void PyErr_Clear() noexcept
