#!/bin/sh
# The demo in two parts, which `make demo` runs: a logistic regression through the queue, then the
# network, as soon as TensorFlow is installed.
set -eu

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
run() { say "\$ $*"; "$@"; }

trap 'zoo down >/dev/null 2>&1' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

part=$1
# The demo chooses its data; a job never swaps one dataset for another.
if zoo data prepare mnist >/dev/null 2>&1; then
  dataset=mnist
else
  dataset=digits
  [ "$part" = network ] || say "There is no MNIST here and no network to fetch it from: this demo runs on
'digits', the 1,797 handwritten digits that scikit-learn carries.
For MNIST name a folder with its files: ZOO_DATA_DIR=... make demo"
fi

case $part in
  light)
    run zoo train logistic --dataset "$dataset"
    run zoo evaluate @last
    run zoo data show "$dataset"
    say "Next a network, which needs TensorFlow. Ctrl-C ends the demo here, make demo goes on.
Without it: export ZOO_HOME=$ZOO_HOME PATH=$(dirname "$(command -v zoo)"):\$PATH; zoo --help"
    ;;
  network)
    run zoo train dense-softmax --dataset "$dataset"
    run zoo evaluate @last
    run zoo jobs
    run zoo leaderboard --dataset "$dataset"
    say "Everything is in $ZOO_HOME. Go on: export ZOO_HOME=$ZOO_HOME PATH=$(dirname "$(command -v zoo)"):\$PATH; zoo --help"
    [ "$dataset" = mnist ] || say "Without MNIST, add --dataset digits to the commands of the README."
    ;;
esac
