"""Read training data as people have it: files of any kind, columns of any name, cells of any shape, become rows.

A source is opened (sources), its values are read (jsonl, json_values, tables, arrow_rows, beir_rows), its columns are
assigned (reader, layout, column_names), and each value becomes a clean row (rows, cells, clean_texts).

arrow_rows.py    Read Parquet files, and folders that ``save_to_disk`` of the library ``datasets`` made, one row at a
                 time.
beir.py          The one reader of files in BEIR's layout, a line at a time: passages, queries, and who judged what
                 relevant.
beir_rows.py     A BEIR folder as training rows: each query with the passages that the qrels of a split judge
                 relevant.
cells.py         Read one cell: a text, a list of passages, an object with a title and a text, a chat message, or
                 nothing.
clean_texts.py   Tell fast whether a row's texts need no cleaning, by looking at all of them together.
column_names.py  What a column's name tells: that it holds the query, positives, negatives, the id, or a judgement of
                 the pair.
dialect.py       Find out which character separates a table's cells, and what quotes mean in it.
file_digest.py   The SHA-256 of a file's bytes, computed once and remembered in the cache with the file's size and
                 time.
folders.py       Choose the files of a folder that are a task's training rows, and report the others.
json_values.py   Read a JSON file that is not JSONL: a list of objects, objects over several lines, or ``{"data":
                 [...]}``.
jsonl.py         Read a JSONL file, one value at a time; a broken line becomes a problem, and the lines around it are
                 still read.
judgements.py    Find columns that are not read, but judge the pairs: 0 and 1, true and false, a grade, a score,
                 "relevant".
layout.py        Decide which columns of a row hold the query, the positives, the negatives and the id, by the
                 columns' names.
problem.py       Something wrong in a file, and what is done about it: the kinds of problems of a row, in words, and
                 their repairs.
reader.py        Turn the raw values of a source into rows; which column holds what is decided by each file's first
                 500 rows.
rows.py          Turn one raw value into a clean row, or say why it is none; every change is reported.
sources.py       Open a source of training rows: a file, a folder, a file on the hub, or a data set there.
splits.py        Which split a file's name belongs to (``dev.jsonl``: validation), and which split of a data set is
                 trained on.
table_header.py  Read a table's header: which character separates the cells, and whether the line can be a header.
tables.py        Read CSV and TSV files, one row at a time, with line numbers.
text_files.py    Open a file of text as people have it (gzipped, in an archive, in any Unicode), and read it in blocks.
titled.py        Join a passage's title and text. Everything that joins them does it here, so that all mean the same
                 text.
"""
