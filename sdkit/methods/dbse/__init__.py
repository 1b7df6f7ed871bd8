"""DBSE, the model of the paper that sdkit began with, and its variants `paper`, `release` and `filter`."""

from sdkit.methods.dbse.method import Dbse

METHOD = Dbse
