"""Settings of all tests: no deadline for hypothesis (CI machines are slow and noisy), and no network."""

import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("tdro", deadline=None, max_examples=50)
settings.load_profile("tdro")
