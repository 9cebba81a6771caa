#!/bin/sh
# The demo: train both models through the queue, evaluate them, and compare. `make demo` runs it.
set -eu

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
run() { say "\$ $*"; "$@"; }

trap 'zoo down >/dev/null 2>&1' EXIT

# The demo chooses its data; a job never swaps one dataset for another.
if zoo data prepare mnist >/dev/null 2>&1; then
  dataset=mnist
else
  dataset=digits
  say "There is no MNIST here and no network to fetch it from: this demo runs on 'digits', the 1,797"
  say "handwritten digits that scikit-learn carries. For MNIST name a folder with its files: ZOO_DATA_DIR=... make demo"
fi

run zoo data show "$dataset"
run zoo up
run zoo train logistic --dataset "$dataset"
run zoo evaluate @last
run zoo train dense-softmax --dataset "$dataset"
run zoo evaluate @last
run zoo jobs
run zoo leaderboard --dataset "$dataset"
say "Everything is in $ZOO_HOME. Go on: export ZOO_HOME=$ZOO_HOME PATH=$(dirname "$(command -v zoo)"):\$PATH; zoo --help"
