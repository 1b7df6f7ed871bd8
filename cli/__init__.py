"""The command line: one thin command in each file, which parses, calls one library function and renders.

May import: everything of ours, but PyTorch, onnx and matplotlib only through the functions it calls.
"""
