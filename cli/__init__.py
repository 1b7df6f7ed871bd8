"""Talks to people: one thin command a file, which parses, calls one library function and renders.

May import: everything of ours, but PyTorch, onnx and matplotlib only through the functions it calls.
"""
