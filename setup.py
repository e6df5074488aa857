"""Build the compiled core; every other fact about the package is in pyproject.toml.

PARTISAN_BUILD chooses the flavour:
    release  (default) optimised
    debug    counters that must return to zero, annotated HTML beside the generated C
    trace    line tracing, so that coverage sees Cython lines
    asan     AddressSanitizer and UndefinedBehaviorSanitizer
"""

import os
import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

FLAVOUR = os.environ.get("PARTISAN_BUILD", "release")
# Inlined under AddressSanitizer, functions share one large frame: the greatest depth of a term would not fit the stack.
COMPILE = {
    # -g0 undoes the -g that Python's own flags bring: a fifth of the time to compile.
    "release": ["-O3", "-fno-semantic-interposition", "-g0"],
    "debug": ["-O1", "-g", "-UNDEBUG"],
    "trace": ["-O0", "-g"],
    "asan": ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-inline", "-fsanitize=address,undefined"],
}
LINK = {"asan": ["-fsanitize=address,undefined"]}
MACROS = {
    "debug": [("PARTISAN_DEBUG", "1")],
    "trace": [("CYTHON_TRACE", "1"), ("CYTHON_USE_SYS_MONITORING", "0")],
    "asan": [("PARTISAN_DEBUG", "1")],
}
if FLAVOUR not in COMPILE:
    raise SystemExit(f"PARTISAN_BUILD={FLAVOUR!r} is none of {', '.join(COMPILE)}")

WARN = ["-std=c11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-function"]
if os.environ.get("PARTISAN_WERROR"):
    WARN.append("-Werror")

SOURCES = sorted(glob("partisan/_core/*.pyx"))
if sys.platform == "linux":  # network namespaces and TUN devices
    SOURCES.append("partisan/bench/netem/relay.pyx")

extensions = [
    Extension(
        path[:-4].replace("/", "."),
        [path],
        include_dirs=["csrc"],
        depends=["setup.py", *sorted(glob("csrc/*.h"))],
        define_macros=MACROS.get(FLAVOUR, []),
        extra_compile_args=WARN + COMPILE[FLAVOUR],
        extra_link_args=LINK.get(FLAVOUR, []),
    )
    for path in SOURCES
]

setup(
    # A place for each flavour: extensions are copied from there into the package, and must not be another flavour's.
    options={"build": {"build_base": f"build/{FLAVOUR}", "parallel": os.cpu_count()}},
    ext_modules=cythonize(
        extensions,
        # The trace flavour leaves the C beside the source: coverage looks for it there.
        build_dir=None if FLAVOUR == "trace" else f"build/cython-{FLAVOUR}",
        annotate=FLAVOUR == "debug",
        compiler_directives={
            "language_level": 3,
            "auto_pickle": False,
            "embedsignature": True,
            "embedsignature.format": "python",
            "freethreading_compatible": False,
            "linetrace": FLAVOUR == "trace",
        },
    ),
)
