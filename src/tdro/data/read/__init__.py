"""What people have becomes rows: files of any kind, columns of any name, cells of any shape.

arrow_rows.py    Rows of Parquet files and of folders that ``datasets``' ``save_to_disk`` made, one at a time, with
                 their numbers.
beir.py          The one reader of files in BEIR's layout, a line at a time: passages, queries, judgements.
beir_rows.py     A BEIR folder as training rows: each query with the passages that its qrels judge relevant.
cells.py         What one cell means: a text, a list of passages, an object with a title and a text, a message, or
                 nothing.
clean_texts.py   Whether the texts of a row are as they should be, at one look at all of them together.
column_names.py  What a column's name says that it holds: the query, positives, negatives, the id, or a judgement of
                 the pair.
dialect.py       How a table's cells are parted and quoted, told by its text.
file_digest.py   What a file holds, as a digest of its bytes; computed once, and remembered with the file's size and
                 time.
folders.py       Which files of a folder are a task's rows, and what is said of the others.
json_values.py   Rows of a JSON file that is no JSONL: a list of objects, objects over several lines, ``{"data":
                 [...]}``.
jsonl.py         Lines of a JSONL file, one value at a time, whatever the file looks like: a broken line becomes a
                 problem.
judgements.py    Which columns that are not read judge the pairs: 0 and 1, true and false, a grade, a score,
                 "relevant".
layout.py        Which columns of a row hold the query, the positives, the negatives and the id; or why that cannot be
                 told.
reader.py        The values of one source become rows: the columns are told by each file's first rows, and what is not
                 read is kept.
rows.py          One raw value becomes a row, or says why not: cleaned, every change named.
sources.py       Where training rows come from: a file, a folder (of files, in BEIR's layout, of save_to_disk), a file
                 or data set on the hub.
splits.py        Which split of a data set a name belongs to, and which of its splits is trained on.
tables.py        Rows of CSV and TSV files, one at a time, with their lines.
titled.py        A passage's title and text as one text. Everything that joins them does it here, so that all mean the
                 same text.
"""
