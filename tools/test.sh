#!/bin/sh
# test.sh MAKE: all stages, one after the other. A stage that fails does not keep the others from
# running; the summary at the end names it, and the exit code tells.
set -eu
. "$ROOT/tools/common.sh"

make=$1
failed=
stage() {
    name=$1
    shift
    # shellcheck disable=SC2086 # meant to be split
    $make "$@" || failed="$failed $name"
}

cd "$ROOT"
# shellcheck disable=SC2086 # meant to be split
$make NGINX=debian rust deps venv
rm -rf build/results
mkdir -p build/results
stage check-fmt check-fmt
stage lint NGINX=debian lint
# shellcheck disable=SC2086 # meant to be split
{ $make NGINX=debian unit || touch build/results/unit-failed; } 2>&1 | tee build/results/unit.log
[ ! -f build/results/unit-failed ] || failed="$failed unit"
rm -f build/results/unit-failed
stage loom loom
# The vendored one has assertions compiled in.
stage instructions NGINX=debian CHECK=1 instructions
for nginx in debian vendored; do
    stage "pytest-$nginx" NGINX=$nginx pytest
done

"$PYO3_PYTHON" tools/summary.py build/results
[ -z "$failed" ] || die "these stages failed:$failed."
say "everything passed"
