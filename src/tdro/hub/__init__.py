"""The Hugging Face hub, through its own client: what its errors mean, a model's files, and uploading a model.

faults.py       Says in a line what is wrong where the hub or the network refuses, and what to do.
repo_id.py      What may be the id of a repository that something is pushed to.
upload.py       Uploads a model: sees first that it may be done.
model_files.py  The files of a model on the hub: a single one, or all but its weights.
"""
