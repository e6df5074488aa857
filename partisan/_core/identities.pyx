"""What names something: atoms, and the pids, references and ports of a node. Other terms are in `terms`.

All are immutable. How a pid or reference was written on the wire is not part of its equality.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_DelItem
from cpython.long cimport PyLong_AsVoidPtr, PyLong_FromVoidPtr
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeLatin1, PyUnicode_DecodeUTF8
from libc.string cimport memcmp, memcpy

from .options cimport FORM_LIST, FORM_PLAIN, FORM_TUPLE
from .wire cimport (
    MAX_ATOM_CHARACTERS, MAX_REFERENCE_WORDS, REFERENCE_TEXT_OCTETS, SMALL_ATOM_UTF8_EXT, ATOM_UTF8_EXT,
    octets_are_ascii, octets_hash, reference_text_put,
)

from ..errors import DecodeError, EncodeError


cdef extern from "Python.h":
    PyObject* PyDict_GetItemWithError(object mapping, object key) except? NULL
    void PyType_Modified(PyTypeObject* kind)
    ctypedef struct newable "PyTypeObject":
        PyObject* (*tp_new)(PyTypeObject* kind, PyObject* args, PyObject* kwargs)
        void* tp_vectorcall


# --- atoms -----------------------------------------------------------------------------------------------------------

# name -> address of the living Atom of that name. A borrowed reference: the atom takes its entry away when it dies,
# so a stream of ever new names does not grow this table.
cdef dict _atoms = {}

cdef enum:
    CACHED_ATOMS = 1024         # slots of the decoder's cache; a power of two
    CACHED_ATOM_OCTETS = 64     # longer names are not cached, so the cache is bounded in octets too

# Owned references or NULL; the slot is the hash of the UTF-8 octets, and a new atom evicts the old one.
cdef PyObject* _cache[CACHED_ATOMS]

cdef dict _SPECIAL = {"true": ATOM_TRUE, "false": ATOM_FALSE, "undefined": ATOM_UNDEFINED, "nil": ATOM_NIL}


@cython.final
cdef class Atom:
    """An Erlang atom: a name that is compared by identity.

    The same name gives the same object for as long as anybody holds it. An Atom is no str and equals none. It matches
    in `match`: `case Atom("ok")`.

    Raises:
        EncodeError: the name is longer than 255 characters or no valid Unicode.
    """

    __match_args__ = ("name",)

    def __dealloc__(self):
        if self.ext is not None:
            PyDict_DelItem(_atoms, self.name)

    def __str__(self):
        return self.name

    def __repr__(self):
        return f"Atom({self.name!r})"

    def __reduce__(self):
        return Atom, (self.name,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


cdef Atom atom_from_str(str name):
    cdef PyObject* known = PyDict_GetItemWithError(_atoms, name)
    if known is not NULL:
        return <Atom>PyLong_AsVoidPtr(<object>known)
    if len(name) > MAX_ATOM_CHARACTERS:
        raise EncodeError(f"an atom has at most {MAX_ATOM_CHARACTERS} characters, this name has {len(name)}")
    cdef bytes text
    try:
        text = name.encode()
    except UnicodeEncodeError as error:
        raise EncodeError(f"{name!r} is no valid Unicode") from error
    cdef Atom atom = Atom.__new__(Atom)
    cdef Py_ssize_t size = len(text)
    cdef bytes ext
    if size < 256:
        ext = bytes((SMALL_ATOM_UTF8_EXT, size)) + text
    else:
        ext = bytes((ATOM_UTF8_EXT, size >> 8, size & 255)) + text
    atom.name = name
    atom.special = _SPECIAL.get(name, ATOM_PLAIN)
    address = PyLong_FromVoidPtr(<void*>atom)
    known = PyDict_GetItemWithError(_atoms, name)
    if known is not NULL:  # made meanwhile, by a finaliser
        return <Atom>PyLong_AsVoidPtr(<object>known)
    _atoms[name] = address
    atom.ext = ext      # set last: __dealloc__ takes the entry away only when there is one
    return atom


cdef Atom atom_from_utf8(const uint8_t* text, Py_ssize_t size, Py_ssize_t where):
    cdef PyObject** slot
    cdef Atom atom
    if size > CACHED_ATOM_OCTETS:
        return _decode_atom(text, size, where)
    slot = &_cache[octets_hash(text, size) & (CACHED_ATOMS - 1)]
    if slot[0] is not NULL:
        atom = <Atom>slot[0]
        # A cached name is short, so its external form has a header of two octets.
        if PyBytes_GET_SIZE(atom.ext) == size + 2 and memcmp(PyBytes_AS_STRING(atom.ext) + 2, text, size) == 0:
            return atom
    atom = _decode_atom(text, size, where)
    cdef PyObject* old = slot[0]
    Py_INCREF(atom)
    slot[0] = <PyObject*>atom
    Py_XDECREF(old)
    return atom


cdef Atom _decode_atom(const uint8_t* text, Py_ssize_t size, Py_ssize_t where):
    cdef str name
    try:
        name = PyUnicode_DecodeUTF8(<const char*>text, size, NULL)
    except UnicodeDecodeError as error:
        raise DecodeError("an atom's name is not UTF-8", where) from error
    if len(name) > MAX_ATOM_CHARACTERS:
        raise DecodeError(f"an atom's name has {len(name)} characters, more than {MAX_ATOM_CHARACTERS}", where)
    return atom_from_str(name)


cdef Atom atom_from_latin1(const uint8_t* text, Py_ssize_t size, Py_ssize_t where):
    if octets_are_ascii(text, size):
        return atom_from_utf8(text, size, where)
    if size > MAX_ATOM_CHARACTERS:
        raise DecodeError(f"an atom's name has {size} characters, more than {MAX_ATOM_CHARACTERS}", where)
    return atom_from_str(PyUnicode_DecodeLatin1(<const char*>text, size, NULL))


cdef Atom _new_atom(object args, object kwargs):
    if len(args) + len(kwargs) != 1 or (kwargs and "name" not in kwargs):
        raise TypeError("Atom() takes exactly one argument, its name")
    name = args[0] if args else kwargs["name"]
    if not isinstance(name, str):
        raise TypeError(f"an atom's name is a str, not {type(name).__name__}")
    return atom_from_str(name if type(name) is str else "".join(name))


cdef PyObject* _atom_tp_new(PyTypeObject* kind, PyObject* args, PyObject* kwargs) except NULL:
    cdef Atom atom = _new_atom(<object>args, <object>kwargs if kwargs is not NULL else {})
    Py_INCREF(atom)
    return <PyObject*>atom


# A cdef class cannot return an existing object from its constructor, so the slots are replaced: this is the interning.
(<newable*>Atom).tp_new = <PyObject* (*)(PyTypeObject*, PyObject*, PyObject*) noexcept>_atom_tp_new
(<newable*>Atom).tp_vectorcall = NULL       # else CPython calls the constructor that Cython made, past tp_new
PyType_Modified(<PyTypeObject*>Atom)


# What identities hold that were made by __new__ alone, so that C code never meets None in its place.
cdef Atom NOBODY = atom_from_str("nonode@nohost")


cdef Atom _home(object node):
    if isinstance(node, Atom):
        return <Atom>node
    if isinstance(node, str):
        return atom_from_str(str(node))
    raise TypeError(f"a node is a str or an Atom, not {type(node).__name__}")


cdef uint8_t _form_code(str form, str plain) except? 255:
    if form == plain:
        return FORM_PLAIN
    if form == "list":
        return FORM_LIST
    if form == "tuple":
        return FORM_TUPLE
    raise ValueError(f"form {form!r} is none of {plain!r}, 'list' and 'tuple'")


cdef str _form_name(uint8_t code, str plain):
    return plain if code == FORM_PLAIN else "list" if code == FORM_LIST else "tuple"


# --- aliases ---------------------------------------------------------------------------------------------------------


cdef class Alias:
    """Abstract: an object of this node that stands in a term for what is written of it."""

    cdef object term(self):
        raise NotImplementedError(f"{type(self).__name__} does not say what is written of it")

    cdef int answered(self, object value) except -1:
        raise NotImplementedError(f"{type(self).__name__} takes no answer")


# --- pids, references, ports -----------------------------------------------------------------------------------------


@cython.final
cdef class Pid:
    """A process identifier.

    Args:
        node: name of the node it lives on.
        id, serial, creation: 32 bits each. Partisan's remote references know no creation: it is 0 there.
        form: how it came over the wire: "pid" (the distribution's own), or partisan's "list" or "tuple". No part of
            its identity.
    """

    __match_args__ = ("node", "id", "serial", "creation")

    def __cinit__(self):
        self.home = NOBODY

    def __init__(self, node, uint32_t id, uint32_t serial=0, uint32_t creation=0, str form="pid"):
        if self.home is not NOBODY:
            raise TypeError("a Pid is immutable")
        self.form_code = _form_code(form, "pid")
        self.id = id
        self.serial = serial
        self.creation = creation
        self.home = _home(node)

    @property
    def node(self):
        return self.home.name

    @property
    def form(self):
        return _form_name(self.form_code, "pid")

    @property
    def text(self):
        return f"<0.{self.id}.{self.serial}>"

    def __eq__(self, other):
        if not isinstance(other, Pid):
            return NotImplemented
        cdef Pid that = <Pid>other
        return (self.id == that.id and self.serial == that.serial and self.creation == that.creation
                and self.home is that.home)

    def __hash__(self):
        return hash((self.home.name, self.id, self.serial, self.creation))

    def __repr__(self):
        tail = f", {self.creation}" if self.creation else ""
        return f"Pid({self.home.name!r}, {self.id}, {self.serial}{tail})"

    def __reduce__(self):
        return Pid, (self.home.name, self.id, self.serial, self.creation, self.form)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


cdef Pid pid_of(Atom home, uint32_t id, uint32_t serial, uint32_t creation, uint8_t form_code):
    cdef Pid pid = Pid.__new__(Pid)
    pid.home = home
    pid.id = id
    pid.serial = serial
    pid.creation = creation
    pid.form_code = form_code
    return pid


@cython.final
cdef class Reference:
    """A unique reference.

    Args:
        node: name of the node that made it.
        words: 1 to 5 words of 32 bits, in wire order: the least significant first.
        creation: 32 bits; 0 in partisan's remote references.
        form: "ref", or partisan's "list" or "tuple". No part of its identity.
    """

    __match_args__ = ("node", "words", "creation")

    def __cinit__(self):
        self.home = NOBODY
        self.count = 1

    def __init__(self, node, words, uint32_t creation=0, str form="ref"):
        if self.home is not NOBODY:
            raise TypeError("a Reference is immutable")
        cdef tuple ids = tuple(words)
        if not 1 <= len(ids) <= MAX_REFERENCE_WORDS:
            raise ValueError(f"a reference has 1 to {MAX_REFERENCE_WORDS} words, not {len(ids)}")
        for i, word in enumerate(ids):
            self.ids[<int>i] = word
        self.count = <uint8_t>len(ids)
        self.creation = creation
        self.form_code = _form_code(form, "ref")
        self.home = _home(node)

    @property
    def node(self):
        return self.home.name

    @property
    def words(self):
        return tuple([self.ids[i] for i in range(self.count)])

    @property
    def form(self):
        return _form_name(self.form_code, "ref")

    @property
    def text(self):
        cdef uint8_t out[REFERENCE_TEXT_OCTETS]
        cdef uint32_t ids[5]
        cdef int i
        for i in range(self.count):
            ids[i] = self.ids[self.count - 1 - i]
        return out[:reference_text_put(out, b"#Ref<", ids, self.count)].decode("ascii")

    def __eq__(self, other):
        if not isinstance(other, Reference):
            return NotImplemented
        cdef Reference that = <Reference>other
        return (self.count == that.count and self.creation == that.creation and self.home is that.home
                and memcmp(self.ids, that.ids, 4 * self.count) == 0)

    def __hash__(self):
        return hash((self.home.name, self.words, self.creation))

    def __repr__(self):
        tail = f", {self.creation}" if self.creation else ""
        return f"Reference({self.home.name!r}, {self.words}{tail})"

    def __reduce__(self):
        return Reference, (self.home.name, self.words, self.creation, self.form)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


cdef Reference reference_of(Atom home, const uint32_t* ids, int count, uint32_t creation, uint8_t form_code):
    cdef Reference reference = Reference.__new__(Reference)
    reference.home = home
    memcpy(reference.ids, ids, 4 * count)
    reference.count = <uint8_t>count
    reference.creation = creation
    reference.form_code = form_code
    return reference


@cython.final
cdef class Port:
    """A port identifier: `node`, an `id` of up to 64 bits, a `creation` of 32."""

    __match_args__ = ("node", "id", "creation")

    def __cinit__(self):
        self.home = NOBODY

    def __init__(self, node, uint64_t id, uint32_t creation=0):
        if self.home is not NOBODY:
            raise TypeError("a Port is immutable")
        self.id = id
        self.creation = creation
        self.home = _home(node)

    @property
    def node(self):
        return self.home.name

    def __eq__(self, other):
        if not isinstance(other, Port):
            return NotImplemented
        cdef Port that = <Port>other
        return self.id == that.id and self.creation == that.creation and self.home is that.home

    def __hash__(self):
        return hash((self.home.name, self.id, self.creation))

    def __repr__(self):
        tail = f", {self.creation}" if self.creation else ""
        return f"Port({self.home.name!r}, {self.id}{tail})"

    def __reduce__(self):
        return Port, (self.home.name, self.id, self.creation)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self
