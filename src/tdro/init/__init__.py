"""A recipe for somebody's own files: :func:`tdro.init.start.init_recipe`."""
