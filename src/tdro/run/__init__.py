"""A run: its stages in order, its folder, and what need not be done again.

Following a recipe: ``pipeline.py`` goes through the stages, ``stages.py`` says what each is made from and calls the
room that makes it, ``folder.py`` skips those that are done.

base_models.py     The base models of a run: how each is built once in the user's cache, loaded to be trained, and
                   saved afterwards.
checks.py          What a run refuses before anything is read, mined or trained.
compare_models.py  Score the models of a fine-tuning group on the test sets, compare them, and print the table.
development.py     The development sets of a run: what scores a model while it trains, and that they are apart from the
                   test sets.
describe_data.py   What a run says of its training data: ``data.json`` for the report, and warnings of texts that are
                   cut; also ``tdro data describe``.
folder.py          A run's folder: which stages are done, from which inputs, and whose folder it is.
in_workers.py      What the processes of ``--workers`` do of a run: train models, and evaluate them.
learn_gain.py      Learn the weights of transfer gain with the data and the base of a run.
matryoshka.py      The sizes of ``finetune.matryoshka``: that they fit the model.
out_of_memory.py   Out of memory, said in two lines: which stage, and which key of the recipe to set to which value.
pipeline.py        A run from its recipe to its report: reference, weights, fine-tunings, evaluation, report.
push_models.py     Upload what the recipe's groups push to the hub.
remembered_data.py What ``run.json`` says of the training data, for evaluations where they are gone.
small_chunks.py    A hint for GPUs: with few texts in a micro-batch, a GPU waits for the CPU.
stages.py          The stages of a recipe as values: what each is made from (its inputs) and the call that makes it.
target_data.py     What a recipe's ``gain.target`` names, as rows to measure losses on, and which test queries are
                   looked at for it.
training_data.py   The training data of a run: tasks, test sets, mined negatives, and what the stages' inputs say of
                   them.
training_inputs.py What the result of a training depends on: its inputs, as JSON.
workspace.py       What the stages of a run share: its training data, its base models, and the data as tokens of each
                   base.
"""
