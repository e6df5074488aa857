"""From Python values to octets."""

def canonical(term: object) -> bytes:
    """Octets that two terms share exactly when they are `=:=`."""
