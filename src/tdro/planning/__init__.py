"""What a recipe will cost, said before anything runs: rows and epochs, tokens, memory, FLOPs and time.

``plan.py`` puts it together, ``text.py`` prints it. Of models only configuration and tokenizer are read, and no
negative is mined, so the plan of a large model takes seconds. Rejected: trying a step for real, which needs the
machine that one plans for.
"""
