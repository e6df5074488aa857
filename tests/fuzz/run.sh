#!/bin/sh
# Fuzz the C headers, the codec, the frame reader and the distribution of Erlang: run.sh [SECONDS], 60 for each unless told.
# Ends at the first finding, which is then in out/fuzz/found. MINIMISE=1 at last writes the smallest corpus of the same
# coverage back to tests/fuzz/corpus; TARGETS="scan codec" runs only those.
# Needs clang (CLANG=clang-14 names another) and, for the compiled core, atheris in PYTHON's environment.
set -eu
seconds=${1:-60}
cd "$(dirname "$0")/../.."
clang=${CLANG:-$(command -v clang || command -v clang-14)}
python=${PYTHON:-python3}
work=$PWD/out/fuzz
found=$work/found/
targets=${TARGETS:-scan codec frames handshake distribution}
mkdir -p "$found"
common="-max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1"

"$clang" -std=c11 -O1 -g -Wall -Wextra -Icsrc -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    tests/fuzz/scan.c -o "$work/scan.target"

# The compiled core once more, for coverage: a copy of the package that leaves the one in place alone.
PARTISAN_BUILD=debug CC="$clang" LDSHARED="$clang -shared" CFLAGS="-O1 -g -fsanitize=address,fuzzer-no-link" \
    "$python" setup.py -q build --build-lib "$work/package" --build-temp "$work/objects"
site=$("$python" -c 'import atheris, os; print(os.path.dirname(os.path.dirname(atheris.__file__)))')
for name in codec frames handshake distribution; do
    # With PYTHONMALLOC=malloc the sanitizer sees every object, and malloc_limit_mb every allocation.
    cat > "$work/$name.target" <<END
#!/bin/sh
export LD_PRELOAD="$site/asan_with_fuzzer.so" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc
export PYTHONPATH="$work/package:$PWD" FUZZ_TARGET="$work/$name.target"
exec "$python" -P -m tests.fuzz.$name -malloc_limit_mb=64 "\$@"
END
    chmod +x "$work/$name.target"
done

for name in $targets; do
    mkdir -p "$work/$name"
    "$work/$name.target" $common -max_total_time="$seconds" -artifact_prefix="$found" "$work/$name" "tests/fuzz/corpus/$name"
done

if [ "${MINIMISE:-}" ]; then
    for name in $targets; do
        rm -rf "$work/small"
        mkdir -p "$work/small"
        "$work/$name.target" $common -merge=1 "$work/small" "$work/$name" "tests/fuzz/corpus/$name"
        rm -rf "tests/fuzz/corpus/$name"
        mv "$work/small" "tests/fuzz/corpus/$name"
    done
fi
