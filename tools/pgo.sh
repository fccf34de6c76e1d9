#!/bin/sh
# pgo.sh: profile-guided optimisation of the module. Builds it with counters in it, has it serve what bench/train.py
# asks for, and keeps what was counted as $WSGI_PROFILE, which build.sh uses from then on.
set -eu
. "$ROOT/tools/common.sh"

# The tool of the LLVM that the compiler was built with: rustup has it, and so have the compilers of distributions.
sysroot=$(rustc --print sysroot)
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
merge=$sysroot/lib/rustlib/$host/bin/llvm-profdata
if ! [ -x "$merge" ]; then
    have rustup && rustup component add llvm-tools >/dev/null 2>&1 || true
    [ -x "$merge" ] || merge=llvm-profdata-$llvm
fi
have "$merge" ||
    die "llvm-profdata is missing: \"rustup component add llvm-tools\", or the package llvm-$llvm, has it."

raw=$OUT/profile
rm -rf "$raw"
cd "$ROOT"
say "building the module with counters in it"
cargo rustc --locked --profile release --lib -- -Cprofile-generate="$raw"
cp "$CARGO_TARGET_DIR/release/libngx_http_wsgi_module.so" "$OUT/counting.so"

say "having it serve, for half a minute"
WSGI_MODULE=$OUT/counting.so "$ROOT/build/venv/bin/python" bench/train.py
"$merge" merge --sparse --output "$WSGI_PROFILE.new" "$raw"
mv "$WSGI_PROFILE.new" "$WSGI_PROFILE"
rm -rf "$raw" "$OUT/counting.so"
say "$(short "$WSGI_PROFILE") tells the compiler what is done often; make clean forgets it"
