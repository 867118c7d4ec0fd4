"""This room turns bytes into a table with image references, and a table with results into an enriched CSV.

Nothing here opens a file or a connection. Reading goes from module to module::

    encoding.py    bytes -> text
    dialect.py     delimiter and quoting, by the records that records.py makes of the text
    header.py      what stands before the table, and the names of its columns
    columns.py     which columns hold image URLs
    reading.py     all of it, and the image references of the rows (table.py)
    cell_urls.py   one cell -> its entries (markup.py, placeholders.py); urls.py makes URLs of them
    enriching.py   table and results -> enriched CSV
"""
