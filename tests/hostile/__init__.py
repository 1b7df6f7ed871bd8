"""A campaign of hostile input: mutated files of every format through every command, kills, races and full disks.

`python -m tests.hostile --cases 10000 --kills 100 --seed 0` runs as much of it as one likes, `make hostile` its usual
size; the tests of this folder run the same cases, fewer of them.
"""
