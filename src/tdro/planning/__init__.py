"""What a recipe will cost, said before anything runs: rows and epochs, tokens, memory, FLOPs and time.

``plan.py`` puts it together, ``text.py`` prints it. Of models only configuration and tokenizer are read, and no
negative is mined, so the plan of a large model takes seconds. Rejected: trying a step for real, which needs the
machine that one plans for.

base_kind.py  What a model is as a recipe's ``base``, told from its files: decoder, encoder, or a tokenizer for a
              static model.
cuts.py       How a recipe cuts texts for a base, and what it cuts of a sample of each task's rows.
device.py     The device that is planned for: its precision, and how much memory it has.
flops.py      FLOPs of a training, and the time that they take on a device of a stated speed.
lengths.py    How long the texts of each task are, in tokens of a base model: from a sample of its rows.
memory.py     The memory of a training on each device, by arithmetic.
page.py       A plan as a page for the terminal: tables of at most 110 columns, units in their heads, then the
              warnings.
plan.py       A recipe's plan: every training with its tokens, FLOPs and memory, and what to be warned of.
shape.py      A base model's sizes, from its configuration: no weight is read, and no memory taken.
trainings.py  Which trainings a recipe is made of, and what each reads: steps, rows and epochs per task.
"""
