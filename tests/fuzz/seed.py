"""Write the first corpus: every decode case that is not large, behind the octets by which a target chooses.

Usage: python -m tests.fuzz.seed. run.sh grows the corpus from there; this only brings back what a new case adds.
"""

from hashlib import sha1
from pathlib import Path

from tests.oracle import cases

CORPUS = Path(__file__).parent / "corpus"
LARGEST = 600  # octets of a seed


def write(directory: Path, data: bytes) -> None:
    """Write one input under the name that libFuzzer would give it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / sha1(data).hexdigest()).write_bytes(data)


def large(count: int) -> bytes:
    """Return a frame of a tuple of `count` binaries of 64 KiB, each as a run (see frames.py)."""
    binary = b"m\0\x01\0\0\xfe\x40\0"
    return (3 + count * (5 + 65536)).to_bytes(4) + b"\x83h" + bytes([count]) + binary * count


def main() -> None:
    for _, octets in cases.written() + cases.recorded_terms():
        if len(octets) <= LARGEST:
            write(CORPUS / "scan", b"\x05\x02" + octets[1:])
            write(CORPUS / "codec", b"\x00" + octets[1:])
            write(CORPUS / "codec", b"\x01" + octets[1:])
            write(CORPUS / "frames", b"\x01" + len(octets).to_bytes(4) + octets + len(octets).to_bytes(4) + octets)
    for pieces in (b"\x03", b"\x64", b"\xff"):
        for count in (1, 2):
            write(CORPUS / "frames", pieces + large(count) + b"\0\0\0\x02\x83j" + large(3))


if __name__ == "__main__":
    main()
