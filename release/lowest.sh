#!/bin/sh
# Run the quick tests with the oldest versions that the packages accept: lowest.sh [PYTHON].
# It needs uv. `make test-lowest` runs it. Keras and PyTorch are not installed: gigabytes. Help texts,
# manifests, the lock and the benchmarks are checked with the locked versions alone.
set -eu
cd "$(dirname "$0")/.."

python=${1:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
unset PYTHONPATH PYTHONDONTWRITEBYTECODE VIRTUAL_ENV

projects=". workers plugins/zoo-sklearn plugins/zoo-report plugins/zoo-web plugins/zoo-metrics plugins/zoo-notify"
files=$(for each in $projects; do echo "$each/pyproject.toml"; done)
uv venv --quiet --python "$python" "$place/venv"
# shellcheck disable=SC2086
uv pip compile --quiet --python "$place/venv" --resolution lowest-direct --no-annotate --no-header \
  --extra data --extra postgres --extra s3 --extra sweep --extra notebook --extra tables \
  --no-emit-package mnist-zoo $files -o "$place/lowest.txt"
grep -E '^(numpy|scipy|scikit-learn|pandas|pillow|pydantic|sqlalchemy|typer|rich|celery|redis|matplotlib)==' "$place/lowest.txt"
export VIRTUAL_ENV="$place/venv"
uv pip install --quiet -r "$place/lowest.txt"
# What the tests need is as new as these allow.
uv pip install --quiet --constraint "$place/lowest.txt" --group test
# shellcheck disable=SC2086
uv pip install --quiet --no-deps --no-build-isolation $(for each in $projects plugins/zoo-keras; do echo "-e ./$each"; done)
"$place/venv/bin/python" -m pytest -n 2 --dist loadgroup -p no:cacheprovider \
  -m "not tensorflow and not slow and not mnist" tests/unit --ignore tests/unit/test_kubernetes.py \
  --ignore tests/unit/test_house.py --ignore tests/unit/test_packages.py \
  --ignore tests/unit/test_scaling.py
