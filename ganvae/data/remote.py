"""Remote files by ``fsspec``: opening an address, and explaining errors."""

from __future__ import annotations

import errno
import tarfile
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

from ganvae.errors import DataError
from ganvae.telling import Address, redacted, whole

BLOCK = 2**23
"""Bytes asked for at once; a request to an object store takes as long as some of them."""
_REMOTE = getattr(errno, "EREMOTEIO", 121)  # Linux alone has it; s3fs says so elsewhere, too


def need(module: str, what: str, *, package: str = "'ganvae[hub]'") -> Any:
    """A module of an extra. Raises DataError where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise DataError(
            f"{what} needs the package {module}, which is not installed;"
            f" install it with: pip install {package}"
        ) from None


def filesystem(path: str) -> Any:
    """The ``fsspec`` file system of an address. Raises DataError where a package is missing."""
    fsspec = need("fsspec", path)
    try:
        return fsspec.core.url_to_fs(whole(path))[0]
    except ImportError as error:
        scheme = path.partition("://")[0]
        package = {"s3": "'ganvae[hub]'", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
        raise DataError(
            f"{scheme}:// needs a package that is not installed ({line(error)});"
            f" install it with: pip install {package.get(scheme, 'the one that is named')}"
        ) from None


def opened(path: str, block: int = BLOCK) -> Any:
    """A file, here or far away, to read from."""
    if "://" not in path:
        return Path(path).open("rb")
    return filesystem(path).open(whole(path), "rb", block_size=block, cache_type="readahead")


def line(error: BaseException) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {redacted(str(error))}".split())[:300]


def is_passing(error: BaseException) -> bool:
    """Whether an error is one of the connection, so that another try may succeed."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    number = getattr(error, "errno", None)
    if number == errno.EBUSY:  # S3's "slow down", but also a file that was replaced
        return "FileExpired" not in kinds
    if number == _REMOTE or (number == errno.EIO and _status(error.__cause__) >= 500):
        return True  # a server error
    if type(error).__module__.partition(".")[0] == "aiohttp":
        return "ClientResponseError" not in kinds or getattr(error, "status", 0) >= 500
    return bool(kinds & {"ConnectionError", "TimeoutError", "HTTPClientError", "FSTimeoutError"})


def _status(error: BaseException | None) -> int:
    """The HTTP status in an error of botocore's; 0 where there is none."""
    answer = getattr(error, "response", None)
    about = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    return int(about.get("HTTPStatusCode", 0))


def explained(error: BaseException, path: str) -> DataError:
    """An error at an address in one sentence, without the secrets that it may have."""
    kind, path = type(error).__name__, Address(path)
    unsigned = path.startswith("http") and path.whole == path
    hint = "; a signature that it needs is kept nowhere: give it each time" if unsigned else ""
    if "Credential" in kind or "ProfileNotFound" in kind:
        return DataError(
            f"there are no credentials to read {path}: set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or FSSPEC_S3_ANON=true for a public bucket"
        )
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist; check the bucket and the name{hint}")
    if isinstance(error, PermissionError):
        return DataError(f"{path} may not be read with these credentials: {line(error)}{hint}")
    if isinstance(error, (tarfile.TarError, EOFError, zlib.error)) or kind == "ArrowInvalid":
        return DataError(
            f"cannot read {path}: it is truncated or damaged ({line(error)}); write it again"
        )
    if is_passing(error):
        return DataError(f"{path} cannot be reached any more ({line(error)}); resume later")
    return DataError(f"cannot read {path}: {line(error)}")
