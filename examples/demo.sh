# The whole way on the built-in data set, in an empty folder: train, export, prove, swap, generate, look.
# `make demo` runs it; every line is a command that you can type yourself.
set -eu

sdkit data make puppets --split test --count 24 --seed 1 -o a.h5
sdkit data make puppets --split test --count 24 --seed 2 -o b.h5

sdkit train --epochs 12
sdkit export --format all
sdkit verify

sdkit swap a.h5 b.h5
sdkit encode a.h5
sdkit generate -n 36
sdkit generate -n 8 --keep static --like a.h5 -o new-motions.h5

sdkit render generated.h5 -n 36 --scale 2 -o generated.gif
sdkit render new-motions.h5 -o new-motions.png

run=$(ls -d runs/puppets*/ | tail -n 1)
echo
echo "Look at the pictures:"
for picture in swap.png generated.gif new-motions.png "${run}curves.png" "${run}swaps"; do
    echo "  $(pwd)/$picture"
done
