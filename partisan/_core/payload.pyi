"""Check octets that claim to be a msgpack payload, before anything is built of them."""

from typing_extensions import Buffer

TUPLE: int
ATOM: int
PID: int
REFERENCE: int
TERM: int

def check(data: Buffer, max_depth: int, max_items: int) -> bool:
    """Whether some map of the payload has keys that may be one key under the external term format.

    Raises:
        DecodeError: they are no payload, a limit is passed, or octets follow it.
    """
