"""One command, one file: its options, what help says of it, and what it does."""
