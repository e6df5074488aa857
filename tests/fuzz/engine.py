"""Hand a Python target to libFuzzer."""

import importlib
import os
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType


def run(one_input: Callable[[bytes], None], *written_in_python: ModuleType) -> None:
    """Fuzz `one_input` as the command line's arguments, which are libFuzzer's, say.

    What is compiled tells its coverage anyway; these modules are made to tell theirs.
    The sanitizer's runtime, preloaded by run.sh, brings libFuzzer along. FUZZ_TARGET names the command that libFuzzer
    starts again when it merges corpora.
    """
    atheris = importlib.import_module("atheris_no_libfuzzer")
    for module in written_in_python:
        for value in list(vars(module).values()):
            inner = list(vars(value).values()) if isinstance(value, type) else [value]
            for function in inner:
                if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                    atheris.instrument_func(function)
    atheris.Setup([os.environ.get("FUZZ_TARGET", sys.argv[0]), *sys.argv[1:]], one_input)
    atheris.Fuzz()
