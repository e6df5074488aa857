"""From Python values to octets."""

def canonical(term: object, nil: bool = False) -> bytes:
    """Octets that two terms share exactly when they are `=:=`."""
