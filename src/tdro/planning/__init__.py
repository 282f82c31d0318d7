"""``tdro plan``: what a recipe will read and cost, before anything runs: rows, epochs, tokens, memory, FLOPs and time.

``plan.py`` puts it together and ``page.py`` prints it. Of models only configuration and tokenizer are read, and no
negative is mined, so the plan of a large model takes seconds. See docs/decisions.md, nothing-is-tried.

base_kind.py  The ``base`` section of a recipe for a model: decoder, encoder or static, told from the model's files.
cuts.py       How a recipe cuts texts to its limits with a base's tokenizer, and what it cuts of a sample of each task.
device.py     The device that a plan is for: its precision and its memory.
evaluations.py  What it costs to score a model on development sets while it trains.
fitting.py    Which settings make a training fit into a memory.
flops.py      FLOPs of a training, and the time that they take on a device of a stated speed.
lengths.py    How long the texts of each task are, in tokens of a base model, from a sample of its rows.
measured_budget.py
              On which side of the measured budgets a fine-tuning lies, in words.
memory.py     The memory of a training on each device: weights, gradients, optimizer, and activations.
page.py       A plan as a page for the terminal: tables of at most 110 columns with their units in the head, then the
              warnings.
plan.py       The plan of a recipe: every training with its tokens, FLOPs and memory, and warnings of what will not fit.
plan_numbers.py  The numbers of a plan as plain data, which ``tdro plan --json`` prints.
shape.py      The sizes of a base model, from its configuration: no weights are read and no memory is taken.
trainings.py  Which trainings a recipe is made of, and what each reads: steps, rows and epochs of each task.
"""
