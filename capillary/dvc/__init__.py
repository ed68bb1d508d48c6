"""DVC: the one room that knows its Python API, the forms of its files and how to start it."""
