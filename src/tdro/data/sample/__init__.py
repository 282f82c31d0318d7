"""The sample mixture: real text of twenty kinds, read out of ten packages, without a hub.

One module a family of sources (:mod:`aws`, :mod:`homeassistant`, …) turns an archive into pairs; :mod:`text`
cleans them, :mod:`split` takes training and tests apart, :mod:`tasks` is the table of all of it, :mod:`build`
writes it.
"""

from tdro.data.sample.build import SAMPLE_VERSION, build_sample, licence_table
from tdro.data.sample.split import leaks

__all__ = ["SAMPLE_VERSION", "build_sample", "leaks", "licence_table"]
