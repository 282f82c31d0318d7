"""The recipe: every setting of a run, typed, checked and explained.

data_sections.py  The recipe's sections about texts: tasks and test sets from files, the mixture, and hard negatives.
explain.py        Every key of a recipe as Markdown, made from the fields of :mod:`tdro.recipe.schema` and so never
                  out of date.
messages.py       Parts of a recipe's error messages: a text shortened and quoted, the nearest known name, an error
                  about one key.
names.py          Names that several rooms share: stages, mixtures in their order, models' folders.
places.py         What a text names: a data file by its ending, a file on the hub, or a data set there. Nothing is
                  opened.
rules.py          Rules of the recipe that types cannot say: each takes a value, and returns it or raises with what to
                  do.
schema.py         The recipe: every setting of a run, typed and documented once, here. YAML in, YAML out.
types.py          What all sections of a recipe share: strict settings, and the types of names, seeds and lists.
yaml_lines.py     What is wrong with a recipe, by file, line and key, with the nearest right spelling.
"""
