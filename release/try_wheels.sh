#!/bin/sh
# Install the built wheels into a new environment outside the checkout, and spend the first five
# minutes with them: try_wheels.sh DIST [PYTHON]. `make try-wheels` runs it.
set -eu

dist=$(cd "$1" && pwd)
python=${2:-python3}
place=$(mktemp -d)
export ZOO_HOME="$place/home" ZOO_DATA_DIR="$place/none"
unset PYTHONPATH PYTHONDONTWRITEBYTECODE VIRTUAL_ENV
PATH="$place/venv/bin:$PATH"

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
run() { say "\$ $*"; "$@"; }
clean() { zoo down >/dev/null 2>&1 || true; rm -rf "$place"; }
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

begin=$(date +%s)
since() { say "after $(($(date +%s) - begin)) s: $*"; }

say "$("$python" --version) in $place"
cd "$place"
"$python" -m venv venv
version=$(basename "$dist"/mnist_zoo-*.whl | cut -d- -f2)
pip install --quiet --disable-pip-version-check --find-links "$dist" "mnist-zoo[local]==$version"
since "installed mnist-zoo[local], $(du -sm venv | cut -f1) MB"

run zoo --version
test -s venv/share/man/man1/zoo.1
run zoo train logistic --dataset digits
since "the first accuracy"
run zoo leaderboard
run zoo report @last -o report.html
test -s report.html
venv/bin/python -c '
from PIL import Image
from sklearn.datasets import load_digits
Image.fromarray((load_digits().images[0] * 15).astype("uint8")).save("zero.png")'
run zoo predict @best:digits zero.png
run zoo ui --help >/dev/null
run zoo doctor

say "A command whose package is missing names it:"
code=0; zoo metrics 2>missing.txt || code=$?
cat missing.txt
test "$code" = 2
grep -q "pip install zoo-metrics" missing.txt
run pip check --disable-pip-version-check
since "done"
