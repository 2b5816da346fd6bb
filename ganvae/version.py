"""The version, in a file that everyone may import."""

VERSION = "0.1.0"
