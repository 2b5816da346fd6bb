"""``python -m ganvae`` and ``torchrun -m ganvae``."""

from ganvae.cli import main

if __name__ == "__main__":
    main()
