"""Commands besides the stages of a run, one a file: each declares its arguments, calls one function, and prints.

A module has ``add(commands)``, which registers its parser with a handler as ``function``. Nothing heavy is imported at
the top of these modules: they all are imported for ``tdro --help``.
"""
