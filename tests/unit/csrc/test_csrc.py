"""The C headers on their own, under AddressSanitizer and UndefinedBehaviorSanitizer.

The library is compiled here and driven through cffi in a process that has the sanitizer's runtime preloaded, since the
interpreter itself is not built with it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CHECKS = [
    "terms_end_where_they_end",
    "large_binaries_are_told",
    "garbage_ends_alike_on_every_split",
    "the_walk_is_linear",
    "lies_about_arity_are_only_waited_for",
    "no_tag_outside_the_format_is_walked",
    "numbers_keep_their_octets",
    "a_run_of_octets_keeps_what_it_was_given",
    "rooms_keep_what_was_put_there",
    "texts_of_references_are_read_strictly",
    "hashing_and_looking_stay_inside",
    "only_keys_that_meet_are_too_dear",
    "packets_come_out_by_their_time_with_their_octets",
    "the_store_is_bounded_and_gives_all_of_it_back",
    "a_line_takes_its_time_and_has_a_bounded_queue",
    "loss_is_a_share_and_repeats_with_its_seed",
    "headers_are_read_within_the_packet",
]

pytest.importorskip("cffi", reason="the C headers are driven through cffi")


@pytest.fixture(scope="module")
def compiler() -> str:
    found = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if found is None:
        pytest.skip("no C compiler")
    return found


@pytest.fixture(scope="module")
def runtime(compiler: str) -> str:
    """Return the path of the sanitizer's runtime, to be preloaded."""
    told = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    path = told.stdout.strip()
    if not Path(path).is_absolute():
        pytest.skip(f"{compiler} has no shared AddressSanitizer runtime")
    return path


@pytest.fixture(scope="module")
def library(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("csrc") / "binding.so"
    flags = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fno-omit-frame-pointer"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{ROOT / 'csrc'}"]
    subprocess.run([compiler, *flags, str(HERE / "binding.c"), "-o", str(target)], check=True)
    return target


def run(check: str, library: Path, runtime: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # the interpreter leaks on purpose
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(HERE / "driver.py"), str(library), check]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("check", CHECKS)
def test_the_c_headers_hold_under_the_sanitizers(check: str, library: Path, runtime: str) -> None:
    done = run(check, library, runtime)
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_sanitizer_is_really_watching(library: Path, runtime: str) -> None:
    done = run("an_overrun_is_caught", library, runtime)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
