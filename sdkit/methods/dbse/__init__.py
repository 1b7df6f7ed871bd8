"""DBSE, the default method, the model of the paper, with its variants `paper`, `release` and `filter`."""

from sdkit.methods.dbse.method import Dbse

METHOD = Dbse
