"""Errors that are the user's to mend: one sentence, and the exit code it ends a command with."""

from __future__ import annotations


class GanvaeError(Exception):
    """Something the user can mend: one sentence that names the thing and the mend."""

    exit_code = 1


class DataError(GanvaeError):
    """The images cannot be used as they are."""

    exit_code = 65


class ConfigError(GanvaeError):
    """What was asked for does not fit together or does not exist."""

    exit_code = 78


class RangeError(ConfigError, ValueError):
    """A number that was asked for makes no sense."""


class BusyError(GanvaeError):
    """Something else is using it now; try again later."""

    exit_code = 75


class CheckpointError(GanvaeError):
    """A checkpoint or model file is damaged or cannot be written."""

    exit_code = 65


class DivergedError(GanvaeError):
    """The training produced non-finite numbers and could not be brought back."""

    exit_code = 1
