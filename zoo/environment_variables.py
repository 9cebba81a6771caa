"""Environment variables read by libraries, and which of them child processes get.

Only Zoo's settings define where rows, hints and artifacts are. A variable set for the same library
by another project must not change that, and no password must reach a process that runs models.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from zoo import settings


class Row(NamedTuple):
    """Variables of one library."""

    library: str
    names: tuple[str, ...]
    """Patterns as in a shell."""
    effect: str
    """The behaviour that they change."""


IGNORED = (
    Row(
        "Celery",
        (
            "CELERY_*",
            "C_FORCE_ROOT",
            "C_BENCH*",
            "C_REMDEBUG",
            "C_WNOCONF",
            "C_FAKEFORK",
            "C_IMPDEBUG",
            "C_STRICT_APP",
            "C_WARN_APP",
        ),
        "broker, result backend, configuration module, pool and loader",
    ),
    Row(
        "Celery",
        ("MP_LOG", "MP_MAIN_FILE", "FORKED_BY_MULTIPROCESSING", "_MP_FORK_*", "REMAP_SIGTERM"),
        "processes, signals and log of a worker",
    ),
    Row(
        "Celery",
        ("TIMER_DEBUG", "USE_FAST_LOCALS", "AUTOSCALE_KEEPALIVE", "EVENTLET_NOBLOCK", "NOSETPS"),
        "timers and pools",
    ),
    Row(
        "kombu",
        ("KOMBU_*", "DISABLE_TRACEBACKS", "PICKLE_PROTOCOL"),
        "what is logged of the broker; limits of its connections",
    ),
    Row("fsspec, s3fs", ("FSSPEC_*", "S3FS_*"), "server, keys and options of the artifact store"),
    Row(
        "libpq (PostgreSQL)",
        ("PG[A-Z]*",),
        "host, user, password, database, certificates, session settings",
    ),
    Row("psycopg", ("PSYCOPG_*",), "which of its implementations is loaded"),
    Row("Alembic", ("ALEMBIC_CONFIG",), "another configuration file"),
    Row("Typer", ("TYPER_*",), "how commands and errors are drawn"),
    Row("pydantic", ("PYDANTIC_*",), "plugins of pydantic"),
    Row("redis-cli, valkey-cli", ("REDISCLI_*", "VALKEYCLI_*"), "a password"),
)
"""Removed from every process of Zoo's own before a library can read them."""

CREDENTIALS = (
    *("AWS_*", "AZURE_*", "GOOGLE_*", "GCLOUD_*", "GCSFS_*", "CLOUDSDK_*", "BOTO_*"),
    *("B2_*", "SWIFT_*", "OS_*", "HDFS_*", "WEBHDFS_*", "SSHFS_*", "SMB_*", "DROPBOX_*"),
)
"""Of artifact stores: the worker and the terminal use them, no process that runs a plugin has them.
"""

PASSED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM"),
    *("TMPDIR", "TMP", "TEMP", "XDG_*", "VIRTUAL_ENV", "CONDA_*", "PYTHON*", "ZOO_*"),
    *("LD_*", "DYLD_*", "MALLOC_*", "GLIBC_TUNABLES", "COLUMNS", "NO_COLOR"),
    *("SSL_CERT_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("OMP_*", "GOMP_*", "KMP_*", "OPENBLAS_*", "GOTO_*", "MKL_*", "BLIS_*", "VECLIB_*"),
    *("NUMEXPR_*", "NUMBA_*", "NPY_*", "NUMPY_*", "SCIPY_*", "SKLEARN_*", "JOBLIB_*", "LOKY_*"),
    *("TF_*", "KERAS_*", "XLA_*", "TPU_*", "JAX_*", "TORCH*", "PYTORCH_*", "TRITON_*"),
    *("CUDA_*", "CUDNN_*", "CUBLAS_*", "NVIDIA_*", "NCCL_*", "GPU_*", "ROCR_*", "HIP_*", "HSA_*"),
    *("ROCM_*", "MIOPEN_*", "ONEAPI_*", "SYCL_*", "ONEDNN_*", "DNNL_*", "ORT_*", "ONNX_*"),
    *("HF_*", "TRANSFORMERS_*", "XGBOOST_*", "LIGHTGBM_*", "CATBOOST_*", "MPL*", "SLURM_*"),
)
"""What a process that runs models is given: what finds programs and libraries, speaks the user's
language, and turns the libraries that compute. All else stays in the worker."""

SECRET = re.compile(
    r"(^|_)(TOKEN|PASSWORD|PASSWD|PASS|PASSPHRASE|SECRET|SECRETS|CREDENTIALS?|KEY|APIKEY|AUTH)(_|$)",
    re.I,
)
PASSWORD_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a variable's name matches one of the patterns."""
    return any(fnmatch.fnmatchcase(name, each) for each in patterns)


def is_ignored(name: str) -> bool:
    """Return whether the variable is removed from all processes of Zoo."""
    return any(matches(name, row.names) for row in IGNORED)


def ignore() -> None:
    """Remove variables from this process that would override settings in libraries."""
    for name in list(os.environ):
        if is_ignored(name):
            del os.environ[name]


STORES = ("ZOO_DATABASE_URL", "ZOO_BROKER_URL", "ZOO_ARTIFACTS_URL")
"""Settings removed from processes that call plugins."""
HOOKS = ("ZOO_NOTIFY", "ZOO_MLFLOW")
"""Settings that the hooks are told; runners learn that there is one."""
HIDDEN = "hidden"
PATHS = ("_FILE", "_DIR", "_HOME", "_BUNDLE")
"""So end variables that hold a path, which may be relative to the folder a command was called in.
"""


def for_child(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of another process of Zoo, which starts in another folder."""
    found = {name: value for name, value in environ.items() if not is_ignored(name)}
    if "PYTHONPATH" in found:
        # An empty or relative part means the working directory, whose files are nobody's plugin.
        parts = [part for part in found["PYTHONPATH"].split(os.pathsep) if Path(part).is_absolute()]
        found["PYTHONPATH"] = os.pathsep.join(parts)
    for name, value in found.items():
        if name.startswith("ZOO_") or name.endswith(PATHS):
            found[name] = _anchored(name, value)
    return found


def _anchored(name: str, value: str) -> str:
    """Make the relative path in a variable absolute."""
    if name == "ZOO_DATA_DIR":
        return os.pathsep.join(_absolute(each) for each in value.split(os.pathsep))
    if name in ("ZOO_HOME", "ZOO_PLUGINS_DIR") or name.endswith(PATHS):
        return _absolute(value)
    if name == "ZOO_ARTIFACTS_URL" and "://" not in value:
        return _absolute(value)
    if found := re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/].*)", value):
        return found[1] + _absolute(found[2])
    return value


def _absolute(path: str) -> str:
    # `~` is left to who reads it, which also says whose home it cannot find.
    return path if not path or path.startswith("~") else str(Path(path).absolute())


def for_plugins(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that calls plugins, which may need own passwords.

    The passwords of the stores are left out.
    """
    return _hide(
        {
            name: value
            for name, value in for_child(environ).items()
            if name.removesuffix("_FILE") not in STORES and not matches(name, CREDENTIALS)
        }
    )


def for_models(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that runs models: the variables in PASSED, no secrets.

    The setting `runner_variables` names more.
    """
    named = tuple(environ.get(settings.variable("runner_variables"), "").replace(",", " ").split())
    return {
        name: value
        for name, value in for_plugins(environ).items()
        if matches(name, named) or _is_harmless(name, value)
    }


def _hide(found: dict[str, str]) -> dict[str, str]:
    for name in HOOKS:
        if found.pop(f"{name}_FILE", None) or found.get(name):
            found[name] = HIDDEN
    return found


def _is_harmless(name: str, value: str) -> bool:
    if not matches(name, PASSED):
        return False
    return not SECRET.search(name) and not PASSWORD_IN_URL.search(value)
