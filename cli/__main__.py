"""`python -m sdkit.cli`, for launchers such as torchrun --nproc-per-node 4 -m sdkit.cli train x.h5."""

from sdkit.cli.entry import main

if __name__ == "__main__":
    main()
