"""Hand a Python target to libFuzzer."""

import importlib
import os
import sys
from collections.abc import Callable


def run(one_input: Callable[[bytes], None]) -> None:
    """Fuzz `one_input` as the command line's arguments, which are libFuzzer's, say.

    The sanitizer's runtime, preloaded by run.sh, brings libFuzzer along. FUZZ_TARGET names the command that libFuzzer
    starts again when it merges corpora.
    """
    atheris = importlib.import_module("atheris_no_libfuzzer")
    atheris.Setup([os.environ.get("FUZZ_TARGET", sys.argv[0]), *sys.argv[1:]], one_input)
    atheris.Fuzz()
